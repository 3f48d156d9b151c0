"""cameras.json: where the cameras of rendered pictures are, written and read here alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import ConfigDict
from pydantic import dataclasses as checked

from i2v3d.artifacts.files import read_as, write_json
from i2v3d.errors import ArtifactError, ShapeError
from i2v3d.geometry.camera_track import CameraTrack, checked_track
from i2v3d.geometry.cameras import Array, invert_pose

CAMERAS_FILE = "cameras.json"
FORMAT = 1

Range = tuple[float, float]
Row3 = tuple[float, float, float]
Row4 = tuple[float, float, float, float]


@dataclass(frozen=True, eq=False)
class RenderedCameras:
    """The cameras of T pictures of width x height pixels.

    frames: the pictures' numbers, from 1. K: (T, 3, 3) in pixels. w2c: (T, 4, 4), OpenCV camera axes, metres.
    depth_range_m: planar depth of the nearest and the farthest surface in any picture, None if none shows
    anything. fps: rate of the shot, if it has one. assumed: taken from the scene, since who rendered the
    pictures did not say. angles_deg: azimuth and elevation of each, of pictures from all sides.
    """

    width: int
    height: int
    frames: tuple[int, ...]
    K: Array
    w2c: Array
    depth_range_m: Range | None
    fps: int | None = None
    assumed: bool = False
    angles_deg: tuple[Range, ...] | None = None

    def __post_init__(self) -> None:
        count = len(self.frames)
        if self.K.shape != (count, 3, 3) or self.w2c.shape != (count, 4, 4):
            raise ShapeError(
                f"{count} pictures have K of {self.K.shape} and w2c of {self.w2c.shape}; expected a camera each"
            )

    def save(self, folder: Path) -> None:
        """Writes folder/cameras.json. Raises ArtifactError if a number is not finite."""
        data = {
            "format": FORMAT,
            "width": self.width,
            "height": self.height,
            "fps": self.fps,
            "frames": list(self.frames),
            "K": np.asarray(self.K, dtype=np.float64).tolist(),
            "w2c": np.asarray(self.w2c, dtype=np.float64).tolist(),
            "depth_range_m": self.depth_range_m,
            "assumed": self.assumed,
        }
        if self.angles_deg is not None:
            data["azimuths_deg"], data["elevations_deg"] = map(list, zip(*self.angles_deg, strict=True))
        write_json(folder / CAMERAS_FILE, data)

    @staticmethod
    def load(path: Path) -> RenderedCameras:
        """Reads a cameras.json. Raises ArtifactError if it is missing, damaged or of another format."""
        data = read_as(path, _File, "the cameras of a render")
        if data.format != FORMAT:
            raise ArtifactError(
                f"{path} has format {data.format}, expected {FORMAT}; delete {path.parent} and re-run its stage"
            )
        columns = [data.frames, data.K, data.w2c, data.azimuths_deg, data.elevations_deg]
        lengths = [len(column) for column in columns if column is not None]
        if len(set(lengths)) != 1:
            raise ArtifactError(
                f"{path} has {' and '.join(map(str, lengths))} numbers, K, w2c and angles; expected as many of "
                f"each, delete {path.parent} and re-run its stage"
            )
        angles = None
        if data.azimuths_deg is not None and data.elevations_deg is not None:
            angles = tuple(zip(data.azimuths_deg, data.elevations_deg, strict=True))
        return RenderedCameras(
            width=data.width,
            height=data.height,
            frames=data.frames,
            K=np.array(data.K, dtype=np.float64).reshape(-1, 3, 3),
            w2c=np.array(data.w2c, dtype=np.float64).reshape(-1, 4, 4),
            depth_range_m=data.depth_range_m,
            fps=data.fps,
            assumed=data.assumed,
            angles_deg=angles,
        )

    def track(self, name: Path) -> CameraTrack:
        """These cameras as what other programs' files are written from, rotations made exact.

        name: what errors call them. Raises InputError as `checked_track`.
        """
        return checked_track(name, self.width, self.height, self.K, invert_pose(self.w2c))


@checked.dataclass(frozen=True, config=ConfigDict(allow_inf_nan=False))
class _File:
    """What is in the file. Blender's renders of before the format was stated have format 1, too."""

    width: int
    height: int
    frames: tuple[int, ...]
    K: tuple[tuple[Row3, Row3, Row3], ...]
    w2c: tuple[tuple[Row4, Row4, Row4, Row4], ...]
    depth_range_m: Range | None
    fps: int | None = None
    assumed: bool = False
    azimuths_deg: tuple[float, ...] | None = None
    elevations_deg: tuple[float, ...] | None = None
    format: int = FORMAT
