"""The sections of an environment, and how each is written as JSON, keys in camelCase."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .conda_dependencies import CondaDependencies

DEFAULT_CPU_IMAGE = "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04"
DEFAULT_GPU_IMAGE = "mcr.microsoft.com/azureml/openmpi4.1.0-cuda11.8-cudnn8-ubuntu22.04"

_DOCKER_KEYS = {
    "enabled": "enabled",
    "baseImage": "base_image",
    "baseDockerfile": "base_dockerfile",
    "shmSize": "shm_size",
    "arguments": "arguments",
    "gpuSupport": "gpu_support",
}


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

    def _document(self) -> dict[str, Any]:
        """The section as JSON can hold it."""
        dependencies = self.conda_dependencies
        return {
            "userManagedDependencies": self.user_managed_dependencies,
            "interpreterPath": self.interpreter_path,
            "condaDependenciesFile": self.conda_dependencies_file,
            "baseCondaEnvironment": self.base_conda_environment,
            "condaDependencies": dependencies.as_dict() if dependencies is not None else None,
        }

    def _read(self, document: Mapping[str, Any]) -> None:
        """Take over what `document` describes; packages stay where it names none."""
        self.user_managed_dependencies = bool(document.get("userManagedDependencies", False))
        self.interpreter_path = document.get("interpreterPath") or "python"
        self.conda_dependencies_file = document.get("condaDependenciesFile")
        self.base_conda_environment = document.get("baseCondaEnvironment")
        if document.get("condaDependencies") is not None:
            self.conda_dependencies = CondaDependencies(_underlying_structure=document["condaDependencies"])


@dataclass(slots=True)
class ImageRegistry:
    """Where an image comes from: may be set, and is not used, for no image is. Never written: it may hold a password."""

    address: str | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    registry_identity: Any = None


@dataclass(slots=True)
class DockerSection:
    """Docker image of an environment: kept and written, not used by local runs."""

    enabled: bool = False
    base_image: str | None = DEFAULT_CPU_IMAGE
    base_dockerfile: str | None = None
    shm_size: str | None = "2g"
    arguments: list[str] = field(default_factory=list)
    gpu_support: bool = True
    shared_volumes: bool = True
    base_image_registry: ImageRegistry = field(default_factory=ImageRegistry)
    platform: Any = None

    def _document(self) -> dict[str, Any]:
        """The section as JSON can hold it, its registry left out."""
        return {key: copy.copy(getattr(self, name)) for key, name in _DOCKER_KEYS.items()}

    def _read(self, document: Mapping[str, Any]) -> None:
        """Take over what `document` describes; what it leaves out stays."""
        for key, name in _DOCKER_KEYS.items():
            if key in document:
                setattr(self, name, document[key])


@dataclass(slots=True)
class SparkSection:
    """Spark packages of an environment: kept and written, not used by local runs."""

    packages: list[Any] = field(default_factory=list)
    repositories: list[str] = field(default_factory=list)
    precache_packages: bool = True

    def _document(self) -> dict[str, Any]:
        """The section as JSON can hold it."""
        return {
            "packages": list(self.packages),
            "repositories": list(self.repositories),
            "precachePackages": self.precache_packages,
        }
