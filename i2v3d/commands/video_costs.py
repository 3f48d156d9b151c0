"""Time of a whole video on one or several GPUs: stages and segments go to processes of one card each.

Every process keeps its card and what it has imported; snakemake starts a process a job instead, which then imports.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from i2v3d.blender.crew import usable_cores
from i2v3d.commands.stage_costs import full_size_config, run_job, write_shot
from i2v3d.commands.step_costs import TimedContext
from i2v3d.commands.time_stages import STAGES as TIMED
from i2v3d.models.memory import limited, prepare, tier
from i2v3d.models.published import write_random
from i2v3d.stages.registry import STAGES
from i2v3d.toy.tokenizer import write_tokenizer
from i2v3d.workflow.process_environment import environment
from i2v3d.workflow.runner import load_entry, resolve_perf
from i2v3d.workflow.selection import stage_config


@dataclass(frozen=True)
class Job:
    """A stage, or one segment of a stage that has segments."""

    stage: str
    segment: int | None


def jobs_of(config: Mapping[str, Any], segments: int) -> dict[Job, frozenset[Job]]:
    """The jobs of a video, each with those that it waits for; who waits less comes first where cards are short.

    The order: whole stages, of which there is one after the other, then segments' results, then what these need.
    """
    stages = sorted((STAGES[name] for name in TIMED), key=lambda s: (s.per_segment, -TIMED.index(s.name)))
    found: dict[Job, frozenset[Job]] = {}
    for stage in stages:
        reads = [STAGES[name] for name in stage.reads(stage_config(stage, config)) if name in TIMED]
        for segment in range(segments) if stage.per_segment else (None,):
            found[Job(stage.name, segment)] = frozenset(
                Job(read.name, segment if read.per_segment else None) for read in reads
            )
    return found


def random_weights(folder: Path, device: str) -> None:
    """Random weights of the published architectures."""
    write_random(folder, device, write_tokenizer)


def measure_video(
    folder: Path,
    size: tuple[int, int],
    segments: int,
    views: int,
    cards: Sequence[str],
    device: str,
    perf: str,
    words: Sequence[str],
    write_weights: Callable[[Path, str], None] = random_weights,
) -> dict[str, Any]:
    """Makes a video of a made-up shot of width x height pixels in `folder`.

    cards: their names, as CUDA_VISIBLE_DEVICES takes them; on a CPU just so many processes. perf: a value of
    runtime.perf. words: Hydra words on top of models=sdxl_svd. Returns seconds from the first job's begin to
    the last one's end, those until every process had imported before, and begin and end of every job.
    """
    config = full_size_config(folder, *words)
    frames = segments * (config["interpolate"]["segment_frames"] - 1) + 1
    begin = time.monotonic()
    with ExitStack() as stack:
        pools = [
            stack.enter_context(process_of_card(card, max(1, usable_cores() // len(cards)))) for card in cards
        ]
        imports = [pool.submit(_import_all) for pool in pools]
        for done in imports:
            done.result()
        imports_s = time.monotonic() - begin
        weights = pools[0].submit(write_weights, folder / "weights", device)
        write_shot(folder, size, frames, views)
        weights.result()
        result = {
            "machine": _machine(device),
            "cards": len(cards),
            "frames": frames,
            "imports_s": round(imports_s, 1),
        }
        for name, value in result.items():
            sys.stdout.write(f"{name:<26} {value}\n")
        rows = _run_all(pools, jobs_of(config, segments), (folder, tuple(words), device, perf))
    result |= {"video_s": round(max(row["end_s"] for row in rows), 1), "jobs": rows}
    sys.stdout.write(f"{'video_s':<26} {result['video_s']}\n")
    return result


def _run_all(
    pools: Sequence[ProcessPoolExecutor],
    waiting: dict[Job, frozenset[Job]],
    shared: tuple[Path, tuple[str, ...], str, str],
) -> list[dict[str, Any]]:
    """Gives every free process the first job that waits for nothing; a row a job, in the order in which they end."""
    start, free, rows = time.monotonic(), list(range(len(pools))), list[dict[str, Any]]()
    running: dict[Future[None], tuple[Job, int, float]] = {}
    done: set[Job] = set()
    while waiting or running:
        for job in [job for job, needs in waiting.items() if needs <= done][: len(free)]:
            card = free.pop(0)
            running[pools[card].submit(_run, job, *shared)] = job, card, time.monotonic() - start
            del waiting[job]
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            job, card, begin = running.pop(future)
            future.result()
            end = time.monotonic() - start
            row = {"stage": job.stage, "segment": job.segment, "card": card, "begin_s": begin, "end_s": end}
            rows.append(row)
            done.add(job)
            free = sorted([*free, card])
            number = "" if job.segment is None else job.segment
            sys.stdout.write(f"{job.stage:<26} {number:<3} card {card}, {begin:.1f} to {end:.1f} s\n")
            sys.stdout.flush()
    return rows


@contextmanager
def process_of_card(card: str, threads: int) -> Iterator[ProcessPoolExecutor]:
    """One process that sees this card alone, as a workflow's job does, from its start: imports look for cards."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        with environment({"CUDA_VISIBLE_DEVICES": card, "OMP_NUM_THREADS": str(threads)}):
            pool.submit(int).result()  # now it runs
        yield pool


def _machine(device: str) -> str:
    import torch

    return torch.cuda.get_device_name(device) if device.startswith("cuda") else "CPU"


def _import_all() -> None:
    for name in TIMED:
        load_entry(STAGES[name].entry)


def _run(job: Job, folder: Path, words: tuple[str, ...], device: str, perf: str) -> None:
    config = _config(folder, words)
    memory = tier(config["runtime"]["memory"], device)
    prepare(memory, device)
    place = folder / "work" / f"{job.stage}_{job.segment}"
    pictures = limited(config["runtime"]["max_batch"], memory.pictures)
    context = TimedContext(device, pictures, place, fast=resolve_perf(perf, device), memory=memory)
    run_job(STAGES[job.stage], config, folder, job.segment, context)


@lru_cache(maxsize=1)
def _config(folder: Path, words: tuple[str, ...]) -> dict[str, Any]:
    return full_size_config(folder, *words)
