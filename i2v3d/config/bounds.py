"""Numbers with their bounds, and other plain types that several groups use."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Index = Annotated[int, Field(ge=0)]
FieldOfView = Annotated[float, Field(gt=1, lt=170)]
Vector = tuple[float, float, float]
Colour = tuple[Fraction, Fraction, Fraction]
Name = Annotated[str, Field(pattern=r"^\w[\w .+-]*$")]
Strength = Annotated[float, Field(gt=0, le=1)]
Side = Annotated[int, Field(ge=16, le=8192)]
Dtype = Literal["float32", "float16", "bfloat16"]
DepthRange = Literal["shot", "frame"]
