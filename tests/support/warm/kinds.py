"""What a command needs imported. No import but of `re`: every start of a process reads this."""

from __future__ import annotations

import re

_WORKFLOW = (
    "hydra",
    "hydra.core.override_parser.overrides_parser",
    "omegaconf",
    "pydantic.dataclasses",
    "pydantic.type_adapter",
    "yaml",
    "filelock",
    "safetensors",
    "tqdm",
    "PIL.ImageCms",
    "PIL.ImageFont",
    "PIL.JpegImagePlugin",
    "PIL.PngImagePlugin",
    "numpy",
    "cv2",
    "plyfile",
    "scipy.interpolate",
    "scipy.ndimage",
    "scipy.optimize",
    "scipy.spatial.transform",
    "scipy.stats",
    "matplotlib.backends.backend_agg",
    "matplotlib.figure",
    "av",
    "jinja2",
)
# kind -> the modules that its server has imported
KINDS: dict[str, tuple[str, ...]] = {
    "blender": (
        "bpy",
        "mathutils.bvhtree",
        "bl_pkg.cli.blender_ext",
        "io_scene_gltf2.blender.imp.blender_gltf",
        "io_scene_gltf2.io.imp.gltf2_io_gltf",
        "io_scene_gltf2.blender.exp.export",
        "io_scene_fbx.import_fbx",
        "io_scene_fbx.export_fbx_bin",
        "pydantic.dataclasses",
        "pydantic.type_adapter",
        "numpy",
        "numpy.typing",
        "plyfile",
        "psutil",
        "logging.handlers",
        "PIL.PngImagePlugin",
        "OpenEXR",
    ),
    "snakemake": (
        "snakemake.cli",
        "snakemake.report",
        "snakemake.report.html_reporter",
        "snakemake.executors",
        "smart_open",
        "requests",
        *_WORKFLOW,
    ),
    "stage": (
        "wandb",
        "wandb.sdk.launch",
        "torch",
        "torch._dynamo",
        "torch.profiler._cupti_monitor",
        "transformers",
        "transformers.models.clip.modeling_clip",
        "transformers.models.clip.tokenization_clip",
        "diffusers",
        "diffusers.loaders",
        "diffusers.models.autoencoders",
        "diffusers.models.controlnets",
        "diffusers.models.embeddings",
        "diffusers.models.modeling_utils",
        "diffusers.models.unets.unet_3d_blocks",
        "diffusers.models.unets.unet_2d_condition",
        "peft",
        "peft.tuners.lora",
        "safetensors.torch",
        "torchmetrics.functional.image",
        "OpenEXR",
        "trimesh",
        *_WORKFLOW,
    ),
}
# kind -> modules of the project that its server has imported, for processes in whose folder they are the same files.
# None of them asks where it lies: in a checkout that is another name of the same folder.
PROJECT: dict[str, tuple[str, ...]] = {
    "blender": (
        "i2v3d.blender.inside.adopt",
        "i2v3d.blender.inside.build",
        "i2v3d.blender.inside.export",
        "i2v3d.blender.inside.figure",
        "i2v3d.blender.inside.frames",
        "i2v3d.blender.inside.inspection",
        "i2v3d.blender.inside.viewset",
        "i2v3d.blender.machine",
    ),
    "snakemake": ("i2v3d.stages.registry",),
    "stage": ("i2v3d.stages.registry",),
}
MODULES = {
    "i2v3d.blender.inside.worker": "blender",
    "tests.support.artists_blends": "blender",
    "tests.support.mesh_pictures": "blender",
    "tests.support.pinned_passes": "blender",
    "tests.support.video_on_cards": "stage",
    "i2v3d.commands.thread_costs": "stage",
    "i2v3d.workflow.interrupts": "snakemake",
    "i2v3d.workflow.warm.server": "stage",
    "miniature": "stage",
    "snakemake": "snakemake",
}
RUNS_STAGES = {"--node", "--variant", "time-render"}  # words of `i2v3d`, which starts snakemake without one
# What execnet starts a worker of pytest-xdist with; what it runs comes through its input.
_WORKER = re.compile(r"\bexec\(eval\(sys\.stdin\.readline\(\)\)\)")
_IMPORTED = {"bpy": "blender", "torch": "stage"}  # by a script of `-c` -> which server has it
_IMPORTS = re.compile(rf"^import\b[^;\n]*\b({'|'.join(_IMPORTED)})\b", flags=re.MULTILINE)


def is_worker(arguments: list[str]) -> bool:
    """Whether `python ARGUMENTS` is a process of pytest-xdist that runs tests."""
    return len(arguments) == 2 and arguments[0] == "-c" and bool(_WORKER.search(arguments[1]))


def kind_of(arguments: list[str]) -> str | None:
    """Which server serves `python ARGUMENTS`; None: none does."""
    if len(arguments) < 2:
        return None
    if is_worker(arguments):
        return "stage"
    if arguments[0] == "-c":
        found = _IMPORTS.search(arguments[1])
        return _IMPORTED[found[1]] if found else None
    if arguments[0] != "-m":
        return None
    if arguments[1] == "i2v3d":
        return "stage" if RUNS_STAGES.intersection(arguments) else "snakemake"
    return MODULES.get(arguments[1])
