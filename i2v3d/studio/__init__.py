"""The studio: a local web page over one scene's YAML, the pipeline's own evaluation of it, and its own commands."""
