"""What datasets of files and of tables have in common: a definition, and a place in a workspace's registry."""

from __future__ import annotations

import copy
import glob
import os
import random
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from ..client.folder_contents import contents
from ..client.records import as_texts
from ..exceptions import UserErrorException
from ..workspace_type import Workspace
from . import dataset_registry
from ._datastore import Datastore
from .data_reference import DataReference
from .dataset_consumption_config import DatasetConsumptionConfig
from .dataset_registry import DatasetRecord

_Self = TypeVar("_Self", bound="AbstractDataset")


class AbstractDataset:
    """A dataset. It is never changed: what takes a part of it makes another one.

    Source: `azureml.data.abstract_dataset.AbstractDataset`.
    """

    _KIND: ClassVar[str] = ""

    def __init__(
        self,
        definition: Mapping[str, Any],
        record: DatasetRecord | None = None,
        workspace: Workspace | None = None,
    ) -> None:
        self.definition = dict(definition)
        self._record, self._workspace = record, workspace

    @property
    def id(self) -> str | None:
        """Id of the registered version; None before it is registered."""
        return self._record.id if self._record else None

    @property
    def name(self) -> str | None:
        """Name it is registered under, or None."""
        return self._record.name if self._record else None

    @property
    def version(self) -> int | None:
        """Version it is registered as, from 1, or None."""
        return self._record.version if self._record else None

    @property
    def description(self) -> str | None:
        """Free text given at registration."""
        return self._record.description if self._record else None

    @property
    def tags(self) -> dict[str, str | None]:
        """Tags given at registration and since."""
        return dict(self._record.tags) if self._record else {}

    def register(
        self: _Self,
        workspace: Workspace,
        name: str,
        description: str | None = None,
        tags: Mapping[str, Any] | None = None,
        create_new_version: bool = False,
    ) -> _Self:
        """Keep the dataset's definition in a workspace. Its files stay where they are, and are read when it is used.

        Args:
            workspace: the workspace.
            name: the dataset's.
            description: free text.
            tags: name to value.
            create_new_version: the name may be taken by another definition.

        Returns:
            The registered dataset. The same definition under the same name keeps its version.

        Raises:
            UserErrorException: the name is taken and `create_new_version` is False.
        """
        texts = as_texts("tag", tags or {})
        record = dataset_registry.add(
            workspace, name, self.definition, description, texts, create_new_version
        )
        return type(self)(record.definition, record, workspace)

    def update(self, description: str | None = None, tags: Mapping[str, Any] | None = None) -> None:
        """Change the description, and add or change tags."""
        self._edit(description=description, tags=as_texts("tag", tags or {}))

    def add_tags(self, tags: Mapping[str, Any] | None = None) -> None:
        """Add or change tags."""
        self._edit(tags=as_texts("tag", tags or {}))

    def remove_tags(self, tags: Sequence[str] | None = None) -> None:
        """Remove tags; names it does not have are ignored."""
        self._edit(remove_tags=list(tags or ()))

    def unregister_all_versions(self) -> None:
        """Forget the dataset's name with all its versions. Its files stay.

        Raises:
            UserErrorException: it is not registered.
        """
        workspace, record = self._registered()
        dataset_registry.remove(workspace, record.name)

    def as_named_input(self, name: str) -> DatasetConsumptionConfig:
        """The dataset as an argument of a submitted script."""
        return DatasetConsumptionConfig(name, self)

    def _edit(self, **changes: Any) -> None:
        workspace, record = self._registered()
        self._record = dataset_registry.edit(workspace, record, **changes)

    def _registered(self) -> tuple[Workspace, DatasetRecord]:
        if self._workspace is None or self._record is None:
            raise UserErrorException("the dataset is not registered; call register() first")
        return self._workspace, self._record

    def _then(self: _Self, *operation: Any) -> _Self:
        """The same dataset with one more operation on its items."""
        definition = copy.deepcopy(self.definition)
        definition["operations"] = [*definition.get("operations", []), list(operation)]
        return type(self)(definition)

    def _split(self: _Self, percentage: float, seed: int | None) -> tuple[_Self, _Self]:
        if not 0 <= percentage <= 1:
            raise UserErrorException(
                f"random_split: percentage {percentage!r} is not between 0 and 1; give a fraction"
            )
        seed = random.randrange(1 << 32) if seed is None else seed
        return self._then("split", percentage, seed, True), self._then("split", percentage, seed, False)

    def __repr__(self) -> str:
        named = f"name={self.name!r}, version={self.version}, " if self._record else ""
        return f"{type(self).__name__}({named}{self.definition})"


def paths_of(path: Any) -> list[str]:
    """Paths as given to `from_files` and its like, absolute: texts, references to datastores, pairs (datastore, path).

    Raises:
        UserErrorException: another type, or an address that is no file of this machine.
    """
    several = isinstance(path, (list, tuple)) and not _is_pair(path)
    paths = []
    for item in path if several else [path]:
        if _is_pair(item):
            places = item[1] if isinstance(item[1], (list, tuple)) else [item[1]]
            paths += [os.fspath(item[0].path(place)) for place in places]
        elif isinstance(item, DataReference):
            paths.append(os.fspath(item))
        elif isinstance(item, (str, os.PathLike)):
            text = os.fspath(item)
            if "://" in text:
                raise UserErrorException(
                    f"{text}: datasets are made of files of this machine; download it, or register its network drive "
                    "with Datastore.register_local"
                )
            paths.append(str(Path(text).expanduser().absolute()))
        else:
            raise UserErrorException(
                f"path: expected a text, a path, or (datastore, path), got {type(item).__name__}"
            )
    if not paths:
        raise UserErrorException("path: expected at least one file")
    return paths


def files_of(paths: Iterable[str]) -> list[tuple[Path, Path]]:
    """The files that paths name (files, directories, patterns with `*` and `**`), each with the root its name begins at."""
    roots: dict[Path, Path] = {}
    for text in paths:
        path = Path(text)
        if path.is_dir():
            roots |= dict.fromkeys(sorted(file for _, file in contents(path)), path)
        elif path.is_file():
            roots[path] = path.parent
        elif glob.has_magic(text):
            fixed = list(path.parts)
            depth = next(place for place, part in enumerate(fixed) if glob.has_magic(part))
            root = Path(*fixed[:depth])
            roots |= {
                file: root for file in map(Path, sorted(glob.glob(text, recursive=True))) if file.is_file()
            }
    return list(roots.items())


def _is_pair(path: Any) -> bool:
    return isinstance(path, tuple) and len(path) == 2 and isinstance(path[0], Datastore)
