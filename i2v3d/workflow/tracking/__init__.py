"""Weights & Biases: a run for every executed stage, every variant and every method of a benchmark."""
