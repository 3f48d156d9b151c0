"""`i2v3d compile-kernels`: Blender's kernels for a GPU that it brings none for, compiled once."""

from __future__ import annotations

import argparse
import re
import sys
import time

from i2v3d.commands.parsers import Group, Options


def add_parser(group: Group) -> None:
    """A card in, a file in Blender's folder out."""
    parser = group.add(
        "compile-kernels",
        run,
        what="compile Blender's kernels for this machine's GPU, once, if it brings none (A100, H100, H200)",
        more="Takes minutes of all cores and NVIDIA's assembler ptxas, which the Python package triton brings. Without "
        "it the driver compiles them in each render process, on one core. Coarse renders hardly need a GPU: see "
        "runtime.render_device.",
        examples=("i2v3d compile-kernels", "i2v3d compile-kernels --card 9.0"),
    )
    parser.add_argument(
        "--card", metavar="MAJOR.MINOR", type=version, help="version of the GPU (default: this machine's)"
    )


def version(text: str) -> tuple[int, int]:
    """'9.0' -> (9, 0). Raises argparse's error for anything else."""
    match = re.fullmatch(r"(\d+)\.(\d)", text)
    if match is None:
        raise argparse.ArgumentTypeError(
            f"'{text}' is no version of a GPU; expected MAJOR.MINOR, such as 9.0"
        )
    return int(match[1]), int(match[2])


def run(options: Options) -> int:
    """Compiles unless there is nothing to do. Raises MachineError where it cannot."""
    from i2v3d.blender.kernels import compile_kernels, compiled_kernels, runs
    from i2v3d.errors import MachineError
    from i2v3d.models.memory import card_version
    from i2v3d.workflow.runner import resolve_device

    card = options.card or card_version(resolve_device("auto"))
    if card is None:
        raise MachineError("there is no GPU of NVIDIA; name one with --card MAJOR.MINOR, such as --card 9.0")
    name = "{}.{}".format(*card)
    if runs(card, compiled_kernels()):
        sys.stdout.write(f"Blender has kernels for GPUs of version {name}; nothing to do\n")
        return 0
    sys.stderr.write(f"compiling Blender's kernels for GPUs of version {name}: minutes of all cores\n")
    begin = time.monotonic()
    file = compile_kernels(card)
    sys.stdout.write(f"{file}: {file.stat().st_size / 1e6:.1f} MB in {time.monotonic() - begin:.0f} s\n")
    return 0
