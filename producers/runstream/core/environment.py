"""Environments: which interpreter a submitted script runs with, and what is installed for it."""

from __future__ import annotations

import builtins
import copy
import json
import logging
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..client.arguments import path_argument, text_argument, texts_argument
from ..client.session import Session
from ..cloud import CloudCall
from ..exceptions import ServiceException, UserErrorException
from ..spool.values import check_text
from ..workspace_type import Workspace
from ._cloud_services import DockerBuildContext
from ._environment_sections import (
    DEFAULT_CPU_IMAGE,
    DEFAULT_GPU_IMAGE,
    DockerSection,
    PythonSection,
    SparkSection,
)
from ._requirements_file import read_requirements
from .conda_dependencies import DEFAULT_FILE, DEFAULT_PYTHON, CondaDependencies

__all__ = [
    "DEFAULT_CPU_IMAGE",
    "DEFAULT_GPU_IMAGE",
    "CondaDependencies",
    "DockerBuildContext",
    "DockerSection",
    "Environment",
    "PythonSection",
    "SparkSection",
]

_log = logging.getLogger("runstream")

DEFINITION_FILE = "azureml_environment.json"
"""What `save_to_directory` writes beside the packages; the reproduced API calls it so."""

_PATH = "/api/v1/environments"
_BUILDS = "an environment is built, once for its content, when a run first needs it, and the run has the log"


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
        """An environment of the packages a requirements file names, and the files it names in turn (`-r`).

        Raises:
            FileNotFoundError: there is no such file.
            UserErrorException: it names a file that is not there.
        """
        environment = Environment(name)
        dependencies = CondaDependencies()
        dependencies.set_pip_requirements(read_requirements(file_path))
        pinned = f"pip={text_argument('pip_version', pip_version)}" if pip_version else "pip"
        dependencies.add_conda_package(pinned)
        environment.python.conda_dependencies = dependencies
        return environment

    @staticmethod
    def from_existing_conda_environment(name: str, conda_environment_name: str) -> Environment | None:
        """An environment like one of this machine's conda; None, with a warning, when it cannot be read."""
        conda_environment_name = check_text("conda environment name", conda_environment_name)
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

    @staticmethod
    def from_docker_image(
        name: str,
        image: str,
        container_registry: Any = None,
        conda_specification: str | os.PathLike[str] | None = None,
        pip_requirements: str | os.PathLike[str] | None = None,
    ) -> Environment:
        """An environment of an image. It is kept and can be registered; runs take place outside of containers, so they get
        the packages it names, and without any they are refused.

        Args:
            name: its name.
            image: name of the image.
            container_registry: accepted, not kept.
            conda_specification: packages beside those of the image; else its interpreter is used as it is.
            pip_requirements: the same as a requirements file.

        Raises:
            UserErrorException: both `conda_specification` and `pip_requirements`, or a file that is no specification.
            FileNotFoundError: there is no such file.
        """
        del container_registry
        environment = _with_packages(name, conda_specification, pip_requirements)
        environment.docker.base_image = image
        return environment

    @staticmethod
    def from_dockerfile(
        name: str,
        dockerfile: str | os.PathLike[str],
        conda_specification: str | os.PathLike[str] | None = None,
        pip_requirements: str | os.PathLike[str] | None = None,
    ) -> Environment:
        """An environment of a Dockerfile, its content or its path; as `from_docker_image`."""
        environment = _with_packages(name, conda_specification, pip_requirements)
        path = Path(dockerfile)
        one_line = "\n" not in str(dockerfile)
        content = path.read_text(encoding="utf-8-sig") if one_line and path.is_file() else str(dockerfile)
        environment.docker.base_image, environment.docker.base_dockerfile = None, content
        return environment

    # --- registered environments ---

    def register(self, workspace: Workspace) -> Environment:
        """Keep the environment in a workspace.

        Args:
            workspace: the workspace.

        Returns:
            The environment with its version. Without a version of its own it gets one more than the last; the same
            content as the newest version keeps that one.

        Raises:
            UserErrorException: it has no name.
            ServiceException: its version has other content already (status_code 409), or the service is away.
        """
        if not self.name:
            raise UserErrorException("Environment.register: the environment needs a name")
        version = None if self.version is None else str(self.version)
        content = {"name": self.name, "version": version, "document": self.document()}
        record = workspace._send_json("POST", _PATH, content)
        return _registered(record)

    @staticmethod
    def get(
        workspace: Workspace, name: str, version: str | None = None, label: str | None = None
    ) -> Environment:
        """A registered environment.

        Args:
            workspace: the workspace.
            name: its name.
            version: its version; default the newest.
            label: a label of its version, or `latest`, in place of `version`.

        Raises:
            UserErrorException: both a version and a label.
            ServiceException: there is no such environment (status_code 404), or the service is away.
        """
        if version is not None and label is not None:
            raise UserErrorException("Environment.get takes a version or a label, not both")
        name = check_text("environment name", name)
        label = None if label is None else check_text("label", label)
        labels = {} if label is None or label.lower() == "latest" else {"label": label}
        which = labels or (
            {"version": text_argument("version", version)} if version is not None else {"latest": "1"}
        )
        records = _find(workspace, name=name, **which)
        if not records:
            asked = ", ".join(f"{key} {value}" for key, value in which.items() if key != "latest")
            curated = " (Azure's curated ones are not here: from_pip_requirements describes one)"
            raise ServiceException(
                f"no environment {name!r:.80}{' of ' + asked if asked else ''} in workspace {workspace.name}; "
                f"Environment.list() names those there are{curated if name.lower().startswith('azureml') else ''}",
                404,
            )
        return _registered(records[0])

    @staticmethod
    def list(workspace: Workspace) -> dict[str, Environment]:
        """The newest version of every registered environment, by name.

        Raises:
            ServiceException: the service is away.
        """
        return {record["name"]: _registered(record) for record in _find(workspace, latest="1")}

    @staticmethod
    def label(workspace: Workspace, name: str, version: str, labels: Sequence[str]) -> None:
        """Let labels point to a version; each points to one version of a name at a time.

        Raises:
            ServiceException: there is no such version (status_code 404), or the service is away.
        """
        content = {
            "name": name,
            "version": text_argument("version", version),
            "labels": texts_argument("labels", labels),
        }
        workspace._send_json("PUT", "/api/v1/environment-labels", content)

    # --- environments in files ---

    def save_to_directory(self, path: str | os.PathLike[str], overwrite: bool = False) -> None:
        """Write the environment: `azureml_environment.json`, and the packages as `conda_dependencies.yml`.

        Args:
            path: directory, made if need be.
            overwrite: replace what is there.

        Raises:
            UserErrorException: it is there already and `overwrite` is False.
        """
        folder = path_argument("path", path)
        if (folder / DEFINITION_FILE).exists() and not overwrite:
            raise UserErrorException(
                f"{folder / DEFINITION_FILE} is there already; pass overwrite=True to replace it"
            )
        folder.mkdir(parents=True, exist_ok=True)
        document = self.document()
        (folder / DEFINITION_FILE).write_text(
            json.dumps(document, indent=4, ensure_ascii=False) + "\n", encoding="utf-8"
        )
        if self.python.conda_dependencies is not None:
            self.python.conda_dependencies.save(folder / DEFAULT_FILE)

    @staticmethod
    def load_from_directory(path: str | os.PathLike[str]) -> Environment:
        """An environment written by `save_to_directory`; its packages are read from the YAML file if that is there.

        Raises:
            FileNotFoundError: there is none.
            UserErrorException: a file that is no environment.
        """
        file = Path(path) / DEFINITION_FILE
        try:
            document = json.loads(file.read_text(encoding="utf-8-sig"))
        except ValueError as error:
            raise UserErrorException(f"{file} is not JSON: {error}; mend it") from None
        if not isinstance(document, dict):
            raise UserErrorException(f"{file} is no environment: expected a JSON object")
        environment = Environment.from_document(document)
        if (Path(path) / DEFAULT_FILE).is_file():
            environment.python.conda_dependencies = CondaDependencies(Path(path) / DEFAULT_FILE)
        return environment

    add_private_pip_wheel = CloudCall("name the wheel's path among the pip requirements")
    build = CloudCall(_BUILDS)
    build_local = CloudCall(_BUILDS)
    get_image_details = CloudCall(_BUILDS)
    from_docker_build_context = CloudCall(_BUILDS)

    def clone(self, new_name: str) -> Environment:
        """A copy under another name, without version."""
        if not new_name:
            raise UserErrorException("clone: the copy needs a name")
        clone = copy.deepcopy(self)
        clone.name, clone.version = new_name, None
        return clone

    def document(self) -> dict[str, Any]:
        """The environment as JSON can hold it, keys in camelCase."""
        return {
            "name": self.name,
            "version": self.version,
            "environmentVariables": dict(self.environment_variables),
            "python": self.python._document(),
            "docker": self.docker._document(),
            "spark": self.spark._document(),
            "inferencingStackVersion": self.inferencing_stack_version,
        }

    @staticmethod
    def from_document(document: dict[str, Any]) -> Environment:
        """The environment `document` describes; what it leaves out takes its default."""
        environment = Environment(document.get("name"))
        environment.version = document.get("version")
        environment.environment_variables = dict(document.get("environmentVariables") or {})
        environment.inferencing_stack_version = document.get("inferencingStackVersion")
        environment.python._read(document.get("python") or {})
        environment.docker._read(document.get("docker") or {})
        return environment

    def __repr__(self) -> str:
        return f"Environment(Name: {self.name},\nVersion: {self.version})"


def _with_packages(
    name: str, conda: str | os.PathLike[str] | None, pip: str | os.PathLike[str] | None
) -> Environment:
    if conda is not None and pip is not None:
        raise UserErrorException("give conda_specification or pip_requirements, not both")
    if conda is not None:
        return Environment.from_conda_specification(name, conda)
    if pip is not None:
        return Environment.from_pip_requirements(name, pip)
    environment = Environment(name)
    environment.python.user_managed_dependencies = True
    return environment


def _find(session: Session, **which: str) -> builtins.list[dict[str, Any]]:
    params = [("workspace", session.name), *which.items()]
    records: list[dict[str, Any]] = session._client.get_json(_PATH, params)["environments"]
    return records


def _registered(record: dict[str, Any]) -> Environment:
    environment = Environment.from_document(record["document"])
    environment.name, environment.version = record["name"], record["version"]
    environment.asset_id = f"{record['name']}:{record['version']}"
    return environment
