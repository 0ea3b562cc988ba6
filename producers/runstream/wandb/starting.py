"""`init`: a run is started, continued, or, in a script that runstream has submitted, the script's own."""

from __future__ import annotations

import atexit
import json
import logging
import os
import re
import secrets
import string
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..client.reading import fetch_metrics, fetch_params, fetch_record
from ..client.records import RunRecord
from ..core._run.starting import checked_run_id
from ..core.experiment import Experiment
from ..core.run import Run as CoreRun
from ..core.workspace import Workspace
from ..exceptions import RunEnvironmentException, ServiceException
from ..spool.param_values import convert_params
from . import active
from .errors import UsageError
from .mapping import SUMMARY_FILE, experiment_of
from .recording_run import Run
from .run_config import Config, config_of
from .settings import Settings, is_true, settings_of

_log = logging.getLogger("runstream")
_ID_LETTERS = string.ascii_lowercase + string.digits
_RESUME = ("allow", "must", "never", "auto")
_FORK = re.compile(r"(?P<id>[^?]+)(\?_step=(?P<step>\d+))?")
_adopted: set[str] = (
    set()
)  # runs of scripts that an `init` has recorded into: the next one starts a run below


def init(
    entity: str | None = None,
    project: str | None = None,
    dir: str | os.PathLike[str] | None = None,
    id: str | None = None,
    name: str | None = None,
    notes: str | None = None,
    tags: Sequence[str] | None = None,
    config: Any = None,
    config_exclude_keys: Sequence[str] | None = None,
    config_include_keys: Sequence[str] | None = None,
    allow_val_change: bool | None = None,
    group: str | None = None,
    job_type: str | None = None,
    mode: str | None = None,
    force: bool | None = None,
    reinit: bool | str | None = None,
    resume: bool | str | None = None,
    resume_from: str | None = None,
    fork_from: str | None = None,
    save_code: bool | None = None,
    settings: Settings | Mapping[str, Any] | None = None,
    **accepted: Any,
) -> Run:
    """Start a run of the experiment that is called as the project.

    Args:
        entity: kept as a property.
        project: default `uncategorized`.
        dir: where `wandb/run-.../files` is made, if the script asks for `run.dir`; default: the current directory.
        id: its id; default: eight letters and digits. An id that is taken is continued with `resume`, else the run gets one
            with a suffix, since what another run has recorded is not overwritten.
        name, notes, tags, group, job_type: the run's; the last two become tags with a value.
        config: a dictionary, namespace, or the path of a YAML file.
        config_exclude_keys, config_include_keys: keys of it that are left out, or the only ones.
        allow_val_change: keys of the config may be changed later.
        mode: `disabled` records nothing; the others are all the same.
        reinit: with a run under way: `return_previous` (default), `finish_previous` (True), `create_new`.
        resume: `allow`, `must`, `never`, or `auto` (True): the run this directory had, if it did not end well.
        resume_from, fork_from: `ID?_step=N`; the first continues that run, the second is noted. No values are copied.
        save_code: keep the current directory as the run's code snapshot.
        settings: settings by name.
        force, anonymous, tensorboard, sync_tensorboard, monitor_gym: accepted.

    Raises:
        UsageError: `resume="must"` without such a run, or `never` with one.
        ServiceException: `resume` asks the service, and it is away.
    """
    arguments = {
        "entity": entity, "project": project, "root_dir": None if dir is None else os.fspath(dir), "run_id": id,
        "run_name": name, "run_notes": notes, "run_tags": [tags] if isinstance(tags, str) else tags, "run_group": group,
        "run_job_type": job_type,
        "mode": mode, "reinit": reinit, "resume": resume, "resume_from": resume_from, "fork_from": fork_from,
        "save_code": save_code,
    }  # fmt: skip
    chosen = settings_of(settings, arguments)
    before: Run | None = active.current()
    how = chosen.reinit
    if before is not None and how != "create_new":
        if how in (None, False, "default", "return_previous", ""):
            return before
        before.finish()
    values = _config(config, config_include_keys, config_exclude_keys)
    run = _disabled(chosen) if chosen.mode == "disabled" else _start(chosen)
    if active.trial is not None and run._core is active.trial.run:
        run.config.update_locked(active.trial.parameters, "sweep")
    run.config.update(values, allow_val_change=True)
    run.config.__dict__["_allow"] = bool(allow_val_change)
    active.set_current(run)
    return run


def _config(given: Any, include: Sequence[str] | None, exclude: Sequence[str] | None) -> dict[str, Any]:
    defaults = Path("config-defaults.yaml")
    values = {**(config_of(defaults) if defaults.is_file() else {}), **config_of(given)}
    if include and exclude:
        raise UsageError(
            "Expected at most only one of config_include_keys or config_exclude_keys; leave one out"
        )
    return {
        key: value
        for key, value in values.items()
        if key not in (exclude or ()) and (not include or key in include)
    }


def _disabled(settings: Settings) -> Run:
    return Run(None, settings, Config(), folder=Path(settings.root_dir or ".", "wandb", "disabled", "files"))


def _start(settings: Settings) -> Run:
    core = _given()
    resumed = False
    owns = core is None
    continued: _Continued | None = None
    if core is None:
        core, continued = _begin(settings)
        resumed = continued is not None
    elif settings.run_name:
        core.display_name = settings.run_name
    _adopted.add(core.id)
    _describe(core, settings)

    def record(values: dict[str, Any]) -> None:
        for key, value in values.items():
            if not key.startswith("_wandb"):
                try:
                    core._live().writer.log_params(
                        convert_params("config", {key: value}), overwrite=True, author="wandb"
                    )
                except (
                    Exception
                ) as error:  # a key that cannot be a parameter costs a warning, as a value of `log` does
                    _log.warning(
                        "wandb: config %r is not recorded: %s", key[:80], getattr(error, "message", error)
                    )

    folder = Path(
        settings.root_dir or ".", "wandb", f"run-{time.strftime('%Y%m%d_%H%M%S')}-{core.id}", "files"
    )
    marker = Path(settings.root_dir or ".", "wandb", "wandb-resume.json")
    automatic = _resume(settings) == "auto"
    if automatic:
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.write_text(json.dumps({"run_id": core.id}), encoding="utf-8")

    def on_finish(code: int) -> None:
        if automatic and not code:
            marker.unlink(missing_ok=True)

    config = Config(record)
    if continued is not None:
        config.__dict__["_items"].update(continued.config)
    run = Run(
        core,
        settings,
        config,
        folder=folder.absolute(),
        owns=owns,
        resumed=resumed,
        on_finish=on_finish,
        step=continued.step if continued else 0,
        summary=continued.summary if continued else None,
    )
    atexit.register(run.write_rest)
    if is_true(settings.save_code) and owns:
        core._snapshot_later(Path.cwd(), core._live())
    return run


def _given() -> CoreRun | None:
    """The run that this process was given: of a trial, or of a script that runstream has submitted. The second `init` starts
    one below it."""
    run = active.trial.run if active.trial is not None else _of_script()
    return None if run is None or run.id in _adopted else run


class _Continued:
    """What an earlier run of the same id has."""

    def __init__(self, step: int, config: dict[str, Any], summary: dict[str, Any]) -> None:
        self.step, self.config, self.summary = step, config, summary


def _resume(settings: Settings) -> str | None:
    given = settings.resume
    if given in (None, False, "", "false", "False"):
        return None
    if given is True or str(given).lower() in ("true", "1"):
        return "auto"
    if given not in _RESUME:
        raise UsageError(f"resume {given!r:.80}: expected one of {', '.join(_RESUME)}")
    return str(given)


def _begin(settings: Settings) -> tuple[CoreRun, _Continued | None]:
    """Start a run, or continue one."""
    resume = _resume(settings)
    run_id = settings.run_id
    if settings.resume_from and (match := _FORK.fullmatch(settings.resume_from)):
        run_id, resume = match["id"], "must"
    marker = Path(settings.root_dir or ".", "wandb", "wandb-resume.json")
    if resume == "auto" and run_id is None and marker.is_file():
        run_id = json.loads(marker.read_text(encoding="utf-8")).get("run_id")
    workspace = Workspace.from_config()
    record = _known(workspace, checked_run_id(run_id), resume) if run_id else None
    if record is None and resume == "must":
        raise UsageError(
            f"resume='must' but could not resume: there is no run {run_id}; leave resume out to start one"
        )
    if record is not None and resume == "never":
        raise UsageError(f"resume='never' but run {run_id} exists; give another id")
    if record is not None and resume is not None:
        return _continue(workspace, record)
    if record is not None:
        taken, run_id = run_id, f"{run_id}-{secrets.token_hex(3)}"
        _log.warning("wandb: run %s is there already, and is not overwritten: this one is %s", taken, run_id)
    run_id = run_id or "".join(secrets.choice(_ID_LETTERS) for _ in range(8))
    parent = active.trial.run if active.trial is not None else _of_script()
    experiment = (
        parent.experiment
        if parent
        else Experiment(workspace, experiment_of(settings.project or "uncategorized"))
    )
    name = settings.run_name or run_id
    core = CoreRun._start(
        experiment,
        name=name,
        run_id=run_id,
        outputs=False,
        display_name=name,
        description=settings.run_notes,
        parent=parent,
    )
    return core, None


def _of_script() -> CoreRun | None:
    """The run of the script that runstream has submitted, or that `runstream exec` executes; None: it is no such script."""
    try:
        run: CoreRun = CoreRun.get_context(allow_offline=False)
        return run
    except RunEnvironmentException:
        return None


def _known(workspace: Workspace, run_id: str, resume: str | None) -> RunRecord | None:
    """The run of an id; None: there is none, or, if that does not matter, nobody answers."""
    try:
        return fetch_record(workspace._client, run_id)
    except ServiceException as error:
        if error.status_code == 404 or resume is None:
            return None
        raise


def _continue(workspace: Workspace, record: RunRecord) -> tuple[CoreRun, _Continued]:
    core = CoreRun._of(Experiment._of(workspace, record.experiment or ""), record)
    core.start()
    client = workspace._client
    steps = [
        series.steps[-1] if series.steps else -1
        for series in fetch_metrics(client, [record.run_id]).get(record.run_id, [])
        if series.cls == 0
    ]
    summary: dict[str, Any] = {}
    try:
        summary = json.loads(client.request("GET", f"/api/v1/runs/{record.run_id}/files/{SUMMARY_FILE}").body)
    except (ServiceException, ValueError):
        pass  # it did not get so far
    nested: dict[str, Any] = {}
    for name, value in fetch_params(client, record.run_id).items():
        node = nested
        *outer, last = name.split(".")
        for key in outer:
            inner = node.setdefault(key, {})
            node = inner if isinstance(inner, dict) else node
        node[last] = value
    return core, _Continued(max(steps, default=-1) + 1, nested, summary)


def _describe(core: CoreRun, settings: Settings) -> None:
    """Tags, notes and facts, as the importer of W&B's files writes them."""
    writer = core._live().writer
    if settings.run_notes:
        core.description = settings.run_notes
    for tag in settings.run_tags or ():
        writer.tag(str(tag))
    for key, text in (("group", settings.run_group), ("job_type", settings.run_job_type)):
        if text:
            writer.tag(key, str(text))
    if active.trial is not None and core is active.trial.run:
        writer.tag("sweep", active.trial.sweep_id)
    facts = {
        "run_id": core.id, "project": settings.project, "entity": settings.entity, "forked_from": settings.fork_from,
    }  # fmt: skip
    for name, value in facts.items():
        if value:
            writer.add_property(f"wandb.{name}", str(value))


def finish(exit_code: int | None = None, quiet: bool | None = None) -> None:
    """End the run of the module, if there is one."""
    run = active.current()
    if run is not None:
        run.finish(exit_code, quiet)
