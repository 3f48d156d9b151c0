"""A scene on disk: which files its folder holds, who writes and who reads them.

    scene.json, meshes/          `SceneSpec` and the meshes that it names
    scene.blend                  what is rendered
    photo.png, mask.png          the input at the shot's size, and where its foreground is
    plate.png                    the photo without the foreground, with margins
    sheet.png                    the three beside each other, to look at
    truth/{photo,mask}/NNNN.png  what really is in each frame, of scenes that know it; depth/NNNN.exr in metres

Frames count from 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from i2v3d.artifacts.folders import frame_name, require
from i2v3d.artifacts.scene_spec import SceneSpec
from i2v3d.images import FloatMap, Mask, Rgb, read_mask, read_rgb, write_depth, write_mask, write_rgb

SPEC, BLEND, MESHES = "scene.json", "scene.blend", "meshes"
PHOTO, MASK, PLATE, SHEET = "photo.png", "mask.png", "plate.png", "sheet.png"
TRUTH = "truth"


@dataclass(frozen=True)
class SceneFolder:
    """A scene folder at `path`."""

    path: Path

    def require(self, *names: str) -> None:
        """Raises ArtifactError naming the first of these files that is missing."""
        require(self.path, *names)

    # ------------------------------------------------------------ the scene
    def spec(self) -> SceneSpec:
        """The scene as plain data. Raises ArtifactError as `SceneSpec.load`."""
        return SceneSpec.load(self.path / SPEC)

    def write_spec(self, spec: SceneSpec) -> None:
        """Writes the scene as plain data. Raises ArtifactError as `SceneSpec.save`."""
        spec.save(self.path / SPEC)

    # ------------------------------------------------------------ its pictures
    def write_pictures(self, photo: Rgb, mask: Mask, plate: Rgb, sheet: Rgb) -> None:
        """Writes the photo (H, W, 3), its mask (H, W), the plate and the sheet."""
        write_rgb(self.path / PHOTO, photo)
        write_mask(self.path / MASK, mask)
        write_rgb(self.path / PLATE, plate)
        write_rgb(self.path / SHEET, sheet)

    @property
    def photo_file(self) -> Path:
        """Where the photo lies."""
        return self.path / PHOTO

    def photo(self) -> Rgb:
        """The photo (H, W, 3) uint8. This and the others raise ArtifactError for a missing or bad file."""
        return read_rgb(self.photo_file)

    def mask(self) -> Mask:
        """Where the photo shows the foreground, (H, W) bool."""
        return read_mask(self.path / MASK)

    def plate(self) -> Rgb:
        """The photo without the foreground, with margins: `plate_padding_px` in the scene's notes."""
        return read_rgb(self.path / PLATE)

    def sheet(self) -> Rgb:
        """Photo, foreground and plate beside each other."""
        return read_rgb(self.path / SHEET)

    # ------------------------------------------------------------ its truth
    @property
    def true_photos(self) -> Path | None:
        """The folder of the true pictures of all frames; None if nobody knows them."""
        folder = self.path / TRUTH / "photo"
        return folder if folder.is_dir() else None

    def write_truth(self, frame: int, photo: Rgb, mask: Mask, depth_m: FloatMap) -> None:
        """Writes what really is in a frame: picture, the foreground and planar depth in metres."""
        files = {
            name: self.path / TRUTH / name / frame_name(frame, "exr" if name == "depth" else "png")
            for name in ("photo", "mask", "depth")
        }
        for file in files.values():
            file.parent.mkdir(parents=True, exist_ok=True)
        write_rgb(files["photo"], photo)
        write_mask(files["mask"], mask)
        write_depth(files["depth"], depth_m)
