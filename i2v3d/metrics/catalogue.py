"""Every score by name: what it means, its unit, which direction is better, and how frames become one number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Score:
    """label: for tables. meaning: one plain sentence. group: what it judges. better: which direction, or as the
    true video. over: how the frames' values become the video's (later: the mean without frame 1, the photo, which
    every method is given and a copy of which would lift the mean by decibels; whole: it has one value only)."""

    label: str
    unit: str
    better: Literal["higher", "lower", "truth"]
    group: Literal["truth", "control", "time", "identity"]
    over: Literal["mean", "later", "max", "whole"]
    meaning: str


SCORES: dict[str, Score] = {
    "psnr": Score(
        "PSNR", "dB", "higher", "truth", "later",
        "how close the pixels are to the true picture's; frame 1, which is given, aside",
    ),
    "psnr_fg": Score("PSNR, object", "dB", "higher", "truth", "later", "the same on the object alone"),
    "psnr_shown": Score(
        "PSNR, in the photo", "dB", "higher", "truth", "later",
        "the same where the surface can be followed back to the photo, in sight all the way",
    ),
    "psnr_new": Score(
        "PSNR, come into view", "dB", "higher", "truth", "later",
        "the same where it cannot: what the photo does not show, or what was hidden meanwhile",
    ),
    "ssim": Score(
        "SSIM", "", "higher", "truth", "later",
        "how alike the local structure is to the true picture's, frame 1 aside; 1: equal",
    ),
    "sharpness": Score(
        "sharpness", "x", "truth", "truth", "later",
        "fine detail as a multiple of the true picture's, which blur cannot raise; 1: as sharp",
    ),
    "sharpness_fg": Score("sharpness, object", "x", "truth", "truth", "later", "the same on the object alone"),
    "ms_ssim": Score("MS-SSIM", "", "higher", "truth", "later", "SSIM over five scales; 1: equal"),
    "lpips": Score(
        "LPIPS", "", "lower", "truth", "later", "how different the true picture looks to a network; 0: equal"
    ),
    "depth_si_rmse": Score(
        "depth error", "log", "lower", "control", "mean",
        "scale-invariant error of the estimated depth against the rendered depth",
    ),
    "depth_si_rmse_fg": Score(
        "depth error, object", "log", "lower", "control", "mean", "the same on the object alone"
    ),
    "mask_iou": Score(
        "mask IoU", "", "higher", "control", "mean",
        "overlap of the object found in the picture with the object in the render; 1: the same pixels",
    ),
    "keyframe_psnr": Score(
        "PSNR at keyframes", "dB", "higher", "control", "whole",
        "how close the video's frames are to the keyframes that it should pass through; 100: equal",
    ),
    "warping_error": Score(
        "warping error", "", "lower", "control", "mean",
        "squared difference of neighbouring frames along the exact motion of the render",
    ),
    "camera_rotation_deg": Score(
        "camera rotation error", "degrees", "lower", "control", "mean",
        "angle between the camera that tracked background points tell and the prescribed one",
    ),
    "camera_position_m": Score(
        "camera position error", "m", "lower", "control", "mean", "distance between these two cameras"
    ),
    "frame_step": Score(
        "frame step", "", "truth", "time", "mean",
        "mean difference of neighbouring frames, motion included: best as large as the truth's",
    ),
    "flicker": Score(
        "flicker", "", "lower", "time", "mean",
        "change of brightness from frame to frame that the motion does not explain",
    ),
    "colour_drift": Score(
        "colour drift", "Delta E", "lower", "time", "max",
        "how far the mean colour wanders off since frame 1, beyond what the render's does",
    ),
    "temporal_flickering": Score(
        "temporal flickering", "", "higher", "time", "whole",
        "1 minus the mean frame step (VBench's name and definition); a still scores 1",
    ),
    "seam_jump": Score(
        "seam jump", "x", "lower", "time", "whole",
        "frame step where two segments meet, as a multiple of the median step",
    ),
    "seam_jump_warped": Score(
        "seam jump, warped", "x", "lower", "time", "whole",
        "the same of the difference that remains along the exact motion",
    ),
    "identity": Score(
        "identity", "", "higher", "identity", "mean",
        "similarity of the object to the photo's, by the toy world's estimator; 1: the same",
    ),
    "clip_i": Score(
        "CLIP-I", "", "higher", "identity", "mean", "similarity of the object to the photo's, by CLIP"
    ),
    "dino": Score("DINO", "", "higher", "identity", "mean", "similarity of the object to the photo's, by DINO"),
    "subject_consistency": Score(
        "subject consistency", "", "higher", "identity", "whole",
        "similarity of the object to itself over time (VBench's name and definition)",
    ),
    "i2v_subject": Score(
        "I2V subject", "", "higher", "identity", "whole",
        "similarity of the object to the photo's and to itself over time (VBench-I2V's name and weights)",
    ),
}  # fmt: skip
