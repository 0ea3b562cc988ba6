"""`azureml.core.keyvault` with its root replaced."""

from __future__ import annotations

from ..keyvault import Keyvault

__all__ = ["Keyvault"]
