"""Datasets: files, or tables read from files, under a name and a version. Only where they lie is kept, not their content."""

from __future__ import annotations

import builtins
from typing import Any

from ..cloud import CloudCall
from ..data import dataset_registry
from ..data.dataset_factory import FileDatasetFactory, TabularDatasetFactory
from ..data.file_dataset import FileDataset
from ..data.tabular_dataset import TabularDataset
from ..workspace_type import Workspace

__all__ = ["Dataset"]

_TABULAR = (
    "Dataset.Tabular.from_delimited_files and its like read tables, Dataset.File.from_files names files"
)


class Dataset:
    """Where datasets are made, and found again: `Dataset.Tabular`, `Dataset.File`, `Dataset.get_by_name`.

    Source: `azureml.core.Dataset`.
    """

    Tabular = TabularDatasetFactory
    File = FileDatasetFactory

    @staticmethod
    def get_by_name(
        workspace: Workspace, name: str, version: int | str = "latest", **kwargs: Any
    ) -> TabularDataset | FileDataset:
        """A registered dataset.

        Args:
            workspace: the workspace it is registered in.
            name: its name.
            version: its version, or `latest`.

        Raises:
            UserErrorException: there is none.
        """
        del kwargs
        return _opened(dataset_registry.find(workspace, name, version), workspace)

    @staticmethod
    def get_by_id(workspace: Workspace, id: str, **kwargs: Any) -> TabularDataset | FileDataset:
        """A registered dataset by its `id`.

        Raises:
            UserErrorException: there is none.
        """
        del kwargs
        return _opened(dataset_registry.find_id(workspace, id), workspace)

    @staticmethod
    def get_all(workspace: Workspace) -> dict[str, TabularDataset | FileDataset]:
        """The newest version of every registered dataset, by name."""
        return {
            name: _opened(records[-1], workspace)
            for name, records in sorted(dataset_registry.records(workspace).items())
        }

    @staticmethod
    def get(
        workspace: Workspace, name: str | None = None, id: str | None = None
    ) -> TabularDataset | FileDataset:
        """Deprecated: `get_by_name`, or `get_by_id`."""
        return Dataset.get_by_id(workspace, id) if id else Dataset.get_by_name(workspace, name or "")

    @staticmethod
    def list(workspace: Workspace) -> builtins.list[TabularDataset | FileDataset]:
        """Deprecated: the values of `get_all`."""
        return [*Dataset.get_all(workspace).values()]

    auto_read_files = CloudCall(_TABULAR)
    from_binary_files = CloudCall(_TABULAR)
    from_delimited_files = CloudCall(_TABULAR)
    from_excel_files = CloudCall(_TABULAR)
    from_json_files = CloudCall(_TABULAR)
    from_pandas_dataframe = CloudCall(_TABULAR)
    from_parquet_files = CloudCall(_TABULAR)
    from_sql_query = CloudCall(_TABULAR)


def _opened(record: dataset_registry.DatasetRecord, workspace: Workspace) -> TabularDataset | FileDataset:
    kind = FileDataset if record.definition["kind"] == FileDataset._KIND else TabularDataset
    return kind(record.definition, record, workspace)
