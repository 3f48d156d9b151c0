"""The photo's own object: its inflated silhouette, a mesh of the user's, or what an image-to-3D program makes."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import numpy as np

from i2v3d.config.scene import ForegroundConfig, PhotoSceneConfig
from i2v3d.errors import ConfigError
from i2v3d.geometry import cameras as geometry
from i2v3d.geometry.cameras import Array
from i2v3d.images import Mask, Rgb
from i2v3d.scene.foreground.align import align
from i2v3d.scene.foreground.generator import check_generator, generate_mesh
from i2v3d.scene.foreground.inflate import inflate
from i2v3d.scene.foreground.paint import painted
from i2v3d.scene.mesh_files import check_mesh
from i2v3d.scene.motion.camera_path import rows
from i2v3d.scene.parts import Part, ReadGeometry
from i2v3d.scene.photo.view import PhotoView

log = logging.getLogger(__name__)

GOOD_OVERLAP = 0.75  # of the outlines: below it the user is told


def check_foreground(cfg: PhotoSceneConfig) -> None:
    """Raises ConfigError or InputError for a mesh or a command that the foreground needs and that cannot be used."""
    front = cfg.foreground
    if front.method == "mesh":
        check_mesh(_file(front), cfg.max_faces)
    if front.method == "command":
        check_generator(front.generator)


def make_foreground(
    cfg: PhotoSceneConfig,
    rgb: Rgb,
    mask: Mask,
    view: PhotoView,
    base_m: Array,
    centre_m: float,
    read_geometry: ReadGeometry,
    work: Path,
    out: Path,
) -> Part:
    """Builds the foreground that `cfg.foreground.method` asks for.

    rgb (H, W, 3), mask (H, W): of the frame. base_m: (H+1, W+1), depth at the pixel corners of the plane that it
    stands in; centre_m: depth of that plane at the mask's centre. work: a folder for an image-to-3D program, whose
    log is copied to out/foreground_program.log. Raises ConfigError and InputError.
    """
    front = cfg.foreground
    if front.method == "inflate":
        return Part.made(inflate(rgb, mask, view, base_m, front.thickness, front.back))
    if front.method == "mesh":
        path = _file(front)
    else:
        path = generate_mesh(front.generator, rgb, mask, work / "generator", cfg.max_faces)
        shutil.copyfile(work / "generator" / "program.log", out / "foreground_program.log")
    content = read_geometry(path)
    found = align(
        content.vertices_m, content.faces, mask, view, centre_m, front.mesh.rotation_deg, front.mesh.turn_deg
    )
    log.info("mesh %s covers the foreground's outline by %.0f %%", path.name, 100 * found.overlap)
    if found.overlap < GOOD_OVERLAP:
        log.warning(
            "the outline of mesh %s agrees with the foreground's by %.0f %% only; turn its front to the camera with "
            "scene.foreground.mesh.rotation_deg, or raise turn_deg",
            path,
            100 * found.overlap,
        )
    points = geometry.transform(found.place, content.vertices_m)
    metrics = {"foreground_overlap": found.overlap}
    if front.mesh.texture == "photo":
        return Part.made(painted(points, content.faces, rgb, mask, view, front.back), metrics=metrics)
    return Part(path, points, len(content.faces), rows(found.place), metrics)


def _file(front: ForegroundConfig) -> Path:
    if front.mesh.file is None:
        raise ConfigError(
            "scene.foreground.method is mesh but scene.foreground.mesh.file is null; give an OBJ, GLB, FBX or PLY"
        )
    return Path(front.mesh.file)


def centre_of(mask: Mask) -> tuple[float, float]:
    """The mean of a mask's pixels, image coordinates (x, y)."""
    row, column = (float(np.mean(index)) + 0.5 for index in np.nonzero(mask))
    return column, row
