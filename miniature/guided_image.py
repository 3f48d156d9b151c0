"""The image model, trained further as the method uses it: keyframes from the inverted noise of their coarse renders.

A published image model follows injected features, attends to a photo beside it and turns inverted noise of one picture
into another by its sheer size. This one is shown what that looks like: the noise that the coarse render of a frame is
inverted to belongs to the lit photo of the same frame, drawn beside the photo of the first frame, with features of the
render injected. Straight paths between noise and pictures are those of rectified flow.
Source: I2V3D, 3a to 3e of the method; Liu et al., Flow Straight and Fast, 2023.
"""

from __future__ import annotations

import logging
from typing import Any

import torch
from diffusers import DDIMScheduler
from torch import Tensor

from i2v3d.customise.training import add_noise
from i2v3d.diffusion.ddim import DDIM
from i2v3d.models.layout import DDIM_SCHEDULER
from miniature.data import World, control_condition
from miniature.gradients import captured
from miniature.guided_keyframes import evaluate
from miniature.guided_settings import GuidedImageSettings
from miniature.guided_shots import GuidedModel, Prompts, Shots, behind, invert, noise_of, shots_of
from miniature.image import ImageModel, frozen_vae
from miniature.loop import Run, optimise, save_half
from miniature.steering import Steered

log = logging.getLogger(__name__)


class ShotPool:
    """Shots with their inverted noise, on the device, and batches of them."""

    def __init__(
        self, world: World, vae: Any, model: GuidedModel, ddim: DDIM, settings: GuidedImageSettings, run: Run
    ) -> None:
        self.settings, self.ddim, device = settings, ddim, run.device
        self.generator = torch.Generator(device).manual_seed(run.stream)
        self.book, parts = Prompts(), []
        for scenes, frames in world.pool(settings.frames, run.stream, settings.paces):
            parts.append(shots_of(scenes, frames, vae, self.book, settings, self.generator))
        self.book.encode(model.networks, device)
        shots = Shots(*(torch.cat(column) for column in zip(*parts, strict=True)))
        self.shots = shots._replace(noise=torch.empty_like(shots.coarse))
        half = torch.float16 if device.type == "cuda" else torch.bfloat16
        with torch.autocast(device.type, dtype=half, enabled=device.type == "cuda"):
            for start in range(0, len(shots.coarse), settings.invert_batch):
                part = slice(start, start + settings.invert_batch)
                highest = invert(model, self.shots.rows(part), self.book, ddim)[-1]
                self.shots.noise[part] = noise_of(highest, self.shots.coarse[part], ddim).half()
        noise = self.shots.noise[:256].float()
        log.info(
            "inverted %d keyframes: mean %.3f, deviation %.3f",
            shots.coarse.shape[:2].numel(),
            noise.mean(),
            noise.std(),
        )
        self.alpha_bar = torch.tensor(ddim.alpha_bar, device=device)
        self.timesteps = torch.tensor(ddim.timesteps, device=device)
        self.every = DDIMScheduler.from_config(DDIM_SCHEDULER).alphas_cumprod.to(
            device
        )  # of training timesteps

    def uniform(self, *shape: int) -> Tensor:
        """Uniform numbers in [0, 1)."""
        return torch.rand(shape, generator=self.generator, device=self.alpha_bar.device)

    def normal(self, like: Tensor) -> Tensor:
        """Unit noise of a shape."""
        return torch.randn(like.shape, generator=self.generator, device=like.device)

    def batch(self) -> tuple[Tensor, ...]:
        """The arguments of `GuidedLoss`."""
        shots = self.shots.rows((self.uniform(self.settings.loop.batch) * len(self.shots.photo)).long())
        source, target, steered = self._keyframes(shots)
        others = [self._inverting(), self._plain()]
        rows = [source, *others, target]
        joined = [torch.cat(column) for column in zip(*(row[:-1] for row in rows), strict=True)]
        depth = torch.cat([row[-1] for row in (source, *others)])
        return (*joined, depth, *steered)

    def _row(self, x: Tensor, noise: Tensor, weight: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        return (x, noise, weight.view(-1, 1, 1, 1).expand(-1, 1, *x.shape[-2:]), *rest)

    def _keyframes(self, shots: Shots) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Rows of the sources and of the keyframes, and what couples them."""
        own, (count, frames) = self.settings, shots.photo.shape[:2]
        level = 1 + (self.uniform(count) * self.ddim.steps).long()
        alpha = self.alpha_bar[level].repeat_interleave(frames)
        timestep = self.timesteps[level - 1].repeat_interleave(frames)
        coarse, noise = (t.flatten(0, 1).float() for t in (shots.coarse, shots.noise))
        coarse = behind(coarse, noise, self.ddim)
        depth, keep = shots.depth.flatten(0, 1).float(), torch.ones(count * frames, device=alpha.device)
        least = (own.snr * (1 - alpha) / alpha).clamp(max=1.0)
        empty = self.book[torch.zeros(count * frames, dtype=torch.long, device=alpha.device)]
        flat = add_noise(coarse, noise, alpha)
        source = self._row(flat, noise, own.source_weight * least, timestep, keep, *empty, depth)
        numbers = torch.where(self.uniform(count) < own.loose, shots.loose, shots.full)
        text = self.book[numbers.repeat_interleave(frames)]
        lit, true_noise, weight = self._lit(shots, coarse, noise, alpha, least)
        target = (lit, true_noise, weight, timestep, keep, *text, depth)
        step = self.ddim.steps - level
        injected = self.uniform(count) < own.injection
        steered = (
            shots.foreground,
            injected,
            step < own.tau_background * self.ddim.steps,
            injected & (step < own.tau_conv * self.ddim.steps),
            self.uniform(count) < own.shared,
            self.uniform(count) < own.whole,
        )
        return source, target, steered

    def _lit(
        self, shots: Shots, coarse: Tensor, noise: Tensor, alpha: Tensor, least: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Noisy latents of the true keyframes, the noise in them, and its weights. alpha, least: of every frame."""
        own, (count, frames) = self.settings, shots.photo.shape[:2]
        photo, shape = shots.photo.flatten(0, 1).float(), (-1, 1, 1, 1)
        # The first frame is the photo, with noise of its own, or drawn like the others.
        known = torch.zeros(count, frames, device=alpha.device)
        known[:, 0] = (self.uniform(count) < own.known).float()
        known = known.flatten()
        mixed = torch.where(known.view(shape) > 0, self.normal(noise), noise)
        photo = torch.where(known.view(shape) > 0, photo, behind(photo, noise, self.ddim))
        # Sampling leaves the straight path towards the coarse render: the network is shown the way back.
        ratio = ((1 - alpha) / alpha).sqrt()
        often = self.uniform(count) < own.stray_chance
        stray = (self.uniform(count) * often).repeat_interleave(frames) * (1 - known)
        away = (stray * (own.stray * ratio).clamp(max=1.0)).view(shape) * (coarse - photo)
        inside = shots.foreground.flatten(0, 1)[:, None, 4::8, 4::8].float()
        strong = least * (1 + own.early * ratio**2) * (1 - known * (1 - own.known_weight))
        weight = strong.view(shape) * (1 + own.foreground * inside)
        return add_noise(photo + away, mixed, alpha), mixed + away / ratio.view(shape), weight

    def _inverting(self) -> tuple[Tensor, ...]:
        """Rows of the inversion: a level's latents, with the timestep of the next one."""
        own = self.settings
        index = (self.uniform(own.inverting) * len(self.shots.photo)).long()
        frame = (self.uniform(own.inverting) * own.frames).long()
        level = (self.uniform(own.inverting) * self.ddim.steps).long()
        alpha = self.alpha_bar[level]
        noise = self.shots.noise[index, frame].float()
        coarse = behind(self.shots.coarse[index, frame], noise, self.ddim)
        least = (own.snr * (1 - alpha) / alpha).clamp(max=1.0).clamp(min=own.least)
        keep, zero = torch.ones_like(alpha), torch.zeros_like(index)
        depth = self.shots.depth[index, frame].float()
        x = add_noise(coarse, noise, alpha)
        return self._row(
            x, noise, own.source_weight * least, self.timesteps[level], keep, *self.book[zero], depth
        )

    def _plain(self) -> tuple[Tensor, ...]:
        """Rows as the model was trained before: single pictures with fresh noise."""
        own, control = self.settings, self.settings.control
        index = (self.uniform(own.plain) * len(self.shots.photo)).long()
        frame = (self.uniform(own.plain) * own.frames).long()
        flat = self.uniform(own.plain) < own.coarse
        clean = torch.where(
            flat.view(-1, 1, 1, 1), self.shots.coarse[index, frame], self.shots.photo[index, frame]
        ).float()
        timestep = (self.uniform(own.plain) * len(self.every)).long()
        alpha, noise = self.every[timestep], self.normal(clean)
        least = (own.snr * (1 - alpha) / alpha).clamp(max=1.0)
        depth = control_condition(self.shots.inverse_depth[index, frame][:, None], control, self.generator)[
            :, 0
        ]
        keep = (self.uniform(own.plain) < control.keep).float()
        text = self.book[torch.where(flat, self.shots.flat[index], self.shots.loose[index])]
        return self._row(add_noise(clean, noise, alpha), noise, least, timestep, keep, *text, depth)


class GuidedLoss:
    """Weighted squared error of the predicted noise of all rows."""

    def __init__(self, model: GuidedModel) -> None:
        self.model = model

    def __call__(self, *batch: Tensor) -> Tensor:
        """batch: latents, noise, weights, timesteps, keep, text, pooled of all rows; depth of all but the keyframes'
        rows, which have that of their sources; the fields of `Steered`."""
        x, noise, weight, timestep, keep, text, pooled, depth, *steered = batch
        now = Steered(*steered)
        features = self.model.features(depth)
        features = torch.cat([features, features[: now.items]])
        self.model.steering.now = now
        predicted = self.model.predict(x, timestep, features, keep, (text, pooled))
        self.model.steering.now = None
        return (weight * (predicted - noise) ** 2).mean()


def train_guided_image(settings: GuidedImageSettings, run: Run) -> dict[str, float]:
    """Trains UNet and ControlNet further and writes unet, controlnet, te1 and te2 .safetensors.

    run.weights must hold these and vae.safetensors. Returns scores of keyframes of held-out shots.
    """
    world, vae = World(settings.world, run.device, run.checkpoint), frozen_vae(run)
    networks = ImageModel.start(settings, run)
    model, ddim = (
        GuidedModel(networks, settings, run.device),
        DDIM.from_config(DDIM_SCHEDULER, settings.steps),
    )
    before = evaluate(model, vae, world, ddim, settings, run.out / "before.png")
    log.info("guided_image: before %s", before)
    pool = ShotPool(world, vae, model, ddim, settings, run)
    with model.steering:
        gradients = captured(GuidedLoss(model), pool.batch, model.parameters(), run.device)
        outcome = optimise(
            settings.loop, model.parameters(), gradients, run, "guided_image", [pool.generator]
        )
    scores = evaluate(model, vae, world, ddim, settings, run.out / "guided_image.png")
    for name, network in model.whole()._asdict().items():
        save_half(network.eval(), run.out / f"{name}.safetensors")
    counted = {"steps": outcome.steps, "samples": outcome.samples, "seconds": outcome.seconds}
    return {**scores, **{f"before_{name}": value for name, value in before.items()}, **counted}
