"""`azureml.core.compute_target` with its root replaced."""

from __future__ import annotations

from ..compute.target import ComputeTarget
from ..exceptions import ComputeTargetException

__all__ = ["ComputeTarget", "ComputeTargetException"]
