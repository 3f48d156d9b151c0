"""The estimators that judge generated toy pictures: depth, mask and identity, trained on spoilt renders.

Every scene is seen twice, by two cameras and with the object turned, so that the embedding learns what stays
the same. Pictures are spoilt as sampling spoils them (soft, noisy, blotched, tinted, decoded from inexact
latents), because a judge that only knows perfect pictures fails on those it has to judge.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from i2v3d.metrics import identity
from i2v3d.metrics.control import mask_iou
from i2v3d.models.object_crops import mask_boxes, object_crops
from i2v3d.toy.architectures import VAE_FACTOR
from i2v3d.toy.estimator import EstimatorNetwork, estimator_network
from i2v3d.toy.world.render import Frames, Renderer
from i2v3d.toy.world.sampling import Scenes, sample
from miniature.data import World, to_bytes, to_signed
from miniature.gradients import captured
from miniature.image import encode_pool, frozen_vae
from miniature.loop import Run, optimise, save_half
from miniature.scores import save_grid
from miniature.settings import EstimatorSettings

SURROUNDINGS = (
    "ground", "sky", "ground_albedo", "ground_map", "sun_direction", "sun", "zenith", "horizon", "cloud",
    "cloud_shift",
)  # fmt: skip
PARTS_AT_ONCE = 64  # pictures, where no gradients are needed


class Views(NamedTuple):
    """Two pictures of each of S scenes, scene by scene. pictures (S, 2, 3, H, W) and masks (S, 2, 1, H, W)
    uint8; log_depth (S, 2, 1, H, W) float16; latents (S, 2, C, h, w) float16 of the pictures."""

    pictures: Tensor
    masks: Tensor
    log_depth: Tensor
    latents: Tensor


class Truth(NamedTuple):
    """N pictures as a network sees them, the two of a scene N / 2 apart. pictures (N, 3, H, W) in [-1, 1];
    masks (N, 1, H, W) in [0, 1]; log_depth (N, 1, H, W), logarithm of metres."""

    pictures: Tensor
    masks: Tensor
    log_depth: Tensor


# ---------------------------------------------------------------- data
def second_view(
    scenes: Scenes, world: World, settings: EstimatorSettings, generator: torch.Generator
) -> Scenes:
    """The scenes, of one frame each, with the objects turned, from other cameras, some in other places."""
    other = sample(scenes.size, 1, world.bank.to(generator.device), generator, "train").to(scenes.eye.device)

    def draw() -> Tensor:
        drawn = torch.rand(scenes.size, 1, generator=generator, device=generator.device)
        return drawn.to(scenes.eye.device)

    # What the camera sees of the object differs by the turn alone, however far the camera has moved.
    turn = math.radians(settings.turn_deg) * (2 * draw() - 1)
    moved = draw()[:, 0] < settings.elsewhere
    places: dict[str, Any] = {}
    for name in SURROUNDINGS:
        here, there = getattr(scenes, name), getattr(other, name)
        places[name] = torch.where(moved.view(-1, *[1] * (here.dim() - 1)), there, here)
    return scenes._replace(
        eye=scenes.target + other.eye - other.target,
        half_view=other.half_view,
        heading=scenes.heading + other.azimuth - scenes.azimuth + turn,
        **places,
    )


def render_views(
    scenes: Scenes, first: Frames, world: World, settings: EstimatorSettings, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Pictures, masks and log depths of `Views` of scenes whose first pictures are rendered already."""
    renderer: Renderer = world.renderer
    second = renderer(second_view(scenes, world, settings, generator))
    photo, coarse, mask, depth = (torch.cat(pair, dim=1) for pair in zip(first, second, strict=True))
    flat = torch.rand(scenes.size, 2, 1, 1, 1, generator=generator, device=generator.device)
    pictures = torch.where(flat.to(photo.device) < settings.coarse, coarse, photo)
    return to_bytes(pictures), to_bytes(mask), depth.clamp(max=settings.far_m).log().half()


def rendered_pool(world: World, vae: Any, settings: EstimatorSettings, run: Run) -> Views:
    """Training scenes until the world's limits are reached."""
    generator = torch.Generator(run.device).manual_seed(run.stream)
    parts = [
        render_views(scenes, frames, world, settings, generator)
        for scenes, frames in world.pool(1, run.stream)
    ]
    pictures, masks, depth = (torch.cat(list(column)) for column in zip(*parts, strict=True))
    return Views(
        pictures, masks, depth, encode_pool(vae, pictures.flatten(0, 1)).unflatten(0, pictures.shape[:2])
    )


def blur(pictures: Tensor, deviation: Tensor) -> Tensor:
    """Pictures (N, C, H, W) convolved with Gaussians, deviation (N,) in pixels, above 0; borders repeat."""
    count, channels, height, width = pictures.shape
    reach = 5
    taps = torch.arange(-reach, reach + 1, device=pictures.device)
    kernel = torch.exp(-0.5 * (taps / deviation[:, None]) ** 2)
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(channels, dim=0)
    flat = pictures.reshape(1, count * channels, height, width)
    flat = functional.pad(flat, (reach,) * 4, mode="replicate")
    flat = functional.conv2d(flat, kernel[:, None, None], groups=count * channels)
    flat = functional.conv2d(flat, kernel[:, None, :, None], groups=count * channels)
    return flat.view(count, channels, height, width)


class Spoiler:
    """Spoils pictures as sampling does, with random numbers of its generator."""

    def __init__(self, vae: Any, settings: EstimatorSettings, generator: torch.Generator) -> None:
        self.vae, self.settings, self.generator = vae, settings, generator

    def draw(self, *shape: int) -> Tensor:
        """Uniform numbers in [0, 1)."""
        return torch.rand(shape, generator=self.generator, device=self.generator.device)

    @torch.no_grad()
    def __call__(self, pictures: Tensor, latents: Tensor) -> Tensor:
        """Pictures (N, 3, H, W) uint8 with latents (N, C, h, w): spoilt, float in [-1, 1]."""
        settings, (count, _, height, width) = self.settings, pictures.shape
        decoded = round(settings.decoded * count)
        spoilt = to_signed(pictures)
        spoilt = torch.cat([self._decode(latents[:decoded]), spoilt[decoded:]])
        gain = 1 + settings.tint * (2 * self.draw(count, 3, 1, 1) - 1)
        spoilt = (spoilt + 1) * gain - 1
        spoilt = blur(spoilt, 0.2 + (settings.blur_px - 0.2) * self.draw(count))
        grain = self._noise(settings.noise, count, height, width)
        blotches = self._noise(settings.blotches, count, height // VAE_FACTOR, width // VAE_FACTOR)
        blotches = functional.interpolate(blotches, size=(height, width), mode="bilinear")
        return (spoilt + grain + blotches).clamp(-1, 1)

    def _noise(self, most: float, count: int, height: int, width: int) -> Tensor:
        shape, device = (count, 3, height, width), self.generator.device
        level = most * self.draw(count, 1, 1, 1)
        return level * torch.randn(shape, generator=self.generator, device=device)

    def _decode(self, latents: Tensor) -> Tensor:
        device = self.generator.device
        noise = torch.randn(latents.shape, generator=self.generator, device=device)
        noisy = latents.float() + self.settings.latent_noise * self.draw(len(latents), 1, 1, 1) * noise
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda"):
            parts = [self.vae.decoder(part) for part in noisy.split(PARTS_AT_ONCE)]
        return torch.cat(parts).float()


def draw_batch(pool: Views, spoiler: Spoiler, count: int) -> Truth:
    """Two pictures of each of `count` scenes, most of them spoilt, half of the scenes mirrored."""
    device, settings = pool.pictures.device, spoiler.settings
    index = torch.randint(len(pool.pictures), (count,), generator=spoiler.generator, device=device)
    pictures, masks, log_depth, latents = (tensor[index].transpose(0, 1).flatten(0, 1) for tensor in pool)
    # The first of a shuffled order are decoded, the last stay clean: whole groups, so shapes never change.
    order = torch.randperm(2 * count, generator=spoiler.generator, device=device)
    worse = order[round(settings.clean * 2 * count) :]
    seen = to_signed(pictures)
    seen[worse] = spoiler(pictures[worse], latents[worse])
    mirror = (spoiler.draw(count) < 0.5).repeat(2).view(-1, 1, 1, 1)
    parts = (seen, masks.float() / 255, log_depth.float())
    return Truth(*(torch.where(mirror, part.flip(-1), part) for part in parts))


# ---------------------------------------------------------------- losses
def depth_loss(log_depth: Tensor, truth: Truth, settings: EstimatorSettings) -> Tensor:
    """Absolute errors of the log depth, of it up to a factor on the object, and of neighbours' differences."""
    error, mask = log_depth - truth.log_depth, truth.masks
    weight = 1 + settings.foreground * mask
    absolute = (error.abs() * weight).sum() / weight.sum()
    area = mask.sum((2, 3), keepdim=True).clamp(min=1.0)
    mean = (error * mask).sum((2, 3), keepdim=True) / area
    shape = (((error - mean).abs() * mask).sum((2, 3), keepdim=True) / area).mean()
    edges = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
    return absolute + settings.shape * shape + settings.edges * edges


def mask_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """Cross-entropy and one minus Dice's coefficient, means over pictures.

    Source: Milletari et al. 2016, V-Net (the Dice loss).
    """
    entropy = functional.binary_cross_entropy_with_logits(logits, masks)
    probability = logits.sigmoid()
    common = (probability * masks).sum((1, 2, 3))
    total = (probability + masks).sum((1, 2, 3))
    return entropy + (1 - (2 * common + 1) / (total + 1)).mean()


def identity_loss(embedding: Tensor, temperature: float) -> Tensor:
    """InfoNCE in both directions of unit vectors (N, width), the two of an object N / 2 apart.

    Source: Radford et al. 2021, CLIP, with a fixed temperature.
    """
    one, two = embedding.chunk(2)
    logits = one @ two.T / temperature
    truth = torch.arange(len(logits), device=logits.device)
    return (functional.cross_entropy(logits, truth) + functional.cross_entropy(logits.T, truth)) / 2


def estimator_loss(network: EstimatorNetwork, truth: Truth, settings: EstimatorSettings) -> Tensor:
    """The weighted sum of the three losses.

    Half of the objects are cut out by their true masks, half by estimated ones, as they are in use.
    """
    estimate = network(truth.pictures)
    turn = torch.arange(len(truth.masks), device=truth.masks.device) % 2 == 0
    masks = torch.where(turn.view(-1, 1, 1, 1), estimate.mask.detach().sigmoid(), truth.masks)
    crops = object_crops(truth.pictures, masks, mask_boxes(masks), network.config.crop)
    return (
        depth_loss(estimate.log_depth, truth, settings)
        + settings.mask * mask_loss(estimate.mask, truth.masks)
        + settings.identity * identity_loss(network.embed(crops), settings.temperature)
    )


# ---------------------------------------------------------------- scores
class Estimated(NamedTuple):
    """What a network says of N pictures: log_depth and mask (N, 1, H, W), mask in [0, 1]; embedding."""

    log_depth: Tensor
    mask: Tensor
    embedding: Tensor


@torch.no_grad()
def estimate(network: EstimatorNetwork, pictures: Tensor) -> Estimated:
    """Everything about pictures (N, 3, H, W) in [-1, 1], objects cut out by the estimated masks."""
    columns = []
    for part in pictures.split(PARTS_AT_ONCE):
        log_depth, logits = network(part)
        mask = logits.sigmoid()
        crops = object_crops(part, mask, mask_boxes(mask), network.config.crop)
        columns.append((log_depth, mask, network.embed(crops)))
    return Estimated(*(torch.cat(column) for column in zip(*columns, strict=True)))


def top1(embedding: Tensor, gallery: int) -> float:
    """How often the second picture of an object is nearest to its first one among `gallery` objects."""
    one, two = (half.cpu().split(gallery) for half in embedding.chunk(2))
    return float(torch.cat([identity.top1(*pair) for pair in zip(two, one, strict=True)]).float().mean())


def measure(estimated: Estimated, truth: Truth, gallery: int) -> dict[str, float]:
    """Relative depth error on the object, that which no factor explains, mask IoU, and top-1 identity."""
    inside = (truth.masks > 0.5).float()
    area = inside.sum((1, 2, 3)).clamp(min=1.0)
    error = (estimated.log_depth - truth.log_depth) * inside
    relative = ((estimated.log_depth - truth.log_depth).exp() - 1).abs() * inside
    variance = (error**2).sum((1, 2, 3)) / area - (error.sum((1, 2, 3)) / area) ** 2
    return {
        "depth_abs_rel": float((relative.sum((1, 2, 3)) / area).mean()),
        "depth_si_log": float(variance.clamp(min=0.0).sqrt().mean()),
        "mask_iou": float(mask_iou(estimated.mask[:, 0] > 0.5, truth.masks[:, 0] > 0.5).mean()),
        "top1": top1(estimated.embedding, gallery),
    }


def evaluate(network: EstimatorNetwork, vae: Any, world: World, settings: EstimatorSettings, run: Run) -> Any:
    """Held-out scores on renders as they are and, `spoilt_*`, on the same ones spoilt; writes a picture."""
    generator = torch.Generator(run.device).manual_seed(settings.world.seed)
    scenes, frames = world.held_out(1)
    pictures, masks, log_depth = render_views(scenes, frames, world, settings, generator)
    views = Views(
        pictures, masks, log_depth, encode_pool(vae, pictures.flatten(0, 1)).unflatten(0, pictures.shape[:2])
    )
    pictures, masks, log_depth, latents = (tensor.transpose(0, 1).flatten(0, 1) for tensor in views)
    worse = torch.randperm(len(pictures), generator=generator, device=run.device)
    spoilt = to_signed(pictures)
    spoilt[worse] = Spoiler(vae, settings, generator)(pictures[worse], latents[worse])
    scores: dict[str, float] = {}
    for lead, seen in (("", to_signed(pictures)), ("spoilt_", spoilt)):
        truth = Truth(seen, masks.float() / 255, log_depth.float())
        estimated = estimate(network, seen)
        found = measure(estimated, truth, settings.gallery)
        scores |= {lead + name: value for name, value in found.items()}
    columns = min(8, len(truth.pictures))
    save_grid(_picture(truth, estimated, columns), columns, run.out / "estimator.png")
    return scores


def _picture(truth: Truth, estimated: Estimated, columns: int) -> Tensor:
    """Rows of some: spoilt pictures, true and estimated masks, true and estimated depths, near is bright."""

    def grey(values: Tensor) -> Tensor:
        return (values * 2 - 1).expand(-1, 3, -1, -1)[:columns]

    def near(log_depth: Tensor) -> Tensor:
        return grey(2 * (-log_depth).exp().clamp(max=0.5))

    depths = [near(truth.log_depth), near(estimated.log_depth)]
    return torch.cat([truth.pictures[:columns], grey(truth.masks), grey(estimated.mask), *depths])


def train_estimator(settings: EstimatorSettings, run: Run) -> dict[str, float]:
    """Trains the estimators and writes estimator.safetensors; returns the held-out scores.

    run.weights must hold vae.safetensors.
    """
    vae = frozen_vae(run)
    network = estimator_network().to(run.device, memory_format=torch.channels_last)
    world = World(settings.world, run.device, run.checkpoint)
    pool = rendered_pool(world, vae, settings, run)
    spoiler = Spoiler(vae, settings, torch.Generator(run.device).manual_seed(run.stream + 1))

    def loss(*batch: Tensor) -> Tensor:
        return estimator_loss(network, Truth(*batch), settings)

    def draw() -> Truth:
        return draw_batch(pool, spoiler, settings.loop.batch)

    parameters = list(network.parameters())
    gradients = captured(loss, draw, parameters, run.device)
    outcome = optimise(settings.loop, parameters, gradients, run, "estimator", [spoiler.generator])
    save_half(network, run.out / "estimator.safetensors")
    scores: dict[str, float] = evaluate(network.eval(), vae, world, settings, run)
    return {**scores, "steps": outcome.steps, "samples": outcome.samples, "seconds": outcome.seconds}
