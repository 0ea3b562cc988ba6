"""Environments: which interpreter a submitted script runs with, and what is installed for it."""

from __future__ import annotations

import copy
import json
import logging
import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .conda_dependencies import DEFAULT_PYTHON, CondaDependencies, split_package
from .exceptions import UserErrorException

_log = logging.getLogger("runstream")

DEFAULT_CPU_IMAGE = "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04"
DEFAULT_GPU_IMAGE = "mcr.microsoft.com/azureml/openmpi4.1.0-cuda11.8-cudnn8-ubuntu22.04"


@dataclass(slots=True)
class PythonSection:
    """The interpreter of an environment.

    Attributes:
        interpreter_path: interpreter of a user-managed environment; `python` is the one that submits.
        user_managed_dependencies: the interpreter is used as it is, nothing is installed.
        conda_dependencies: what is installed otherwise.
    """

    interpreter_path: str = "python"
    user_managed_dependencies: bool = False
    conda_dependencies: CondaDependencies | None = field(default_factory=CondaDependencies)
    base_conda_environment: str | None = None
    conda_dependencies_file: str | None = None


@dataclass(slots=True)
class DockerSection:
    """Docker image of an environment: kept and written, not used by local runs."""

    enabled: bool = False
    base_image: str | None = DEFAULT_CPU_IMAGE
    base_dockerfile: str | None = None
    shm_size: str | None = "2g"
    arguments: list[str] = field(default_factory=list)
    gpu_support: bool = True


@dataclass(slots=True)
class SparkSection:
    """Spark packages of an environment: kept and written, not used by local runs."""

    packages: list[Any] = field(default_factory=list)
    repositories: list[str] = field(default_factory=list)
    precache_packages: bool = True


class Environment:
    """An environment of submitted runs.

    Args:
        name: its name, or None.

    Attributes:
        environment_variables: set for the script.
        python: interpreter and packages.

    Raises:
        TypeError: a name that is no string.

    Source: `azureml.core.Environment`.
    """

    def __init__(self, name: str | None, **kwargs: Any) -> None:
        if name is not None and not isinstance(name, str):
            raise TypeError(f"Environment name: expected a string or None, got {type(name).__name__}")
        if kwargs:
            raise TypeError(f"Environment() got an unexpected keyword argument {next(iter(kwargs))!r}")
        self.name = name
        self.version: str | None = None
        self.environment_variables: dict[str, str] = {"EXAMPLE_ENV_VAR": "EXAMPLE_VALUE"}
        self.python = PythonSection()
        self.docker = DockerSection()
        self.spark = SparkSection()
        self.r: Any = None
        self.inferencing_stack_version: str | None = None
        self.asset_id: str | None = None

    @staticmethod
    def from_conda_specification(name: str, file_path: str | os.PathLike[str]) -> Environment:
        """An environment of the packages a conda specification names.

        Raises:
            FileNotFoundError: there is no such file.
            UserErrorException: it is no conda specification.
        """
        environment = Environment(name)
        dependencies = CondaDependencies(file_path)
        if dependencies.python_version is None:
            _log.warning("%s names no version of Python; %s is taken", file_path, DEFAULT_PYTHON)
            dependencies.set_python_version(DEFAULT_PYTHON)
        environment.python.conda_dependencies = dependencies
        return environment

    @staticmethod
    def from_pip_requirements(
        name: str, file_path: str | os.PathLike[str], pip_version: str | None = None
    ) -> Environment:
        """An environment of the packages a requirements file names.

        Raises:
            FileNotFoundError: there is no such file.
        """
        environment = Environment(name)
        lines = [line.strip() for line in Path(file_path).read_text(encoding="utf-8").splitlines()]
        dependencies = CondaDependencies()
        dependencies.set_pip_requirements([line for line in lines if line and not line.startswith("#")])
        dependencies.add_conda_package(f"pip={pip_version}" if pip_version else "pip")
        environment.python.conda_dependencies = dependencies
        return environment

    @staticmethod
    def from_existing_conda_environment(name: str, conda_environment_name: str) -> Environment | None:
        """An environment like one of this machine's conda; None, with a warning, when it cannot be read."""
        try:
            done = subprocess.run(
                ["conda", "env", "export", "--no-builds", "--name", conda_environment_name, "--json"],
                capture_output=True,
                text=True,
                timeout=120,
                check=True,
            )
            document = json.loads(done.stdout)
        except (OSError, subprocess.SubprocessError, ValueError) as error:
            _log.warning("conda environment %s cannot be exported: %s", conda_environment_name, error)
            return None
        environment = Environment(name)
        environment.python.conda_dependencies = CondaDependencies(_underlying_structure=document)
        return environment

    def clone(self, new_name: str) -> Environment:
        """A copy under another name, without version."""
        if not new_name:
            raise UserErrorException("clone: the copy needs a name")
        clone = copy.deepcopy(self)
        clone.name, clone.version = new_name, None
        return clone

    def document(self) -> dict[str, Any]:
        """The environment as JSON can hold it, keys in camelCase."""
        python, docker, spark = self.python, self.docker, self.spark
        dependencies = python.conda_dependencies
        return {
            "name": self.name,
            "version": self.version,
            "environmentVariables": dict(self.environment_variables),
            "python": {
                "userManagedDependencies": python.user_managed_dependencies,
                "interpreterPath": python.interpreter_path,
                "condaDependenciesFile": python.conda_dependencies_file,
                "baseCondaEnvironment": python.base_conda_environment,
                "condaDependencies": dependencies.as_dict() if dependencies is not None else None,
            },
            "docker": {
                "enabled": docker.enabled,
                "baseImage": docker.base_image,
                "baseDockerfile": docker.base_dockerfile,
                "shmSize": docker.shm_size,
                "arguments": list(docker.arguments),
                "gpuSupport": docker.gpu_support,
            },
            "spark": {
                "packages": list(spark.packages),
                "repositories": list(spark.repositories),
                "precachePackages": spark.precache_packages,
            },
            "inferencingStackVersion": self.inferencing_stack_version,
        }

    @staticmethod
    def from_document(document: dict[str, Any]) -> Environment:
        """The environment `document` describes; what it leaves out takes its default."""
        environment = Environment(document.get("name"))
        environment.version = document.get("version")
        environment.environment_variables = dict(document.get("environmentVariables") or {})
        environment.inferencing_stack_version = document.get("inferencingStackVersion")
        python = document.get("python") or {}
        section = environment.python
        section.user_managed_dependencies = bool(python.get("userManagedDependencies", False))
        section.interpreter_path = python.get("interpreterPath") or "python"
        section.conda_dependencies_file = python.get("condaDependenciesFile")
        section.base_conda_environment = python.get("baseCondaEnvironment")
        if python.get("condaDependencies") is not None:
            section.conda_dependencies = CondaDependencies(_underlying_structure=python["condaDependencies"])
        docker = document.get("docker") or {}
        for key, name in (
            ("enabled", "enabled"),
            ("baseImage", "base_image"),
            ("baseDockerfile", "base_dockerfile"),
            ("shmSize", "shm_size"),
            ("arguments", "arguments"),
            ("gpuSupport", "gpu_support"),
        ):
            if key in docker:
                setattr(environment.docker, name, docker[key])
        return environment

    def __repr__(self) -> str:
        return f"Environment(Name: {self.name},\nVersion: {self.version})"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What has to be installed for an environment.

    Attributes:
        python: version of the interpreter, '' for any.
        conda: conda packages beside interpreter and pip.
        pip: requirements and lines of options.
        channels: conda's.
    """

    python: str
    conda: tuple[str, ...]
    pip: tuple[str, ...]
    channels: tuple[str, ...]

    @property
    def nothing(self) -> bool:
        """Whether the submitting interpreter will do."""
        return not (self.python or self.conda or self.pip)


def wanted(environment: Environment) -> Wanted:
    """What an environment needs installed. The SDK of the original is not: a run uses the runstream that submits it."""
    dependencies = environment.python.conda_dependencies
    if environment.python.user_managed_dependencies or dependencies is None:
        return Wanted("", (), (), ())
    version = dependencies.python_version or ""
    conda = tuple(
        package
        for package in dependencies.conda_packages
        if split_package(package)[0] not in ("python", "pip")
    )
    pip = tuple(
        line
        for line in [*dependencies.pip_options, *dependencies.pip_packages]
        if not line.lower().startswith(("azureml-", "azureml_", "runstream"))
    )
    return Wanted(
        "" if version == DEFAULT_PYTHON else version, conda, pip, tuple(dependencies.conda_channels)
    )
