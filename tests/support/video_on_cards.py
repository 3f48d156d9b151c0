"""Times a tiny video on two cards that are processes: `video_on_cards FOLDER`; the last line says how, as JSON.

They are forked from this process, which has imported what they need, where the command starts new ones.
"""

from __future__ import annotations

import json
import sys
from multiprocessing import get_context
from pathlib import Path
from unittest.mock import patch

from i2v3d.commands import video_costs
from i2v3d.models import sdxl_weights, svd
from tests.commands.test_time_stages import tiny_words
from tests.support.image_family import write_tiny_family
from tests.support.video_family import write_tiny_video_family

READY = (sdxl_weights, svd)  # imported before the forks


def write_tiny(folder: Path, device: str) -> None:
    write_tiny_family(folder)
    write_tiny_video_family(folder)


if __name__ == "__main__":
    words = [*tiny_words(), "lora.steps=2"]
    with patch.object(video_costs, "get_context", return_value=get_context("fork")):
        told = video_costs.measure_video(
            Path(sys.argv[1]), (64, 32), 2, 2, ["0", "1"], "cpu", "auto", words, write_tiny
        )
    sys.stdout.write(json.dumps(told) + "\n")
