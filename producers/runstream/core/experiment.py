"""`azureml.core.experiment` with its root replaced."""

from __future__ import annotations

from ..experiment import Experiment, ViewType

__all__ = ["Experiment", "ViewType"]
