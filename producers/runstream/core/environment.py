"""`azureml.core.environment` with its root replaced."""

from __future__ import annotations

from ..environment import Environment

__all__ = ["Environment"]
