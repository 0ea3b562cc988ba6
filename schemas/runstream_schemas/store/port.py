"""What every store has in common: its methods, a file being written, paths and errors."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO, Protocol, Self

from ..errors import StoreError, StoreFull

if TYPE_CHECKING:
    import pyarrow as pa

COPY_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of the store.

    Attributes:
        path: relative to the root.
        size: bytes.
        modified: seconds since the epoch.
    """

    path: str
    size: int
    modified: float


class NewFile:
    """A file being written; it appears at `commit`, or not at all.

    As a context manager it commits at the end of the block, and aborts when the block raises.

    Attributes:
        stream: where to write.
    """

    stream: BinaryIO

    def commit(self) -> int:
        """Make the file appear, replacing one of the same name; returns its size in bytes."""
        raise NotImplementedError

    def abort(self) -> None:
        """Throw the file away. Does nothing after `commit`."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.commit()
        else:
            self.abort()


class Store(Protocol):
    """Where Parquet files and artifacts lie. Every method blocks: call it from a thread. Errors are `StoreError`."""

    @property
    def root(self) -> str:
        """The directory or address of the store."""

    @property
    def local(self) -> bool:
        """Whether files can be renamed, so that staging and trash are places of their own."""

    def create(self, path: str) -> NewFile:
        """Begin a file that is seen once it is committed."""

    def write_all(self, files: Iterable[tuple[str, bytes]]) -> None:
        """Make files of these paths and contents, each as `create` would; when it returns, all of them are kept."""

    def adopt(self, file: Path, path: str) -> None:
        """Make a local file the file at `path`, replacing one of the same name; it is gone from where it was."""

    def stage(self, path: str) -> NewFile:
        """Begin a file that `publish` puts in its place."""

    def publish(self, path: str) -> None:
        """Move a staged file to its place. Does nothing when it is there already."""

    def retire(self, path: str) -> None:
        """Move a replaced file to the trash. Does nothing when it is there already."""

    def address(self, path: str) -> str:
        """What other programs call `path`: an address that begins with file:// or the like."""

    def pin(self, path: str) -> None:
        """Have a published or staged file lie at its `pinned_address`, where no renaming moves it, until it is deleted."""

    def pinned_address(self, path: str) -> str:
        """The address of a file that was pinned."""

    def locate(self, path: str) -> str:
        """Where a published, staged or retired file lies now: an absolute path, or a key of the object store."""

    def open_input(self, path: str) -> pa.NativeFile:
        """Open a published, staged or retired file for random access."""

    def exists(self, path: str) -> bool:
        """Whether `path` is there for everybody to see."""

    def size(self, path: str) -> int:
        """Bytes of the file at `path`."""

    def list(self, prefix: str) -> Iterator[Entry]:
        """Files below the folder `prefix`, in no particular order; unfinished ones left out."""

    def delete(self, path: str) -> None:
        """Delete a file wherever it lies. Does nothing when it is gone."""

    def remove_parts(self, older_than: float) -> int:
        """Delete what writers left unfinished more than `older_than` seconds ago; returns how many files."""


def check_path(path: str) -> str:
    """`path`, if it lies inside the store.

    Raises:
        StoreError: it does not.
    """
    parts = path.split("/")
    if (
        not path
        or path.startswith("/")
        or "\\" in path
        or "\0" in path
        or any(part in ("", ".", "..") for part in parts)
    ):
        raise StoreError(
            f"{path!r} is not a path inside the store; use relative paths with /, without . and .."
        )
    return path


def missing(path: str, root: str) -> StoreError:
    """The error to raise when there is no `path`."""
    return StoreError(
        f"{path}: no such file in the store {root}; restore it from a backup, or check that RUNSTREAM_STORE names the "
        "store this database belongs to"
    )


def write_failed(path: str, root: str, error: OSError) -> StoreError:
    """The error to raise when `path` cannot be written."""
    return failed("write", path, root, error)


def failed(what: str, path: str, root: str, error: Exception) -> StoreError:
    """The error to raise when something cannot be done with `path`: `StoreFull` when the disk or the quota is full."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StoreFull(
            f"{path}: no room is left in the store {root} ({error.strerror}); nothing of it was stored. "
            "Free some room, or set RUNSTREAM_STORE to a larger disk, and send it again"
        )
    return StoreError(
        f"{path}: cannot {what} it in the store {root} ({error}); check that the store is reachable and has room"
    )
