"""One module a stage: a typed configuration and input folders in, an output folder out."""
