"""The image model: SDXL-layout UNet, depth ControlNet and both text encoders, trained together."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any, NamedTuple

import torch
from diffusers import DDIMScheduler

from i2v3d.customise.training import add_noise
from i2v3d.diffusion.ddim import DDIM
from i2v3d.diffusion.guidance import classifier_free_guidance
from i2v3d.diffusion.sdedit import sample_from
from i2v3d.models import sdxl
from i2v3d.models.layout import DDIM_SCHEDULER
from i2v3d.toy.architectures import image_controlnet, image_unet, image_vae, text_encoder, text_encoder_2
from i2v3d.toy.world.sampling import Scenes
from miniature.control import start_networks
from miniature.data import World, control_condition, disparity, prompts, to_signed, token_ids
from miniature.gradients import captured, plain
from miniature.guided_settings import GuidedImageSettings
from miniature.loop import Run, load_half, optimise, save_half
from miniature.scores import psnr, save_grid
from miniature.settings import ImageSettings


class ImageModel(NamedTuple):
    """The networks that are trained together; names are those of the weight files."""

    unet: Any
    controlnet: Any
    te1: Any
    te2: Any

    @classmethod
    def start(cls, settings: ImageSettings | GuidedImageSettings, run: Run) -> ImageModel:
        """Fresh networks, or those of an earlier run if the settings say so."""
        model = cls(image_unet(), image_controlnet(), text_encoder(), text_encoder_2())
        start_networks(model._asdict(), "unet", "controlnet", settings, run)
        for network in model[:2]:
            network.to(memory_format=torch.channels_last)
        return model


def read(model: ImageModel, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Text states (N, tokens, width) of both encoders and the pooled embedding (N, width), as in SDXL."""
    one, two = model.te1(ids, output_hidden_states=True), model.te2(ids, output_hidden_states=True)
    return torch.cat([one.hidden_states[-2], two.hidden_states[-2]], dim=-1), two.text_embeds


class ImageConditions(NamedTuple):
    """What N pictures are made from. text (N, tokens, width) and pooled (N, width): see `read`; depth
    (N, 3, H, W) in [0, 1]; keep (N,): 0 switches control off; micro (N, 6): SDXL's sizes and crop."""

    text: torch.Tensor
    pooled: torch.Tensor
    depth: torch.Tensor
    keep: torch.Tensor
    micro: torch.Tensor


def predict_noise(
    model: ImageModel, noisy: torch.Tensor, timestep: torch.Tensor, given: ImageConditions
) -> torch.Tensor:
    """Noise in `noisy` (N, C, h, w) at timestep (N,)."""
    added = {"text_embeds": given.pooled, "time_ids": given.micro}
    down, middle = model.controlnet(
        noisy, timestep, given.text, controlnet_cond=given.depth, added_cond_kwargs=added, return_dict=False
    )
    gate = given.keep.view(-1, 1, 1, 1)
    predicted: torch.Tensor = model.unet(
        noisy,
        timestep,
        given.text,
        added_cond_kwargs=added,
        down_block_additional_residuals=[residual * gate for residual in down],
        mid_block_additional_residual=middle * gate,
        return_dict=False,
    )[0]
    return predicted


def micro_conditioning(settings: ImageSettings, count: int, device: torch.device) -> torch.Tensor:
    """SDXL's original size, crop corner and target size, (count, 6): the native size, uncropped."""
    size = settings.world.height, settings.world.width
    return sdxl.micro_conditioning(size, (0, 0), size).to(device).repeat(count, 1)


def noise_loss(
    model: ImageModel,
    noisy: torch.Tensor,
    noise: torch.Tensor,
    weight: torch.Tensor,
    timestep: torch.Tensor,
    given: ImageConditions,
) -> torch.Tensor:
    """Squared error of the predicted noise, weight (N,)."""
    predicted = predict_noise(model, noisy, timestep, given).float()
    return (weight * ((predicted - noise) ** 2).mean((1, 2, 3))).mean()


class LatentPool:
    """Latents, disparity and prompts of rendered scenes, on the device."""

    def __init__(self, world: World, vae: Any, settings: ImageSettings, run: Run) -> None:
        self.generator = torch.Generator(run.device).manual_seed(run.stream)
        rng = random.Random(run.stream)
        latents, depths, texts = [], [], []
        for scenes, frames in world.pool(1, run.stream):
            flat = torch.rand(scenes.size, generator=self.generator, device=run.device) < settings.coarse
            picture = torch.where(flat.view(-1, 1, 1, 1), frames.coarse[:, 0], frames.photo[:, 0])
            latents.append(encode(vae, to_signed(picture)).half())
            depths.append(disparity(frames.depth[:, 0]))
            texts += prompts(scenes, flat, settings.prompt, rng.random)
        self.latents, self.disparity = torch.cat(latents), torch.cat(depths)
        self.ids = token_ids(texts).to(run.device)

    def uniform(self, count: int) -> torch.Tensor:
        """Uniform numbers (count,) in [0, 1)."""
        return torch.rand(count, generator=self.generator, device=self.latents.device)

    @torch.no_grad()
    def read(self, model: ImageModel) -> tuple[torch.Tensor, torch.Tensor]:
        """Text states and pooled embeddings of all prompts, fp16."""
        parts = [[state.half() for state in read(model, ids)] for ids in self.ids.split(2048)]
        text, pooled = (torch.cat(column) for column in zip(*parts, strict=True))
        return text, pooled

    def batch(self, settings: ImageSettings) -> tuple[torch.Tensor, ...]:
        """Latents, their places in the pool, conditions (N, 3, H, W) in [0, 1], and 1 where they count."""
        count, control = settings.loop.batch, settings.control
        index = (self.uniform(count) * len(self.latents)).long()
        value = control_condition(self.disparity[index][:, None], control, self.generator)[:, 0]
        keep = (self.uniform(count) < control.keep).float()
        return self.latents[index].float(), index, value.expand(-1, 3, -1, -1).contiguous(), keep


@torch.no_grad()
def encode(vae: Any, pictures: torch.Tensor) -> torch.Tensor:
    """Posterior modes of pictures in [-1, 1], (N, C, h, w) float32."""
    device = pictures.device.type
    with torch.autocast(device, dtype=torch.bfloat16, enabled=device == "cuda"):
        parts = [vae.quant_conv(vae.encoder(part)) for part in pictures.split(256)]
    return torch.cat(parts).float().chunk(2, dim=1)[0]


def encode_pool(vae: Any, pictures: torch.Tensor) -> torch.Tensor:
    """Posterior modes of many pictures (N, 3, H, W) uint8, fp16, made piece by piece."""
    parts = [
        encode(vae, to_signed(part).contiguous(memory_format=torch.channels_last)).half()
        for part in pictures.split(1024)
    ]
    return torch.cat(parts)


def frozen_vae(run: Run) -> Any:
    """The trained image autoencoder."""
    vae = image_vae()
    load_half(vae, run.weights / "vae.safetensors")
    return vae.to(run.device, memory_format=torch.channels_last).eval().requires_grad_(False)


def train_image(settings: ImageSettings, run: Run) -> dict[str, float]:
    """Trains the image model and writes unet, controlnet, te1 and te2 .safetensors.

    run.weights must hold vae.safetensors, and all four unless `settings.fresh`. Returns held-out scores.
    """
    world, vae, model = (
        World(settings.world, run.device, run.checkpoint),
        frozen_vae(run),
        ImageModel.start(settings, run),
    )
    pool = LatentPool(world, vae, settings, run)
    alpha_bar = DDIMScheduler.from_config(DDIM_SCHEDULER).alphas_cumprod.to(run.device)
    trained = list(model) if settings.train_text else list(model[:2])
    micro = micro_conditioning(settings, settings.loop.batch, run.device)
    states = None if settings.train_text else pool.read(model)

    def draw() -> tuple[torch.Tensor, ...]:
        latents, index, condition, keep = pool.batch(settings)
        timestep = (pool.uniform(len(latents)) * len(alpha_bar)).long()
        alpha = alpha_bar[timestep]
        noise = torch.randn(latents.shape, generator=pool.generator, device=run.device)
        # Min-SNR weights. Source: Hang et al., ICCV 2023, for noise prediction.
        weight = (settings.snr * (1 - alpha) / alpha).clamp(max=1.0)
        text, pooled = (
            read(model, pool.ids[index]) if states is None else [part[index].float() for part in states]
        )
        given = ImageConditions(text, pooled, condition, keep, micro)
        return add_noise(latents, noise, alpha), noise, weight, timestep, *given

    def loss(*batch: torch.Tensor) -> torch.Tensor:
        noisy, noise, weight, timestep, *given = batch
        return noise_loss(model, noisy, noise, weight, timestep, ImageConditions(*given))

    parameters = [parameter for network in trained for parameter in network.parameters()]
    # Text encoders that are trained cannot be captured: transformers' encoders talk to the host.
    method = plain if settings.train_text else captured
    gradients = method(loss, draw, parameters, run.device)
    outcome = optimise(settings.loop, parameters, gradients, run, "image", [pool.generator])
    for name, network in model._asdict().items():
        save_half(network.eval(), run.out / f"{name}.safetensors")
    scores = evaluate(model, vae, world, settings, run.out)
    return {**scores, "steps": outcome.steps, "samples": outcome.samples, "seconds": outcome.seconds}


@torch.no_grad()
def generate(
    model: ImageModel, texts: list[str], condition: torch.Tensor, settings: ImageSettings, *, keep: bool
) -> torch.Tensor:
    """DDIM samples (N, C, h, w) for prompts and depth, with guidance against the empty prompt."""
    device, count = condition.device, len(texts)
    ddim = DDIM.from_config(DDIM_SCHEDULER, settings.steps)
    generator = torch.Generator().manual_seed(settings.world.seed)
    channels = model.unet.config.in_channels
    small = (condition.shape[-2] // 8, condition.shape[-1] // 8)
    noise = torch.randn(count, channels, *small, generator=generator).to(device)
    given = ImageConditions(
        *read(model, token_ids(["" for _ in texts] + texts).to(device)),
        depth=condition.repeat(2, 1, 1, 1),
        keep=torch.full((2 * count,), float(keep), device=device),
        micro=micro_conditioning(settings, 2 * count, device),
    )

    def denoise(x: torch.Tensor, level: float, step: int) -> torch.Tensor:
        now = torch.full((2 * count,), int(level), device=device)
        empty, full = predict_noise(model, x.repeat(2, 1, 1, 1), now, given).chunk(2)
        return classifier_free_guidance(empty, full, settings.guidance)

    return sample_from(ddim, noise, denoise, ddim.steps)


@torch.no_grad()
def evaluate(
    model: ImageModel, vae: Any, world: World, settings: ImageSettings, out: Path
) -> dict[str, float]:
    """PSNR against the true photo with and without depth, on held-out scenes; writes a picture."""
    scenes, frames = world.held_out(1)
    photo, mask = to_signed(frames.photo[:, 0]), frames.mask[:, 0] > 0.5
    condition = control_condition(disparity(frames.depth), settings.control, None)[:, 0].expand(-1, 3, -1, -1)
    texts = _captions(scenes)
    made = vae.decode(generate(model, texts, condition, settings, keep=True)).sample
    free = vae.decode(generate(model, texts, condition, settings, keep=False)).sample
    shown = (condition * 2 - 1, made, free, photo)
    save_grid(torch.cat([row[i : i + 8] for i in (0, 8) for row in shown]), 8, out / "image.png")
    return {
        "psnr_depth": psnr(made, photo),
        "psnr_depth_fg": psnr(made, photo, mask),
        "psnr_free": psnr(free, photo),
    }


def _captions(scenes: Scenes) -> list[str]:
    return prompts(scenes, torch.zeros(scenes.size), None, random.random)
