"""`azureml.core.image` with its root replaced."""

from __future__ import annotations

from ._cloud_services import ContainerImage, Image

__all__ = ["ContainerImage", "Image"]
