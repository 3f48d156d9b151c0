"""What lies beside the networks of a family in the published layout of SDXL and SVD: schedulers, indices, tokenizers.

<family>/image/             a StableDiffusionXLPipeline folder
<family>/image_controlnet/  ControlNetModel (depth)
<family>/video/             a StableVideoDiffusionPipeline folder
<family>/video_controlnet/  TemporalControlNet (depth)
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

DDIM_SCHEDULER: dict[str, Any] = {
    "_class_name": "DDIMScheduler",
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
    "prediction_type": "epsilon",
    "timestep_spacing": "leading",
    "thresholding": False,
    "rescale_betas_zero_snr": False,
}

EDM_SCHEDULER: dict[str, Any] = {
    "_class_name": "EulerDiscreteScheduler",
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "v_prediction",
    "interpolation_type": "linear",
    "use_karras_sigmas": True,
    "sigma_min": 0.002,
    "sigma_max": 700.0,
    "timestep_spacing": "leading",
    "timestep_type": "continuous",
    "steps_offset": 1,
}

_IMAGE_INDEX: dict[str, Any] = {
    "_class_name": "StableDiffusionXLPipeline",
    "force_zeros_for_empty_prompt": False,
    "add_watermarker": None,
    "feature_extractor": [None, None],
    "image_encoder": [None, None],
    "scheduler": ["diffusers", "DDIMScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "tokenizer_2": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}

_VIDEO_INDEX: dict[str, Any] = {
    "_class_name": "StableVideoDiffusionPipeline",
    "feature_extractor": ["transformers", "CLIPImageProcessor"],
    "image_encoder": ["transformers", "CLIPVisionModelWithProjection"],
    "scheduler": ["diffusers", "EulerDiscreteScheduler"],
    "unet": ["diffusers", "UNetSpatioTemporalConditionModel"],
    "vae": ["diffusers", "AutoencoderKLTemporalDecoder"],
}


def feature_extractor(vision_side: int) -> dict[str, Any]:
    """The preprocessor of an image encoder that sees pictures of `vision_side` pixels a side."""
    return {
        "image_processor_type": "CLIPImageProcessor",
        "crop_size": {"height": vision_side, "width": vision_side},
        "size": {"shortest_edge": vision_side},
        "do_center_crop": True,
        "do_convert_rgb": True,
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_std": [0.26862954, 0.26130258, 0.27577711],
        "resample": 3,
        "rescale_factor": 1 / 255,
    }


def write_configs(path: Path, vision_side: int, write_tokenizer: Callable[[Path], None]) -> None:
    """Writes what a family has besides networks.

    vision_side: pixels a side of the pictures that the image encoder sees. write_tokenizer: writes the files of
    both text encoders' tokenizers into a folder.
    """
    for name in ("tokenizer", "tokenizer_2"):
        write_tokenizer(path / "image" / name)
    video = path / "video"
    write_json(path / "image" / "model_index.json", _IMAGE_INDEX)
    write_json(path / "image" / "scheduler" / "scheduler_config.json", DDIM_SCHEDULER)
    write_json(video / "model_index.json", _VIDEO_INDEX)
    write_json(video / "scheduler" / "scheduler_config.json", EDM_SCHEDULER)
    write_json(video / "feature_extractor" / "preprocessor_config.json", feature_extractor(vision_side))


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """A JSON file as the published ones are, in a folder that is made if it is not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
