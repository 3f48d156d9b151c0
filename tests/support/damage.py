"""Made-up and damaged input: how much of it a test tries, and what readers may say of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from i2v3d.errors import I2V3DError, InputError

EXAMPLES = int(os.environ.get("I2V3D_FUZZ", "40"))
fuzzed = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize="I2V3D_FUZZ" not in os.environ,
    database=None,
    suppress_health_check=list(HealthCheck),
)


@contextmanager
def one_line_at_most(kind: type[I2V3DError] = InputError) -> Iterator[None]:
    """Lets an error of the kind pass that is one line, and nothing else."""
    try:
        yield
    except kind as error:
        assert str(error) and "\n" not in str(error), str(error)


@st.composite
def damaged(draw: st.DrawFn, contents: tuple[bytes, ...]) -> bytes:
    """One of some good files: cut, with bytes changed, a piece taken out or put in twice."""
    data = bytearray(draw(st.sampled_from(contents)))
    for _ in range(draw(st.integers(0, 4))):
        if not data:
            break
        at = draw(st.integers(0, len(data) - 1))
        length = draw(st.integers(1, min(64, len(data) - at)))
        what = draw(st.sampled_from(("set", "flip", "drop", "repeat", "cut", "number")))
        if what == "set":
            data[at : at + length] = draw(st.binary(min_size=0, max_size=length))
        elif what == "flip":
            data[at] ^= 1 << draw(st.integers(0, 7))
        elif what == "drop":
            del data[at : at + length]
        elif what == "repeat":
            data[at:at] = data[at : at + length]
        elif what == "cut":
            del data[at:]
        else:
            numbers = (b"nan", b"-1", b"1e999", b"999999999999", b"0", b"-0.5", b"\xff\xff\xff\x7f")
            data[at : at + length] = draw(st.sampled_from(numbers))
    return bytes(data)
