"""The method and its rivals on held-out clips with known truth: what to run, and what came out of it."""
