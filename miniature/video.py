"""The video model: SVD-layout UNet and temporal depth ControlNet, trained in both directions of time."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch

from i2v3d.diffusion import edm
from i2v3d.models import svd
from i2v3d.models.layout import EDM_SCHEDULER
from i2v3d.models.temporal_controlnet import denoise_with_residuals
from i2v3d.toy.architectures import VISION_SIDE, image_encoder, video_controlnet, video_unet
from miniature.control import start_networks
from miniature.data import World, clip_pixels, control_condition, disparity, to_bytes, to_signed
from miniature.gradients import captured, half_copy
from miniature.guided_settings import GuidedVideoSettings
from miniature.image import encode, frozen_vae
from miniature.loop import Run, load_half, optimise, save_half
from miniature.scores import psnr, save_grid
from miniature.settings import VideoSettings


class VideoModel(NamedTuple):
    """The networks that are trained together; names are those of the weight files."""

    vunet: Any
    vcontrolnet: Any

    @classmethod
    def start(cls, settings: VideoSettings | GuidedVideoSettings, run: Run) -> VideoModel:
        """Fresh networks, or those of an earlier run if the settings say so."""
        model = cls(video_unet(), video_controlnet())
        start_networks(model._asdict(), "vunet", "vcontrolnet", settings, run)
        return model


class Clips(NamedTuple):
    """B clips of F frames. latents (B, F, C, h, w); first, last (B, C, h, w): noise-augmented conditioning
    latents; embeds (B, 2, D): image embeddings of first and last frame; disparity (B, F, 1, H, W).
    """

    latents: torch.Tensor
    first: torch.Tensor
    last: torch.Tensor
    embeds: torch.Tensor
    disparity: torch.Tensor

    def backwards(self, flip: torch.Tensor) -> Clips:
        """The same clips, played backwards where `flip` (B,) is True."""

        def pick(turned: torch.Tensor, straight: torch.Tensor) -> torch.Tensor:
            return torch.where(flip.view(-1, *[1] * (straight.ndim - 1)), turned, straight)

        return Clips(
            pick(self.latents.flip(1), self.latents),
            pick(self.last, self.first),
            pick(self.first, self.last),
            pick(self.embeds.flip(1), self.embeds),
            pick(self.disparity.flip(1), self.disparity),
        )


class Eye:
    """Frozen autoencoder and vision tower: pictures to latents and embeddings."""

    def __init__(self, settings: VideoSettings | GuidedVideoSettings, run: Run) -> None:
        self.settings, self.vae = settings, frozen_vae(run)
        self.vision = image_encoder()
        load_half(self.vision, run.weights / "vision.safetensors")
        self.vision.to(run.device).eval().requires_grad_(False)

    @torch.no_grad()
    def clips(self, pictures: torch.Tensor, depth: torch.Tensor, generator: torch.Generator) -> Clips:
        """Pictures (B, F, 3, H, W) in [-1, 1] and planar depth (B, F, 1, H, W) in metres to `Clips`."""
        count = pictures.shape[:2]
        ends = pictures[:, [0, -1]].flatten(0, 1)
        noise = torch.randn(ends.shape, generator=generator, device=generator.device).to(ends.device)
        marked = encode(self.vae, ends + self.settings.augmentation * noise).half().unflatten(0, (-1, 2))
        embeds = self.vision(clip_pixels(ends, VISION_SIDE)).image_embeds.float().unflatten(0, (-1, 2))
        latents = encode(self.vae, pictures.flatten(0, 1)).half().unflatten(0, count)
        return Clips(latents, marked[:, 0], marked[:, 1], embeds, disparity(depth))


class ClipConditions(NamedTuple):
    """What B clips are made from. marked (B, C, h, w): conditioning latents; embed (B, D): image embedding;
    ids (B, 3): added time ids; depth (B, F, 3, H, W) in [-1, 1]; keep (B,): 0 switches control off."""

    marked: torch.Tensor
    embed: torch.Tensor
    ids: torch.Tensor
    depth: torch.Tensor
    keep: torch.Tensor


def velocity(
    model: VideoModel, state: torch.Tensor, sigma: torch.Tensor, given: ClipConditions
) -> torch.Tensor:
    """v-prediction (B, F, C, h, w) of noisy clips `state` of that shape, at noise levels sigma (B,)."""
    frames, dtype = state.shape[1], model.vunet.dtype
    scaled = edm.scaled_input(state, sigma.view(-1, 1, 1, 1, 1))
    sample = torch.cat([scaled, given.marked[:, None].expand(-1, frames, -1, -1, -1)], dim=2).to(dtype)
    time = edm.timestep(sigma)
    embed = given.embed[:, None].to(dtype)
    down, middle = model.vcontrolnet(sample, time, embed, given.ids, given.depth.to(dtype))
    gate = given.keep.repeat_interleave(frames).view(-1, 1, 1, 1).to(dtype)
    residuals = tuple(residual * gate for residual in down), middle * gate
    return denoise_with_residuals(model.vunet, sample, time, embed, given.ids, residuals).float()


def velocity_loss(
    model: VideoModel,
    latents: torch.Tensor,
    noise: torch.Tensor,
    sigma: torch.Tensor,
    given: ClipConditions,
) -> torch.Tensor:
    """Squared error of v = (noise - sigma x0) / sqrt(sigma^2 + 1). Source: EDM, Karras et al. 2022."""
    s = sigma.view(-1, 1, 1, 1, 1)
    target = (noise - s * latents) * torch.rsqrt(s**2 + 1)
    predicted = velocity(model, latents + s * noise, sigma, given)
    return ((predicted - target) ** 2).mean()


class ClipPool:
    """Encoded clips on the device."""

    def __init__(self, world: World, eye: Eye, settings: VideoSettings, run: Run) -> None:
        self.generator = torch.Generator(run.device).manual_seed(run.stream)
        parts = []
        for scenes, frames in world.pool(settings.frames, run.stream):
            flat = torch.rand(scenes.size, generator=self.generator, device=run.device) < settings.coarse
            picture = torch.where(flat.view(-1, 1, 1, 1, 1), frames.coarse, frames.photo)
            parts.append(eye.clips(to_signed(to_bytes(picture)), frames.depth, self.generator))
        self.clips = Clips(*(torch.cat(column) for column in zip(*parts, strict=True)))

    def uniform(self, count: int) -> torch.Tensor:
        """Uniform numbers (count,) in [0, 1)."""
        return torch.rand(count, generator=self.generator, device=self.clips.latents.device)

    def batch(self, settings: VideoSettings) -> tuple[torch.Tensor, ...]:
        """Latents, noise and noise levels for `velocity_loss`, then the fields of `ClipConditions`."""
        count, control = settings.loop.batch, settings.control
        index = (self.uniform(count) * len(self.clips.latents)).long()
        clips = Clips(*(tensor[index] for tensor in self.clips)).backwards(self.uniform(count) < 0.5)
        latents = clips.latents.float()
        noise = torch.randn(latents.shape, generator=self.generator, device=latents.device)
        level = torch.randn(count, generator=self.generator, device=latents.device)
        sigma = torch.exp(level * settings.sigma_std + settings.sigma_mean)
        sigma = sigma.clamp(EDM_SCHEDULER["sigma_min"], EDM_SCHEDULER["sigma_max"])
        shown = (self.uniform(count) >= settings.drop).float()
        marked = clips.first.float() * shown.view(-1, 1, 1, 1)
        condition = control_condition(clips.disparity, control, self.generator) * 2 - 1
        keep = (self.uniform(count) < control.keep).float()
        spread = settings.fps_id_high + 1 - settings.fps_id_low
        ids = time_ids(settings, count, latents.device).clone()
        ids[:, 0] += (self.uniform(count) * spread).floor()
        embed = clips.embeds[:, 0] * shown[:, None]
        depth = condition.expand(-1, -1, 3, -1, -1).contiguous()
        return latents, noise, sigma, *ClipConditions(marked, embed, ids, depth, keep)


def time_ids(settings: VideoSettings | GuidedVideoSettings, count: int, device: torch.device) -> torch.Tensor:
    """SVD's added time ids (count, 3): lowest frame-rate id, motion bucket, noise augmentation."""
    ids = svd.added_time_ids(settings.fps_id_low + 1, settings.motion_bucket, settings.augmentation)
    return ids.to(device).expand(count, 3)


def train_video(settings: VideoSettings, run: Run) -> dict[str, float]:
    """Trains the video model and writes vunet and vcontrolnet .safetensors.

    run.weights must hold vae and vision .safetensors, and both networks unless `settings.fresh`.
    Returns held-out scores.
    """
    world, eye, model = (
        World(settings.world, run.device, run.checkpoint),
        Eye(settings, run),
        VideoModel.start(settings, run),
    )
    pool = ClipPool(world, eye, settings, run)
    trained = VideoModel(*map(half_copy, model)) if run.device.type == "cuda" else model
    trained.vcontrolnet.controlnet_cond_embedding.to(memory_format=torch.channels_last)
    parameters, halves = (
        [parameter for network in networks for parameter in network.parameters()]
        for networks in (model, trained)
    )

    def loss(*batch: torch.Tensor) -> torch.Tensor:
        latents, noise, sigma, *given = batch
        return velocity_loss(trained, latents, noise, sigma, ClipConditions(*given))

    gradients = captured(loss, lambda: pool.batch(settings), parameters, run.device, halves)
    outcome = optimise(settings.loop, parameters, gradients, run, "video", [pool.generator])
    for name, network in model._asdict().items():
        save_half(network.eval(), run.out / f"{name}.safetensors")
    scores = evaluate(model, eye, world, settings, run.out)
    return {**scores, "steps": outcome.steps, "samples": outcome.samples, "seconds": outcome.seconds}


@torch.no_grad()
def interpolate(
    model: VideoModel, clips: Clips, settings: VideoSettings, *, both_ways: bool, keep: bool
) -> torch.Tensor:
    """Latents (B, F, C, h, w) of the clips made again from their end frames and depth, by Euler steps.

    both_ways: blend the prediction with that of the reversed clip, frame by frame; else only the first
    frame counts.
    """
    shape, device = clips.latents.shape, clips.latents.device
    generator = torch.Generator().manual_seed(settings.world.seed)
    schedule = edm.EDMSchedule.from_config(EDM_SCHEDULER, settings.steps)
    noise = torch.randn(shape, generator=generator).to(device) * schedule.sigma_max
    reverse = clips.backwards(torch.ones(shape[0], dtype=torch.bool, device=device))
    weight = torch.linspace(0, 1, shape[1], device=device).view(1, -1, 1, 1, 1)
    gate, ids = torch.full((shape[0],), float(keep), device=device), time_ids(settings, shape[0], device)

    def clean(noisy: torch.Tensor, sigma: float, side: Clips) -> torch.Tensor:
        condition = (control_condition(side.disparity, settings.control, None) * 2 - 1).expand(
            -1, -1, 3, -1, -1
        )
        level = torch.full((shape[0],), sigma, device=device)
        given = ClipConditions(side.first.float(), side.embeds[:, 0], ids, condition, gate)
        return edm.denoised_from_velocity(velocity(model, noisy, level, given), noisy, sigma)

    def denoise(x: torch.Tensor, level: float, step: int) -> torch.Tensor:
        forward = clean(x, level, clips)
        if not both_ways:
            return forward
        return (1 - weight) * forward + weight * clean(x.flip(1), level, reverse).flip(1)

    return edm.sample(noise, denoise, schedule)


@torch.no_grad()
def evaluate(
    model: VideoModel, eye: Eye, world: World, settings: VideoSettings, out: Path
) -> dict[str, float]:
    """PSNR of middle frames from true end frames and depth, beside a cross-fade; writes a picture."""
    _, frames = world.held_out(settings.frames)
    truth = to_signed(frames.photo)
    clips = eye.clips(truth, frames.depth, torch.Generator().manual_seed(settings.world.seed))
    ramp = torch.linspace(0, 1, settings.frames, device=truth.device).view(1, -1, 1, 1, 1)

    def decode(latents: torch.Tensor) -> torch.Tensor:
        parts = [eye.vae.decode(part).sample for part in latents.float().flatten(0, 1).split(32)]
        return torch.cat(parts).view(truth.shape)

    def middle(clip: torch.Tensor) -> float:
        return psnr(clip[:, 1:-1].flatten(0, 1), truth[:, 1:-1].flatten(0, 1))

    made = {
        "both": decode(interpolate(model, clips, settings, both_ways=True, keep=True)),
        "forward": decode(interpolate(model, clips, settings, both_ways=False, keep=True)),
        "no_depth": decode(interpolate(model, clips, settings, both_ways=True, keep=False)),
        "cross_fade": truth[:, :1] * (1 - ramp) + truth[:, -1:] * ramp,
        "vae": decode(clips.latents),
    }
    order = torch.linspace(0, settings.frames - 1, 6).round().long()
    shown = (truth, made["both"], made["forward"], made["cross_fade"])
    rows = [clip[i, order] for i in range(min(4, len(truth))) for clip in shown]
    save_grid(torch.cat(rows), 6, out / "video.png")
    return {f"psnr_{name}": middle(clip) for name, clip in made.items()}
