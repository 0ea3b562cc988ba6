"""`azureml.core.datastore` with its root replaced."""

from __future__ import annotations

from ..data._datastore import Datastore

__all__ = ["Datastore"]
