"""`azureml.core.private_endpoint` with its root replaced."""

from __future__ import annotations

from ._cloud_services import PrivateEndPoint, PrivateEndPointConfig

__all__ = ["PrivateEndPoint", "PrivateEndPointConfig"]
