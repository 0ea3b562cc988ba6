"""`azureml.core.compute_target` with its root replaced."""

from __future__ import annotations

from ..exceptions import ComputeTargetException
from .compute import ComputeTarget

__all__ = ["ComputeTarget", "ComputeTargetException"]
