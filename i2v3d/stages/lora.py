"""The lora stage: the photo and multi-view renders of its foreground -> LoRA weights of the image UNet.

Reads scene/photo.png and views/rgb, views/mask; writes pytorch_lora_weights.safetensors (diffusers' format),
loss.csv and validation/<step>.png. Goes on from the last checkpoint of a killed job, with the same result.
"""

from __future__ import annotations

import csv
import dataclasses
import json
import logging
import math
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from diffusers import DDIMScheduler
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch.nn import functional

from i2v3d.artifacts.folders import frame_name
from i2v3d.artifacts.scene_folder import SceneFolder
from i2v3d.artifacts.tensors import save_tensors
from i2v3d.artifacts.views_folder import ViewsFolder
from i2v3d.config.lora import LoraConfig
from i2v3d.config.models import ImageModelConfig
from i2v3d.config.stages import LoraStage
from i2v3d.customise.adapter import add_lora, check_lora_file, save_lora
from i2v3d.customise.fast_training import FastLoraTrainer
from i2v3d.customise.training import LoraTrainer, Losses, Pool
from i2v3d.diffusion.ddim import DDIM
from i2v3d.diffusion.guidance import classifier_free_guidance
from i2v3d.errors import ArtifactError, ConfigError
from i2v3d.images import write_rgb
from i2v3d.models.fast import usable
from i2v3d.models.fast.graph import Graphed
from i2v3d.models.sdxl import (
    LORA_FILE,
    ImageCondition,
    ImageModels,
    PromptEmbedding,
    check_size,
    decode_latents,
    denoise,
    encode_images,
    encode_prompts,
    load_image_models,
    load_lora,
    micro_conditioning,
)
from i2v3d.randomness import noise
from i2v3d.stages.context import StageContext

log = logging.getLogger(__name__)

COLUMNS = ("loss", "loss_photo", "loss_views", "grad_norm")
CHECKPOINT = "checkpoint.safetensors"
PromptDenoiser = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
INTERVAL = 25  # steps of fast training between two looks at its losses
CHECKPOINT_PAUSE_S = 30.0  # fast training goes on so long between checkpoints, which cost a second or two


def train_lora(cfg: LoraStage, inputs: Mapping[str, Path], out: Path, ctx: StageContext) -> None:
    """Trains the LoRA, or checks and copies the ready one that the configuration names.

    Raises ConfigError for a resolution that the networks cannot take or a diverging loss, InputError for a
    ready LoRA that does not fit, ArtifactError for unreadable inputs or checkpoints, and WeightsError.
    """
    photo = SceneFolder(inputs["scene"]).photo()
    memory = ctx.memory.resident  # what is trained has to be there
    models = load_image_models(
        _trainable(cfg.models, ctx.device), ctx.device, ("unet", "vae", "text"), memory, fast=ctx.fast
    )
    check_size(models, *_size(photo))
    prompts = encode_prompts(models, [cfg.lora.prompt, ""])
    models = dataclasses.replace(models, text=None)
    (out / "validation").mkdir()
    if cfg.lora.weights is not None:
        history = _use_ready(Path(cfg.lora.weights).expanduser(), models, out)
        predict = _prompt_denoiser(models, prompts, _size(photo))
        _validate(models, predict, _size(photo), cfg.lora, 0, out / "validation", ctx)
    else:
        history = _train(cfg.lora, models, prompts, photo, inputs["views"], ctx)
        save_lora(models.unet, out)
        shutil.copytree(ctx.work / "validation", out / "validation", dirs_exist_ok=True)
    _write_history(out / "loss.csv", history)
    log.info("wrote %s after %d steps", LORA_FILE, len(history))


def _trainable(cfg: ImageModelConfig, device: str) -> ImageModelConfig:
    """The precision to train in: on the CPU always float32, on which half precision is slow and coarse."""
    if device == "cpu" and cfg.dtype != "float32":
        log.info("training in float32 instead of %s: the device is the CPU", cfg.dtype)
        return dataclasses.replace(cfg, dtype="float32")
    return cfg


def _use_ready(weights: Path, models: ImageModels, out: Path) -> list[Losses]:
    """Checks a ready LoRA file, copies it unchanged and adds it to the UNet; no losses."""
    check_lora_file(models.unet, weights)
    shutil.copyfile(weights, out / LORA_FILE)
    load_lora(models, out / LORA_FILE)
    return []


def _train(
    cfg: LoraConfig,
    models: ImageModels,
    prompts: PromptEmbedding,
    photo: NDArray[np.uint8],
    views: Path,
    ctx: StageContext,
) -> list[Losses]:
    """The training loop; leaves the adapter in the UNet and validation pictures in the work folder."""
    check_resolution(models, cfg.resolution)
    ctx.work.mkdir(parents=True, exist_ok=True)
    parameters = add_lora(models.unet, cfg.rank, cfg.target_modules, cfg.seed)
    crops = photo_pool(models, photo, cfg.resolution, cfg.mirror)
    renders = view_pool(models, views, cfg.resolution) if cfg.lambda_views else None
    log.info(
        "training %d parameters of %d layers on %d crops of the photo and %d views at %d pixels",
        sum(p.numel() for p in parameters.values()),
        len(parameters) // 2,
        len(crops.latents),
        0 if renders is None else len(renders.latents),
        cfg.resolution,
    )
    alpha_bar = DDIMScheduler.from_config(models.scheduler).alphas_cumprod
    fast = ctx.fast and usable(ctx.device, models.dtype) and not ctx.memory.recomputed
    if ctx.memory.recomputed:
        models.unet.enable_gradient_checkpointing()
    kind: type[LoraTrainer | FastLoraTrainer] = FastLoraTrainer if fast else LoraTrainer
    trainer = kind(models.unet, parameters, prompts, crops, renders, alpha_bar, cfg)
    history = _resume(ctx.work / CHECKPOINT, trainer, cfg)
    predict = _prompt_denoiser(models, prompts, _size(photo))
    predict = Graphed(predict) if fast else predict
    checkpoints = Pause(CHECKPOINT_PAUSE_S if fast else 0)
    with ctx.bar("lora") as bar:
        for steps in intervals(len(history), cfg, INTERVAL if fast else 1):
            for step, losses in zip(steps, trainer.run(steps), strict=True):
                history.append(losses)
                ctx.log_metrics(_row(losses), step=step)
            if step % cfg.validation_every == 0 or step == cfg.steps:
                _validate(models, predict, _size(photo), cfg, step, ctx.work / "validation", ctx)
            if checkpoints.due() and (step % cfg.checkpoint_every == 0 or step == cfg.steps):
                _save_checkpoint(ctx.work / CHECKPOINT, trainer, history, cfg)
            bar(step, cfg.steps)
    return history


class Pause:
    """Lets something happen only if `seconds` have passed since it last did, or since the beginning."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._last = seconds, time.monotonic()

    def due(self) -> bool:
        """Whether it may happen now; asking is taking the turn."""
        now = time.monotonic()
        if now - self._last < self._seconds:
            return False
        self._last = now
        return True


def intervals(done: int, cfg: LoraConfig, longest: int) -> Iterator[range]:
    """The steps behind `done`, `longest` at most at a time, up to the next validation, checkpoint or the end."""
    while done < cfg.steps:
        stops = [(done // every + 1) * every for every in (cfg.validation_every, cfg.checkpoint_every)]
        stop = min(*stops, cfg.steps, done + longest)
        yield range(done + 1, stop + 1)
        done = stop


# ---------------------------------------------------------------- training pictures
def check_resolution(models: ImageModels, resolution: int) -> None:
    """Raises ConfigError unless square crops of `resolution` pixels pass through VAE and UNet."""
    multiple = models.size_multiple
    if resolution % multiple:
        lower = max(resolution // multiple, 1) * multiple
        raise ConfigError(
            f"lora.resolution is {resolution}; these image models need a multiple of {multiple}, "
            f"use {lower} or {lower + multiple}"
        )


def photo_pool(models: ImageModels, photo: NDArray[np.uint8], resolution: int, mirror: bool) -> Pool:
    """Every square crop of the photo that training can draw, encoded once.

    The short side is resized to `resolution`; crops slide along the long one. Differs from the published
    training, which crops at every pixel and encodes at every step: here corners lie on the grid of the
    latents, f pixels apart, of which there are few, so a step costs no encoder.
    """
    height, width = _size(photo)
    scale = resolution / min(height, width)
    resized = resize_rgb(photo, round(height * scale), round(width * scale))
    latents, time_ids = [], []
    for picture in (resized, resized[:, ::-1]) if mirror else (resized,):
        for top in range(0, resized.shape[0] - resolution + 1, models.factor):
            for left in range(0, resized.shape[1] - resolution + 1, models.factor):
                crop = picture[top : top + resolution, left : left + resolution]
                latents.append(encode_images(models, np.array(crop[None]), max_batch=1))
                time_ids.append(micro_conditioning((height, width), (top, left), (resolution, resolution)))
    pictures = torch.cat(latents).cpu()
    return Pool(pictures, torch.ones_like(pictures[:, :1]), torch.stack(time_ids))


def view_pool(models: ImageModels, views: Path, resolution: int) -> Pool:
    """Every multi-view render at `resolution`, encoded once, with its mask at the size of the latents.

    Raises ArtifactError if pictures and masks do not match or no mask covers a single latent.
    """
    folder = ViewsFolder(views)
    latents, masks, time_ids = [], [], []
    for number in folder.numbers():
        picture, mask = folder.read(number)
        square = resize_rgb(picture, resolution, resolution)
        latents.append(encode_images(models, np.array(square[None]), max_batch=1).cpu())
        masks.append(torch.tensor(mask, dtype=torch.float32)[None, None])
        time_ids.append(micro_conditioning(_size(picture), (0, 0), (resolution, resolution)))
    size = latents[0].shape[-2:]
    small = torch.cat([functional.interpolate(mask, size=size, mode="nearest-exact") for mask in masks])
    if not small.any():
        raise ArtifactError(f"{views}/mask shows no foreground at {size[1]}x{size[0]}; check scene.mask")
    return Pool(torch.cat(latents), small, torch.stack(time_ids))


def _size(picture: NDArray[np.uint8]) -> tuple[int, int]:
    """Height and width."""
    return int(picture.shape[0]), int(picture.shape[1])


def resize_rgb(rgb: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 -> (height, width, 3), bicubic with anti-aliasing; unchanged if it has that size."""
    if rgb.shape[:2] == (height, width):
        return rgb
    pixels = torch.from_numpy(np.array(rgb)).permute(2, 0, 1)[None].float()
    resized = functional.interpolate(pixels, size=(height, width), mode="bicubic", antialias=True)
    return resized.round().clamp(0, 255).to(torch.uint8)[0].permute(1, 2, 0).numpy()


# ---------------------------------------------------------------- validation
def _prompt_denoiser(models: ImageModels, prompts: PromptEmbedding, size: tuple[int, int]) -> PromptDenoiser:
    """(x, timestep) -> the noise that the UNet predicts by now under each of the two prompts."""
    ids = micro_conditioning(size, (0, 0), size).to(models.device)
    condition = ImageCondition(prompts.text, prompts.pooled, ids.expand(2, -1), None, 0.0)
    return lambda x, timestep: denoise(models, x, timestep, condition)


def _validate(
    models: ImageModels,
    predict: PromptDenoiser,
    size: tuple[int, int],
    cfg: LoraConfig,
    step: int,
    folder: Path,
    ctx: StageContext,
) -> None:
    """Draws what the prompt means by now, at the photo's size and without any 3D guidance."""
    folder.mkdir(parents=True, exist_ok=True)
    height, width = size
    ddim = DDIM.from_config(models.scheduler, cfg.validation_steps)
    shape = (1, models.channels, height // models.factor, width // models.factor)
    x = noise(shape, cfg.seed, "lora/validation", 0).to(models.device)
    for level in range(ddim.steps, 0, -1):
        timestep = torch.full((1,), ddim.timesteps[level - 1], device=x.device)
        conditional, unconditional = predict(x.expand(2, -1, -1, -1), timestep).chunk(2)
        predicted = classifier_free_guidance(unconditional, conditional, cfg.validation_guidance)
        x = ddim.move(x, predicted, level, level - 1)
    path = folder / frame_name(step)
    with _away(models.unet, models.device, wanted=ctx.memory.streamed):
        picture = decode_latents(models, x, max_batch=1)[0]
    write_rgb(path, picture)
    ctx.log_media("validation", path)


@contextmanager
def _away(unet: torch.nn.Module, device: str, *, wanted: bool) -> Iterator[None]:
    """Keeps the UNet in main memory meanwhile, if wanted: the smallest cards do not hold it beside the decoder."""
    if not wanted:
        yield
        return
    torch.nn.Module.to(unet, "cpu")
    try:
        yield
    finally:
        torch.nn.Module.to(unet, device)


# ---------------------------------------------------------------- checkpoints and losses
def _save_checkpoint(
    path: Path, trainer: LoraTrainer | FastLoraTrainer, history: list[Losses], cfg: LoraConfig
) -> None:
    """Replaces the checkpoint in one piece: a killed job leaves the old or the new one, never half of one."""
    rows = torch.tensor([dataclasses.astuple(losses) for losses in history], dtype=torch.float64)
    temporary = path.with_suffix(".tmp")
    save_tensors(temporary, {**trainer.state(), "history": rows}, {"config": _fingerprint(cfg)})
    temporary.replace(path)


def _resume(path: Path, trainer: LoraTrainer | FastLoraTrainer, cfg: LoraConfig) -> list[Losses]:
    """Loads the checkpoint into the trainer, if there is one; returns the losses up to it.

    Raises ArtifactError if it is corrupt or from another configuration.
    """
    if not path.exists():
        return []
    try:
        with safe_open(path, framework="pt") as file:
            config = (file.metadata() or {}).get("config")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ArtifactError(f"{path} is corrupt ({error}); delete it, and training starts anew") from error
    if config != _fingerprint(cfg):
        raise ArtifactError(f"{path} is from another configuration; delete it, and training starts anew")
    trainer.load_state(tensors)
    history = [Losses(*row) for row in tensors["history"].tolist()]
    log.info("goes on after step %d of %d", len(history), cfg.steps)
    return history


def _fingerprint(cfg: LoraConfig) -> str:
    return json.dumps(dataclasses.asdict(cfg), sort_keys=True)


def _row(losses: Losses) -> dict[str, float]:
    """The named values of a step; the views' loss only if it counts."""
    values = dict(zip(COLUMNS, dataclasses.astuple(losses), strict=True))
    return {name: value for name, value in values.items() if not math.isnan(value)}


def _write_history(path: Path, history: list[Losses]) -> None:
    """loss.csv: a line a step; a term that does not count is empty."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ("step", *COLUMNS))
        writer.writeheader()
        for step, losses in enumerate(history, start=1):
            writer.writerow({"step": step, **_row(losses)})
