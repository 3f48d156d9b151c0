"""The method: what steers the networks, section 3 (keyframes) and section 4 (interpolation) of docs/method.md."""
