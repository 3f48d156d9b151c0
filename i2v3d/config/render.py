"""The types of the groups `render` and `views`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from i2v3d.config.bounds import Count, Faces, Fraction, Number, RenderLight, Side
from i2v3d.config.sections import section


@section
class RenderConfig:
    """samples: Cycles samples a pixel, for anti-aliased RGB (depth and masks are exact at any number).
    background: the scene's mesh, or its plate on a plane at plane_depth times the foreground's depth in frame 1.
    max_faces: triangles that one mesh may have. folder: of an artist's own renders, taken instead.
    light: none, or the photo's: then the colour is written under it, too (i2v3d.geometry.light)."""

    folder: str | None
    light: RenderLight
    samples: Count
    background: Literal["mesh", "plane"]
    plane_depth: Annotated[float, Field(gt=1, le=1000)]
    max_faces: Faces


@section
class ViewsConfig:
    """Multi-view renders of the foreground: every azimuth at every elevation, degrees from frame 1."""

    size: Side
    samples: Count
    azimuths_deg: Annotated[tuple[Number, ...], Field(min_length=1)]
    elevations_deg: Annotated[tuple[Number, ...], Field(min_length=1)]
    margin: Fraction
