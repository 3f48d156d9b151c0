"""The plan of this run, and what the stages' rules share (paths, upstream folders, command lines)."""

import shlex
import sys
from pathlib import Path

from snakemake.cli import get_argument_parser
from snakemake.logging import logger

from i2v3d.workflow.composition import compose_variants
from i2v3d.errors import I2V3DError, nearest
from i2v3d.workflow.failures import FILE as FAILURES
from i2v3d.workflow.failures import find_failures, write_failures
from i2v3d.workflow.fingerprint import Fingerprints
from i2v3d.workflow.plan import (
    PREVIEWED,
    Node,
    make_plan,
    settings_path,
    stage_dirs,
    upstream_dirs,
    variant_path,
    write_plan,
)
from i2v3d.workflow.preflight import check_plan
from i2v3d.stages.registry import STAGES

ROOT = Path(str(workflow.current_basedir)).parent
CONF = ROOT / "conf"
CACHE = Path(config.get("cache", "results/.cache"))
ENVIRONMENT = f"{ROOT}/rules/environment.yaml"
DEPLOYED = "conda" in {
    str(method) for method in workflow.deployment_settings.deployment_method
}
PYTHON = "python" if DEPLOYED else shlex.quote(sys.executable)
OPTIONS = {"overrides", "sweep", "multirun", "cache", "benchmark"}


wildcard_constraints:
    key="[0-9a-f]{12}",
    segment=r"\d{3}",
    run=r"[^/]+",
    variant=r"[^/]+",


def only_asked(*targets):
    """Whether nothing but these targets was asked for; this file is read before snakemake itself knows."""
    words = get_argument_parser().parse_known_args(sys.argv[1:])[0]
    return bool(words.targets) and set(words.targets) <= set(targets)


def hydra_words():
    """The Hydra overrides of --config overrides="..." or of a list in a config file."""
    words = config.get("overrides", [])
    return (
        shlex.split(words) if isinstance(words, str) else [str(word) for word in words]
    )


def refuse(message):
    """Ends snakemake with one line that says what to mend; a WorkflowError would add where in this file."""
    logger.error(f"i2v3d: error: {message}")
    sys.exit(2)


def plan_run():
    """Composes, validates and writes the plan; a mistake of the user ends here, before any work."""
    try:
        fingerprints = Fingerprints(CACHE / "plan" / "fingerprints.json")
        multirun = str(config.get("multirun", False)).lower() == "true"
        variants = compose_variants(
            CONF,
            hydra_words(),
            config.get("sweep"),
            multirun,
            CACHE / "plan" / "compositions",
        )
        plan = make_plan(variants, fingerprints, PREVIEWED if PREVIEW else STAGES)
        check_plan(plan, CACHE)
        fingerprints.save()
        write_plan(plan, CACHE, SETTINGS)
    except I2V3DError as error:
        refuse(error)
    if len(plan.variants) > 1:
        logger.info(plan.told())
    return plan


for word in set(config) - OPTIONS:
    refuse(f"--config {word} is unknown; {nearest(word, OPTIONS)}")

# Jobs parse this file again, on clusters in processes of their own: they read their node and SETTINGS only.
PREVIEW = workflow.is_main_process and only_asked("preview")
SETTINGS = settings_path(CACHE, config)
# Comparisons, and workflows of other folders that use these rules, plan shots of their own instead.
COMPARING = only_asked("benchmark") or Path(workflow.basedir) != ROOT
PLAN = plan_run() if workflow.is_main_process and not COMPARING else None
VARIANTS = {variant.name: variant for variant in PLAN.variants} if PLAN else {}
RESULTS = [f"results/{PLAN.run}/{name}/video.mp4" for name in VARIANTS]
RESULTS += [f"results/{PLAN.run}/comparison.html"] if PLAN else []
PREVIEWS = [f"results/{PLAN.run}/{name}/preview/sheet.png" for name in VARIANTS]
MEMORY_MB = max(
    (v.config["runtime"]["memory_mb"] for v in (PLAN.variants if PLAN else [])),
    default=5000,  # of the miniature family
)


def node_file(stage):
    """Input path of a stage's frozen node; its key is the wildcard."""
    return f"{CACHE}/plan/{stage}/{{key}}.json"


def upstream(stage):
    """Input function: the finished folders that a node (or one segment of it) reads."""

    def folders(wildcards):
        node = Node.load(CACHE / "plan" / stage / f"{wildcards.key}.json")
        segment = int(wildcards.segment) if "segment" in wildcards.keys() else None
        return [str(folder) for folder in upstream_dirs(CACHE, node, segment)]

    return folders


def stage_folder(stage):
    """Output path of a stage: one folder, or one a segment."""
    parts = ["segment_{segment}"] if STAGES[stage].per_segment else []
    return str(Path(CACHE, stage, "{key}", *parts))


def record(kind, stage):
    """Path of a job's log or benchmark."""
    suffix = "-{segment}" if STAGES[stage].per_segment else ""
    return f"{CACHE}/{kind}/{stage}/{{key}}{suffix}.{'log' if kind == 'log' else 'tsv'}"


def command(stage):
    """The one-line shell command of a stage's rule."""
    segment = " --segment {wildcards.segment}" if STAGES[stage].per_segment else ""
    return (
        f"{PYTHON} -m i2v3d {stage} --node {{input.node}} --cache {CACHE} --out {{output}} "
        f"--settings {SETTINGS} --threads {{threads}} --log {{log}}{segment}"
    )


def variant_file(wildcards):
    """Input function: the frozen file of a variant."""
    return str(variant_path(CACHE, VARIANTS[wildcards.variant]))


def variant_folders(wildcards):
    """Input function: every finished folder of a variant, stage by stage."""
    variant = VARIANTS[wildcards.variant]
    return [
        str(folder)
        for stage, key in variant.keys.items()
        for folder in stage_dirs(CACHE, stage, key, variant.segments, None)
    ]


def previewed_folders(wildcards):
    """Input function: the finished folders that the preview of a variant shows."""
    keys = VARIANTS[wildcards.variant].keys
    return [f"{CACHE}/{stage}/{keys[stage]}" for stage in PREVIEWED]


def finished_files(folder):
    """What a user looks at first in a variant's folder, as far as this run went."""
    if PREVIEW:
        return [folder / "preview" / name for name in ("coarse.mp4", "sheet.png")]
    videos = ("video.mp4", "coarse.mp4", "side_by_side.mp4")
    others = (
        "keyframes",
        "contact_sheet.png",
        "metrics.json",
        "metrics.csv",
        "config.yaml",
        "provenance.json",
    )
    return [folder / name for name in videos + others if (folder / name).exists()]


def tell_failures():
    """Says which variants have no result and why, and keeps it in results/<run>/failures.csv."""
    failures = find_failures(PLAN.variants, CACHE)
    write_failures(failures, Path("results", PLAN.run))
    for failure in failures:
        logger.error(
            f"i2v3d: variant {failure.variant} has no result: {failure.stage}: {failure.reason} (log: {failure.log})"
        )
    if failures:
        done = len(VARIANTS) - len(failures)
        logger.error(
            f"i2v3d: {done} of {len(VARIANTS)} variants are finished; see results/{PLAN.run}/{FAILURES}"
        )
