"""One training run: `python -m i2v3d.mini.train vae --config conf/mini/vae.yaml --weights DIR --out DIR`."""

from __future__ import annotations

import argparse
import json
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from i2v3d.mini.clip import train_clip
from i2v3d.mini.image import train_image
from i2v3d.mini.loop import Run
from i2v3d.mini.settings import (
    ClipSettings,
    ImageSettings,
    VaeDecoderSettings,
    VaeSettings,
    VideoSettings,
    load,
)
from i2v3d.mini.vae import train_vae
from i2v3d.mini.vae_decoder import train_vae_decoder
from i2v3d.mini.video import train_video

log = logging.getLogger(__name__)

RUNS: dict[str, tuple[type[Any], Callable[..., dict[str, float]]]] = {
    "vae": (VaeSettings, train_vae),
    "vae_decoder": (VaeDecoderSettings, train_vae_decoder),
    "clip": (ClipSettings, train_clip),
    "image": (ImageSettings, train_image),
    "video": (VideoSettings, train_video),
}


def main() -> None:
    """Parses the command line and runs one training."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", choices=sorted(RUNS))
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True, help="folder of fp16 weights to start from")
    parser.add_argument("--out", type=Path, required=True, help="folder for weights, pictures and metrics")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument(
        "--stream", type=int, default=0, help="separates the data of runs that continue each other"
    )
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    begun = time.monotonic()
    settings, train = RUNS[arguments.model]
    device = torch.device(arguments.device)
    if device.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = True
        torch.backends.cudnn.allow_tf32 = True
        torch.backends.cudnn.benchmark = True
        torch._dynamo.config.suppress_errors = True  # a graph that does not compile runs uncompiled
    arguments.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(arguments.stream)
    run = Run(arguments.weights, arguments.out, device, arguments.stream, begun)
    scores = train(load(arguments.config, settings), run)
    (arguments.out / f"{arguments.model}.json").write_text(json.dumps(scores, indent=2) + "\n")
    log.info("%s: %s", arguments.model, scores)


if __name__ == "__main__":
    main()
