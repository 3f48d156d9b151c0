"""One training run: `python -m miniature.train vae --config conf/mini/vae.yaml --weights DIR --out DIR`.

The same command again continues a run that was interrupted. `accelerate launch -m miniature.train ...` spreads
it over several GPUs, each with batches of the size in the settings.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch

from i2v3d.artifacts.files import write_text
from i2v3d.errors import WeightsError
from miniature.checkpoint import SUFFIX, Checkpoint, identify
from miniature.clip import train_clip
from miniature.estimator import train_estimator
from miniature.image import train_image
from miniature.loop import Run, Sink, nowhere
from miniature.processes import Processes
from miniature.settings import (
    ClipSettings,
    EstimatorSettings,
    ImageSettings,
    TemporalDecoderSettings,
    VaeDecoderSettings,
    VaeSettings,
    VideoSettings,
    load,
)
from miniature.temporal_decoder import train_temporal_decoder
from miniature.vae import train_vae
from miniature.vae_decoder import train_vae_decoder
from miniature.video import train_video

log = logging.getLogger(__name__)

RUNS: dict[str, tuple[type[Any], Callable[..., dict[str, float]]]] = {
    "vae": (VaeSettings, train_vae),
    "vae_decoder": (VaeDecoderSettings, train_vae_decoder),
    "temporal_decoder": (TemporalDecoderSettings, train_temporal_decoder),
    "clip": (ClipSettings, train_clip),
    "image": (ImageSettings, train_image),
    "video": (VideoSettings, train_video),
    "estimator": (EstimatorSettings, train_estimator),
}


def main() -> None:
    """Parses the command line and runs one training."""
    arguments = _arguments()
    begun = time.monotonic()
    kind, train = RUNS[arguments.model]
    settings = load(arguments.config, kind)
    processes = Processes.join()
    level = logging.INFO if processes.rank == 0 else logging.WARNING
    logging.basicConfig(level=level, format="%(asctime)s %(name)s %(message)s")
    device = torch.device(arguments.device or processes.device)
    if device.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = True
        torch.backends.cudnn.allow_tf32 = True
        torch.backends.cudnn.benchmark = True
        torch._dynamo.config.suppress_errors = True  # a graph that does not compile runs uncompiled
    with tempfile.TemporaryDirectory() as scratch, _sink(arguments, settings, processes) as sink:
        weights = merge(arguments.weights, Path(scratch) / "weights")
        checkpoint = _checkpoint(arguments, settings, processes, weights)
        # Every process goes through the whole training; what the others write is thrown away.
        out = arguments.out if processes.rank == 0 else Path(scratch) / "out"
        out.mkdir(parents=True, exist_ok=True)
        stream = processes.stream(arguments.stream)
        torch.manual_seed(stream)
        run = Run(weights, out, device, stream, begun, checkpoint, processes, sink)
        scores = train(settings, run)
        write_text(out / f"{arguments.model}.json", json.dumps(scores, indent=2) + "\n")
        sink("metrics", {f"final/{name}": value for name, value in scores.items()})
    processes.wait()
    if processes.rank == 0:
        checkpoint.remove()
    log.info("%s: %s", arguments.model, scores)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", choices=sorted(RUNS))
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument(
        "--weights",
        type=Path,
        nargs="*",
        required=True,
        help="folders of fp16 weights to start from; of files of one name the last folder's counts",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for weights, pictures and metrics")
    parser.add_argument("--device", help="of PyTorch; without it the GPU if there is one")
    parser.add_argument(
        "--stream", type=int, default=0, help="separates the data of runs that continue each other"
    )
    parser.add_argument(
        "--checkpoint", type=Path, help="file of the state; default: MODEL.checkpoint.safetensors in --out"
    )
    parser.add_argument(
        "--checkpoint-every", type=int, default=1000, help="steps between writing the state; 0: never"
    )
    parser.add_argument(
        "--wandb", choices=("disabled", "offline", "online"), default="disabled", help="Weights & Biases"
    )
    return parser.parse_args()


def merge(folders: Sequence[Path], into: Path) -> Path:
    """One folder with the safetensors files of all `folders`, the last of a name: links in `into`, a new
    folder, or the only one of them itself. Raises WeightsError if one of several is no folder.
    """
    if len(folders) == 1:
        return folders[0]
    into.mkdir(parents=True)
    for folder in folders:
        if not folder.is_dir():
            raise WeightsError(f"--weights {folder} is not a folder; train the parts before this one first")
        for path in sorted(folder.glob("*.safetensors")):
            link = into / path.name
            link.unlink(missing_ok=True)
            link.symlink_to(path.resolve())
    return into


def _checkpoint(
    arguments: argparse.Namespace, settings: Any, processes: Processes, weights: Path
) -> Checkpoint:
    """Where the state is kept, with the size of this process's pool if there is a state already."""
    path = arguments.checkpoint or arguments.out / f"{arguments.model}{SUFFIX}"
    identity = identify(
        weights,
        model=arguments.model,
        settings=dataclasses.asdict(settings),
        stream=arguments.stream,
        processes=processes.size,
    )
    checkpoint = Checkpoint(path, identity, arguments.checkpoint_every)
    saved = checkpoint.read()
    if saved is not None:
        checkpoint.rendered = saved[1]["rendered"][processes.rank]
    return checkpoint


def _sink(arguments: argparse.Namespace, settings: Any, processes: Processes) -> AbstractContextManager[Sink]:
    """Where scalars go: a run of W&B if asked for. Its modules are imported only then."""
    if arguments.wandb == "disabled" or processes.rank != 0:
        return nullcontext(nowhere)
    from i2v3d.config.runtime import TrackingConfig
    from i2v3d.workflow.tracking.wandb import stage_run

    return stage_run(
        TrackingConfig(mode=arguments.wandb, project="i2v3d-mini", entity=None),
        group="mini_weights",
        job_type=arguments.model,
        name=f"{arguments.config.stem}-{arguments.stream}",
        config=dataclasses.asdict(settings),
        directory=arguments.out,
    )


if __name__ == "__main__":
    main()
