"""The command line: `i2v3d HYDRA_WORDS -- SNAKEMAKE_WORDS`, and a command a stage for the rules."""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from i2v3d import __version__
from i2v3d.errors import I2V3DError, MachineError
from i2v3d.stages.registry import JOBS

log = logging.getLogger("i2v3d")
RESULTS, NEW, PREVIEW = "results", "new", "preview"
TOOLS = {  # name -> module:function, what it does
    "cameras": (
        "i2v3d.commands.interchange:convert_cameras",
        "cameras of a render to or from other programs' files",
    ),
    "export": ("i2v3d.commands.interchange:export_scene", "a finished scene as .glb or .blend"),
    "mesh": ("i2v3d.commands.interchange:list_mesh", "what a mesh file holds: actions, shape keys, size"),
    "figure": ("i2v3d.commands.interchange:make_figure", "the project's own rigged figure as .glb or .fbx"),
    "strips": ("i2v3d.figures.strips:main", "one picture of a run's previews, a row of frames a variant"),
    "render-benchmark": ("i2v3d.commands.render_benchmark:main", "time and memory of the coarse renders"),
    "stage-benchmark": (
        "i2v3d.commands.stage_benchmark:main",
        "time and GPU memory of the stages with networks at full size, with random weights",
    ),
}
# Read by libraries when they are imported: no bars of single weight files, and no network even by accident.
PROCESS_ENVIRONMENT = {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_OFFLINE": "1"}

DESCRIPTION = """\
One image in, a video with exact 3D control out.

usage: i2v3d [-m] [HYDRA_WORD ...] [-- SNAKEMAKE_WORD ...]
       i2v3d new NAME --image photo.jpg [--mask mask.png] [--prompt ...] [--size WxH]
       i2v3d preview [HYDRA_WORD ...] [-- SNAKEMAKE_WORD ...]
       i2v3d COMMAND --help

`new` makes a scene of a photo of your own, `preview` its coarse animation before any diffusion. Without a command,
runs the whole workflow with a configuration of Hydra words, and hands everything after -- to snakemake:
  i2v3d                                        the default experiment, on all cores
  i2v3d scene=coffee keyframes.guidance=5      other values
  i2v3d -m keyframes.guidance=5,7.5            one variant a value; they share what is equal
  i2v3d scene=coffee -- -n                     only say what would run (or --dag, --report, --unlock, ...)
  i2v3d preview scene=coffee                   the coarse animation, within a minute
This equals: snakemake --cores all --config overrides="scene=coffee keyframes.guidance=5"

Commands, one a stage, which the workflow calls with frozen configurations (i2v3d STAGE --help):
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code: 0 done, 2 an error that the user can mend."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words and words[0] in ("-h", "--help"):
        listing = "".join(f"  {s.name:<24} {s.help}\n" for s in JOBS.values())
        tools = "".join(f"  {name:<24} {what}\n" for name, (_, what) in TOOLS.items())
        listing += f"  {RESULTS:<24} links of a finished variant\n\nTools (i2v3d TOOL --help):\n{tools}"
        sys.stdout.write(DESCRIPTION + listing)
        return 0
    if words and words[0] == "--version":
        sys.stdout.write(f"i2v3d {__version__}\n")
        return 0
    try:
        if words and words[0] == NEW:
            return write_new_scene(words[1:])
        if words and words[0] == PREVIEW:
            return preview(words[1:])
        if words and words[0] in JOBS:
            return run_stage(words[0], words[1:])
        if words and words[0] == RESULTS:
            return link_results(words[1:])
        if words and words[0] in TOOLS:
            set_up_logging(None)
            module, function = TOOLS[words[0]][0].split(":")
            status: int = getattr(importlib.import_module(module), function)(words[1:])
            return status
        return launch(words)
    except I2V3DError as error:
        log.debug("traceback", exc_info=True)
        sys.stderr.write(f"i2v3d: error: {error}\n")
        return 2


def launch(words: Sequence[str], target: Sequence[str] = ()) -> int:
    """Runs snakemake with Hydra words as configuration; everything after '--' goes to it as it is.

    target: what to make instead of all results.
    """
    cut = words.index("--") if "--" in words else len(words)
    hydra, snakemake = list(words[:cut]), list(words[cut + 1 :])
    multirun = "-m" in hydra
    hydra = [word for word in hydra if word != "-m"]
    for word in hydra:
        if word.startswith("-"):
            raise MachineError(f"{word} is no option of i2v3d; options of snakemake come after --")
    settings = [f"overrides={overrides_value(hydra)}"] if hydra else []
    settings += ["multirun=true"] if multirun else []
    command = [sys.executable, "-m", "snakemake"]
    if not any(
        word.split("=")[0] in ("-c", "--cores", "--profile", "--executor", "-e") for word in snakemake
    ):
        command += ["--cores", "all"]
    command += target
    return subprocess.run([*command, *snakemake, *(["--config", *settings] if settings else [])]).returncode


def write_new_scene(words: Sequence[str]) -> int:
    """`i2v3d new`: a scene for a photo of one's own."""
    parser = argparse.ArgumentParser(
        prog=f"i2v3d {NEW}",
        description="Makes a scene of a photo: conf/scene/NAME.yaml, in which every control is shown and explained, "
        "and scenes/NAME/ with the photo, turned upright, and its mask.",
        epilog="Then look at the coarse animation, within a minute and before any diffusion: i2v3d preview scene=NAME",
    )
    parser.add_argument(
        "name", metavar="NAME", help="small letters, digits, _ and -; what scene=NAME will choose"
    )
    parser.add_argument(
        "--image", type=Path, required=True, help="the photo: PNG, JPEG or WebP, 64 pixels or more a side"
    )
    parser.add_argument(
        "--mask",
        type=Path,
        help="foreground white on black, of the photo's size; else its transparency, else found",
    )
    parser.add_argument("--prompt", help="what the models are told; default: 'a sks CLASS'")
    parser.add_argument("--class-name", help="what the foreground is, in a word, such as cup")
    parser.add_argument(
        "--size",
        metavar="WxH",
        help="pixels, multiples of what the models need; default: what they take, nearest to the photo's aspect",
    )
    options = parser.parse_args(words)

    from i2v3d.commands.new import Wanted, new_scene, parsed_size

    size = parsed_size(options.size) if options.size else None
    wanted = Wanted(options.name, options.image, options.mask, options.prompt, options.class_name, size)
    sys.stdout.write(new_scene(wanted, Path()))
    return 0


def preview(words: Sequence[str]) -> int:
    """`i2v3d preview`: with Hydra words the workflow's target, with --variant one variant's preview."""
    if not any(word.split("=")[0] in ("--variant", "-h", "--help") for word in words):
        return launch(words, [PREVIEW])
    parser = argparse.ArgumentParser(
        prog=f"i2v3d {PREVIEW}",
        description="The coarse animation before any diffusion: results/RUN/VARIANT/preview/coarse.mp4 and sheet.png. "
        "Usage: i2v3d preview [HYDRA_WORD ...] [-- SNAKEMAKE_WORD ...], such as i2v3d preview scene=coffee. "
        "The options below are what the workflow itself calls it with.",
    )
    parser.add_argument("--variant", type=Path, required=True, help="frozen variant file that the plan wrote")
    parser.add_argument("--cache", type=Path, required=True, help="folder of all stages' finished folders")
    parser.add_argument("--out", type=Path, required=True, help="results/<run>/<variant>/preview")
    parser.add_argument("--log", type=Path, help="file for the full log, tracebacks included")
    options = parser.parse_args(words)
    set_up_logging(options.log)

    from i2v3d.report.preview import write_preview

    write_preview(options.variant, options.cache, options.out)
    return 0


def overrides_value(words: Sequence[str]) -> str:
    """Hydra words as one value of snakemake's --config: a line where that is enough, else a JSON list.

    Snakemake reads the value as YAML without its outer quotes, which a quoted word does not survive.
    """
    plain = all(shlex.quote(word) == word for word in words)
    return " ".join(words) if plain else json.dumps(list(words))


def run_stage(name: str, words: Sequence[str]) -> int:
    """Runs one planned node: what the rules call."""
    stage = JOBS[name]
    parser = argparse.ArgumentParser(prog=f"i2v3d {name}", description=f"{name}: {stage.help}")
    parser.add_argument("--node", type=Path, required=True, help="frozen node file that the plan wrote")
    parser.add_argument("--cache", type=Path, required=True, help="folder of all stages' finished folders")
    parser.add_argument("--out", type=Path, required=True, help="folder to publish the result as")
    if stage.per_segment:
        parser.add_argument("--segment", type=int, required=True, help="0-based segment of the shot")
    parser.add_argument("--settings", type=Path, required=True, help="run settings that the plan wrote")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads, 0 for all")
    parser.add_argument("--log", type=Path, help="file for the full log, tracebacks included")
    options = parser.parse_args(words)
    set_up_logging(options.log)
    for variable, value in PROCESS_ENVIRONMENT.items():
        os.environ.setdefault(variable, value)

    from i2v3d.workflow.plan import Node
    from i2v3d.workflow.runner import Job, Settings, run_job

    try:
        job = Job(
            node=Node.load(options.node),
            cache=options.cache,
            out=options.out,
            segment=getattr(options, "segment", None),
            settings=Settings.load(options.settings),
            threads=options.threads,
        )
        run_job(job)
    except I2V3DError:
        raise
    except OSError as error:
        log.debug("traceback", exc_info=True)
        where = f" ({error.filename})" if error.filename else ""
        raise MachineError(
            f"{name}: {error.strerror or error}{where}; the log {options.log} says more"
        ) from error
    except Exception:
        log.exception("%s failed by a defect of the program", name)
        raise
    return 0


def link_results(words: Sequence[str]) -> int:
    """Links a variant's finished folders into results/<run>/<variant>/ and writes what made them."""
    parser = argparse.ArgumentParser(
        prog=f"i2v3d {RESULTS}", description="links and records of a finished variant"
    )
    parser.add_argument("--variant", type=Path, required=True, help="frozen variant file that the plan wrote")
    parser.add_argument("--cache", type=Path, required=True, help="folder of all stages' finished folders")
    parser.add_argument("--out", type=Path, required=True, help="results/<run>/<variant>")
    parser.add_argument("--settings", type=Path, required=True, help="run settings that the plan wrote")
    parser.add_argument("--log", type=Path, help="file for the full log, tracebacks included")
    options = parser.parse_args(words)
    set_up_logging(options.log)

    from i2v3d.workflow.results import publish_variant

    publish_variant(options.variant, options.cache, options.settings, options.out)
    return 0


def set_up_logging(file: Path | None) -> None:
    """INFO on standard error, everything in `file`; noisy libraries only from WARNING on."""
    root = logging.getLogger()
    root.setLevel(logging.DEBUG)
    console = logging.StreamHandler()
    console.setLevel(logging.INFO)
    console.setFormatter(logging.Formatter("%(message)s"))
    root.addHandler(console)
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        full = logging.FileHandler(file, mode="w")
        full.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        root.addHandler(full)
    for library in (
        "PIL",
        "urllib3",
        "matplotlib",
        "wandb",
        "git",
        "filelock",
        "httpx",
        "httpcore",
        "asyncio",
    ):
        logging.getLogger(library).setLevel(logging.WARNING)
