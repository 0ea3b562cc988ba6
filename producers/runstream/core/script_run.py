"""`azureml.core.script_run` with its root replaced."""

from __future__ import annotations

from .run import ScriptRun

__all__ = ["ScriptRun"]
