"""Numbers with their bounds, and other plain types that several groups use."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

LARGEST = 1_000_000  # of numbers that mean nothing larger: a slip of the finger, or black frames

Number = Annotated[float, Field(ge=-LARGEST, le=LARGEST)]
Positive = Annotated[float, Field(gt=0, le=LARGEST)]
NonNegative = Annotated[float, Field(ge=0, le=LARGEST)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1, le=LARGEST)]
Index = Annotated[int, Field(ge=0, le=2**63 - 1)]  # seeds use all of it
Faces = Annotated[int, Field(ge=1, le=1_000_000_000)]
Megabytes = Annotated[int, Field(ge=1, le=100_000_000)]
Frames = Annotated[int, Field(ge=1, le=9999)]  # file names have four digits
FramesASecond = Annotated[int, Field(ge=1, le=1000)]
Steps = Annotated[int, Field(ge=1, le=1000)]  # of sampling: the networks know as many noise levels
Guidance = Annotated[float, Field(gt=0, le=100)]
Scale = Annotated[
    float, Field(ge=0, le=100)
]  # a factor on what a network adds, or a noise level of its input
MotionBucket = Annotated[int, Field(ge=0, le=1023)]
FieldOfView = Annotated[float, Field(gt=1, lt=170)]
Vector = tuple[Number, Number, Number]
Colour = tuple[Fraction, Fraction, Fraction]
Name = Annotated[str, Field(pattern=r"^\w[\w .+-]*$", max_length=80)]
Strength = Annotated[float, Field(gt=0, le=1)]
Side = Annotated[int, Field(ge=16, le=8192)]
Dtype = Literal["float32", "float16", "bfloat16"]
DepthRange = Literal["shot", "frame"]
RenderLight = Literal["flat", "photo"]
