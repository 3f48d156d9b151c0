"""`i2v3d time-video`: what a whole video costs on the GPUs of this machine."""

from __future__ import annotations

import os

from i2v3d.commands.parsers import Group, Options, count, pixels
from i2v3d.commands.timing import add_timing_options, run_timing


def add_parser(group: Group) -> None:
    """Hydra words in, a row a job on standard output."""
    parser = group.add(
        "time-video",
        run,
        what="time of a whole video at full size on one or several GPUs, with random weights",
        more="One process a card, which keeps what it has imported. Nothing is downloaded; needs 15 GB of disk below "
        "--folder while it runs.",
        examples=(
            "i2v3d time-video --cards 4 lora.resolution=512",
            "i2v3d time-video --segments 2 lora.steps=250",
        ),
    )
    parser.add_argument("--cards", type=count, default=1, help="how many GPUs (default: 1)")
    parser.add_argument(
        "--size", metavar="WxH", type=pixels, default="1024x576", help="pixels (default: 1024x576)"
    )
    parser.add_argument("--segments", type=count, default=6, help="segments of the shot (default: 6)")
    parser.add_argument(
        "--views", type=count, default=16, help="multi-view renders of the LoRA (default: 16)"
    )
    parser.add_argument(
        "--perf", choices=("auto", "plain", "fast"), default="auto", help="how networks are run"
    )
    add_timing_options(parser)


def run(options: Options) -> int:
    """Prints a row a job as soon as it is done and, with --json, one JSON object at the end."""
    from i2v3d.commands.video_costs import measure_video

    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    cards = (visible.split(",") if visible else [str(n) for n in range(options.cards)])[: options.cards]
    return run_timing(
        options,
        lambda folder, device: measure_video(
            folder, options.size, options.segments, options.views, cards, device, options.perf, options.words
        ),
    )
