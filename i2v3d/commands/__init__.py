"""What the command line does beside running the graph."""
