"""The parts of an environment: interpreter and packages, image, Spark."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .conda_dependencies import CondaDependencies

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


@dataclass(slots=True)
class SparkSection:
    """Spark packages of an environment: kept and written, not used by local runs."""

    packages: list[Any] = field(default_factory=list)
    repositories: list[str] = field(default_factory=list)
    precache_packages: bool = True
