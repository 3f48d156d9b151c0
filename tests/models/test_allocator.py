"""Memory that is given back and taken again is not cleared by the system in between."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import resource, sys
from i2v3d.models.allocator import keep_memory
if sys.argv[1] == "kept" and not keep_memory():
    sys.exit(3)
size = 24 << 20
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
b'x' * size
before = faults()
for _ in range(10):
    b'x' * size  # 6144 pages
print(faults() - before)
"""


def _faults(how: str) -> int:
    done = subprocess.run([sys.executable, "-c", SCRIPT, how], capture_output=True, text=True, check=False)
    if done.returncode == 3:
        pytest.skip("the C library is not glibc")
    return int(done.stdout)


def test_freed_memory_is_kept_for_the_next_tensor() -> None:
    assert _faults("kept") < 100 < 1000 < _faults("given back")
