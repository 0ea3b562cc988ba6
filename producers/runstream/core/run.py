"""`azureml.core.run` with its root replaced."""

from __future__ import annotations

from ..offline_run import _OfflineRun
from ..run import Run, get_run
from ..submitted_run import _SubmittedRun

__all__ = ["Run", "_OfflineRun", "_SubmittedRun", "get_run"]
