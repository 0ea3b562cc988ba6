"""Paths in datastores."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .data_reference import DataReference

if TYPE_CHECKING:
    from ._datastore import Datastore

__all__ = ["DataPath"]


class DataPath(DataReference):
    """A path in a datastore.

    Args:
        datastore: where it lies.
        path_on_datastore: path in the datastore; default all of it.
        name: kept.

    Source: `azureml.data.datapath.DataPath`.
    """

    def __init__(
        self, datastore: Datastore, path_on_datastore: str | None = None, name: str | None = None
    ) -> None:
        super().__init__(datastore, name, path_on_datastore)

    def create_data_reference(
        self, data_reference_name: str | None = None, datapath_compute_binding: object = None
    ) -> DataReference:
        """The same place as a reference."""
        del datapath_compute_binding
        return DataReference(self.datastore, data_reference_name, self.path_on_datastore)
