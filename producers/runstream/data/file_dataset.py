"""Datasets of files."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import ClassVar

from ..client.arguments import path_argument
from ..cloud import CloudCall
from ..exceptions import UserErrorException
from .abstract_dataset import AbstractDataset, files_of
from .dataset_consumption_config import DatasetConsumptionConfig

__all__ = ["FileDataset", "MountContext"]


class FileDataset(AbstractDataset):
    """Files under a name; made by `Dataset.File.from_files`.

    Source: `azureml.data.FileDataset`.
    """

    _KIND: ClassVar[str] = "files"

    def to_path(self) -> list[str]:
        """The files' paths below the directory they were found in, each with a leading `/`."""
        return ["/" + path.relative_to(root).as_posix() for path, root in self._files()]

    def download(
        self,
        target_path: str | os.PathLike[str] | None = None,
        overwrite: bool = False,
        ignore_not_found: bool = False,
    ) -> list[str]:
        """Copy the files.

        Args:
            target_path: directory to copy to, made if need be; default a new temporary one.
            overwrite: replace files that are there.
            ignore_not_found: an empty dataset is no error.

        Returns:
            The copies' paths.

        Raises:
            UserErrorException: there are no files, or one is there already and `overwrite` is False.
        """
        files = self._files()
        if not files and not ignore_not_found:
            raise UserErrorException(
                f"the dataset has no files: {', '.join(self.definition['paths'])} names none"
                "; give paths that are there"
            )
        target = (
            path_argument("target_path", target_path) if target_path is not None else Path(tempfile.mkdtemp())
        )
        copies = [target / path.relative_to(root) for path, root in files]
        for (path, _), place in zip(files, copies, strict=True):
            if place.exists() and not overwrite:
                raise UserErrorException(f"{place} is there already; pass overwrite=True to replace it")
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, place)
        return [str(place.absolute()) for place in copies]

    def mount(self, mount_point: str | os.PathLike[str] | None = None) -> MountContext:
        """A directory with a link to every file, while it is in use.

        Args:
            mount_point: an empty directory, or one to be made; default a new temporary one.
        """
        return MountContext(self, Path(mount_point) if mount_point is not None else None)

    def as_mount(self, path_on_compute: str | None = None) -> DatasetConsumptionConfig:
        """The files as an argument of a submitted script: their directory."""
        return self.as_named_input(self.name or "input").as_mount(path_on_compute)

    def as_download(self, path_on_compute: str | None = None) -> DatasetConsumptionConfig:
        """The files as an argument of a submitted script: their directory."""
        return self.as_named_input(self.name or "input").as_download(path_on_compute)

    def take(self, count: int) -> FileDataset:
        """The first files."""
        return self._then("take", count)

    def skip(self, count: int) -> FileDataset:
        """All but the first files."""
        return self._then("skip", count)

    def take_sample(self, probability: float, seed: int | None = None) -> FileDataset:
        """Some of the files, each with a probability."""
        return self._split(probability, seed)[0]

    def random_split(self, percentage: float, seed: int | None = None) -> tuple[FileDataset, FileDataset]:
        """Some of the files, each with a probability of `percentage` (0 to 1), and the others."""
        return self._split(percentage, seed)

    filter = CloudCall("choose the files with the patterns of Dataset.File.from_files")
    as_hdfs = CloudCall("the files lie in the directories the dataset was made of")
    as_cache = CloudCall("the files are on this machine already")
    hydrate = CloudCall("the files are on this machine already")

    def _files(self) -> list[tuple[Path, Path]]:
        files = files_of(self.definition["paths"])
        for name, *arguments in self.definition.get("operations", []):
            if name == "take":
                files = files[: arguments[0]]
            elif name == "skip":
                files = files[arguments[0] :]
            else:
                probability, seed, inside = arguments
                draws = random.Random(seed)
                files = [file for file in files if (draws.random() < probability) == inside]
        return files


class MountContext:
    """A directory with links to a dataset's files: made by `start()` or a `with` block, removed by `stop()` or its end.

    Attributes:
        mount_point: the directory.
    """

    def __init__(self, dataset: FileDataset, place: Path | None) -> None:
        self._dataset, self._made = dataset, place is None or not place.exists()
        self.mount_point = str(place.absolute()) if place is not None else tempfile.mkdtemp(prefix="dataset-")
        self._links: list[Path] = []

    def start(self) -> None:
        """Make the links.

        Raises:
            FileExistsError: the directory is not empty and has a file of that name.
        """
        for path, root in self._dataset._files():
            link = Path(self.mount_point) / path.relative_to(root)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(path)
            self._links.append(link)

    def stop(self) -> None:
        """Remove them, and the directory if it was made for them."""
        while self._links:
            self._links.pop().unlink(missing_ok=True)
        if self._made:
            shutil.rmtree(self.mount_point, ignore_errors=True)

    def __enter__(self) -> MountContext:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
