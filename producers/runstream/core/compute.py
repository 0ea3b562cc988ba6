"""`azureml.core.compute` with its root replaced."""

from __future__ import annotations

from ..compute.target import AttachConfiguration, ComputeTarget, LocalCompute

__all__ = ["AttachConfiguration", "ComputeTarget", "LocalCompute"]
