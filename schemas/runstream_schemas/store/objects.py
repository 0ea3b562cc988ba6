"""A store in an object store, by pyarrow's filesystems."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import SettingsError
from ..settings import Settings
from .port import COPY_BYTES, Entry, NewFile, check_path, failed, missing

if TYPE_CHECKING:
    import pyarrow as pa


def open_objects(url: str, scheme: str, rest: str, settings: Settings) -> ObjectStore:
    """The store at `url`, which is `scheme`://`rest`.

    Raises:
        SettingsError: an address that cannot be understood.
    """
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
                shutil.copyfileobj(self._spooled, target, COPY_BYTES)
        except OSError as error:
            raise failed("write", self._path, self._store.root, error) from None
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
        return f"{self._prefix}/{check_path(path)}"

    def create(self, path: str) -> NewFile:
        """Begin an object."""
        check_path(path)
        return _ObjectFile(self, path)

    stage = create

    def write_all(self, files: Iterable[tuple[str, bytes]]) -> None:
        """Put objects, one after the other."""
        for path, content in files:
            with self.create(path) as new:
                new.stream.write(content)

    def adopt(self, file: Path, path: str) -> None:
        """Put the file's content, then delete it."""
        try:
            with file.open("rb") as source, self.filesystem.open_output_stream(self.key(path)) as target:
                shutil.copyfileobj(source, target, COPY_BYTES)
            file.unlink()
        except OSError as error:
            raise failed("write", path, self.root, error) from None

    def publish(self, path: str) -> None:
        """The object is in its place since it was written."""

    def retire(self, path: str) -> None:
        """The object stays where it is until it is deleted."""

    def address(self, path: str) -> str:
        """The object's address."""
        return f"{self.root.rstrip('/')}/{check_path(path)}"

    def pin(self, path: str) -> None:
        """The object lies where it does from its writing on."""

    pinned_address = address

    def locate(self, path: str) -> str:
        """Key of the object."""
        return self.key(path)

    def open_input(self, path: str) -> pa.NativeFile:
        """Open the object for random access."""
        try:
            return self.filesystem.open_input_file(self.key(path))
        except FileNotFoundError:
            raise missing(path, self.root) from None
        except OSError as error:
            raise failed("read", path, self.root, error) from None

    def _info(self, path: str) -> Any:
        try:
            return self.filesystem.get_file_info(self.key(path))
        except OSError as error:
            raise failed("find", path, self.root, error) from None

    def exists(self, path: str) -> bool:
        """Whether the object exists."""
        return bool(self._info(path).is_file)

    def size(self, path: str) -> int:
        """Bytes of the object."""
        info = self._info(path)
        if not info.is_file:
            raise missing(path, self.root)
        return int(info.size)

    def list(self, prefix: str) -> Iterator[Entry]:
        """Objects below `prefix`."""
        from pyarrow import fs

        try:
            infos = self.filesystem.get_file_info(
                fs.FileSelector(self.key(prefix), allow_not_found=True, recursive=True)
            )
        except OSError as error:
            raise failed("list", prefix, self.root, error) from None
        cut = len(self._prefix.lstrip("/")) + 1
        for info in infos:
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
            raise failed("delete", path, self.root, error) from None

    def remove_parts(self, older_than: float) -> int:
        """Nothing to do: an object is put in one piece."""
        return 0
