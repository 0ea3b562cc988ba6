"""`azureml.core.model` with its root replaced."""

from __future__ import annotations

from ..model import Model

__all__ = ["Model"]
