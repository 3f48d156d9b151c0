"""The video model, trained further as the method uses it: clips from the inverted noise of their coarse renders.

As `miniature.guided_image` for pictures: the noise that a coarse clip is inverted to belongs to the lit clip, which
begins with its photo, while queries and keys of the coarse clip are injected. Source: I2V3D, 4a to 4e of the method;
Liu et al., Flow Straight and Fast, 2023.
"""

from __future__ import annotations

import copy
import logging
from typing import Any

import torch
from torch import Tensor

from i2v3d.diffusion import edm
from i2v3d.models.layout import EDM_SCHEDULER
from i2v3d.toy.world.render import Frames
from miniature.data import World
from miniature.gradients import captured, fold_time_convolutions, half_copy, skip_single_keys
from miniature.guided_clips import (
    Pairs,
    Side,
    injecting,
    invert,
    pairs_of,
)
from miniature.guided_segments import evaluate
from miniature.guided_settings import GuidedVideoSettings
from miniature.loop import Run, optimise, save_half
from miniature.video import ClipConditions, Eye, VideoModel, time_ids, velocity

log = logging.getLogger(__name__)


class PairPool:
    """Clips with their inverted noise, on the device, and batches of them."""

    def __init__(
        self,
        world: World,
        eye: Eye,
        model: VideoModel,
        schedule: edm.EDMSchedule,
        settings: GuidedVideoSettings,
        run: Run,
    ) -> None:
        self.settings, self.schedule = settings, schedule
        self.generator = torch.Generator(run.device).manual_seed(run.stream)
        self.sigmas = torch.tensor(schedule.sigmas[:-1], device=run.device)
        parts = []
        for _, frames in world.pool(settings.frames, run.stream, settings.paces):
            back = (self.uniform(len(frames.photo)) < 0.5).view(-1, 1, 1, 1, 1)
            played = Frames(*(torch.where(back, tensor.flip(1), tensor) for tensor in frames))
            parts.append(pairs_of(eye, played, settings, self.generator))
        photo, coarse = (
            Side(*(torch.cat(column) for column in zip(*(part[i] for part in parts), strict=True)))
            for i in (0, 1)
        )
        depth = torch.cat([part.depth for part in parts])
        self.pairs = Pairs(photo, coarse, depth, torch.empty_like(coarse.latents))
        inverting = VideoModel(*map(_inverting, model)) if run.device.type == "cuda" else model
        for start in range(0, len(depth), settings.invert_batch):
            part = slice(start, start + settings.invert_batch)
            chosen = self.pairs.rows(part)
            highest = invert(inverting, chosen, schedule, settings)[-1]
            noise = (highest - chosen.coarse.latents.float()) / schedule.sigma_max
            self.pairs.noise[part] = noise.half()
        some = self.pairs.noise[:64].float()
        log.info("inverted %d clips: mean %.3f, deviation %.3f", len(depth), some.mean(), some.std())

    def uniform(self, count: int) -> Tensor:
        """Uniform numbers (count,) in [0, 1)."""
        return torch.rand(count, generator=self.generator, device=self.sigmas.device)

    def normal(self, *shape: int) -> Tensor:
        """Unit noise."""
        return torch.randn(shape, generator=self.generator, device=self.sigmas.device)

    def levels(self, count: int) -> Tensor:
        """Noise levels (count,): half of them those of sampling, half as in `VideoSettings`."""
        own = self.settings
        free = torch.exp(self.normal(count) * own.sigma_std + own.sigma_mean)
        free = free.clamp(EDM_SCHEDULER["sigma_min"], EDM_SCHEDULER["sigma_max"])
        exact = self.sigmas[(self.uniform(count) * len(self.sigmas)).long()]
        return torch.where(self.uniform(count) < own.exact, exact, free)

    def ids(self, count: int) -> Tensor:
        """Time ids (count, 3), the frame rate drawn anew."""
        own = self.settings
        ids = time_ids(own, count, self.sigmas.device).clone()
        ids[:, 0] += (self.uniform(count) * (own.fps_id_high + 1 - own.fps_id_low)).floor()
        return ids

    def batch(self) -> tuple[Tensor, ...]:
        """States, targets and noise levels of all clips, the fields of `ClipConditions`, and the flags of the injected
        ones: [flat clips | others, with fresh noise | lit clips]."""
        own = self.settings
        pairs = self.pairs.rows((self.uniform(own.loop.batch) * len(self.pairs.depth)).long())
        count = len(pairs.depth)
        sigma, ids = self.levels(count), self.ids(count)
        flat, lit, noise = pairs.coarse.latents.float(), pairs.photo.latents.float(), pairs.noise.float()
        s = sigma.view(-1, 1, 1, 1, 1)
        stray = (
            self.uniform(count)
            * (self.uniform(count) < own.stray_chance)
            * (own.stray * sigma).clamp(max=1.0)
        )
        away = stray.view(-1, 1, 1, 1, 1) * (flat - lit)
        given = [(sigma, side.marked, side.embed, ids, pairs.depth) for side in (pairs.coarse, pairs.photo)]
        rows = [
            (flat + s * noise, velocity_target(flat, noise, s), *given[0]),
            self._plain(),
            (lit + away + s * noise, velocity_target(lit, noise + away / s, s), *given[1]),
        ]
        state, target, level, marked, embed, told, depth = (
            torch.cat([t.float() for t in column]) for column in zip(*rows, strict=True)
        )
        keep = torch.ones(len(state), device=state.device)
        keep[count:-count] = (self.uniform(own.plain) < own.control.keep).float()
        flags = (self.uniform(count) < own.injection).repeat_interleave(own.frames).view(-1, 1, 1)
        whole = depth.expand(-1, -1, 3, -1, -1).contiguous()
        return state, target, level, marked, embed, told, whole, keep, flags

    def _plain(self) -> tuple[Tensor, ...]:
        """Clips as the model was trained before: with fresh noise."""
        own = self.settings
        pairs = self.pairs.rows((self.uniform(own.plain) * len(self.pairs.depth)).long())
        flat = self.uniform(own.plain) < own.coarse

        def of(name: str) -> Tensor:
            lit, coarse = (getattr(side, name).float() for side in (pairs.photo, pairs.coarse))
            return torch.where(flat.view(-1, *[1] * (lit.ndim - 1)), coarse, lit)

        clean, sigma = of("latents"), self.levels(own.plain)
        noise, s = self.normal(*clean.shape), sigma.view(-1, 1, 1, 1, 1)
        shown = (self.uniform(own.plain) >= own.drop).float()
        marked, embed = of("marked") * shown.view(-1, 1, 1, 1), of("embed") * shown[:, None]
        return (
            clean + s * noise,
            velocity_target(clean, noise, s),
            sigma,
            marked,
            embed,
            self.ids(own.plain),
            pairs.depth,
        )


def _inverting(network: Any) -> Any:
    """A copy in float16 that computes the same faster, for inversions on a GPU."""
    half = copy.deepcopy(network).eval()
    fold_time_convolutions(half)
    skip_single_keys(half)
    return half.half()


def velocity_target(clean: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
    """v of clean clips and noise."""
    return (noise - sigma * clean) * torch.rsqrt(sigma**2 + 1)


def train_guided_video(settings: GuidedVideoSettings, run: Run) -> dict[str, float]:
    """Trains the video model further and writes vunet and vcontrolnet .safetensors.

    run.weights must hold both, vae and vision .safetensors. Returns scores of held-out shots.
    """
    world, eye = World(settings.world, run.device, run.checkpoint), Eye(settings, run)
    model = VideoModel.start(settings, run)
    schedule = edm.EDMSchedule.from_config(EDM_SCHEDULER, settings.steps)
    before = evaluate(model, eye, world, schedule, settings, run.out / "before_video.png")
    log.info("guided_video: before %s", before)
    pool = PairPool(world, eye, model, schedule, settings, run)
    gpu = run.device.type == "cuda"
    trained = VideoModel(*map(half_copy, model)) if gpu else model
    trained.vcontrolnet.controlnet_cond_embedding.to(memory_format=torch.channels_last)
    parameters, halves = (
        [parameter for network in networks for parameter in network.parameters()]
        for networks in (model, trained)
    )
    with injecting(trained.vunet) as now:

        def loss(*batch: Tensor) -> Tensor:
            state, target, level, *given, flags = batch
            now["flags"] = flags
            return ((velocity(trained, state, level, ClipConditions(*given)) - target) ** 2).mean()

        gradients = captured(loss, pool.batch, parameters, run.device, halves if gpu else None)
        outcome = optimise(settings.loop, parameters, gradients, run, "guided_video", [pool.generator])
    for name, network in model._asdict().items():
        save_half(network.eval(), run.out / f"{name}.safetensors")
    scores = evaluate(model, eye, world, schedule, settings, run.out / "guided_video.png")
    counted = {"steps": outcome.steps, "samples": outcome.samples, "seconds": outcome.seconds}
    return {**scores, **{f"before_{name}": value for name, value in before.items()}, **counted}
