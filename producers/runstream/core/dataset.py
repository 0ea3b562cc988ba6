"""`azureml.core.dataset` with its root replaced."""

from __future__ import annotations

from ..dataset import Dataset

__all__ = ["Dataset"]
