"""What all tests stand on: one thread a process, and the plugins of tests/support."""

from __future__ import annotations

import os

# Before torch and OpenCV are imported: a process that runs tests fills one core, and so does what it starts.
os.environ["OMP_NUM_THREADS"] = os.environ["OPENCV_FOR_THREADS_NUM"] = "1"

pytest_plugins = (
    "tests.support.collection",
    "tests.support.composed",
    "tests.support.guard",
    "tests.support.hashed",
    "tests.support.light",
    "tests.support.order",
    "tests.support.warm.plugin",
)
