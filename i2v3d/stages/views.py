"""Stage views: multi-view renders of the foreground for the LoRA."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from i2v3d.artifacts.metrics_file import write_metrics
from i2v3d.artifacts.views_folder import ViewsFolder
from i2v3d.blender import api
from i2v3d.blender.renderer import device_for
from i2v3d.config.render import ViewsConfig
from i2v3d.errors import RenderError
from i2v3d.models.memory import card_version
from i2v3d.stages.context import StageContext

log = logging.getLogger(__name__)


def render_views(cfg: ViewsConfig, inputs: Mapping[str, Path], out: Path, ctx: StageContext) -> None:
    """Renders rgb, mask and cameras.json of every azimuth at every elevation; writes metrics.json.

    Raises RenderError if a view is missing or does not show the foreground.
    """
    count = len(cfg.azimuths_deg) * len(cfg.elevations_deg)
    samples = count * cfg.size**2 * cfg.samples
    device = device_for(ctx.render_device, ctx.device, samples, count, card_version)
    with ctx.bar("render views", "view") as bar:
        report = api.render_view_set(
            inputs["scene"], out, config=cfg, device=device, on_frame=bar, log_dir=ctx.work
        )
    views = ViewsFolder(out)
    if len(views.numbers()) != count:
        raise RenderError(f"{len(views.numbers())} of {count} views are in {out}; re-run the stage")
    empty = [number for number, row in report.frames.items() if row["foreground"] == 0]
    if empty:
        raise RenderError(f"view {empty[0]} does not show the foreground; raise views.size or check its mesh")
    metrics = report.metrics()
    write_metrics(out, metrics)
    ctx.log_metrics({key: value for key, value in metrics.items() if isinstance(value, int | float)})
    ctx.log_media("views/front", views.rgb_file(1))
    log.info("rendered %d views at %.2f s each", count, metrics["seconds_per_frame"])
