"""Weights & Biases, offline first: runs that are opened, written to and closed, and never stop the work they watch.

A tracker watches work, it never stops or delays it: without a key, without a network or after any error of
the tracker itself there is one warning and the work goes on. The metrics of record are the stages' own files.
What was kept offline is sent later with `wandb sync DIRECTORY/wandb/offline-run-*`.

  with stage_run(cfg, group=run, job_type="lora", name=stage_name(...), config=node, directory=cache) as sink:
    train_lora(stage_cfg, inputs, out, StageContext(..., sinks=(sink,)))

A run's id is its name, which holds the stage's content key: a repeated stage continues its run, and the
run of a variant can name the runs of its stages without asking a server.
"""

from __future__ import annotations

import logging
import netrc
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from i2v3d.artifacts.folders import segment_name
from i2v3d.config.runtime import TrackingConfig
from i2v3d.errors import InputError
from i2v3d.stages.context import Sink
from i2v3d.workflow.home import cache_of_home, may_write
from i2v3d.workflow.process_environment import environment
from i2v3d.workflow.tracking.mode import Mode, tracking_mode

log = logging.getLogger(__name__)

INIT_TIMEOUT_S = 15.0
FINISH_TIMEOUT_S = 60.0
_PICTURES = {".png", ".jpg", ".jpeg", ".gif", ".webp"}
_VIDEOS = {".mp4", ".webm"}


def stage_name(stage: str, key: str, segment: int | None) -> str:
    """The name, and so the id, of the run of a stage: its content key makes it unique."""
    return f"{stage}-{key}" + ("" if segment is None else f"-{segment_name(segment)}")


def import_first(cfg: TrackingConfig) -> None:
    """Imports what opening a run imports, before torch and diffusers are there.

    W&B's classes look through the modules that there are as they are made: a second, once those are many.
    """
    if tracking_mode(cfg) == "disabled":
        return
    with suppress(ImportError):  # then `start` says that nothing is tracked
        import wandb.sdk.launch  # noqa: F401


@contextmanager
def stage_run(
    cfg: TrackingConfig,
    *,
    group: str,
    job_type: str,
    name: str,
    config: Mapping[str, Any],
    directory: Path,
) -> Iterator[Sink]:
    """Opens the run of one executed stage and yields the sink to give to its `StageContext`.

    group: the sweep or experiment. job_type: the stage. name: `stage_name(...)`, also the run's id.
    config: plain data (the frozen node). directory: where `wandb/` is made; not the stage's output folder,
    which holds results only. The sink takes ("metrics", row of scalars) and ("media", {"name", "path"}: a
    picture or a video), and never raises. The run ends as failed if the body raises. With mode 'disabled'
    nothing is written. Raises ConfigError if the environment's WANDB_MODE, which wins, is not a mode.
    """
    wanted = {"id": identifier(name), "group": group, "job_type": job_type, "name": name}
    recorder = Recorder(start(cfg, directory, {**wanted, "config": dict(config)}))
    failed = True
    try:
        yield recorder
        failed = False
    finally:
        recorder.finish(exit_code=int(failed))


class Recorder:
    """A `Sink` that writes to a run, or nowhere once the run failed or was never opened."""

    def __init__(self, run: Any | None) -> None:
        self._run = run

    def __call__(self, kind: str, row: Mapping[str, Any]) -> None:
        if self._run is None or not row:
            return
        try:
            if kind == "artifact":
                self._run.log_artifact(_artifact(row))
            else:
                self._run.log(_loggable(kind, row))
        except Exception as error:  # whatever goes wrong in the tracker must not stop the work it watches
            log.warning("W&B recording stopped: %s; the stages' own metrics go on", _brief(error))
            self.finish(exit_code=1)

    def finish(self, exit_code: int) -> None:
        """Closes the run; waits for an upload for at most a minute (what remains is kept on disk)."""
        run, self._run = self._run, None
        if run is None:
            return
        try:
            run.finish(exit_code=exit_code)
        except Exception as error:  # as above
            log.warning("W&B run was not closed: %s", _brief(error))


def start(cfg: TrackingConfig, directory: Path, wanted: Mapping[str, Any]) -> Any | None:
    """Opens a run, online if asked for and possible, else offline; None if disabled or even that fails.

    wanted: arguments of `wandb.init` that say what the run is.
    """
    mode = tracking_mode(cfg)
    if mode == "disabled":
        return None
    wanted = {"project": cfg.project, "entity": cfg.entity, "dir": str(directory), **wanted}
    if mode == "online" and not _has_key():
        log.warning("W&B has no API key; this run is kept offline below %s/wandb", directory)
        mode = "offline"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if mode == "online":
            return _init_online(wanted, directory)
        return _init("offline", wanted)
    except Exception as error:  # a tracker that cannot start must not stop the work it would watch
        log.warning("W&B could not start: %s; this run is not tracked", _brief(error))
        return None


def _init_online(wanted: Mapping[str, Any], directory: Path) -> Any:
    """An online run, or an offline one with a warning if the server does not answer in time."""
    import wandb

    try:
        return _init("online", wanted)
    except (wandb.Error, OSError, TimeoutError) as error:
        log.warning("W&B: %s; this run is kept offline below %s/wandb", _brief(error), directory)
        wandb.teardown()
        return _init("offline", wanted)


def _init(mode: Mode, wanted: Mapping[str, Any]) -> Any:
    """Starts a run that prints nothing, samples no machine statistics and asks no questions."""
    import wandb

    settings = wandb.Settings(
        console="off",
        silent=True,
        init_timeout=INIT_TIMEOUT_S,
        login_timeout=1.0,
        finish_timeout=FINISH_TIMEOUT_S,
        disable_git=True,
        disable_code=True,
        x_disable_meta=True,
        x_disable_stats=True,
        x_disable_machine_info=True,
        x_save_requirements=False,
    )
    # Copies of what tables show are kept beside the run, not in the user's home.
    own = Path(wanted["dir"]).resolve() / "wandb"
    os.environ.setdefault("WANDB_DATA_DIR", str(own / "data"))
    elsewhere = {} if may_write(cache_of_home(os.environ)) else {"XDG_CACHE_HOME": str(own / "cache")}
    if elsewhere:
        os.environ.setdefault("WANDB_CACHE_DIR", str(own / "cache" / "wandb"))
    # Its service process would report its crashes, a network access even offline.
    quiet = {"WANDB_ERROR_REPORTING": "false", **elsewhere}
    with environment({name: value for name, value in quiet.items() if not os.environ.get(name)}):
        run = wandb.init(
            mode=mode,
            reinit="create_new",
            resume="allow" if mode == "online" else None,
            settings=settings,
            **wanted,
        )
    run.define_metric("*", step_metric="step")
    return run


def _has_key() -> bool:
    """Whether a key is configured; asked here because W&B itself would prompt for one on a terminal."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    import wandb

    path = Path(os.environ.get("NETRC") or "~/.netrc").expanduser()
    host = urlsplit(wandb.Settings().base_url).hostname or ""
    try:
        return netrc.netrc(path).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False


def _media(path: Path) -> Any:
    """A W&B picture, video or page of a file, copied into the run when it is logged."""
    import wandb

    suffix = path.suffix.lower()
    if suffix in _VIDEOS:
        return wandb.Video(str(path), format=suffix[1:])
    if suffix in _PICTURES:
        return wandb.Image(str(path))
    if suffix == ".html":
        return wandb.Html(path.read_text(), inject=False)
    raise InputError(f"{path} is no picture {sorted(_PICTURES)}, video {sorted(_VIDEOS)} or page")


def _loggable(kind: str, row: Mapping[str, Any]) -> dict[str, Any]:
    """What a run logs for a row of scalars, a picture or video, or a table whose paths are pictures."""
    if kind == "media":
        return {row["name"]: _media(Path(row["path"]))}
    if kind == "table":
        import wandb

        cells = [[_media(cell) if isinstance(cell, Path) else cell for cell in line] for line in row["rows"]]
        return {row["name"]: wandb.Table(columns=row["columns"], data=cells)}
    return dict(row)


def _artifact(row: Mapping[str, Any]) -> Any:
    """A stage's result as a W&B artefact that refers to its files."""
    import wandb

    made = wandb.Artifact(identifier(row["name"]), type=row["type"], metadata=row["metadata"])
    for name, path in row["files"].items():
        made.add_reference(Path(path).as_uri(), name=name)
    return made


def identifier(name: str) -> str:
    """`name` with what a run id may not hold replaced; at most 128 characters, W&B's limit."""
    return re.sub(r"[^\w.-]", "-", name, flags=re.ASCII)[-128:]


def _brief(error: Exception) -> str:
    """The first line of an error's message, or its name."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__
