"""`azureml.core.run` with its root replaced."""

from __future__ import annotations

from ..run import Run, get_run

__all__ = ["Run", "get_run"]
