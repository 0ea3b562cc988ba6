"""`azureml.core.conda_dependencies` with its root replaced."""

from __future__ import annotations

from ..conda_dependencies import CondaDependencies

__all__ = ["CondaDependencies"]
