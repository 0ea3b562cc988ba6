"""References to data of a datastore, which a submitted script gets as the path on this machine."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ..exceptions import UserErrorException

__all__ = ["DataReference", "DataReferenceConfiguration"]

_KEYS = {
    "dataStoreName": "datastore_name",
    "mode": "mode",
    "pathOnDataStore": "path_on_datastore",
    "pathOnCompute": "path_on_compute",
    "overwrite": "overwrite",
}


@dataclass(slots=True)
class DataReferenceConfiguration:
    """Data of a datastore in a run configuration: `run_config.data_references[name]`.

    The script finds its path in the variable `AZUREML_DATAREFERENCE_<name>`.

    Attributes:
        datastore_name: where it lies; None: the workspace's default datastore.
        mode: `mount`, `download` or `upload`: kept; the data is on this machine already.
        path_on_datastore: path in the datastore; None: all of it.
        path_on_compute: kept.
        overwrite: kept.

    Source: `azureml.core.runconfig.DataReferenceConfiguration`.
    """

    datastore_name: str | None = None
    mode: str = "mount"
    path_on_datastore: str | None = None
    path_on_compute: str | None = None
    overwrite: bool = False

    def document(self) -> dict[str, Any]:
        """As run configurations are written."""
        return {key: getattr(self, name) for key, name in _KEYS.items()}


class Place(Protocol):
    """A datastore, as a reference to something in it knows it."""

    @property
    def name(self) -> str:
        """Its name."""

    def _inside(self, path: str | None) -> Path:
        """A place in it."""


class DataReference:
    """A file or directory of a datastore. As text, and so as an argument of a submitted script, it is its path.

    Args:
        datastore: where it lies.
        data_reference_name: kept; default: the datastore's name.
        path_on_datastore: path in the datastore; default all of it.
        mode: `mount`, `download` or `upload`: kept; the data is on this machine already.
        path_on_compute: kept.
        overwrite: kept.

    Raises:
        UserErrorException: the path leads out of the datastore (when it is used).

    Source: `azureml.data.data_reference.DataReference`.
    """

    def __init__(
        self,
        datastore: Place,
        data_reference_name: str | None = None,
        path_on_datastore: str | None = None,
        mode: str = "mount",
        path_on_compute: str | None = None,
        overwrite: bool = False,
    ) -> None:
        self.datastore = datastore
        self.data_reference_name = data_reference_name or datastore.name
        self.path_on_datastore = path_on_datastore
        self.mode = mode
        self.path_on_compute = path_on_compute
        self.overwrite = overwrite

    def path(self, path: str | None = None, data_reference_name: str | None = None) -> DataReference:
        """A reference to a file or directory below this one."""
        below = "/".join(part.strip("/") for part in (self.path_on_datastore, path) if part)
        return self._changed(
            path_on_datastore=below or None,
            data_reference_name=data_reference_name or self.data_reference_name,
        )

    def as_mount(self) -> DataReference:
        """The same, to be read and written in place."""
        return self._changed(mode="mount")

    def as_download(self, path_on_compute: str | None = None, overwrite: bool = False) -> DataReference:
        """The same, to be read; in place, for it is on this machine."""
        return self._changed(mode="download", path_on_compute=path_on_compute, overwrite=overwrite)

    def as_upload(self, path_on_compute: str | None = None, overwrite: bool = False) -> DataReference:
        """The same, to be written; in place, for it is on this machine."""
        return self._changed(mode="upload", path_on_compute=path_on_compute, overwrite=overwrite)

    def to_config(self) -> DataReferenceConfiguration:
        """The same for `run_config.data_references`."""
        return DataReferenceConfiguration(
            self.datastore.name, self.mode, self.path_on_datastore, self.path_on_compute, self.overwrite
        )

    def local_path(self) -> Path:
        """Where it is on this machine. Not in the reproduced API.

        Raises:
            UserErrorException: the path leads out of the datastore.
        """
        return self.datastore._inside(self.path_on_datastore)

    def _changed(self, **changes: Any) -> DataReference:
        changed = copy.copy(self)
        for name, value in changes.items():
            setattr(changed, name, value)
        return changed

    def __fspath__(self) -> str:
        return str(self.local_path())

    def __str__(self) -> str:
        return str(self.local_path())

    def __repr__(self) -> str:
        return f"DataReference({self.datastore.name!r}, {self.path_on_datastore!r}, mode={self.mode!r})"


def reference_documents(references: Mapping[str, Any]) -> dict[str, Any]:
    """The data references of a run configuration as they are written.

    Raises:
        UserErrorException: something else among them.
    """
    return {name: configuration_of(name, value).document() for name, value in references.items()}


def configuration_of(name: str, value: Any) -> DataReferenceConfiguration:
    """A data reference of a run configuration, in whichever form it was given.

    Raises:
        UserErrorException: it is something else.
    """
    if isinstance(value, DataReference):
        return value.to_config()
    if isinstance(value, Mapping):
        return DataReferenceConfiguration(**{_KEYS[key]: value[key] for key in _KEYS if key in value})
    if isinstance(value, DataReferenceConfiguration):
        return value
    raise UserErrorException(
        f"data_references[{name!r}]: expected DataReference.to_config(), got {type(value).__name__}"
    )
