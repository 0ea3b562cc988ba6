"""Run configurations: what a submission runs, where, and in which environment; kept as YAML files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..client.arguments import path_argument, write_text_file
from ..data.data_reference import DataReferenceConfiguration, reference_documents
from ..exceptions import UserErrorException
from ..spool.values import check_text
from ._cloud_services import ContainerRegistry
from .conda_dependencies import DEFAULT_FILE, CondaDependencies
from .environment import DEFAULT_CPU_IMAGE, DEFAULT_GPU_IMAGE, Environment

__all__ = [
    "DEFAULT_CPU_IMAGE",
    "DEFAULT_GPU_IMAGE",
    "CondaDependencies",
    "ContainerRegistry",
    "DataReferenceConfiguration",
    "DockerConfiguration",
    "HistoryConfiguration",
    "MpiConfiguration",
    "PyTorchConfiguration",
    "RunConfiguration",
    "TensorflowConfiguration",
]


DEFAULT_MAX_SECONDS = 2_592_000
"""Seconds after which a submitted run is canceled unless told otherwise: 30 days."""

_FOLDERS = (".azureml", "aml_config", "")


@dataclass(slots=True)
class HistoryConfiguration:
    """What of a run is kept beside its metrics."""

    output_collection: bool = True
    snapshot_project: bool = True
    directories_to_watch: list[str] = field(default_factory=lambda: ["logs"])


@dataclass(slots=True)
class DockerConfiguration:
    """Whether, and how, a run takes place in a container. Local runs refuse `use_docker`."""

    use_docker: bool = False
    shared_volumes: bool = True
    arguments: list[str] = field(default_factory=list)
    shm_size: str | None = None


@dataclass(slots=True)
class MpiConfiguration:
    """Several processes a node started by MPI: kept and written, refused by local runs with more than one node."""

    process_count_per_node: int = 1
    node_count: int = 1


@dataclass(slots=True)
class PyTorchConfiguration:
    """Distributed PyTorch: kept and written, refused by local runs with more than one node."""

    communication_backend: str = "Nccl"
    process_count: int | None = None
    node_count: int = 1


@dataclass(slots=True)
class TensorflowConfiguration:
    """Distributed TensorFlow: kept and written."""

    worker_count: int = 1
    parameter_server_count: int = 1


class RunConfiguration:
    """What a submission runs, where, and in which environment.

    Args:
        script: path of the script below the source directory.
        arguments: the script's arguments.
        framework: default `Python`.
        communicator: default `None`.
        conda_dependencies: packages of the environment.
        command: a command line instead of a script.

    Raises:
        UserErrorException: both a script and a command.

    Source: `azureml.core.runconfig.RunConfiguration`.
    """

    def __init__(
        self,
        script: str | None = None,
        arguments: Sequence[Any] | None = None,
        framework: str | None = None,
        communicator: str | None = None,
        conda_dependencies: CondaDependencies | None = None,
        _history_enabled: bool | None = None,
        _path: str | None = None,
        _name: str | None = None,
        command: str | Sequence[Any] | None = None,
    ) -> None:
        if script and command:
            raise UserErrorException(
                "script and command are exclusive: a run has one or the other; leave one out"
            )
        self.script = script
        self.arguments: Any = list(arguments) if isinstance(arguments, (list, tuple)) else arguments or []
        self.command: Any = command or ""
        self._target = "local"
        self.framework = framework or "Python"
        self.communicator = communicator or "None"
        self.node_count = 1
        self.priority: int | None = None
        self.max_run_duration_seconds: int | None = None
        self.environment = Environment("default-environment")
        if conda_dependencies is not None:
            self.environment.python.conda_dependencies = conda_dependencies
        self.history = HistoryConfiguration(output_collection=_history_enabled is not False)
        self.docker = DockerConfiguration()
        self.spark: dict[str, Any] = {"configuration": {}}
        self.mpi = MpiConfiguration()
        self.pytorch = PyTorchConfiguration()
        self.tensorflow = TensorflowConfiguration()
        self.environment_variables: dict[str, str] = {}
        self.data_references: dict[str, Any] = {}
        self.data: dict[str, Any] = {}
        self.output_data: dict[str, Any] = {}
        self._path, self._name = _path, _name

    @property
    def target(self) -> str:
        """Name of the compute target; may be set to a name, or to an object with a `name`."""
        return self._target

    @target.setter
    def target(self, target: Any) -> None:
        name = getattr(target, "name", target) or "local"
        if not isinstance(name, str):
            raise UserErrorException(
                f"target: expected the name of a compute target, or the target, got {type(target).__name__}"
            )
        self._target = name

    def document(self) -> dict[str, Any]:
        """The configuration as JSON and YAML can hold it, keys in camelCase."""
        return {
            "script": self.script,
            "arguments": texts(self.arguments),
            "target": self.target,
            "framework": self.framework,
            "communicator": self.communicator,
            "maxRunDurationSeconds": self.max_run_duration_seconds,
            "nodeCount": self.node_count,
            "priority": self.priority,
            "environment": self.environment.document(),
            "history": {
                "outputCollection": self.history.output_collection,
                "snapshotProject": self.history.snapshot_project,
                "directoriesToWatch": list(self.history.directories_to_watch),
            },
            "spark": self.spark,
            "docker": {
                "useDocker": self.docker.use_docker,
                "sharedVolumes": self.docker.shared_volumes,
                "arguments": list(self.docker.arguments),
                "shmSize": self.docker.shm_size,
            },
            "command": self.command if isinstance(self.command, str) else " ".join(map(str, self.command)),
            "environmentVariables": dict(self.environment_variables),
            "mpi": {"processCountPerNode": self.mpi.process_count_per_node, "nodeCount": self.mpi.node_count},
            "pytorch": {
                "communicationBackend": self.pytorch.communication_backend,
                "processCount": self.pytorch.process_count,
            },
            "tensorflow": {
                "workerCount": self.tensorflow.worker_count,
                "parameterServerCount": self.tensorflow.parameter_server_count,
            },
            "dataReferences": reference_documents(self.data_references),
            "data": self.data,
            "outputData": self.output_data,
        }

    def save(
        self,
        path: str | os.PathLike[str] | None = None,
        name: str | None = None,
        separate_environment_yaml: bool = False,
    ) -> None:
        """Write `<path>/.azureml/<name>`, or below `aml_config` if there is such a directory, and the packages beside it.

        Args:
            path: default the current directory.
            name: the configuration's name; default the one it was loaded under.
            separate_environment_yaml: write the environment to `environment.yml` beside it.

        Raises:
            UserErrorException: no name.
        """
        import yaml

        name = name or self._name
        if not name:
            raise UserErrorException("RunConfiguration.save: a name is required")
        root = path_argument("path", path or self._path or ".")
        file = path_argument("name", name)
        folder = root / "aml_config" if (root / "aml_config").is_dir() else root / ".azureml"
        folder.mkdir(parents=True, exist_ok=True)
        document = self.document()
        python = document["environment"]["python"]
        dependencies = python.pop("condaDependencies")
        if dependencies is not None:
            python["condaDependenciesFile"] = f"{folder.name}/{DEFAULT_FILE}"
            CondaDependencies(_underlying_structure=dependencies).save(folder / DEFAULT_FILE)
        if separate_environment_yaml:
            (folder / "environment.yml").write_text(yaml.safe_dump(document["environment"], sort_keys=False))
            document["environment"] = "environment.yml"
        write_text_file("RunConfiguration.save:", folder / file, yaml.safe_dump(document, sort_keys=False))

    @staticmethod
    def load(path: str | os.PathLike[str], name: str | None = None) -> RunConfiguration:
        """A configuration written by `save`.

        Args:
            path: a project's directory, or, without `name`, the file.
            name: the configuration's: `<name>` or `<name>.runconfig` in `.azureml`, `aml_config` or `path` itself.

        Raises:
            UserErrorException: there is none, or it is no run configuration.
        """
        file = _find(Path(path), name)
        project = file.parent.parent if file.parent.name in _FOLDERS else file.parent
        document = _mapping(file)
        configuration = RunConfiguration(_path=str(project), _name=file.name)
        environment = document.get("environment")
        if isinstance(environment, str):
            environment = _mapping(file.parent / environment)
        if environment:
            named = (environment.get("python") or {}).get("condaDependenciesFile")
            if named and not environment["python"].get("condaDependencies"):
                places = [project / named, file.parent / named]
                environment["python"]["condaDependencies"] = CondaDependencies(
                    next((place for place in places if place.is_file()), places[0])
                ).as_dict()
            configuration.environment = Environment.from_document(environment)
        for key, attribute in _PLAIN.items():
            if document.get(key) is not None:
                setattr(configuration, attribute, document[key])
        for key in ("history", "docker", "mpi", "pytorch", "tensorflow"):
            section = getattr(configuration, key)
            for inner, value in (document.get(key) or {}).items():
                if hasattr(section, _snake(inner)):
                    setattr(section, _snake(inner), value)
        return configuration

    @staticmethod
    def delete(path: str | os.PathLike[str], name: str) -> None:
        """Remove a configuration's file.

        Raises:
            UserErrorException: there is none.
        """
        _find(Path(path), name).unlink()


_PLAIN = {
    "script": "script",
    "arguments": "arguments",
    "command": "command",
    "target": "target",
    "framework": "framework",
    "communicator": "communicator",
    "maxRunDurationSeconds": "max_run_duration_seconds",
    "nodeCount": "node_count",
    "priority": "priority",
    "environmentVariables": "environment_variables",
    "spark": "spark",
    "dataReferences": "data_references",
    "data": "data",
    "outputData": "output_data",
}


def texts(arguments: Any) -> list[str]:
    """Arguments as texts: a list's entries, or the words of a string.

    Raises:
        UserErrorException: neither a list nor a string.
    """
    import shlex

    if arguments is None:
        return []
    if isinstance(arguments, str):
        return shlex.split(arguments)
    if isinstance(arguments, (list, tuple)):
        return [str(argument) for argument in arguments]
    raise UserErrorException(f"arguments: expected a list or a string, got {type(arguments).__name__}")


def _find(path: Path, name: str | None) -> Path:
    if name is None:
        if path.is_file():
            return path
        raise UserErrorException(f"RunConfiguration.load: {path} is no file, and no name was given")
    name = check_text("RunConfiguration name", name)
    tried = [path / folder / candidate for folder in _FOLDERS for candidate in (name, f"{name}.runconfig")]
    for file in tried:
        if file.is_file():
            return file
    raise UserErrorException(
        f"Unable to find the run configuration {name}; looked for " + ", ".join(map(str, tried))
    )


def _mapping(file: Path) -> dict[str, Any]:
    import yaml

    try:
        document = yaml.safe_load(file.read_text(encoding="utf-8-sig"))
    except (OSError, yaml.YAMLError) as error:
        raise UserErrorException(
            f"{file} cannot be read: {error}; see that it is there and may be read"
        ) from None
    if not isinstance(document, dict):
        raise UserErrorException(f"{file} is no run configuration: expected a mapping")
    return document


def _snake(key: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in key)
