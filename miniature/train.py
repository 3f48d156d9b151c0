"""One training run: `python -m miniature train vae --config miniature/conf/training/vae.yaml --weights DIR --out DIR`.

The same command again continues a run that was interrupted. `accelerate launch -m miniature train ...` spreads
it over several GPUs, each with batches of the size in the settings.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch

from i2v3d.artifacts.files import write_text
from i2v3d.errors import ConfigError, nearest
from miniature.checkpoint import SUFFIX, Checkpoint, identify
from miniature.clip import train_clip
from miniature.estimator import train_estimator
from miniature.guided_image import train_guided_image
from miniature.guided_settings import GuidedImageSettings, GuidedVideoSettings
from miniature.guided_video import train_guided_video
from miniature.image import train_image
from miniature.infill import train_infill
from miniature.infill_vae import train_infill_vae
from miniature.loop import Run, Sink, merge, nowhere
from miniature.processes import Processes
from miniature.settings import (
    ClipSettings,
    EstimatorSettings,
    ImageSettings,
    InfillSettings,
    InfillVaeSettings,
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
    "guided_image": (GuidedImageSettings, train_guided_image),
    "video": (VideoSettings, train_video),
    "guided_video": (GuidedVideoSettings, train_guided_video),
    "estimator": (EstimatorSettings, train_estimator),
    "infill_vae": (InfillVaeSettings, train_infill_vae),
    "infill": (InfillSettings, train_infill),
}


def train(arguments: argparse.Namespace) -> None:
    """Runs one training; arguments: see `miniature.__main__`.

    Raises ConfigError for settings or a part that cannot be, WeightsError for missing weights, those of another
    architecture, and a loss that is not finite.
    """
    begun = time.monotonic()
    if arguments.part not in RUNS:
        raise ConfigError(f"there is no training of {arguments.part}; {nearest(arguments.part, RUNS)}")
    kind, train_part = RUNS[arguments.part]
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
        scores = train_part(settings, run)
        write_text(out / f"{arguments.part}.json", json.dumps(scores, indent=2) + "\n")
        sink("metrics", {f"final/{name}": value for name, value in scores.items()})
    processes.wait()
    if processes.rank == 0:
        checkpoint.remove()
    log.info("%s: %s", arguments.part, scores)


def _checkpoint(
    arguments: argparse.Namespace, settings: Any, processes: Processes, weights: Path
) -> Checkpoint:
    """Where the state is kept, with the size of this process's pool if there is a state already."""
    path = arguments.checkpoint or arguments.out / f"{arguments.part}{SUFFIX}"
    identity = identify(
        weights,
        model=arguments.part,
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
        job_type=arguments.part,
        name=f"{arguments.config.stem}-{arguments.stream}",
        config=dataclasses.asdict(settings),
        directory=arguments.out,
    )
