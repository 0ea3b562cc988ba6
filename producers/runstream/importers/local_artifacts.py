"""Where files that another tool's store names lie on this machine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import IO
from urllib.parse import unquote, urlsplit

from ..client.folder_contents import contents
from .foreign_runs import ForeignFile


def files_below(folder: Path, left_out: Counter[str]) -> Iterator[ForeignFile]:
    """The files below a folder, by their paths in it."""
    refusals: list[str] = []
    for name, path in contents(folder, refusals):
        try:
            yield ForeignFile(name, path.stat().st_size, partial(opened, path))
        except OSError as error:
            left_out[f"files: {name}: {error.strerror}"[:300]] += 1
    for line in refusals:
        left_out[f"files: {line}"[:300]] += 1


def opened(path: Path) -> IO[bytes]:
    """A file, to be read."""
    return path.open("rb")


class LocalArtifacts:
    """Finds the folder of an artifact address of MLflow.

    Args:
        bases: folders that relative paths are below, the first one first.
        copies: a folder that holds what the artifact root holds; None: nobody named one.
    """

    def __init__(self, bases: Sequence[Path], copies: Path | None = None) -> None:
        self._bases, self._copies = bases, copies

    def files(self, uri: str, depth: int, left_out: Counter[str]) -> Iterator[ForeignFile]:
        """The files at an address.

        Args:
            depth: how many parts of it are below the artifact root.
            left_out: told of an address that leads to none of this machine's folders.
        """
        folder = self._folder(uri, depth)
        if folder is not None:
            yield from files_below(folder, left_out)
            return
        address = urlsplit(uri)
        root = uri.rsplit("/", depth)[0]
        if address.scheme in ("", "file"):
            if not any(path.is_dir() for path in self._candidates(unquote(urlsplit(root).path))):
                left_out[
                    f"files below {root}: there is no such folder on this machine; name a copy of it with --artifacts"
                ] += 1
        else:
            left_out[
                f"files below {root}: they lie elsewhere; copy that folder here, and name it with --artifacts"
            ] += 1

    def _folder(self, uri: str, depth: int) -> Path | None:
        address = urlsplit(uri)
        path = unquote(address.path)
        tail = "/".join(path.rstrip("/").split("/")[-depth:])
        places: list[Path] = []
        if self._copies is not None:
            places.append(self._copies / tail)
        if address.scheme in ("", "file"):
            places += self._candidates(path)
        elif address.scheme == "mlflow-artifacts":
            places += [base / "mlartifacts" / path.lstrip("/") for base in self._bases]
        return next((place for place in places if place.is_dir()), None)

    def _candidates(self, path: str) -> list[Path]:
        return [Path(path)] if path.startswith("/") else [base / path for base in self._bases]
