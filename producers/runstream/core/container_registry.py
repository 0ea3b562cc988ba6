"""`azureml.core.container_registry` with its root replaced."""

from __future__ import annotations

from ._cloud_services import ContainerRegistry

__all__ = ["ContainerRegistry"]
