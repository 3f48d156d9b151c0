"""What the miniature's image networks reach alone on a held-out clip: the autoencoder, and depth control."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path

import torch
from numpy.typing import NDArray
from torch import Tensor

from i2v3d import images
from i2v3d.diffusion.ddim import DDIM
from i2v3d.diffusion.denoiser import BothBranches
from i2v3d.diffusion.depth import disparity_conditioning
from i2v3d.diffusion.guidance import Guided
from i2v3d.diffusion.sdedit import sample_from
from i2v3d.metrics.control import mask_iou
from i2v3d.metrics.fidelity import psnr, psnr_inside
from i2v3d.models import sdxl
from i2v3d.models.weights import resolve
from i2v3d.randomness import frame_noise
from i2v3d.stages.context import StageContext
from i2v3d.toy.estimator import ToyEstimator
from i2v3d.toy.scene import Truth, load_clip, truth
from miniature.probes import ImageProbe

log = logging.getLogger(__name__)


def probe_image(cfg: ImageProbe, inputs: Mapping[str, Path], out: Path, ctx: StageContext) -> None:
    """Writes metrics.json and sheet.png for the first and the last frame of a clip; reads no other stage.

    vae_psnr, vae_psnr_fg: the true photos, encoded and decoded. depth_mask_iou: of pictures drawn from noise with
    the caption and the true depth, the estimated object against the true one; truth_mask_iou: the same estimator on
    the true photos, which is what can be reached at most. Without LoRA, inversion and injection.
    """
    clip = load_clip(cfg.scene)
    ends = clip._replace(
        **{name: getattr(clip, name)[:, [0, -1]] for name in ("eye", "target", "place", "heading", "bend")}
    )
    known = truth(ends, cfg.scene.width, cfg.scene.height, cfg.scene.samples)
    models = sdxl.load_image_models(cfg.models, ctx.device, ("unet", "controlnet", "vae", "text"))
    sdxl.check_size(models, cfg.scene.height, cfg.scene.width)
    again = sdxl.decode_latents(models, sdxl.encode_images(models, known.photo, ctx.max_batch), ctx.max_batch)
    drawn = draw(cfg, models, known, ctx)
    estimator = ToyEstimator.load(resolve(cfg.estimators.toy), ctx.device)
    photo, inside = _floats(known.photo), torch.from_numpy(known.mask)

    def overlap(pictures: Tensor) -> float:
        found = estimator.mask(pictures.to(ctx.device))[:, 0].cpu() > 0.5
        return float(mask_iou(found, inside).mean())

    scores = {
        "vae_psnr": float(psnr(_floats(again), photo).mean()),
        "vae_psnr_fg": float(psnr_inside(_floats(again), photo, inside).nanmean()),
        "depth_mask_iou": overlap(_floats(drawn)),
        "truth_mask_iou": overlap(photo),
        "depth_psnr": float(psnr(_floats(drawn), photo).mean()),
    }
    (out / "metrics.json").write_text(json.dumps(scores, indent=1, allow_nan=False) + "\n")
    images.write_rgb(out / "sheet.png", images.grid([list(known.photo), list(again), list(drawn)]))
    ctx.log_metrics(scores)
    log.info("clip %d: %s", cfg.scene.index, ", ".join(f"{k} {v:.3f}" for k, v in scores.items()))


@torch.no_grad()
def draw(cfg: ImageProbe, models: sdxl.ImageModels, known: Truth, ctx: StageContext) -> NDArray:
    """Pictures (N, H, W, 3) uint8 of the caption, with the depth of the true frames and nothing else of them."""
    settings, count = cfg.keyframes, len(known.photo)
    size = cfg.scene.height, cfg.scene.width
    depth_m = torch.from_numpy(known.depth_m)
    there = depth_m[torch.isfinite(depth_m)]
    depth = disparity_conditioning(depth_m, "shot", (float(there.min()), float(there.max())))
    prompts = sdxl.encode_prompts(models, [settings.negative_prompt, settings.prompt])
    control = sdxl.embed_depth(models, depth, ctx.max_batch)
    condition = sdxl.ImageCondition.join(
        [
            sdxl.frame_condition(models, prompts.repeat(row, count), size, control, settings.control_scale)
            for row in (0, 1)
        ]
    )
    latents = sdxl.encode_images(models, known.photo[:1], ctx.max_batch)
    ddim = DDIM.from_config(models.scheduler, settings.steps)
    start = frame_noise(list(range(1, count + 1)), tuple(latents.shape[1:]), settings.seed, "probe image")
    network = sdxl.ImageDenoiser.of(models)
    guided = Guided(BothBranches(network, condition, ctx.max_batch), settings.guidance)
    with ctx.bar("draw from depth") as bar:
        clean = sample_from(ddim, start.to(latents.device), guided.predict, settings.steps, bar)
    return sdxl.decode_latents(models, clean, ctx.max_batch)


def _floats(pictures: NDArray) -> Tensor:
    """(N, H, W, 3) uint8 to (N, 3, H, W) in [0, 1]."""
    return torch.from_numpy(pictures.copy()).permute(0, 3, 1, 2).float() / 255
