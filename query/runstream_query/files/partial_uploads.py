"""Large files on their way in: what has arrived is kept under the digest the whole will have, and resumes from there.

A client sends pieces, each with the offset it begins at; after a broken connection, also of another day or to a restarted
server, it asks how far it came. Nobody sees anything of a file before all of it is there and its digest is right. Pieces lie
on the server's disk: with several servers each has its own, and a client that meets another one begins again.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import time
from collections.abc import AsyncIterable
from pathlib import Path
from typing import Any, BinaryIO

import asyncpg

from runstream_schemas.errors import QueryError
from runstream_schemas.locks import try_lock
from runstream_schemas.settings import Settings
from runstream_schemas.source_snapshot import is_digest
from runstream_schemas.store import Store, write_failed

from .. import queries
from .artifacts import (
    PIECE,
    Artifact,
    PathTaken,
    check_folders,
    check_path,
    check_run_id,
    claim,
    from_row,
    place,
)

MAX_PIECE = 64 << 20
"""Most bytes of one piece."""
_FORGOTTEN = 24 * 3600.0  # seconds after which nobody is expected to resume an upload


class OtherOffset(QueryError):
    """The upload has come to another place.

    Attributes:
        offset: where the next piece has to begin, in bytes.
    """

    def __init__(self, sha256: str, offset: int) -> None:
        super().__init__(f"{offset} bytes of {sha256} are here; resume from there")
        self.offset = offset


class TooMuchUnfinished(QueryError):
    """The unfinished uploads of a token take more than they may."""


def uploads_root(store: Store, settings: Settings) -> Path:
    """Where pieces are kept: beside the files of a local store, which then only have to be renamed."""
    return Path(store.root) / "uploads" if store.local else settings.home_path / "uploads"


def uploads_of(root: Path, token: int) -> Path:
    """The directory of a token's own uploads: else whoever knows a digest could spoil those of others, or take them.

    Args:
        root: see `uploads_root`.
        token: its number; 0: the server's own.
    """
    return root / f"token-{token}" if token else root


async def add_piece(
    root: Path, token: int, sha256: str, offset: int, content: AsyncIterable[bytes], quota: int
) -> int:
    """Add a piece to an upload; returns how many bytes are there now. What came of a broken one stays.

    Args:
        root: see `uploads_root`.
        token: whose upload it is.
        sha256: of the whole content.
        offset: where the piece begins.
        content: the piece.
        quota: most bytes of the token's uploads that are not finished.

    Raises:
        OtherOffset: the piece does not begin where the upload has come to, or somebody else is sending it.
        TooMuchUnfinished: it does not fit in the quota.
        QueryError: not a digest, or the piece is too long.
        StoreFull: there is no room; nothing of the upload is kept.
    """
    if not is_digest(sha256):
        raise QueryError(
            f"{sha256!r:.80} is not a SHA-256: 64 digits from 0 to f, small; send the digest of the content"
        )
    if not offset:
        await asyncio.to_thread(_forget_old, root)
    directory = uploads_of(root, token)
    left = quota - await asyncio.to_thread(_bytes_of, directory)
    file = await asyncio.to_thread(_open, directory, sha256, create=True)
    assert file is not None
    try:
        size = _size(file)
        if size != offset:
            raise OtherOffset(sha256, size)
        file.seek(size)
        async for part in content:
            if size + len(part) - offset > MAX_PIECE:
                raise QueryError(f"a piece of more than {MAX_PIECE} bytes; send it in parts")
            if (left := left - len(part)) < 0:
                raise TooMuchUnfinished(
                    f"the unfinished uploads of this token would take more than {quota} bytes; finish some, wait until they "
                    "are forgotten after a day, or raise RUNSTREAM_UPLOAD_QUOTA at the server"
                )
            await asyncio.to_thread(file.write, part)
            size += len(part)
        await asyncio.to_thread(file.flush)
    except OSError as error:
        with contextlib.suppress(OSError):
            (directory / sha256).unlink()
        raise write_failed("the upload", str(directory), error) from None
    finally:
        with contextlib.suppress(OSError):  # it was flushed, or is not counted on
            file.close()
    return size


async def save_uploaded(
    pool: asyncpg.Pool[Any],
    store: Store,
    directory: Path,
    run_id: str,
    path: str,
    sha256: str,
    size: int,
    content_type: str | None,
    captured: bool,
    workspace: str | None = None,
) -> tuple[Artifact, bool]:
    """Make a finished upload a file of a run; as `artifacts.save`.

    Raises:
        OtherOffset: not all of it is there yet.
        PathTaken: the path holds other bytes already, or is a folder.
        QueryError: the path cannot be used, or what came has another digest, and is thrown away.
        StoreError: the store could not take it.
    """
    path = check_path(path)
    check_run_id(run_id)
    if not is_digest(sha256):
        raise QueryError(
            f"{sha256!r:.80} is not a SHA-256: 64 digits from 0 to f, small; send the digest of the content"
        )
    await check_folders(pool, run_id, path, workspace)
    row = await pool.fetchrow(queries.ARTIFACT, run_id, path)
    if row is not None and row["sha256"] != sha256 and not row["captured"]:
        if captured:
            return from_row(row), False
        raise PathTaken(f"{path} of run {run_id} holds other bytes already; upload under another name")
    there = row is not None and row["sha256"] == sha256
    file = None if there else await asyncio.to_thread(_open, directory, sha256, create=False)
    try:
        if not there:
            await asyncio.to_thread(_check_whole, file, directory, sha256, size)
        async with pool.acquire() as connection, connection.transaction():
            artifact, missing = await claim(
                connection, run_id, path, size, sha256, content_type, captured, workspace
            )
            if missing:
                if file is None:
                    raise OtherOffset(sha256, 0)
                await asyncio.to_thread(store.adopt, directory / sha256, place(run_id, path))
    finally:
        if file is not None:
            file.close()
    with contextlib.suppress(OSError):
        (directory / sha256).unlink()
    return artifact, missing


def _check_whole(file: BinaryIO | None, directory: Path, sha256: str, size: int) -> None:
    have = _size(file) if file is not None else 0
    if file is None or have < size:
        raise OtherOffset(sha256, have)
    if have > size or _digest(file) != sha256:
        (directory / sha256).unlink()
        raise QueryError(f"what came as {sha256} is something else; send it again")


def _open(directory: Path, sha256: str, *, create: bool) -> BinaryIO | None:
    """The file of an upload, for nobody else; None when there is none."""
    try:
        if create:
            directory.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(
            directory / sha256, os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if create else 0), 0o600
        )
    except FileNotFoundError:
        return None
    except OSError as error:
        raise write_failed("the upload", str(directory), error) from None
    file = os.fdopen(descriptor, "r+b")
    if not try_lock(descriptor):
        size = _size(file)
        file.close()
        raise OtherOffset(sha256, size)
    return file


def _size(file: BinaryIO) -> int:
    return os.fstat(file.fileno()).st_size


def _digest(file: BinaryIO) -> str:
    file.seek(0)
    digest = hashlib.sha256()
    while piece := file.read(PIECE):
        digest.update(piece)
    return digest.hexdigest()


def _forget_old(root: Path) -> None:
    """Of every token: one that was revoked comes no more."""
    for file in root.rglob("*"):
        with contextlib.suppress(OSError):
            if file.is_file() and time.time() - file.stat().st_mtime > _FORGOTTEN:
                file.unlink()


def _bytes_of(directory: Path) -> int:
    total = 0
    with contextlib.suppress(FileNotFoundError):
        for file in directory.iterdir():
            with contextlib.suppress(OSError):  # it was finished meanwhile
                total += file.stat().st_size if file.is_file() else 0
    return total
