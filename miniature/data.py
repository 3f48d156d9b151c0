"""Training data: pools of rendered scenes that stay on the device, and the networks' conditions."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence

import torch

from i2v3d.models.layout import feature_extractor
from i2v3d.models.svd import resize_antialiased
from i2v3d.toy.tokenizer import END, MAX_TOKENS, START, tokenizer_files
from i2v3d.toy.world.catalogue import SHAPES, SUBJECT
from i2v3d.toy.world.render import Frames, Renderer
from i2v3d.toy.world.sampling import Scenes, caption_parts, sample
from i2v3d.toy.world.shapes import build_bank
from i2v3d.toy.world.solids import Bank
from miniature.checkpoint import Checkpoint
from miniature.settings import ControlSettings, PromptSettings, WorldSettings

log = logging.getLogger(__name__)


class World:
    """Renders scenes of one size on one device from one bank of objects.

    checkpoint: that of the run, which says how many pictures its pool has if it is continued.
    """

    def __init__(
        self, settings: WorldSettings, device: torch.device, checkpoint: Checkpoint | None = None
    ) -> None:
        self.settings, self.device, self.checkpoint = settings, device, checkpoint
        self.bank: Bank = build_bank(settings.variants, settings.seed)
        self._held_out: dict[int, tuple[Scenes, Frames]] = {}
        self.renderer = Renderer(
            settings.width,
            settings.height,
            samples=settings.samples,
            chunk=settings.chunk,
            compile=device.type == "cuda",
            coarse=settings.coarse,
        )

    def held_out(self, frames: int) -> tuple[Scenes, Frames]:
        """The same held-out scenes on every device, drawn on the CPU; rendered once."""
        if frames in self._held_out:
            return self._held_out[frames]
        generator = torch.Generator().manual_seed(self.settings.seed)
        scenes = sample(self.settings.held_out, frames, self.bank, generator, "held_out").to(self.device)
        self._held_out[frames] = scenes, self.renderer(scenes)
        return self._held_out[frames]

    def pool(
        self, frames: int, stream: int, paces: Sequence[float] = (1.0,)
    ) -> Iterator[tuple[Scenes, Frames]]:
        """Batches of training scenes until `pool` pictures or `pool_seconds` are reached, or as many as the
        run had before it was interrupted.

        stream: separates the random numbers of runs that continue each other. paces: of the batches, in turn, as
        in `sample`.
        """
        bank = self.bank.to(self.device)
        generator = torch.Generator(self.device).manual_seed(1000 * self.settings.seed + 7 * stream + 1)
        batch, made = max(1, self.settings.chunk * 4 // frames), 0
        self.renderer(sample(1, 1, bank, generator, "train"))  # compiled here, outside the time limit
        start = time.monotonic()
        before = self.checkpoint.rendered if self.checkpoint is not None else 0
        while made < (before or self.settings.pool):
            scenes = sample(batch, frames, bank, generator, "train", paces[made // batch % len(paces)])
            yield scenes, self.renderer(scenes)
            made += batch
            if not before and time.monotonic() - start > self.settings.pool_seconds:
                break
        if self.checkpoint is not None:
            self.checkpoint.rendered = made
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        seconds = time.monotonic() - start
        log.info(
            "rendered %d x %d pictures in %.1f s (%.0f/s)", made, frames, seconds, made * frames / seconds
        )


def to_bytes(image: torch.Tensor) -> torch.Tensor:
    """[0, 1] to uint8."""
    return (image * 255).round().byte()


def to_signed(image: torch.Tensor) -> torch.Tensor:
    """uint8, or floats in [0, 1], to [-1, 1]."""
    return image.float() / 127.5 - 1 if image.dtype == torch.uint8 else image * 2 - 1


def clip_pixels(image: torch.Tensor, side: int) -> torch.Tensor:
    """Images (N, 3, H, W) in [-1, 1] for the CLIP vision tower, as SVD shows them to it."""
    small = (resize_antialiased(image.float(), side, side) + 1) / 2
    extractor = feature_extractor(side)
    mean, std = (
        torch.tensor(extractor[name], device=image.device).view(1, 3, 1, 1)
        for name in ("image_mean", "image_std")
    )
    return (small - mean) / std


def disparity(depth: torch.Tensor) -> torch.Tensor:
    """Planar depth in metres (inf: nothing) to disparity 1/z, fp16."""
    return (1 / depth).half()


def control_condition(
    inverse_depth: torch.Tensor, control: ControlSettings, generator: torch.Generator | None
) -> torch.Tensor:
    """Disparity (N, F, 1, H, W) scaled by one range a shot: 1 = nearest point of the shot, 0 = far away.

    With a generator, augmented as pipelines vary: the shot's nearest point may lie outside these frames,
    and a wall may close the background. Without one, exact.
    """
    value = inverse_depth.float()
    nearest = value.amax(dim=(1, 2, 3, 4), keepdim=True).clamp(min=1e-6)
    if generator is None:
        return value / nearest
    count, device = (len(value), 1, 1, 1, 1), value.device

    def draw(low: float, high: float) -> torch.Tensor:
        return low + (high - low) * torch.rand(count, generator=generator, device=device)

    wall = (draw(0, 1) < control.wall) / draw(control.wall_near_m, control.wall_far_m)
    return torch.maximum(value, wall.minimum(nearest)) / (nearest * draw(1.0, control.range))


def token_ids(prompts: list[str]) -> torch.Tensor:
    """Prompts of toy-world words to ids (N, MAX_TOKENS), as the CLIPTokenizer gives them with padding."""
    vocab, _ = tokenizer_files()
    start, end = vocab[START], vocab[END]
    rows = []
    for prompt in prompts:
        words = [vocab[word + "</w>"] for word in prompt.split()][: MAX_TOKENS - 2]
        rows.append([start, *words, *[end] * (MAX_TOKENS - 1 - len(words))])
    return torch.tensor(rows)


def prompts(
    scenes: Scenes, coarse: torch.Tensor, settings: PromptSettings | None, draw: Callable[[], float]
) -> list[str]:
    """One prompt a scene: 'a photo of a ...' or, where `coarse` (N,), 'a coarse render of a ...'.

    settings None: the full caption. draw: uniform numbers in [0, 1).
    """
    texts = []
    shapes = scenes.shape.tolist()
    for (subject, ground, sky), flat, shape in zip(
        caption_parts(scenes), coarse.tolist(), shapes, strict=True
    ):
        lead = "a coarse render of a " if flat else "a photo of a "
        place = f" on {ground} under {sky}"
        if settings is not None:
            if draw() < settings.empty:
                texts.append("")
                continue
            if draw() < settings.no_parts:
                subject = subject.split(" with ")[0]
            if draw() < settings.subject:
                subject = f"{SUBJECT} {SHAPES[shape]}"
            if draw() < settings.no_place:
                place = ""
        texts.append(lead + subject + place)
    return texts
