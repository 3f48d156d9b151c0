"""`i2v3d time-infill`: what a segment by Wan VACE costs on this machine, beside diffusers' own pipeline."""

from __future__ import annotations

from i2v3d.commands.parsers import Group, Options, Several, pixels
from i2v3d.commands.timing import add_timing_options, run_timing


def add_parser(group: Group) -> None:
    """Hydra words in, a table on standard output."""
    parser = group.add(
        "time-infill",
        run,
        what="time and GPU memory of a segment by Wan VACE at full size, with random weights",
        more="Nothing is downloaded. Needs 5 GB of disk below --folder while it runs, 36 GB for 14B.",
        examples=(
            "i2v3d time-infill models.segment_frames=81 infill.steps=10",
            "i2v3d time-infill --ways plain --memory 12g 8g models.segment_frames=81",
        ),
    )
    parser.add_argument(
        "--size", metavar="WxH", type=pixels, default="832x480", help="pixels (default: 832x480)"
    )
    parser.add_argument(
        "--ways",
        nargs="+",
        choices=Several(("diffusers", "plain", "fast")),
        default=["diffusers", "plain", "fast"],
        help="one run each: diffusers' own pipeline called plainly, and values of runtime.perf",
    )
    parser.add_argument(
        "--memory",
        nargs="+",
        default=[],
        choices=Several(("24g", "16g", "12g", "8g")),
        help="values of runtime.memory, of each two steps under a hard cap of the allocator, too",
    )
    parser.add_argument("--model", choices=("1.3B", "14B"), default="1.3B", help="which (default: 1.3B)")
    add_timing_options(parser)


def run(options: Options) -> int:
    """Prints a row a run as soon as it is done and, with --json, one JSON object at the end."""
    from i2v3d.commands.infill_costs import measure_infill

    return run_timing(
        options,
        lambda folder, device: measure_infill(
            folder, options.size, options.ways, options.memory, options.model, device, options.words
        ),
    )
