"""The directory of a backup: what lies where, and whether it is whole.

<directory>/manifest.json               the backup that is complete: put there last of all
<directory>/rows-<id>/<table>.copy.zst  the rows of a table, as COPY gives them in its binary format
<directory>/rows-<id>/files.jsonl.zst   which files of the store belong to them, one a line
<directory>/files/<2 digits>/<sha256>   their contents, each once
<directory>/incoming/                   contents that are being copied
<directory>/lock                        held by the one backup at work here
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import zstandard

from runstream_schemas.errors import BackupError, StoreError
from runstream_schemas.locks import locked
from runstream_schemas.store import LocalStore, write_failed

FORMAT = 1
MANIFEST, LISTING, INCOMING = "manifest.json", "files.jsonl.zst", "incoming"
PIECE = 1 << 20
_SHOWN = 5  # damaged files that a message names


@dataclass(frozen=True, slots=True)
class Packed:
    """A compressed file of a backup.

    Attributes:
        path: within the directory.
        lines: rows of the table, or files.
        size, sha256: of the file as it lies there.
        columns: those of the table, in the order of COPY.
    """

    path: str
    lines: int
    size: int
    sha256: str
    columns: list[str]


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup is made of.

    Attributes:
        id: what tells this backup from others.
        installation: the id of the database it was taken from.
        schema: version and checksum of each migration that database had.
        runstream: version of the program that took it.
        began_at: when, by that machine's clock.
        tables: by name.
        sequences: last value, and whether it was given out, by name.
        listing: what lists the files.
        files, bytes: how many files the listing names, and how large they are together.
    """

    id: str
    installation: str
    schema: list[tuple[int, str]]
    runstream: str
    began_at: str
    tables: dict[str, Packed]
    sequences: dict[str, tuple[int, bool]]
    listing: Packed
    files: int
    bytes: int

    @property
    def folder(self) -> str:
        """Where its rows lie in the directory."""
        return f"rows-{self.id}"

    @property
    def packed(self) -> list[Packed]:
        """Its compressed files."""
        return [*self.tables.values(), self.listing]


@dataclass(frozen=True, slots=True)
class FileLine:
    """A file of the store in a backup's listing.

    Attributes:
        table: whose row names it.
        key: the key of the row.
        place: its path in the store.
        size, sha256: of its content; None: it was deleted, and its row with it, before it was copied.
        changed: the row as it was copied names another content, or is to go.
    """

    table: str
    key: list[str]
    place: str
    size: int
    sha256: str | None
    changed: bool = False

    @property
    def content(self) -> str | None:
        """Where its content lies in the directory of the backup."""
        return None if self.sha256 is None else content_path(self.sha256)


def content_path(sha256: str) -> str:
    """Where a content lies in the directory."""
    return f"files/{sha256[:2]}/{sha256}"


class PackedWriter:
    """Writes a compressed file of a backup, and its digest; it appears at `commit`."""

    def __init__(self, directory: LocalStore, path: str) -> None:
        self._path, self._root, self._new = path, directory.root, directory.create(path)
        self._pack, self._digest = zstandard.ZstdCompressor(level=3).compressobj(), hashlib.sha256()

    def write(self, data: bytes) -> None:
        """Add to it."""
        self._put(self._pack.compress(data))

    def _put(self, packed: bytes) -> None:
        self._digest.update(packed)
        try:
            self._new.stream.write(packed)
        except OSError as error:
            raise write_failed(self._path, self._root, error) from None

    def commit(self, lines: int, columns: list[str]) -> Packed:
        """Make it appear, with so many lines."""
        self._put(self._pack.flush())
        return Packed(self._path, lines, self._new.commit(), self._digest.hexdigest(), columns)

    def abort(self) -> None:
        """Throw it away. Does nothing after `commit`."""
        self._new.abort()


def unpacked(directory: LocalStore, path: str) -> Iterator[bytes]:
    """What a compressed file holds, in pieces."""
    with (
        open(directory.locate(path), "rb") as file,
        zstandard.ZstdDecompressor().stream_reader(file) as pieces,
    ):
        while piece := pieces.read(PIECE):
            yield piece


def lines_of(directory: LocalStore, manifest: Manifest) -> Iterator[FileLine]:
    """The files of a backup."""
    rest = b""
    for piece in unpacked(directory, manifest.listing.path):
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            yield FileLine(**json.loads(line))


def digest_of(stream: Any, most: int | None = None, target: Any = None) -> tuple[int, str]:
    """Size and SHA-256 of a stream, or of its first `most` bytes, which are written to `target` on the way."""
    digest, size = hashlib.sha256(), 0
    while piece := stream.read(PIECE if most is None else min(PIECE, most - size)):
        digest.update(piece)
        size += len(piece)
        if target is not None:
            target.write(piece)
    return size, digest.hexdigest()


def write_manifest(directory: LocalStore, manifest: Manifest) -> None:
    """Put a manifest in place of the one before: from now on this backup is the directory's."""
    body = json.dumps(asdict(manifest), sort_keys=True)
    whole = {
        "format": FORMAT,
        "sha256": hashlib.sha256(body.encode()).hexdigest(),
        "backup": json.loads(body),
    }
    with directory.create(MANIFEST) as new:
        new.stream.write(json.dumps(whole, sort_keys=True).encode() + b"\n")


def read_manifest(directory: LocalStore) -> Manifest | None:
    """The manifest of a directory's complete backup, if there is one.

    Raises:
        BackupError: it is damaged, or of a later layout.
    """
    if not directory.exists(MANIFEST):
        return None
    file = Path(directory.root, MANIFEST)
    try:
        whole = json.loads(file.read_bytes())
        form, checksum, body = whole["format"], whole["sha256"], whole["backup"]
        if form == FORMAT:
            if hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest() != checksum:
                raise ValueError("its checksum differs")
            tables = {name: Packed(**table) for name, table in body["tables"].items()}
            schema = [(version, digest) for version, digest in body["schema"]]
            return Manifest(
                **{**body, "schema": schema, "tables": tables, "listing": Packed(**body["listing"])}
            )
    except (ValueError, KeyError, TypeError) as error:
        raise BackupError(f"{file} is damaged ({error}); use another copy of this backup") from None
    raise BackupError(f"{file} is of layout {form}, this runstream knows {FORMAT}; use a newer runstream")


def open_directory(path: Path, *, create: bool = False) -> LocalStore:
    """The directory of a backup.

    Raises:
        BackupError: there is none, or it holds something else.
    """
    path = path.expanduser().absolute()
    if not path.is_dir() and not create:
        raise BackupError(f"{path} is no directory; name the one `runstream backup` has written")
    if path.is_dir() and (others := [name for name in _names(path) if not _ours(name)]):
        raise BackupError(f"{path} holds {others[0]}, which is of no backup; name a directory of its own")
    return LocalStore(path)


def _names(path: Path) -> list[str]:
    return sorted(entry.name for entry in path.iterdir())


def _ours(name: str) -> bool:
    return name in (MANIFEST, INCOMING, "files", "lock") or name.startswith((".part-", "rows-"))


@contextmanager
def alone(directory: LocalStore) -> Iterator[None]:
    """Hold a directory while writing to it.

    Raises:
        BackupError: another process writes to it.
    """
    try:
        with locked(Path(directory.root, "lock"), wait=False):
            yield
    except BlockingIOError:
        raise BackupError(f"another backup to {directory.root} is under way; wait for its end") from None


def clear(directory: LocalStore, manifest: Manifest | None) -> None:
    """Remove the rows of backups that were broken off or replaced. Contents stay for the next one.

    Args:
        manifest: that of the complete one.
    """
    root = Path(directory.root)
    shutil.rmtree(root / INCOMING, ignore_errors=True)
    directory.remove_parts(0.0)
    for name in _names(root):
        if name.startswith("rows-") and (manifest is None or name != manifest.folder):
            shutil.rmtree(root / name)


def forget_contents(directory: LocalStore, manifest: Manifest) -> int:
    """Remove contents that a backup does not name; returns how many."""
    named = {bytes.fromhex(line.sha256) for line in lines_of(directory, manifest) if line.sha256}
    removed = 0
    for entry in list(directory.list("files")):
        if bytes.fromhex(entry.path.rpartition("/")[2]) not in named:
            directory.delete(entry.path)
            removed += 1
    return removed


def verify(directory: LocalStore) -> Manifest:
    """Read everything a backup is made of, and hold it against its digests.

    Raises:
        BackupError: it is damaged, not complete, or there is none.
    """
    manifest = read_manifest(directory)
    if manifest is None:
        raise BackupError(
            f"{directory.root} holds no complete backup; run `runstream backup {directory.root}` to its end"
        )
    damaged = [
        packed.path
        for packed in manifest.packed
        if not _is(directory, packed.path, packed.size, packed.sha256)
    ]
    if not damaged:
        seen: set[bytes] = set()
        for line in lines_of(directory, manifest):
            if line.sha256 is None or (digest := bytes.fromhex(line.sha256)) in seen:
                continue
            seen.add(digest)
            if not _is(directory, content_path(line.sha256), line.size, line.sha256):
                damaged.append(f"{content_path(line.sha256)} ({line.place} of the store)")
    if damaged:
        more = f" and {len(damaged) - _SHOWN} more" if len(damaged) > _SHOWN else ""
        raise BackupError(
            f"{directory.root}: {', '.join(damaged[:_SHOWN])}{more} is missing or damaged; use another copy of this backup, "
            "or remove these and take it again"
        )
    return manifest


def _is(directory: LocalStore, path: str, size: int, sha256: str) -> bool:
    try:
        with closing(directory.open_input(path)) as stream:
            return digest_of(stream) == (size, sha256)
    except StoreError:
        return False
