"""Sweeps that the checkout of the finished run has beside the shipped ones, each for one test."""

from __future__ import annotations

AFTER = {"assemble": 1, "evaluate": 1}
# variant of the sweep `changed` -> (the word that it changes, the stage jobs that this re-runs)
CHANGED: dict[str, tuple[str, dict[str, int]]] = {
    "guidance": ("interpolate.guidance=2.5", {"interpolate": 2, **AFTER}),
    "compression": ("assemble.crf=30", AFTER),
    "scores": ("evaluate.far_m=20", {"evaluate": 1}),
    "keyframes": ("keyframes.guidance=5", {"keyframes": 1, "interpolate": 2, **AFTER}),
    "training": ("lora.learning_rate=2e-4", {"lora": 1, "keyframes": 1, "interpolate": 2, **AFTER}),
    "inversion": (
        "keyframes.inversion.network=customised",
        {"keyframe_inversion": 1, "keyframes": 1, "interpolate": 2, **AFTER},
    ),
}
SWEEPS = {
    "changed": "\n".join(f"{name}: [{word}]" for name, (word, _) in CHANGED.items()),
    # One variant that can be made quickly and one that cannot be made at all, which its scene's job finds out.
    "half": "coarse: [assemble.frames=render]\n"
    "hopeless: ['scene.camera.moves=[]', 'scene.camera.keys=[{frame: 1, position_m: [0, 0, 1], look_at_m: [0, -5, 1], "
    "rotation_deg: null, fov_deg: null, interpolation: LINEAR}]']",
}
