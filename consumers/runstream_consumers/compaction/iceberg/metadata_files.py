"""The files of metadata, read and written by pyiceberg through the store."""

from __future__ import annotations

import secrets
from typing import Any

from pyiceberg.exceptions import ValidationError
from pyiceberg.io import FileIO, InputFile, InputStream, OutputFile, OutputStream
from pyiceberg.table.metadata import TableMetadata, TableMetadataUtil

from runstream_schemas.store import NewFile, Store


class MetadataFiles(FileIO):
    """The store, as pyiceberg asks for files."""

    def __init__(self, store: Store) -> None:
        super().__init__()
        self.store = store
        self._root = store.address("-")[:-1]

    def path_of(self, address: str) -> str:
        """The path in the store of what lies at an address of it."""
        return address.removeprefix(self._root)

    def new_input(self, location: str) -> InputFile:
        return _Input(self, location)

    def new_output(self, location: str) -> OutputFile:
        return _Output(self, location)

    def delete(self, location: str | InputFile | OutputFile) -> None:
        raise NotImplementedError("files go by the cleaning of the compactor alone")

    def read(self, path: str) -> TableMetadata:
        """The metadata of a table.

        Raises:
            StoreError: it is not there, or cannot be read.
            ValueError: it is damaged.
        """
        with self.store.open_input(path) as source:
            text = bytes(source.read()).decode()
        try:
            return TableMetadataUtil.parse_raw(text)
        except ValidationError as error:
            raise ValueError(f"{path} is no metadata of a table ({error})") from None

    def write(self, folder: str, metadata: TableMetadata) -> str:
        """Write the metadata of a table beside those before it; returns its path."""
        path = f"{folder}/metadata/{len(metadata.metadata_log):05}-{secrets.token_hex(16)}.metadata.json"
        with self.store.create(path) as new:
            new.stream.write(metadata.model_dump_json(exclude_none=True).encode())
        return path


class _Input(InputFile):
    def __init__(self, files: MetadataFiles, location: str) -> None:
        super().__init__(location)
        self._files, self._path = files, files.path_of(location)

    def __len__(self) -> int:
        return self._files.store.size(self._path)

    def exists(self) -> bool:
        return self._files.store.exists(self._path)

    def open(self, seekable: bool = True) -> InputStream:
        source: Any = self._files.store.open_input(self._path)
        stream: InputStream = source
        return stream


class _Output(OutputFile):
    def __init__(self, files: MetadataFiles, location: str) -> None:
        super().__init__(location)
        self._files, self._path = files, files.path_of(location)

    def __len__(self) -> int:
        return self._files.store.size(self._path)

    def exists(self) -> bool:
        return self._files.store.exists(self._path)

    def to_input_file(self) -> InputFile:
        return self._files.new_input(self.location)

    def create(self, overwrite: bool = False) -> OutputStream:
        return _Stream(self._files.store.create(self._path))


class _Stream(OutputStream):
    """A file that appears when it is closed."""

    def __init__(self, new: NewFile) -> None:
        self._new = new

    def write(self, b: bytes) -> int:
        return self._new.stream.write(b)

    def tell(self) -> int:
        return self._new.stream.tell()

    def close(self) -> None:
        self._new.commit()

    def __enter__(self) -> OutputStream:
        return self

    def __exit__(self, *ended: object) -> None:
        self.close()
