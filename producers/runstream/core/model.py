"""`azureml.core.model` with its root replaced."""

from __future__ import annotations

from ..cloud_services import InferenceConfig
from ..model import Model

__all__ = ["InferenceConfig", "Model"]
