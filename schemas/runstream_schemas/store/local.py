"""A store in a local directory."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import StoreError
from ..ownership import make_private
from .port import COPY_BYTES, Entry, NewFile, Store, check_path, failed, missing

if TYPE_CHECKING:
    import pyarrow as pa

STAGING, TRASH, PINNED = "staging", "trash", "pinned"
_PLACES = ("", STAGING, TRASH)
_TEMPORARY = ".part-"


class LocalFile(NewFile):
    """A file written aside, synced and renamed."""

    def __init__(self, store: LocalStore, target: Path, path: str) -> None:
        self._store, self._target, self._path = store, target, path
        self._part = target.with_name(f"{_TEMPORARY}{secrets.token_hex(8)}")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            self.stream = self._part.open("xb")
        except OSError as error:
            raise failed("write", path, store.root, error) from None

    def commit(self) -> int:
        size = self.place()
        try:
            _sync(self._target.parent)
        except OSError as error:
            raise failed("write", self._path, self._store.root, error) from None
        return size

    def place(self) -> int:
        """As `commit`; but a loss of power may still take its name away, until its folder is synced."""
        try:
            self.stream.flush()
            os.fsync(self.stream.fileno())
            size = os.fstat(self.stream.fileno()).st_size
            self.stream.close()
            os.replace(self._part, self._target)
        except OSError as error:
            self.abort()
            raise failed("write", self._path, self._store.root, error) from None
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
        return self._root / place / check_path(path)

    def create(self, path: str) -> NewFile:
        """Begin a file at `path`."""
        return LocalFile(self, self._at(path), path)

    def write_all(self, files: Iterable[tuple[str, bytes]]) -> None:
        """Make files; a folder is synced once for all that are new in it."""
        folders = set()
        for path, content in files:
            file = LocalFile(self, self._at(path), path)
            try:
                file.stream.write(content)
                file.place()
            except OSError as error:
                raise failed("write", path, self.root, error) from None
            finally:
                file.abort()
            folders.add(self._at(path).parent)
        for folder in folders:
            try:
                _sync(folder)
            except OSError as error:
                raise failed("write", str(folder), self.root, error) from None

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
                raise failed("write", path, self.root, error) from None
            _copy_in(self, file, path)

    def stage(self, path: str) -> NewFile:
        """Begin a file in `staging/`."""
        return LocalFile(self, self._at(path, STAGING), path)

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
                raise missing(path, self.root) from None
        except OSError as error:
            raise failed("move", path, self.root, error) from None

    def address(self, path: str) -> str:
        """The absolute path, behind file://."""
        return f"file://{self._at(path)}"

    def pin(self, path: str) -> None:
        """Give the file a second name in `pinned/`: a hard link, which takes no room."""
        target = self._at(path, PINNED)
        for _ in range(4):
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                os.link(self.locate(path), target)
                _sync(target.parent)
            except FileNotFoundError:  # moved between the look and the link
                continue
            except FileExistsError:
                pass
            except OSError as error:
                raise failed("link", path, self.root, error) from None
            return
        raise missing(path, self.root)

    def pinned_address(self, path: str) -> str:
        """The absolute path of the second name, behind file://."""
        return f"file://{self._at(path, PINNED)}"

    def locate(self, path: str) -> str:
        """Absolute path of the file, in whichever place it lies."""
        for _ in range(2):  # a move between two looks hides it once, never twice: files only move forward
            for place in _PLACES:
                candidate = self._at(path, place)
                if candidate.exists():
                    return str(candidate)
        raise missing(path, self.root)

    def open_input(self, path: str) -> pa.NativeFile:
        """Open the file; a rename or deletion afterwards does not disturb the reader."""
        import pyarrow

        for _ in range(4):
            try:
                return pyarrow.OSFile(self.locate(path), "rb")
            except FileNotFoundError:  # moved between the look and the opening
                continue
            except OSError as error:
                raise failed("read", path, self.root, error) from None
        raise missing(path, self.root)

    def exists(self, path: str) -> bool:
        """Whether the file lies at `path` itself."""
        return self._at(path).is_file()

    def size(self, path: str) -> int:
        """Bytes of the file at `path`."""
        try:
            return self._at(path).stat().st_size
        except OSError:
            raise missing(path, self.root) from None

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
        for place in (*_PLACES, PINNED):
            try:
                self._at(path, place).unlink(missing_ok=True)
            except OSError as error:
                raise failed("delete", path, self.root, error) from None

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
            shutil.copyfileobj(source, new.stream, COPY_BYTES)
        new.commit()
        file.unlink()
    except OSError as error:
        raise failed("write", path, store.root, error) from None
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
