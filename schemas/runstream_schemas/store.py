"""The store: Parquet files and artifacts in a local directory or an object store, behind one small port.

Paths are relative, with `/`. A file is whole or not there: local files are written aside, synced and renamed; objects
are put in one piece. A Parquet file has two more places on a local store, so that a plain glob over `metrics/` sees
what the manifest says and nothing else: before it is published it lies in `staging/`, once replaced it lies in
`trash/`, where queries under way still find it (`locate` looks in all three). An object store cannot rename: there a
file stays at its path from its writing until its deletion, and only readers of the manifest see each point once.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, Self

from .errors import SettingsError, StoreError, StoreFull
from .ownership import make_private
from .settings import Settings

if TYPE_CHECKING:
    import pyarrow as pa

STAGING, TRASH = "staging", "trash"
_PLACES = ("", STAGING, TRASH)
_TEMPORARY = ".part-"
_COPY_BYTES = 1 << 20


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

    def adopt(self, file: Path, path: str) -> None:
        """Make a local file the file at `path`, replacing one of the same name; it is gone from where it was."""

    def stage(self, path: str) -> NewFile:
        """Begin a file that `publish` puts in its place."""

    def publish(self, path: str) -> None:
        """Move a staged file to its place. Does nothing when it is there already."""

    def retire(self, path: str) -> None:
        """Move a replaced file to the trash. Does nothing when it is there already."""

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


def open_store(settings: Settings) -> Store:
    """The store named by `settings.store_url`; a local directory is made when missing.

    Raises:
        SettingsError: an address that cannot be understood.
    """
    url = settings.store_url
    scheme, separator, rest = url.partition("://")
    if not separator or scheme == "file":
        return LocalStore(rest if separator else url)
    return _open_objects(url, scheme, rest.rstrip("/"), settings)


def _check(path: str) -> str:
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


def _missing(path: str, root: str) -> StoreError:
    return StoreError(
        f"{path}: no such file in the store {root}; restore it from a backup, or check that RUNSTREAM_STORE names the "
        "store this database belongs to"
    )


def write_failed(path: str, root: str, error: OSError) -> StoreError:
    """The error to raise when `path` cannot be written: `StoreFull` when the disk or the quota is full."""
    return _failed("write", path, root, error)


def _failed(what: str, path: str, root: str, error: Exception) -> StoreError:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StoreFull(
            f"{path}: no room is left in the store {root} ({error.strerror}); nothing of it was stored. "
            "Free some room, or set RUNSTREAM_STORE to a larger disk, and send it again"
        )
    return StoreError(
        f"{path}: cannot {what} it in the store {root} ({error}); check that the store is reachable and has room"
    )


# --- a local directory -----------------------------------------------------------------------------------------------


class _LocalFile(NewFile):
    def __init__(self, store: LocalStore, target: Path, path: str) -> None:
        self._store, self._target, self._path = store, target, path
        self._part = target.with_name(f"{_TEMPORARY}{secrets.token_hex(8)}")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            self.stream = self._part.open("xb")
        except OSError as error:
            raise _failed("write", path, store.root, error) from None

    def commit(self) -> int:
        try:
            self.stream.flush()
            os.fsync(self.stream.fileno())
            size = os.fstat(self.stream.fileno()).st_size
            self.stream.close()
            os.replace(self._part, self._target)
            _sync(self._target.parent)
        except OSError as error:
            self.abort()
            raise _failed("write", self._path, self._store.root, error) from None
        return size

    def abort(self) -> None:
        with contextlib.suppress(OSError):
            self.stream.close()
        self._part.unlink(missing_ok=True)


class LocalStore:
    """A store in a local directory. See `Store` for the methods."""

    local = True

    def __init__(self, root: str | Path) -> None:
        self._root = Path(root).expanduser().absolute()
        try:
            make_private(self._root)
        except OSError as error:
            raise StoreError(f"{self._root}: cannot make the store ({error}); set RUNSTREAM_STORE") from None

    @property
    def root(self) -> str:
        """The directory."""
        return str(self._root)

    def _at(self, path: str, place: str = "") -> Path:
        return self._root / place / _check(path)

    def create(self, path: str) -> NewFile:
        """Begin a file at `path`."""
        return _LocalFile(self, self._at(path), path)

    def adopt(self, file: Path, path: str) -> None:
        """Rename the file to `path`; one on another filesystem is copied."""
        target = self._at(path)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with file.open("rb") as stream:
                os.fsync(stream.fileno())
            os.replace(file, target)
            _sync(target.parent)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise _failed("write", path, self.root, error) from None
            _copy_in(self, file, path)

    def stage(self, path: str) -> NewFile:
        """Begin a file in `staging/`."""
        return _LocalFile(self, self._at(path, STAGING), path)

    def publish(self, path: str) -> None:
        """Move from `staging/` to `path`."""
        self._move(path, self._at(path, STAGING), self._at(path))

    def retire(self, path: str) -> None:
        """Move from `path` (or `staging/`, when it never got that far) to `trash/`."""
        source, target = self._at(path), self._at(path, TRASH)
        self._move(path, source if source.exists() else self._at(path, STAGING), target)
        with contextlib.suppress(FileNotFoundError):
            os.utime(target)  # its age in the trash counts, not its own

    def _move(self, path: str, source: Path, target: Path) -> None:
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(source, target)
            _sync(target.parent)
            _sync(source.parent)
        except FileNotFoundError:
            if not target.exists():
                raise _missing(path, self.root) from None
        except OSError as error:
            raise _failed("move", path, self.root, error) from None

    def locate(self, path: str) -> str:
        """Absolute path of the file, in whichever place it lies."""
        for _ in range(2):  # a move between two looks hides it once, never twice: files only move forward
            for place in _PLACES:
                candidate = self._at(path, place)
                if candidate.exists():
                    return str(candidate)
        raise _missing(path, self.root)

    def open_input(self, path: str) -> pa.NativeFile:
        """Open the file; a rename or deletion afterwards does not disturb the reader."""
        import pyarrow

        for _ in range(4):
            try:
                return pyarrow.OSFile(self.locate(path), "rb")
            except FileNotFoundError:  # moved between the look and the opening
                continue
            except OSError as error:
                raise _failed("read", path, self.root, error) from None
        raise _missing(path, self.root)

    def exists(self, path: str) -> bool:
        """Whether the file lies at `path` itself."""
        return self._at(path).is_file()

    def size(self, path: str) -> int:
        """Bytes of the file at `path`."""
        try:
            return self._at(path).stat().st_size
        except OSError:
            raise _missing(path, self.root) from None

    def list(self, prefix: str) -> Iterator[Entry]:
        """Files below `prefix`."""
        for folder, _, names in os.walk(self._at(prefix)):
            relative = Path(folder).relative_to(self._root).as_posix()
            for name in names:
                if name.startswith(_TEMPORARY):
                    continue
                with contextlib.suppress(FileNotFoundError):
                    stat = os.stat(os.path.join(folder, name))
                    yield Entry(f"{relative}/{name}", stat.st_size, stat.st_mtime)

    def delete(self, path: str) -> None:
        """Delete the file from all its places."""
        for place in _PLACES:
            try:
                self._at(path, place).unlink(missing_ok=True)
            except OSError as error:
                raise _failed("delete", path, self.root, error) from None

    def remove_parts(self, older_than: float) -> int:
        """Delete what writers left unfinished more than `older_than` seconds ago; returns how many files."""
        removed = 0
        for folder, _, names in os.walk(self._root):
            for name in names:
                if name.startswith(_TEMPORARY):
                    part = Path(folder, name)
                    with contextlib.suppress(FileNotFoundError):
                        if part.stat().st_mtime < time.time() - older_than:
                            part.unlink()
                            removed += 1
        return removed


def _copy_in(store: Store, file: Path, path: str) -> None:
    new = store.create(path)
    try:
        with file.open("rb") as source:
            shutil.copyfileobj(source, new.stream, _COPY_BYTES)
        new.commit()
        file.unlink()
    except OSError as error:
        raise _failed("write", path, store.root, error) from None
    finally:
        new.abort()


def _sync(folder: Path) -> None:
    """Make renames in `folder` durable."""
    if os.name == "nt":  # directories cannot be opened there
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# --- an object store -------------------------------------------------------------------------------------------------


def _open_objects(url: str, scheme: str, rest: str, settings: Settings) -> ObjectStore:
    from pyarrow import fs

    try:
        if scheme in ("s3", "s3a"):
            # Small files then go in one request instead of three.
            options: dict[str, Any] = {"allow_delayed_open": True}
            if settings.store_endpoint:
                transport, _, host = settings.store_endpoint.rpartition("://")
                # Asked to find out the region, the library would turn to the cloud and not to the endpoint.
                options.update(endpoint_override=host, scheme=transport or "https", region="us-east-1")
            if settings.store_key:
                options.update(access_key=settings.store_key, secret_key=settings.store_secret)
            return ObjectStore(url, fs.S3FileSystem(**options), rest)
        import fsspec

        return ObjectStore(url, fs.PyFileSystem(fs.FSSpecHandler(fsspec.filesystem(scheme))), rest)
    except (ImportError, ValueError, OSError) as error:
        raise SettingsError(
            f"store {url!r} cannot be opened ({error}); expected a directory, s3://bucket/folder or another fsspec "
            "address whose library is installed"
        ) from None


class _ObjectFile(NewFile):
    """Collected in a temporary file, then put: an upload that breaks off must leave nothing at the key."""

    def __init__(self, store: ObjectStore, path: str) -> None:
        self._store, self._path = store, path
        self._spooled = tempfile.SpooledTemporaryFile(max_size=64 << 20)  # noqa: SIM115 - closed by commit and abort
        self.stream = self._spooled  # type: ignore[assignment]

    def commit(self) -> int:
        try:
            size = self._spooled.tell()
            self._spooled.seek(0)
            with self._store.filesystem.open_output_stream(self._store.key(self._path)) as target:
                shutil.copyfileobj(self._spooled, target, _COPY_BYTES)
        except OSError as error:
            raise _failed("write", self._path, self._store.root, error) from None
        finally:
            self._spooled.close()
        return size

    def abort(self) -> None:
        self._spooled.close()


class ObjectStore:
    """A store in an object store, by pyarrow's filesystems. See `Store` for the methods."""

    local = False

    def __init__(self, url: str, filesystem: Any, prefix: str) -> None:
        self.root = url
        self.filesystem = filesystem
        self._prefix = prefix

    def key(self, path: str) -> str:
        """Key of `path` for `filesystem`."""
        return f"{self._prefix}/{_check(path)}"

    def create(self, path: str) -> NewFile:
        """Begin an object."""
        _check(path)
        return _ObjectFile(self, path)

    stage = create

    def adopt(self, file: Path, path: str) -> None:
        """Put the file's content, then delete it."""
        try:
            with file.open("rb") as source, self.filesystem.open_output_stream(self.key(path)) as target:
                shutil.copyfileobj(source, target, _COPY_BYTES)
            file.unlink()
        except OSError as error:
            raise _failed("write", path, self.root, error) from None

    def publish(self, path: str) -> None:
        """The object is in its place since it was written."""

    def retire(self, path: str) -> None:
        """The object stays where it is until it is deleted."""

    def locate(self, path: str) -> str:
        """Key of the object."""
        return self.key(path)

    def open_input(self, path: str) -> pa.NativeFile:
        """Open the object for random access."""
        try:
            return self.filesystem.open_input_file(self.key(path))
        except FileNotFoundError:
            raise _missing(path, self.root) from None
        except OSError as error:
            raise _failed("read", path, self.root, error) from None

    def _info(self, path: str) -> Any:
        try:
            return self.filesystem.get_file_info(self.key(path))
        except OSError as error:
            raise _failed("find", path, self.root, error) from None

    def exists(self, path: str) -> bool:
        """Whether the object exists."""
        return bool(self._info(path).is_file)

    def size(self, path: str) -> int:
        """Bytes of the object."""
        info = self._info(path)
        if not info.is_file:
            raise _missing(path, self.root)
        return int(info.size)

    def list(self, prefix: str) -> Iterator[Entry]:
        """Objects below `prefix`."""
        from pyarrow import fs

        try:
            found = self.filesystem.get_file_info(
                fs.FileSelector(self.key(prefix), allow_not_found=True, recursive=True)
            )
        except OSError as error:
            raise _failed("list", prefix, self.root, error) from None
        cut = len(self._prefix.lstrip("/")) + 1
        for info in found:
            if info.is_file:
                yield Entry(
                    info.path.lstrip("/")[cut:], int(info.size), info.mtime.timestamp() if info.mtime else 0.0
                )

    def delete(self, path: str) -> None:
        """Delete the object."""
        try:
            self.filesystem.delete_file(self.key(path))
        except FileNotFoundError:
            pass
        except OSError as error:
            raise _failed("delete", path, self.root, error) from None

    def remove_parts(self, older_than: float) -> int:
        """Nothing to do: an object is put in one piece."""
        return 0
