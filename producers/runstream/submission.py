"""Submitting: a copy of the source directory, a run of type `azureml.scriptrun`, and a process that carries it out."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runstream_schemas.settings import Settings

from .autostart import environment as process_environment
from .environment_build import check_buildable
from .exceptions import AzureMLException, ExperimentExecutionException, ServiceException, UserErrorException
from .job import Job, run_directory, write_job
from .live_runs import open_live
from .record import SCRIPT_RUN, RunRecord
from .recording import as_texts
from .run_configuration import RunConfiguration, texts
from .script_run import ScriptRun
from .script_run_config import ScriptRunConfig
from .source_folder import copy_source
from .starting import creation, origin, wake_service

if TYPE_CHECKING:
    from .experiment import Experiment
    from .run import Run

_IN_BACKGROUND = 'log=$1; shift; "$@" </dev/null >>"$log" 2>&1 &'


def submit(
    experiment: Experiment,
    config: Any,
    tags: Mapping[str, Any] | None = None,
    *,
    parent: Run | None = None,
    run_id: str | None = None,
) -> ScriptRun:
    """Submit a configuration; returns when the run's process is on its way.

    Args:
        experiment: the run's.
        config: a `ScriptRunConfig`.
        tags: first tags.
        parent: the run it is a child of.
        run_id: its id; default `<experiment>_<unix seconds>_<8 hex digits>`.

    Raises:
        AzureMLException: another kind of configuration.
        ExperimentExecutionException: the script is not in the source directory, or the process cannot be started.
        RunEnvironmentException: the environment needs a tool this machine does not have.
        ServiceException: there is no such compute target (status_code 400).
        UserErrorException: arguments of a wrong kind, or a run id submitted before.
    """
    if not isinstance(config, ScriptRunConfig):
        raise AzureMLException(
            f"Method to be submitted has not been registered. Type: {type(config).__name__}; pass a ScriptRunConfig"
        )
    wish = config.resolved()
    source = Path(config.source_directory).expanduser().absolute()
    command, shell = _command(source, wish)
    _check_target(wish)
    check_buildable(wish.environment)
    settings = experiment.workspace._settings
    run_id = run_id or f"{experiment.name}_{int(time.time())}_{secrets.token_hex(4)}"
    directory = run_directory(settings, run_id)
    record = _record(experiment, wish, run_id, source, parent, as_texts("tag", tags or {}))
    job = Job(
        run_id=run_id,
        experiment=experiment.name,
        workspace=experiment.workspace.name,
        subscription_id=experiment.workspace.subscription_id,
        resource_group=experiment.workspace.resource_group,
        command=command,
        shell=shell,
        environment=wish.environment.document(),
        interpreter=sys.executable or "python3",
        variables={str(key): str(value) for key, value in wish.environment_variables.items()},
        framework=wish.framework,
        communicator=wish.communicator,
        node_count=wish.node_count,
        max_seconds=wish.max_run_duration_seconds,
        collect=wish.history.output_collection,
    )
    wake_service(settings)
    try:
        directory.mkdir(parents=True)
    except FileExistsError:
        raise UserErrorException(f"run {run_id} was submitted before; choose another run id") from None
    try:
        copy_source(source, directory / "code", settings.home_path)
        write_job(directory, job, asdict(record))
    except OSError as error:
        shutil.rmtree(directory, ignore_errors=True)
        raise ExperimentExecutionException(f"{source} cannot be copied to {directory}: {error}") from error
    run = ScriptRun._of(experiment, record)
    run._parent = parent
    live = open_live(settings, run_id)
    run._attach(live)
    run._started_here = True
    live.writer.status("create", creation(record))
    for key, value in record.tags.items():
        live.writer.tag(key, value)
    for key, value in record.properties.items():
        live.writer.add_property(key, value)
    live.writer.status("starting")
    record.status = "Starting"
    try:
        _start(settings, directory)
    except OSError as error:
        live.writer.status("error", {"error": {"code": "SystemError", "message": str(error)}})
        live.writer.status("fail")
        raise ExperimentExecutionException(f"run {run_id} cannot be started: {error}") from error
    return run


def _command(source: Path, wish: RunConfiguration) -> tuple[list[str], bool]:
    """(words, whether they are one line for a shell)."""
    if not source.is_dir():
        raise UserErrorException(f"source_directory {source} is no directory")
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
        "nothing to run: the configuration names neither a script nor a command"
    )


def _check_target(wish: RunConfiguration) -> None:
    if wish.target != "local":
        raise ServiceException(f"Unknown compute target '{wish.target}'; this workspace has: local", 400)
    if wish.docker.use_docker:
        raise UserErrorException(
            "docker.use_docker: local runs take place outside of containers; set it to False and describe the packages "
            "with Environment.from_pip_requirements or a conda specification"
        )
    if wish.node_count > 1:
        raise UserErrorException(f"node_count {wish.node_count}: the target local has one node")


def _record(
    experiment: Experiment,
    wish: RunConfiguration,
    run_id: str,
    source: Path,
    parent: Run | None,
    tags: dict[str, str | None],
) -> RunRecord:
    from .display_names import make_display_name

    definition = wish.document()
    definition["maxRunDurationSeconds"] = wish.max_run_duration_seconds
    return RunRecord(
        run_id,
        experiment.name,
        experiment.workspace.name,
        parent_run_id=parent.id if parent else None,
        root_run_id=(parent._record.root_run_id or parent.id) if parent else run_id,
        name=f"run_{run_id}",
        display_name=make_display_name(),
        type=SCRIPT_RUN,
        target=wish.target,
        tags=tags,
        properties={
            "_azureml.ComputeTargetType": "local",
            "ProcessInfoFile": "azureml-logs/process_info.json",
            "ProcessStatusFile": "azureml-logs/process_status.json",
        },
        details={**origin(str(source)), "script": wish.script or "", "runDefinition": definition},
    )


def _start(settings: Settings, directory: Path) -> None:
    """Start the wrapper as a process of its own; it outlives this one."""
    argv = [
        "/bin/sh", "-c", _IN_BACKGROUND, "runstream", str(directory / "wrapper.log"),
        sys.executable, "-P", "-m", "runstream.wrapper", str(directory),
    ]  # fmt: skip
    variables = {
        key: value
        for key, value in process_environment(settings).items()
        if not key.startswith("AZUREML_")  # a script that submits is a run itself
    }
    child = os.posix_spawn(argv[0], argv, variables)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(child, 0)
