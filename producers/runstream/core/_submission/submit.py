"""Submitting: a copy of the source directory, a run of type `azureml.scriptrun`, and its place in a target's queue."""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from runstream_schemas.backoff import Backoff
from runstream_schemas.ownership import make_private
from runstream_schemas.settings import Settings

from ...client.http import ServiceClient
from ...client.reading import settle
from ...client.records import SCRIPT_RUN, TERMINAL, RunRecord, as_texts
from ...client.source_folder import check_no_home, copy_source
from ...compute.job import (
    CANCEL,
    CHILDREN,
    PROCESS_INFO,
    PROCESS_STATUS,
    RUN_FILE,
    STARTED,
    Job,
    run_directory,
    write_job,
    write_private,
)
from ...compute.local import LEAST_RUNS, wrapper_alive
from ...compute.places import places_taken
from ...compute.queue import Entry, enqueue, ensure_runner, entries
from ...compute.registry import LOCAL, TargetRecord, opener, targets
from ...compute.script_process import without_secrets
from ...data._inputs import input_variables, reference_variables
from ...exceptions import (
    AuthenticationException,
    AzureMLException,
    ExperimentExecutionException,
    ServiceException,
    UserErrorException,
)
from ...home.autostart import environment as process_environment
from ...spool.live_runs import LiveRun, open_live
from ...workspace_type import Workspace
from .._run.handle import RunHandle
from .._run.snapshot_taking import source_properties
from .._run.starting import checked_run_id, creation, origin, wake_service
from ..runconfig import RunConfiguration, texts
from ..script_run_config import ScriptRunConfig
from .environment_build import check_buildable

_log = logging.getLogger("runstream")

_LEAVING_SECONDS = 10.0
"""Time the process that has told the end of a run has to leave."""


def submit(
    workspace: Workspace,
    experiment: str,
    config: Any,
    tags: Mapping[str, Any] | None = None,
    *,
    parent: RunHandle | None = None,
    run_id: str | None = None,
    properties: Mapping[str, str] | None = None,
    kind: str = SCRIPT_RUN,
    files: Mapping[str, bytes] | None = None,
) -> tuple[RunRecord, LiveRun]:
    """Submit a configuration; returns when the run is in the queue of its compute target.

    Args:
        workspace: the workspace.
        experiment: name of the run's.
        config: a `ScriptRunConfig`.
        tags: first tags.
        parent: the run it is a child of.
        run_id: its id; default `<experiment>_<unix seconds>_<8 hex digits>`.
        properties: more properties of the run.
        kind: type of the run.
        files: more files of the run's directory, which is its owner's alone to read.

    Returns:
        The run's record and its writer.

    Raises:
        AzureMLException: another kind of configuration.
        ExperimentExecutionException: the script is not in the source directory, or the process cannot be started.
        RunEnvironmentException: the environment needs a tool this machine does not have.
        ServiceException: the workspace has no such compute target (status_code 400).
        SnapshotException: the directory is larger or has more files than a snapshot may.
        ComputeTargetException: what the target's kind needs is not installed.
        UserErrorException: arguments of a wrong kind, or a run id submitted before.
    """
    if not isinstance(config, ScriptRunConfig):
        raise AzureMLException(
            f"Method to be submitted has not been registered. Type: {type(config).__name__}; pass a ScriptRunConfig"
        )
    source, wish, target = checked(workspace, config)
    command, shell = _command(source, wish)
    settings = workspace._settings
    run_id = checked_run_id(run_id) if run_id else f"{experiment}_{int(time.time())}_{secrets.token_hex(4)}"
    directory = run_directory(settings, run_id)
    record = _record(workspace, experiment, wish, target, run_id, source, parent, as_texts("tag", tags or {}))
    record.type = kind
    record.properties.update(properties or {})
    wake_service(settings)
    if wish.history.snapshot_project:
        record.properties.update(_source_properties(workspace._client, source))
    job = Job(
        run_id=run_id,
        experiment=experiment,
        workspace=workspace.name,
        subscription_id=workspace.subscription_id,
        resource_group=workspace.resource_group,
        command=command,
        shell=shell,
        environment=wish.environment.document(),
        interpreter=sys.executable or "python3",
        variables={
            **{str(key): str(value) for key, value in wish.environment_variables.items()},
            **input_variables(wish.arguments),
            **reference_variables(workspace, wish.data_references),
        },
        framework=wish.framework,
        communicator=wish.communicator,
        node_count=wish.node_count,
        max_seconds=wish.max_run_duration_seconds,
        collect=wish.history.output_collection,
        target=target.name,
        target_type=target.type,
        submitter_environment={
            key: value
            for key, value in process_environment(settings).items()
            if not key.startswith("AZUREML_")  # a script that submits is a run itself
        },
    )
    entry = Entry(run_id, parent.id if parent else "", directory.name, workspace.name, target.name)
    try:
        make_private(directory.parent)
        directory.mkdir(0o700)
    except FileExistsError:
        raise UserErrorException(f"run {run_id} was submitted before; choose another run id") from None
    try:
        copy_source(source, directory / "code", settings.home_path)
        write_job(directory, job, asdict(record))
        for name, content in (files or {}).items():
            write_private(directory / name, content)
    except OSError as error:
        shutil.rmtree(directory, ignore_errors=True)
        raise ExperimentExecutionException(
            f"{source} cannot be copied to {directory}: {error}; see to its rights and the room on the disk"
        ) from error
    live = open_live(settings, run_id)
    live.writer.status("create", creation(record))
    for key, value in record.tags.items():
        live.writer.tag(key, value)
    for key, value in record.properties.items():
        live.writer.add_property(key, value)
    waits = _has_to_wait(settings, entry, target)
    record.status = "Queued" if waits else "Starting"
    live.writer.status(record.status.lower())
    try:
        enqueue(settings, entry)
        _give_way(parent)
        ensure_runner(settings)
    except OSError as error:
        live.writer.status("error", {"error": {"code": "SystemError", "message": str(error)}})
        live.writer.status("fail")
        raise ExperimentExecutionException(
            f"run {run_id} cannot be queued: {error}; see to the rights and the room of the home"
        ) from error
    return record, live


def checked(workspace: Workspace, config: ScriptRunConfig) -> tuple[Path, RunConfiguration, TargetRecord]:
    """What a configuration comes to: its source directory, the whole of it, and its target. Raises as `submit`."""
    wish = config.resolved()
    source = Path(config.source_directory).expanduser().absolute()
    _command(source, wish)
    target = _target(workspace, wish)
    if target.type == LOCAL:  # elsewhere there may be other tools
        check_buildable(wish.environment)
    return source, wish, target


def submit_again(workspace: Workspace, record: RunRecord, files: Mapping[str, bytes]) -> LiveRun:
    """Put a run that was submitted on this machine, and has ended, into the queue once more, with the same source.

    Args:
        workspace: the workspace.
        record: the record of the run.
        files: more files of the run's directory, in place of those of that name.

    Raises:
        UserErrorException: it has not ended, or its directory is not on this machine.
        ExperimentExecutionException: it cannot be queued.
        ServiceException: the service is away.
    """
    settings = workspace._settings
    directory = run_directory(settings, record.run_id)

    def is_at_work() -> bool:
        queued = any(entry.directory == directory.name for entry in entries(settings).values())
        return queued or wrapper_alive(directory)

    deadline, pauses = time.monotonic() + _LEAVING_SECONDS, Backoff(0.02, 0.5)
    while record.status in TERMINAL and is_at_work() and time.monotonic() < deadline:
        time.sleep(next(pauses))
    if record.status not in TERMINAL or is_at_work():
        raise UserErrorException(
            f"run {record.run_id} is {record.status}; wait for its end, or choose another run id"
        )
    if not (directory / "job.json").is_file():
        raise UserErrorException(
            f"run {record.run_id} was not submitted on this machine; submit it there, or choose another run id"
        )
    target = record.target or LOCAL
    wake_service(settings)
    live = open_live(settings, record.run_id)
    try:
        for name, content in files.items():
            write_private(directory / name, content)
        for name in (STARTED, CANCEL):
            (directory / name).unlink(missing_ok=True)
        live.writer.status("start")  # opens it again
        live.writer.status("queued")
        # Known first: the queue cancels what is still said to be canceled.
        settle(workspace._client, record.run_id)
        enqueue(
            settings,
            Entry(record.run_id, record.parent_run_id or "", directory.name, workspace.name, target),
        )
        ensure_runner(settings)
    except OSError as error:
        raise ExperimentExecutionException(
            f"run {record.run_id} cannot be queued: {error}; see to the rights and the room of the home"
        ) from error
    return live


def _give_way(parent: RunHandle | None) -> None:
    """If this is the script of the parent, let its target know: it most likely waits for the child from now on."""
    if (
        parent is not None
        and os.environ.get("AZUREML_RUN_ID") == parent.id
        and (file := os.environ.get(RUN_FILE))
    ):
        Path(file).with_name(CHILDREN).touch()


def _source_properties(client: ServiceClient, source: Path) -> dict[str, str]:
    try:
        return source_properties(client, source)
    except (ServiceException, AuthenticationException, OSError) as error:
        _log.warning("the run has no snapshot of %s: %s", source, getattr(error, "message", "") or error)
        return {}


def _has_to_wait(settings: Settings, entry: Entry, target: TargetRecord) -> bool:
    """Whether a run about to be queued will not begin at once: for the status it has until then."""
    if target.type != LOCAL:
        return True
    places = target.concurrency or settings.local_runs or max(os.cpu_count() or 1, LEAST_RUNS)
    lane = {
        name: other
        for name, other in entries(settings).items()
        if (other.workspace, other.target) == (entry.workspace, entry.target)
    }
    return places_taken({**lane, "": entry}, lane) >= places


def _command(source: Path, wish: RunConfiguration) -> tuple[list[str], bool]:
    """(words, whether they are one line for a shell)."""
    check_no_home(source)
    if not source.is_dir():
        raise UserErrorException(f"source_directory {source} is no directory; give one that is there")
    if wish.script:
        path = source / wish.script
        if not path.is_file() or not path.resolve().is_relative_to(source.resolve()):
            raise ExperimentExecutionException(
                f"{path} script path doesn't exist. The script should be inside the project folder"
            )
        return ["python", wish.script, *texts(wish.arguments)], False
    if wish.command:
        line = wish.command if isinstance(wish.command, str) else " ".join(map(str, wish.command))
        return [line], True
    raise ExperimentExecutionException(
        "nothing to run: the configuration names neither a script nor a command; set script or command"
    )


def _target(workspace: Workspace, wish: RunConfiguration) -> TargetRecord:
    """The compute target a configuration names, if it can execute what is asked."""
    known = targets(workspace._settings, workspace.name)
    target = known.get(wish.target or LOCAL)
    if target is None:
        raise ServiceException(
            f"Unknown compute target '{wish.target}'; workspace {workspace.name} has: {', '.join(known)}. "
            "ComputeTarget.attach adds one",
            400,
        )
    opener(target.type)  # what it needs is there
    if wish.docker.use_docker:
        raise UserErrorException(
            "docker.use_docker: runs take place outside of containers; set it to False and describe the packages "
            "with Environment.from_pip_requirements or a conda specification"
        )
    if wish.node_count > 1 and target.type == LOCAL:
        raise UserErrorException(
            f"node_count {wish.node_count}: a run on the target {target.name} is one process tree on one node"
            "; set node_count to 1"
        )
    return target


def _without_secrets(definition: dict[str, Any]) -> dict[str, Any]:
    """A definition as everybody may read it who sees the run: without the values of variables that hold secrets.

    The job itself, in a directory only its owner may read, has them.
    """
    for holder in (definition, definition["environment"]):
        holder["environmentVariables"] = without_secrets(holder["environmentVariables"])
    return definition


def _record(
    workspace: Workspace,
    experiment: str,
    wish: RunConfiguration,
    target: TargetRecord,
    run_id: str,
    source: Path,
    parent: RunHandle | None,
    tags: dict[str, str | None],
) -> RunRecord:
    from .._run.display_names import make_display_name

    definition = _without_secrets(wish.document())
    definition["maxRunDurationSeconds"] = wish.max_run_duration_seconds
    return RunRecord(
        run_id=run_id,
        experiment=experiment,
        workspace=workspace.name,
        parent_run_id=parent.id if parent else None,
        root_run_id=(parent._record.root_run_id or parent.id) if parent else run_id,
        name=f"run_{run_id}",
        display_name=make_display_name(),
        type=SCRIPT_RUN,
        target=target.name,
        tags=tags,
        properties={
            "_azureml.ComputeTargetType": target.type,
            "ProcessInfoFile": PROCESS_INFO,
            "ProcessStatusFile": PROCESS_STATUS,
        },
        details={**origin(str(source)), "script": wish.script or "", "runDefinition": definition},
    )
