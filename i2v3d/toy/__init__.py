"""The toy world and the miniature family that knows it: what the demo, the tests and the benchmark run."""
