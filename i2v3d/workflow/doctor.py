"""Looks at the machine and at what a configuration needs of it, all at once, and says what to do."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import psutil

from i2v3d.blender.crew import usable_cores
from i2v3d.config.runtime import TrackingConfig
from i2v3d.config.sections import build
from i2v3d.errors import ConfigError, I2V3DError, WeightsError
from i2v3d.images import ENCODER
from i2v3d.models.gpu import Gpu, found_gpus
from i2v3d.models.manifest import check_headers, load_manifest
from i2v3d.models.needs import Need, judge_needs, scene_needs
from i2v3d.models.weights import resolve
from i2v3d.workflow.composition import Variant, compose_variants
from i2v3d.workflow.estimates import estimate
from i2v3d.workflow.fingerprint import Fingerprints
from i2v3d.workflow.machine_checks import (
    TEMPORARY_BYTES,
    check_device,
    check_encoder,
    check_temporary_folder,
    check_versions,
)
from i2v3d.workflow.plan import Plan, make_plan
from i2v3d.workflow.preflight import BYTES_A_PIXEL, plan_checks, read_needs, size_told
from i2v3d.workflow.provenance import versions
from i2v3d.workflow.tracking.mode import VARIABLE, tracking_mode

State = Literal["ok", "note", "blocker"]


@dataclass(frozen=True)
class Finding:
    """One line of the table. state: 'blocker' stops a run, 'note' is worth knowing."""

    topic: str
    state: State
    said: str


def examine(conf: Path, words: Sequence[str], cache: Path) -> list[Finding]:
    """Everything about these Hydra words and this machine; what raises elsewhere is a finding here."""
    found = [*_installed(), *_memory()]
    try:
        (variant,) = compose_variants(conf, words)
        prints = Fingerprints(cache / "plan" / "fingerprints.json")
        plan = make_plan([variant], prints)
    except I2V3DError as error:
        return [*found, Finding("configuration", "blocker", str(error))]
    found.append(Finding("configuration", "ok", f"{plan.jobs()} jobs of {len(plan.nodes)} nodes"))
    weights = list(_weights(variant.config, prints))
    found += [*weights, *_shot(variant, plan.variants[0].segments, found_gpus())]
    whole = all(one.state != "blocker" for one in weights)
    found += _checks(plan, cache, () if whole else ("size", "layers"))  # which the weights' files say
    found.append(_tracking(variant.config))
    return found


def _installed() -> Iterator[Finding]:
    """What is installed, against what this package asks for."""
    yield Finding("versions", "ok", ", ".join(f"{name} {version}" for name, version in versions().items()))
    if (found := _of_check("versions", "", check_versions)).state == "blocker":
        yield found
    yield _of_check("video encoder", f"{ENCODER} of PyAV {metadata.version('av')}", check_encoder)


def _memory() -> Iterator[Finding]:
    """Processor and main memory."""
    cores = usable_cores()
    load = os.getloadavg()[0]
    said = f"{cores} cores for this process, load {load:.1f}"
    if limit := os.environ.get("OMP_NUM_THREADS"):
        said += f", OMP_NUM_THREADS={limit}"
    busy = load > cores
    yield Finding(
        "threads",
        "note" if busy else "ok",
        said + ("; others keep it busy: times will be longer" if busy else ""),
    )
    free, total = psutil.virtual_memory().available / 1e9, psutil.virtual_memory().total / 1e9
    yield Finding("memory", "ok", f"{free:.1f} of {total:.1f} GB free")
    yield _of_check(
        "temporary folder", f"{TEMPORARY_BYTES // 10**6} MB free at least", check_temporary_folder
    )


def _weights(config: Mapping[str, Any], prints: Fingerprints) -> Iterator[Finding]:
    """Each of the weights, by its headers; the networks that score may be missing."""
    manifest = load_manifest(config["models"]["name"])
    for need in [*read_needs(config), *scene_needs(config)]:
        yield _of_check(need.option, _identity(need, prints), partial(check_headers, need, manifest))
    for need in judge_needs(config) if config["scene"]["source"] != "toy" else ():
        try:
            check_headers(need, manifest)
            yield Finding(need.option, "ok", _identity(need, prints))
        except WeightsError:
            yield Finding(
                need.option,
                "note",
                f"{need.ref.source} is not here: its scores are left out; --judges fetches it",
            )


def _identity(need: Need, prints: Fingerprints) -> str:
    """Which weights these are: the commit of a repository, or the folder."""
    try:
        folder = resolve(need.ref)
    except WeightsError:
        return need.ref.source
    commit = next((folder.parts[i + 1] for i, part in enumerate(folder.parts) if part == "snapshots"), None)
    if commit is not None:
        return f"{need.ref.source} at {commit[:12]}; its hashes: i2v3d fetch --check"
    return f"folder {need.ref.source}, sha256 {prints.of(str(folder), need.option)[:12]}"


def _shot(variant: Variant, segments: int, gpus: Sequence[Gpu]) -> Iterator[Finding]:
    """Device, time and disk of this shot."""
    config = variant.config
    scene, device = config["scene"], config["runtime"]["device"]
    costs = estimate(config, segments)
    need_gib = costs.gpu_gib if costs else 0.0
    on_gpu = bool(gpus) and device != "cpu"
    cards = (
        ", ".join(f"{gpu.name}: {gpu.free_gib:.0f} of {gpu.total_gib:.0f} GiB free" for gpu in gpus) or "none"
    )
    if (wrong := _of_check("GPU", "", partial(check_device, str(device), bool(gpus)))).state == "blocker":
        yield wrong
    elif on_gpu and max(gpu.total_gib for gpu in gpus) < need_gib:
        yield Finding(
            "GPU",
            "blocker",
            f"{cards}; about {need_gib:.0f} GiB are needed at this size: use a smaller scene.width and scene.height, "
            "or a larger card",
        )
    elif need_gib and not on_gpu:
        yield Finding(
            "GPU", "note", f"{cards}; models {config['models']['name']} on a CPU take hours a segment"
        )
    else:
        yield Finding("GPU", "ok", f"{cards}; networks run on {'the GPU' if on_gpu else 'the CPU'}")
    rendered = (
        "the GPU if Cycles has a driver for it, else the CPU (the render's log says which)"
        if on_gpu
        else "the CPU"
    )
    yield Finding("Blender renders on", "ok", rendered)
    disk = size_told(BYTES_A_PIXEL * scene["width"] * scene["height"] * scene["frames"])
    size = f"{scene['width']}x{scene['height']}, {scene['frames']} frames, {segments} segments"
    yield Finding("shot", "ok", f"{size}; up to {disk} of disk")
    if costs:
        yield Finding(
            "time",
            "ok",
            f"about {max(costs.minutes, 1):.0f} minutes on {costs.machine}, an estimate from one measurement",
        )


def _checks(plan: Plan, cache: Path, without: Sequence[str]) -> Iterator[Finding]:
    """What a run checks first, all of it instead of up to the first mistake."""
    for topic, check in plan_checks(plan, cache):
        if topic not in ("weights", "W&B", *without):  # said above and below
            yield _of_check(topic, "ready", check)


def _tracking(config: Mapping[str, Any]) -> Finding:
    """Whether Weights & Biases gets anything, and by whose word."""
    try:
        mode = tracking_mode(build(TrackingConfig, config["tracking"], "tracking"))
    except ConfigError as error:
        return Finding("W&B", "blocker", str(error))
    said = f"{mode}, by {VARIABLE if os.environ.get(VARIABLE) else 'tracking.mode'}"
    netrc = Path("~/.netrc").expanduser()
    keyed = "WANDB_API_KEY" in os.environ or (
        netrc.is_file() and "wandb" in netrc.read_text(errors="replace")
    )
    if mode == "online" and not keyed:
        return Finding(
            "W&B", "note", f"{said}, but no key is set: runs stay on disk; log in with: wandb login"
        )
    return Finding("W&B", "ok", said)


def _of_check(topic: str, ready: str, check: Callable[[], object]) -> Finding:
    """What a check says: `ready` if it raises nothing."""
    try:
        check()
    except I2V3DError as error:
        return Finding(topic, "blocker", str(error))
    return Finding(topic, "ok", ready)
