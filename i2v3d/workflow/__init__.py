"""From Hydra words to a graph of content-addressed jobs, their execution, and the record of what they did."""
