"""`azureml.core.script_run_config` with its root replaced."""

from __future__ import annotations

from ..script_run_config import ScriptRunConfig

__all__ = ["ScriptRunConfig"]
