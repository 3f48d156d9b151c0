"""A family to its trained parts, to go on from: `python -m i2v3d.mini.take_apart weights/mini --out FOLDER`.

The reverse of i2v3d.mini.assemble. FOLDER can then be named as `--weights` of i2v3d.mini.train.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from safetensors import SafetensorError

from i2v3d.errors import WeightsError
from i2v3d.mini.assemble import PARTS
from i2v3d.mini.loop import save_half
from i2v3d.models.mini import COMPONENTS


def take_apart(family: Path, out: Path) -> None:
    """Writes every trained part of a family as fp16 safetensors. Raises WeightsError if one is missing or broken."""
    for name, file in PARTS.items():
        kind = type(COMPONENTS[name]())
        try:
            network = kind.from_pretrained(family / name)  # type: ignore[attr-defined]
        except (OSError, SafetensorError, ValueError, RuntimeError) as error:
            raise WeightsError(
                f"{family / name} does not hold the family's network ({error}); name a folder that "
                "i2v3d.mini.assemble wrote, such as weights/mini"
            ) from error
        save_half(network, out / f"{file}.safetensors")


def main() -> None:
    """Parses the command line and writes the parts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("family", type=Path, help="folder of a family")
    parser.add_argument("--out", type=Path, required=True, help="folder for the parts")
    arguments = parser.parse_args()
    take_apart(arguments.family, arguments.out)


if __name__ == "__main__":
    main()
