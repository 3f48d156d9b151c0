"""`i2v3d time-stages`: what the stages with networks cost on this machine."""

from __future__ import annotations

from i2v3d.commands.parsers import Group, Options, Several, count, pixels, positive
from i2v3d.commands.timing import add_timing_options, run_timing

SIZES = {"sdxl_svd": (1024, 576), "mini": (192, 128)}  # of the families, pixels
STAGES = ("lora", "keyframe_inversion", "keyframes", "interpolation_inversion", "interpolate")


def add_parser(group: Group) -> None:
    """Hydra words in, a table on standard output."""
    parser = group.add(
        "time-stages",
        run,
        what="time and GPU memory of the stages with networks at full size, with random weights",
        more="Nothing is downloaded. Needs 15 GB of disk below --folder while it runs. The shipped miniature, for a "
        "machine without a GPU, comes with its own weights.",
        examples=(
            "i2v3d time-stages --segments 2 lora.steps=250",
            "i2v3d time-stages --size 768x448",
            "i2v3d time-stages --models mini --device cpu lora.steps=10",
        ),
    )
    parser.add_argument(
        "--models", choices=tuple(SIZES), default="sdxl_svd", help="which (default: sdxl_svd)"
    )
    parser.add_argument(
        "--size", metavar="WxH", type=pixels, help="pixels (default: 1024x576, of the miniature 192x128)"
    )
    parser.add_argument("--segments", type=count, default=1, help="segments of the shot (default: 1)")
    parser.add_argument(
        "--time-segments", type=count, help="how many of them are interpolated (default: all of them)"
    )
    parser.add_argument(
        "--views", type=count, default=16, help="multi-view renders of the LoRA (default: 16)"
    )
    parser.add_argument(
        "--until", choices=STAGES, default=STAGES[-1], help=f"last stage (default: {STAGES[-1]})"
    )
    parser.add_argument(
        "--perf",
        nargs="+",
        choices=Several(("plain", "fast")),
        default=["plain", "fast"],
        help="how networks are run, one run of all stages each; twice fast shows what only a first run pays",
    )
    parser.add_argument(
        "--cap",
        type=positive,
        metavar="GIB",
        help="GPU memory that may be used, as on a smaller card; runtime.memory=auto goes by it",
    )
    parser.add_argument(
        "--count",
        action="store_true",
        help="count the operations of a step of every sampling, and say how near they come to large matrix products",
    )
    add_timing_options(parser)


def run(options: Options) -> int:
    """Prints a row a stage as soon as it is done and, with --json, one JSON object at the end."""
    from i2v3d.commands.stage_costs import measure

    return run_timing(
        options,
        lambda folder, device: measure(
            folder,
            options.models,
            options.size or SIZES[options.models],
            options.segments,
            min(options.time_segments or options.segments, options.segments),
            options.views,
            STAGES[: STAGES.index(options.until) + 1],
            device,
            options.perf,
            options.words,
            options.cap,
            options.count,
        ),
    )
