"""What a render did, frame by frame: as the processes of Blender tell it, and as it is told on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from i2v3d.artifacts.files import read_as, write_json
from i2v3d.artifacts.render_folder import joined_range_m
from i2v3d.artifacts.rendered_cameras import Range, RenderedCameras

REPORT_FILE = "report.json"


@dataclass
class RenderReport:
    """What a render did. frames: the "frame" events by number; peak_memory_mib: of all Blender processes
    together; wall_s: from the first frame asked for to the last one done."""

    renderer: str = ""
    peak_memory_mib: float = 0.0
    frames: dict[int, Mapping[str, Any]] = field(default_factory=dict)
    processes: int = 1
    wall_s: float = 0.0

    def save(self, folder: Path) -> None:
        """Writes folder/report.json, of a share of the frames. Raises ArtifactError."""
        write_json(folder / REPORT_FILE, asdict(self))

    @staticmethod
    def load(folder: Path) -> RenderReport:
        """Reads folder/report.json. Raises ArtifactError if it is missing or damaged."""
        return read_as(folder / REPORT_FILE, RenderReport, "the report of a render")

    @staticmethod
    def joined(reports: Sequence[RenderReport]) -> RenderReport:
        """What several renders of one scene did, perhaps on several machines: the time is that of all together."""
        return RenderReport(
            renderer=", ".join(sorted({report.renderer for report in reports if report.renderer})),
            peak_memory_mib=max((report.peak_memory_mib for report in reports), default=0.0),
            frames={number: row for report in reports for number, row in report.frames.items()},
            processes=max((report.processes for report in reports), default=1),
            wall_s=sum(report.wall_s for report in reports),
        )

    def metrics(self) -> dict[str, Any]:
        """Numbers for metrics.json: time, memory, and how much of the frames is seen."""
        rows = list(self.frames.values())
        foreground = [row["foreground"] for row in rows]
        return {
            "frames": len(rows),
            "renderer": self.renderer,
            "processes": self.processes,
            "seconds_per_frame": self.wall_s / len(rows),
            "peak_memory_mib": self.peak_memory_mib,
            "foreground_min": min(foreground),
            "foreground_max": max(foreground),
            "visible_min": min(row["visible"] for row in rows),
            "depth_range_m": self.depth_range_m(),
        }

    def depth_range_m(self) -> Range | None:
        """(nearest, farthest) planar depth over all frames; None if nothing is seen in any."""
        return joined_range_m(row["depth_range_m"] for row in self.frames.values())

    def cameras(
        self, width: int, height: int, fps: int, angles_deg: Sequence[Range] | None = None
    ) -> RenderedCameras:
        """The cameras of the pictures of width x height pixels. angles_deg: as `RenderedCameras` means them."""
        rows = [self.frames[frame] for frame in sorted(self.frames)]
        return RenderedCameras(
            width=width,
            height=height,
            frames=tuple(row["frame"] for row in rows),
            K=np.array([row["K"] for row in rows]),
            w2c=np.array([row["w2c"] for row in rows]),
            depth_range_m=self.depth_range_m(),
            fps=fps,
            angles_deg=None if angles_deg is None else tuple(angles_deg),
        )
