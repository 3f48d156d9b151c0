"""The pictures of the foreground alone from all sides, on disk: rgb/NNNN.png, mask/NNNN.png and cameras.json."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from i2v3d.artifacts.folders import frame_name, list_frames, require
from i2v3d.artifacts.rendered_cameras import RenderedCameras
from i2v3d.errors import ArtifactError
from i2v3d.images import Mask, Rgb, read_mask, read_rgb, write_mask, write_rgb


@dataclass(frozen=True)
class ViewsFolder:
    """Such a folder at `path`; pictures are numbered from 1."""

    path: Path

    def rgb_file(self, number: int) -> Path:
        """Where a picture lies."""
        return self.path / "rgb" / frame_name(number)

    def mask_file(self, number: int) -> Path:
        """Where its mask lies."""
        return self.path / "mask" / frame_name(number)

    def write(self, number: int, rgb: Rgb, mask: Mask) -> None:
        """Writes a picture (H, W, 3) uint8 and where it shows the foreground, (H, W) bool."""
        for file in (self.rgb_file(number), self.mask_file(number)):
            file.parent.mkdir(parents=True, exist_ok=True)
        write_rgb(self.rgb_file(number), rgb)
        write_mask(self.mask_file(number), mask)

    def write_cameras(self, cameras: RenderedCameras) -> None:
        """Writes the cameras of the pictures. Raises ArtifactError if a number is not finite."""
        cameras.save(self.path)

    def numbers(self) -> list[int]:
        """The pictures' numbers. Raises ArtifactError if there are none, or not as many masks."""
        require(self.path, "rgb", "mask")
        pictures, masks = (list_frames(self.path / name) for name in ("rgb", "mask"))
        if pictures != masks:
            raise ArtifactError(
                f"{self.path} has {len(pictures)} pictures and {len(masks)} masks; delete it and re-run views"
            )
        return pictures

    def read(self, number: int) -> tuple[Rgb, Mask]:
        """A picture and its mask. Raises ArtifactError if their sizes differ."""
        picture, mask = read_rgb(self.rgb_file(number)), read_mask(self.mask_file(number))
        if mask.shape != picture.shape[:2]:
            raise ArtifactError(
                f"{self.mask_file(number)} is {mask.shape[1]}x{mask.shape[0]} but its picture "
                f"{picture.shape[1]}x{picture.shape[0]}; delete {self.path} and re-run the views"
            )
        return picture, mask
