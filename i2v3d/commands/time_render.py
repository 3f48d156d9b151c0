"""`i2v3d time-render`: what the coarse renders cost on this machine."""

from __future__ import annotations

import json
import sys

from i2v3d.commands.parsers import Group, Options, count, pixels


def add_parser(group: Group) -> None:
    """A scene in, a table on standard output."""
    parser = group.add(
        "time-render",
        run,
        what="time and memory of the coarse renders of a scene at full size",
        examples=("i2v3d time-render", "i2v3d time-render --scene astronaut --cores 8 --json"),
    )
    parser.add_argument("--scene", default="coffee", help="name of conf/scene/NAME.yaml (default: coffee)")
    parser.add_argument(
        "--size", metavar="WxH", type=pixels, default="1024x576", help="pixels (default: 1024x576)"
    )
    parser.add_argument("--frames", type=count, default=24, help="frames of the shot (default: 24)")
    parser.add_argument("--samples", type=count, help="Cycles samples a pixel (default: conf/render)")
    parser.add_argument("--cores", type=count, default=2, help="CPU cores to use (default: 2)")
    parser.add_argument("--device", default="cpu", help="torch device string (default: cpu)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(options: Options) -> int:
    """Prints time and memory of scene and render, as a table or as one JSON object."""
    from i2v3d.commands.render_costs import composed, measure, shown

    config = composed(options.scene, options.size, options.frames, options.samples)
    result = measure(config, options.cores, options.device)
    lines = [f"{name:<26} {shown(value)}" for name, value in result.items()]
    sys.stdout.write(json.dumps(result) + "\n" if options.json else "\n".join(lines) + "\n")
    return 0
