"""`azureml.core.datastore` with its root replaced."""

from __future__ import annotations

from ..datastore import Datastore

__all__ = ["Datastore"]
