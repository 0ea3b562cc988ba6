"""Import root of migrated scripts: `azureml.data` with its root replaced."""

from __future__ import annotations

from ..lazy import TYPE_CHECKING, attributes

__all__ = ["DataType", "FileDataset", "OutputFileDatasetConfig", "TabularDataset"]

if TYPE_CHECKING:
    from ._cloud_services import OutputFileDatasetConfig
    from .dataset_factory import DataType
    from .file_dataset import FileDataset
    from .tabular_dataset import TabularDataset
else:
    __getattr__, __dir__ = attributes(
        __name__,
        {
            "DataType": "runstream.data.dataset_factory",
            "FileDataset": "runstream.data.file_dataset",
            "OutputFileDatasetConfig": "runstream.data._cloud_services",
            "TabularDataset": "runstream.data.tabular_dataset",
        },
    )
