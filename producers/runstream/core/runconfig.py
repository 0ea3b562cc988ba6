"""`azureml.core.runconfig` with its root replaced."""

from __future__ import annotations

from ..cloud_services import ContainerRegistry
from ..conda_dependencies import CondaDependencies
from ..data.data_reference import DataReferenceConfiguration
from ..environment_sections import DEFAULT_CPU_IMAGE, DEFAULT_GPU_IMAGE
from ..run_configuration import (
    DockerConfiguration,
    HistoryConfiguration,
    MpiConfiguration,
    PyTorchConfiguration,
    RunConfiguration,
    TensorflowConfiguration,
)

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
