"""`azureml.core.environment` with its root replaced."""

from __future__ import annotations

from ..cloud_services import DockerBuildContext
from ..conda_dependencies import CondaDependencies
from ..environment import Environment
from ..environment_sections import (
    DEFAULT_CPU_IMAGE,
    DEFAULT_GPU_IMAGE,
    DockerSection,
    PythonSection,
    SparkSection,
)

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
