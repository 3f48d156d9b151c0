"""The pass `lit` of a render: its colour under the light of the photo."""

from __future__ import annotations

from i2v3d.artifacts.render_folder import RenderFolder
from i2v3d.artifacts.scene_folder import SceneFolder
from i2v3d.geometry.light import Light, fit_light
from i2v3d.geometry.surfaces import Surfaces
from i2v3d.progress import OnStep

SURFACE_POINTS = 16384  # of the foreground, which cast shadows: 2 cm apart on a surface of 6 square metres


def no_light(scene: SceneFolder) -> str | None:
    """Why nothing can be known of the light of a scene's photo; None if frame 1 shows the photo's own view."""
    spec = scene.spec()
    if not scene.photo_file.is_file() or not spec.starts_with_photo():
        return f"{scene.path} has no photo of frame 1's own view"
    height, width = scene.photo().shape[:2]
    if (width, height) != (spec.width, spec.height):
        return f"{scene.photo_file} is {width}x{height} but the render {spec.width}x{spec.height}"
    return None


def write_lit(render: RenderFolder, scene: SceneFolder, on_frame: OnStep) -> Light:
    """Finds the photo's light on frame 1, which is its view, and writes `lit` of all frames; what casts shadows is
    deleted then.

    Returns the light. Raises ArtifactError if a file is missing or broken.
    """
    frames, cameras = render.frame_count(), render.cameras()

    def seen(frame: int) -> Surfaces:
        at, casters = frame - 1, render.surface_m(frame)
        return Surfaces.of(
            render.depth_m(frame), render.foreground(frame), cameras.K[at], cameras.w2c[at], casters
        )

    light = fit_light(scene.photo(), render.rgb(1), seen(1))
    for frame in range(1, frames + 1):
        render.write_lit(frame, light.on(render.rgb(frame), seen(frame)))
        on_frame(frame, frames)
    render.forget_surfaces()
    return light
