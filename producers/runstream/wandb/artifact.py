"""Artifacts: named, versioned sets of files that runs log and use."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote, urlparse

from ..client import files
from ..client.folder_contents import contents
from ..client.http import ServiceClient
from .data_types import Media, Table
from .errors import CommError, UsageError
from .json_values import config_value
from .mapping import artifact_folder

_md5 = partial(hashlib.md5, usedforsecurity=False)
_NAME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")


@dataclass(frozen=True, slots=True)
class Stored:
    """Where an artifact lies: the run that logged it, and its folder among that run's files."""

    client: ServiceClient
    run_id: str
    folder: str


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of an artifact.

    Attributes:
        path: in the artifact.
        local: where it lies here; None: it does not.
        ref: where it is, when the artifact does not hold it.
    """

    path: str
    local: Path | None = None
    ref: str | None = None
    artifact: Artifact | None = None

    @property
    def digest(self) -> str:
        """Its MD5 in base64; of a reference its address."""
        if self.ref is not None:
            return self.ref
        assert self.local is not None
        with self.local.open("rb") as stream:
            return base64.b64encode(hashlib.file_digest(stream, _md5).digest()).decode()

    def download(self, root: str | os.PathLike[str] | None = None) -> str:
        """Fetch it; returns where it is."""
        if self.local is not None and root is None:
            return str(self.local)
        assert self.artifact is not None
        return self.artifact._fetch(self.path, root)


class Artifact:
    """A set of files with a name, a type and a version.

    Args:
        name: letters, digits, `-`, `_` and `.`, at most 128.
        type: what it is: `dataset`, `model` ...
        description: free text.
        metadata: a dictionary of JSON values.
        incremental, use_as: accepted.

    Raises:
        ValueError: a name of another form, or metadata that is no dictionary.
    """

    def __init__(
        self,
        name: str,
        type: str,
        description: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        incremental: bool = False,
        use_as: str | None = None,
    ) -> None:
        if not name or not _NAME.issuperset(name) or len(name) > 128:
            raise ValueError(
                "Artifact name may only contain alphanumeric characters, dashes, underscores, and dots. "
                f"Invalid name: {name!r:.200}"
            )
        if metadata is not None and not isinstance(metadata, Mapping):
            raise TypeError("metadata must be dict; give names and values")
        self._name, self.type, self.description = name, type, description
        self.metadata: dict[str, Any] = dict(metadata or {})
        self.aliases: list[str] = []
        self.tags: list[str] = []
        self._entries: dict[str, Entry] = {}
        self._staging: Path | None = None
        self._digest = self._version = ""
        self._stored: Stored | None = None

    # --- filling it ---

    def add_file(
        self, local_path: str | os.PathLike[str], name: str | None = None, is_tmp: bool = False, **kwargs: Any
    ) -> Entry:
        """Add a file; it is read when the artifact is logged.

        Raises:
            ValueError: there is no such file.
        """
        path = Path(local_path).absolute()
        if not path.is_file():
            raise ValueError(f"Path is not a file: {str(local_path)!r:.200}; name one that is there")
        return self._add(Entry(name or path.name, path, artifact=self))

    def add_dir(self, local_path: str | os.PathLike[str], name: str | None = None, **kwargs: Any) -> None:
        """Add all files below a directory.

        Raises:
            ValueError: there is no such directory.
        """
        if not os.path.isdir(local_path):
            raise ValueError(f"Path is not a directory: {str(local_path)!r:.200}; name one that is there")
        for below, path in contents(local_path, []):
            self._add(Entry(f"{name}/{below}" if name else below, path.absolute(), artifact=self))

    def add_reference(self, uri: Any, name: str | None = None, **kwargs: Any) -> list[Entry]:
        """Add where something is; of a `file://` it is the address, too, that is kept."""
        uri = uri.ref_target() if hasattr(uri, "ref_target") else str(uri)
        parsed = urlparse(uri)
        if not parsed.scheme:
            raise ValueError("References must be URIs. To reference a local file, use file://")
        return [
            self._add(
                Entry(
                    name or unquote(parsed.path).rsplit("/", 1)[-1] or parsed.netloc, ref=uri, artifact=self
                )
            )
        ]

    def add(self, obj: Any, name: str, overwrite: bool = False) -> Entry:
        """Add a table, as JSON, or a medium that is in a file."""
        if isinstance(obj, Table):
            document = {
                "columns": obj.columns,
                "data": config_value(obj.data),
                "ncols": len(obj.columns),
                "nrows": len(obj.data),
            }
            with self.new_file(f"{name}.table.json") as stream:
                json.dump(document, stream)
            return self._entries[f"{name}.table.json"]
        data = obj.medium().data if isinstance(obj, Media) else None
        if not isinstance(data, (str, os.PathLike)):
            raise ValueError(
                f"add({name!r:.80}): {type(obj).__name__} is not in a file; write it with new_file(), or add_file()"
            )
        return self.add_file(data, f"{name}{Path(data).suffix}")

    @contextmanager
    def new_file(self, name: str, mode: str = "x", encoding: str | None = None) -> Iterator[IO[Any]]:
        """Open a new file of the artifact, to write to."""
        if self._staging is None:
            self._staging = Path(tempfile.mkdtemp(prefix="runstream-artifact-"))
            weakref.finalize(self, shutil.rmtree, self._staging, ignore_errors=True)
        path = files.inside(self._staging, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(
            path, mode.replace("x", "w"), encoding=encoding or (None if "b" in mode else "utf-8")
        ) as stream:
            yield stream
        self._add(Entry(name, path, artifact=self))

    def remove(self, item: str | os.PathLike[str] | Entry) -> None:
        """Remove a file, or all of a folder."""
        path = item.path if isinstance(item, Entry) else os.fspath(item)
        names = [name for name in self._entries if name == path or name.startswith(f"{path}/")]
        if not names:
            raise FileNotFoundError(f"No such file or directory: {path}; files() lists those there are")
        for name in names:
            del self._entries[name]

    def _add(self, entry: Entry) -> Entry:
        if self._stored is not None:
            raise UsageError(f"artifact {self.name} is logged and cannot be changed; make a new one")
        self._entries[entry.path] = entry
        return entry

    # --- what it is ---

    @property
    def name(self) -> str:
        """Its name, with its version once it is logged."""
        return f"{self._name}:{self._version}" if self._version else self._name

    @property
    def source_name(self) -> str:
        """As `name`."""
        return self.name

    @property
    def collection_name(self) -> str:
        """Its name without a version."""
        return self._name

    @property
    def version(self) -> str:
        """`v0`, `v1` ...; empty: it was not looked up."""
        return self._version

    @property
    def digest(self) -> str:
        """What identifies its contents, as W&B has it."""
        if self._digest:
            return self._digest
        hasher = _md5(b"wandb-artifact-manifest-v1\n")
        for path, entry in sorted(self._entries.items()):
            hasher.update(f"{path}:{entry.digest}\n".encode())
        return hasher.hexdigest()

    @property
    def state(self) -> str:
        """`COMMITTED` once it is logged, `PENDING` before."""
        return "COMMITTED" if self._stored else "PENDING"

    @property
    def id(self) -> str | None:
        """Where it lies; None: it is not logged."""
        return f"{self._stored.run_id}/{self._stored.folder}" if self._stored else None

    def is_draft(self) -> bool:
        """Whether it is not logged yet."""
        return self._stored is None

    def wait(self, timeout: int | None = None) -> Artifact:
        """Itself: `log_artifact` returns when it is stored."""
        return self

    def document(self, digest: str) -> dict[str, Any]:
        """What the JSON beside its files says."""
        return {
            "type": self.type,
            "name": self._name,
            "digest": digest,
            "description": self.description or "",
            "aliases": self.aliases,
            "metadata": json.dumps(config_value(self.metadata)) if self.metadata else "",
            "references": {
                entry.path: entry.ref for entry in self._entries.values() if entry.ref is not None
            },
        }

    # --- its files ---

    def files(self, names: Sequence[str] | None = None, per_page: int = 50) -> list[Entry]:
        """Its files."""
        return [entry for path, entry in sorted(self._entries.items()) if names is None or path in names]

    @property
    def manifest(self) -> Artifact:
        """Itself: `artifact.manifest.entries` are its files by path."""
        return self

    @property
    def entries(self) -> dict[str, Entry]:
        """Its files by path."""
        return dict(self._entries)

    @property
    def file_count(self) -> int:
        """How many files it has."""
        return len(self._entries)

    def get_entry(self, name: str) -> Entry:
        """A file by its path.

        Raises:
            KeyError: there is none.
        """
        if name not in self._entries:
            raise KeyError(f"Path not contained in artifact: {name}; files() lists those there are")
        return self._entries[name]

    get_path = get_entry

    def get(self, name: str) -> Table | None:
        """A table that was added under a name; None: there is none."""
        entry = self._entries.get(f"{name}.table.json") or self._entries.get(name)
        if entry is None or not entry.path.endswith(".table.json"):
            return None
        document = json.loads(Path(entry.download()).read_text(encoding="utf-8"))
        return Table(columns=document["columns"], data=document["data"])

    def download(
        self, root: str | os.PathLike[str] | None = None, path_prefix: str | None = None, **kwargs: Any
    ) -> str:
        """Fetch its files; returns their folder, `./artifacts/NAME:VERSION` if none is given."""
        folder = Path(root) if root is not None else self._default_root()
        folder.mkdir(parents=True, exist_ok=True)
        for path, entry in self._entries.items():
            if entry.ref is None and path.startswith(path_prefix or ""):
                self._fetch(path, folder)
        return str(folder)

    checkout = download

    def file(self, root: str | os.PathLike[str] | None = None) -> str:
        """Fetch its only file.

        Raises:
            ValueError: it has several.
        """
        if len(self._entries) != 1:
            raise ValueError("This artifact contains more than one file, call `.download()` to get all files")
        return self._fetch(next(iter(self._entries)), root)

    def _default_root(self) -> Path:
        return Path("artifacts", self.name)

    def _fetch(self, path: str, root: str | os.PathLike[str] | None) -> str:
        entry = self.get_entry(path)
        target = files.inside(Path(root) if root is not None else self._default_root(), path)
        target.parent.mkdir(parents=True, exist_ok=True)
        if entry.ref is not None:
            if not entry.ref.startswith("file://"):
                raise CommError(
                    f"{path} of artifact {self.name} is a reference to {entry.ref}; fetch it from there"
                )
            shutil.copyfile(unquote(urlparse(entry.ref).path), target)
        elif entry.local is not None:
            shutil.copyfile(entry.local, target)
        else:
            assert self._stored is not None
            files.download(self._stored.client, self._stored.run_id, f"{self._stored.folder}/{path}", target)
        return str(target)

    def _became(self, stored: Stored, digest: str, version: str) -> None:
        self._stored, self._digest, self._version = stored, digest, version

    def _of_files(self, paths: Sequence[str], references: Mapping[str, str]) -> None:
        for path in paths:
            self._entries[path] = Entry(path, artifact=self)
        for path, uri in references.items():
            self._entries[path] = Entry(path, ref=uri, artifact=self)

    def __repr__(self) -> str:
        return f"<Artifact {self.name}>"


def folder_of(artifact: Artifact, digest: str) -> str:
    """Where an artifact lies among the files of the run that logs it."""
    return artifact_folder(artifact.collection_name, digest)
