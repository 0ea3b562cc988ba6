"""Datasets as arguments of submitted scripts."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, Protocol

from ..exceptions import UserErrorException

__all__ = ["DatasetConsumptionConfig"]


class AnyDataset(Protocol):
    """A dataset, as an argument of a script knows it."""

    definition: dict[str, Any]

    @property
    def id(self) -> str | None:
        """Of the registered version."""


class DatasetConsumptionConfig:
    """A dataset a script is given, also as `run.input_datasets[name]`.

    As text, and so as an argument, a registered dataset in mode `direct` is its id, for `Dataset.get_by_id`; any other
    is the file or directory it is made of.

    Args:
        name: under which the script finds it.
        dataset: the dataset.
        mode: `direct`, or `mount` or `download`, which are the same here: the files are on this machine already.
        path_on_compute: kept.

    Source: `azureml.data.dataset_consumption_config.DatasetConsumptionConfig`.
    """

    def __init__(
        self, name: str, dataset: AnyDataset, mode: str = "direct", path_on_compute: str | None = None
    ) -> None:
        self.name, self.dataset, self.mode, self.path_on_compute = name, dataset, mode, path_on_compute

    def as_mount(self, path_on_compute: str | None = None) -> DatasetConsumptionConfig:
        """The same, read in place."""
        return self._changed("mount", path_on_compute)

    def as_download(self, path_on_compute: str | None = None) -> DatasetConsumptionConfig:
        """The same, read in place."""
        return self._changed("download", path_on_compute)

    def _changed(self, mode: str, path_on_compute: str | None) -> DatasetConsumptionConfig:
        changed = copy.copy(self)
        changed.mode, changed.path_on_compute = mode, path_on_compute
        return changed

    def __fspath__(self) -> str:
        paths: list[str] = self.dataset.definition["paths"]
        if self.dataset.definition.get("operations") or len(paths) != 1 or not Path(paths[0]).exists():
            raise UserErrorException(
                f"dataset {self.name}: only one made of a single file or directory has a path; "
                "pass its id as the argument and open it in the script with Dataset.get_by_id"
            )
        return paths[0]

    def __str__(self) -> str:
        if self.mode == "direct" and self.dataset.id is not None:
            return self.dataset.id
        return self.__fspath__()
