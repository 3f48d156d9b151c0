"""Stage text: the prompts, embedded alone so that their large encoder never lies beside the video model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from i2v3d.artifacts.prompts import EmbeddedPrompts
from i2v3d.config.stages import TextStage
from i2v3d.models.wan_vace import embed_texts
from i2v3d.stages.context import StageContext


def embed_prompts(cfg: TextStage, inputs: Mapping[str, Path], out: Path, ctx: StageContext) -> None:
    """Writes prompts.safetensors. Reads no other stage. Raises WeightsError if the encoder cannot be loaded."""
    negative, positive = embed_texts(cfg.models, [cfg.text.negative_prompt, cfg.text.prompt], ctx.device)
    EmbeddedPrompts(negative, positive).save(out)
