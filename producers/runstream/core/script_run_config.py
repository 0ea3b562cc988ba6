"""What `Experiment.submit` takes: a source directory, what of it to run, and how."""

from __future__ import annotations

import copy
import logging
import os
from collections.abc import Sequence
from typing import Any

from ..client.arguments import texts_argument
from ..exceptions import UserErrorException
from .environment import Environment
from .runconfig import (
    DEFAULT_MAX_SECONDS,
    DockerConfiguration,
    MpiConfiguration,
    PyTorchConfiguration,
    RunConfiguration,
    TensorflowConfiguration,
)

__all__ = ["ScriptRunConfig"]

_log = logging.getLogger("runstream")


class ScriptRunConfig:
    """A script, or a command, to be run from a copy of a directory.

    Args:
        source_directory: directory that is copied for the run.
        script: path of the script below it.
        arguments: its arguments, texts or numbers; or one string.
        run_config: everything else; the next arguments are then ignored, with a warning.
        compute_target: name of the target, or an object with a `name`; default `local`.
        environment: default the interpreter that submits.
        distributed_job_config: kept.
        resume_from: kept.
        max_run_duration_seconds: after so many seconds the run is canceled.
        command: a command line instead of a script; a list is joined by spaces.
        docker_runtime_config: kept; a local run refuses `use_docker`.

    Attributes:
        run_config: read at submission, so it may be changed before.

    Raises:
        UserErrorException: no source directory, or both script and command.

    Source: `azureml.core.ScriptRunConfig`.
    """

    def __init__(
        self,
        source_directory: str | os.PathLike[str],
        script: str | None = None,
        arguments: Sequence[Any] | str | None = None,
        run_config: RunConfiguration | None = None,
        _telemetry_values: Any = None,
        compute_target: Any = None,
        environment: Environment | None = None,
        distributed_job_config: Any = None,
        resume_from: Any = None,
        max_run_duration_seconds: int | None = DEFAULT_MAX_SECONDS,
        command: Sequence[Any] | str | None = None,
        docker_runtime_config: DockerConfiguration | None = None,
    ) -> None:
        if not source_directory:
            raise UserErrorException(
                "ScriptRunConfig: source_directory is required; give the folder of the script"
            )
        if script and command:
            raise UserErrorException("ScriptRunConfig: script and command are exclusive; give one of the two")
        self.source_directory = os.fspath(source_directory)
        self.resume_from = resume_from
        if run_config is not None:
            ignored = {
                "compute_target": compute_target,
                "environment": environment,
                "distributed_job_config": distributed_job_config,
                "docker_runtime_config": docker_runtime_config,
                "max_run_duration_seconds": None
                if max_run_duration_seconds == DEFAULT_MAX_SECONDS
                else max_run_duration_seconds,
            }
            if given := [name for name, value in ignored.items() if value is not None]:
                _log.warning("ScriptRunConfig: run_config is given, so %s is ignored", ", ".join(given))
            self.run_config = copy.deepcopy(run_config)
        else:
            self.run_config = RunConfiguration()
            self.run_config.target = getattr(compute_target, "name", compute_target) or "local"
            self.run_config.max_run_duration_seconds = max_run_duration_seconds
            if environment is not None:
                self.run_config.environment = environment
            if docker_runtime_config is not None:
                self.run_config.docker = docker_runtime_config
            self._distribute(distributed_job_config)
        if command:
            self.run_config.script = None
        self.script = script if script or command else self.run_config.script
        self.arguments: Any = arguments if arguments is not None else self.run_config.arguments
        joined = (
            command
            if isinstance(command, str) or command is None
            else " ".join(texts_argument("command", command))
        )
        self.command: str | None = joined or (None if self.script else self.run_config.command or None)

    def _distribute(self, job: Any) -> None:
        config = self.run_config
        if isinstance(job, MpiConfiguration):
            config.mpi, config.communicator, config.node_count = job, "Mpi", job.node_count
        elif isinstance(job, PyTorchConfiguration):
            config.pytorch, config.framework = job, "PyTorch"
            config.communicator, config.node_count = job.communication_backend, job.node_count
        elif isinstance(job, TensorflowConfiguration):
            config.tensorflow, config.framework = job, "TensorFlow"
        elif job is not None:
            raise UserErrorException(
                f"distributed_job_config: expected MpiConfiguration, PyTorchConfiguration or TensorflowConfiguration, "
                f"got {type(job).__name__}"
            )

    def resolved(self) -> RunConfiguration:
        """A deep copy of the run configuration as it is now, with this object's script, arguments and command."""
        config = copy.deepcopy(self.run_config)
        config.script, config.command = self.script, self.command or ""
        config.arguments = self.arguments
        return config
