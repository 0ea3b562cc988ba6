"""Files of runs: streamed into the store, whole or not there, with their checksum; read back in ranges.

Names are given out once: whoever stores a path first owns it, and the same bytes again are welcome; only what was collected
by itself gives way (see `claim`). The row in `artifacts` decides: it is inserted before the file appears and committed
after, so that of two writers of one name the second waits for the first and then compares checksums.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncIterable, AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg

from runstream_schemas.errors import QueryError
from runstream_schemas.limits import MAX_RUN_ID_BYTES
from runstream_schemas.runs.deletion import run_folder
from runstream_schemas.store import NewFile, Store, write_failed

from .. import queries
from ..not_there import no_run

PIECE = 1 << 20
"""Bytes moved at a time."""
MAX_PATH_BYTES = 1024
"""Longest path of an artifact, in bytes of UTF-8."""
_MAX_PART_BYTES = 240  # a file system allows 255; the store adds to names while it writes


@dataclass(frozen=True, slots=True)
class Artifact:
    """A stored file of a run."""

    path: str
    size: int
    sha256: str
    content_type: str | None
    created: datetime
    captured: bool = False


class RunDeleted(QueryError):
    """The run was deleted: it takes no files any more."""


class PathTaken(QueryError):
    """The path already holds other bytes."""


def check_path(path: str) -> str:
    """Return `path` normalised: relative, `/` between parts.

    Raises:
        QueryError: it is empty, leads out of the run's folder, is too long, or cannot be a file's name.
    """
    parts = [part for part in path.replace("\\", "/").split("/") if part not in ("", ".")]
    whole = "/".join(parts)
    if not parts or ".." in parts or re.search(r"[\0-\x1f\ud800-\udfff]", path):
        raise QueryError(
            f"file path {path!r:.80} is empty, leads out of the run's folder, has control characters or is not valid unicode"
            "; rename the file"
        )
    if len(whole.encode()) > MAX_PATH_BYTES or any(len(part.encode()) > _MAX_PART_BYTES for part in parts):
        raise QueryError(
            f"file path {path!r:.80}... is too long: at most {MAX_PATH_BYTES} bytes, {_MAX_PART_BYTES} a part"
            "; give a shorter one"
        )
    if any(part.startswith(".part-") for part in parts):
        raise QueryError(
            f"file path {path!r:.80}: names that begin with .part- are the store's own; rename it"
        )
    return whole


def place(run_id: str, path: str) -> str:
    """Where an artifact lies in the store."""
    return f"{run_folder(run_id)}/{path}"


async def save(
    pool: asyncpg.Pool[Any],
    store: Store,
    run_id: str,
    path: str,
    content: AsyncIterable[bytes],
    content_type: str | None,
    captured: bool = False,
    workspace: str | None = None,
) -> tuple[Artifact, bool]:
    """Store a file of a run; returns what the path holds, and whether it was written now.

    A run nobody has heard of yet gets a row: its creation may still be on its way.

    Args:
        captured, workspace: see `claim`.

    Raises:
        PathTaken: the path holds other bytes already, or is a folder.
        QueryError: the path or run id cannot be used.
        StoreError: the store could not take it.
    """
    path = check_path(path)
    check_run_id(run_id)
    await check_folders(pool, run_id, path, workspace)
    file = await asyncio.to_thread(store.create, place(run_id, path))
    try:
        size, digest = await receive(file, content)
        async with pool.acquire() as connection, connection.transaction():
            artifact, is_new = await claim(
                connection, run_id, path, size, digest, content_type, captured, workspace
            )
            if is_new:
                await asyncio.to_thread(file.commit)
            return artifact, is_new
    finally:
        await asyncio.shield(asyncio.to_thread(file.abort))  # does nothing after the commit


def check_run_id(run_id: str) -> None:
    """Refuse what cannot be a run's id.

    Raises:
        QueryError: it is empty or too long.
    """
    if not run_id or len(run_id.encode()) > MAX_RUN_ID_BYTES:
        raise QueryError(f"run id {run_id!r:.80}: expected 1 to {MAX_RUN_ID_BYTES} bytes")


async def add_run(connection: Any, run_id: str) -> None:
    """See to it that a run has a row, within a transaction: its creation may still be on its way.

    Raises:
        RunDeleted: it was deleted.
    """
    added = await connection.execute(queries.ADD_RUN, run_id)
    if added == "INSERT 0 0" and await connection.fetchval(queries.IS_DELETED, run_id):
        raise RunDeleted(f"run {run_id!r:.80} was deleted; it takes no files any more")


async def claim(
    connection: Any,
    run_id: str,
    path: str,
    size: int,
    digest: str,
    content_type: str | None,
    captured: bool,
    workspace: str | None = None,
) -> tuple[Artifact, bool]:
    """Give a path to a content, within a transaction; (what the path holds, whether its bytes have to be put there now).

    Args:
        captured: collected by itself, not stored by a call: it never takes the place of what a call stored, and gives its
            own place to the next state of the file and to any call.
        workspace: the only one that whoever asks may write to; None: all. While nobody knows whose the run is, the file is
            held for that workspace: it goes when the run turns out to be another's, and nobody else takes its place.

    Raises:
        PathTaken: the path holds other bytes already.
    """
    await add_run(connection, run_id)
    await check_workspace(connection, run_id, workspace)
    row = await connection.fetchrow(
        queries.ADD_ARTIFACT, run_id, path, size, digest, content_type, captured, workspace
    )
    if row is not None:
        return from_row(row), True
    row = await connection.fetchrow(queries.HOLD_ARTIFACT, run_id, path)
    check_claim(row, run_id, workspace)
    if row is None or (row["sha256"] != digest and not row["captured"] and not captured):
        raise PathTaken(f"{path} of run {run_id} holds other bytes already; upload under another name")
    if not row["captured"] or (row["sha256"] == digest and captured):
        return from_row(row), False
    changed = row["sha256"] != digest
    row = await connection.fetchrow(
        queries.REPLACE_ARTIFACT, run_id, path, size, digest, content_type, captured
    )
    return from_row(row), changed


def check_claim(row: asyncpg.Record | None, run_id: str, workspace: str | None) -> None:
    """Refuse to touch a file that is held for another workspace, whose run it may be.

    Raises:
        PathTaken: it is.
    """
    if row is not None and row["claimed_by"] not in (None, workspace):
        raise PathTaken(
            f"{row['path']} was stored by somebody else before run {run_id} was known; upload under another name, or again "
            "when the run is stored"
        )


async def check_folders(
    pool: asyncpg.Pool[Any], run_id: str, path: str, workspace: str | None = None
) -> None:
    """Refuse a path that is a folder of other files, or lies below another file.

    Args:
        workspace: see `claim`: whoever may use that one only is not told the names of what is held for others.

    Raises:
        PathTaken: it does.
    """
    parts = path.split("/")
    above = ["/".join(parts[:n]) for n in range(1, len(parts))]
    row = await pool.fetchrow(queries.ARTIFACT_IN_THE_WAY, run_id, above, path + "/", workspace)
    if row is not None:
        beside = row["path"] if row["shown"] else "a file of somebody else's"
        raise PathTaken(
            f"{path} of run {run_id} cannot be stored beside {beside}: one would be a folder; use another name"
        )


async def check_workspace(connection: Any, run_id: str, workspace: str | None) -> None:
    """See that a run may take files of a workspace's token, within a transaction that knows so until its end.

    The gate looked, too; but a body may take its time, and a run that nobody knew then be another's now.

    Raises:
        NotThere: it is another workspace's.
    """
    if workspace is None:
        return
    await connection.execute(queries.LOCK_RUN, run_id)
    # A statement of its own: the experiment may have come with the transaction that was waited for.
    if await connection.fetchval(queries.WORKSPACE_OF_RUN, run_id) not in (None, workspace):
        raise no_run(run_id)


async def receive(file: NewFile, content: AsyncIterable[bytes]) -> tuple[int, str]:
    """Write content to a file of the store, in bounded memory; returns its size and SHA-256.

    Raises:
        StoreError: it cannot be written.
    """
    digest = hashlib.sha256()
    size = 0
    held: list[bytes] = []
    held_bytes = 0

    def write(pieces: list[bytes]) -> None:
        try:
            for piece in pieces:
                digest.update(piece)
                file.stream.write(piece)
        except OSError as error:
            raise write_failed("the file", "", error) from None

    async for piece in content:
        held.append(piece)
        held_bytes += len(piece)
        if held_bytes >= PIECE:
            await asyncio.to_thread(write, held)
            size, held, held_bytes = size + held_bytes, [], 0
    await asyncio.to_thread(write, held)
    return size + held_bytes, digest.hexdigest()


async def list_artifacts(pool: asyncpg.Pool[Any], run_id: str) -> list[Artifact]:
    """The files of a run, by path."""
    return [from_row(row) for row in await pool.fetch(queries.ARTIFACTS, run_id)]


async def find(pool: asyncpg.Pool[Any], run_id: str, path: str) -> Artifact | None:
    """One file of a run, or None."""
    row = await pool.fetchrow(queries.ARTIFACT, run_id, path)
    return None if row is None else from_row(row)


async def read(store: Store, run_id: str, path: str, start: int, end: int) -> AsyncIterator[bytes]:
    """The bytes of a file from `start` to before `end`, in pieces.

    Raises:
        StoreError: the file is missing.
    """
    async for piece in read_place(store, place(run_id, path), start, end):
        yield piece


async def read_place(store: Store, where: str, start: int, end: int) -> AsyncIterator[bytes]:
    """The bytes of a file of the store from `start` to before `end`, in pieces.

    Raises:
        StoreError: the file is missing.
    """
    source = await asyncio.to_thread(store.open_input, where)
    try:
        await asyncio.to_thread(source.seek, start)
        while start < end:
            piece = await asyncio.to_thread(source.read, min(PIECE, end - start))
            if not piece:
                break
            start += len(piece)
            yield bytes(piece)
    finally:
        source.close()


def byte_range(header: str | None, size: int) -> tuple[int, int] | None:
    """(start, end) wanted by a Range header; None: the whole file, also for headers that are not understood.

    Raises:
        ValueError: the range lies outside of the file.
    """
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", (header or "").strip())
    if not match or match.group(0) == "bytes=-":
        return None
    first, last = match.groups()
    if not first:
        start, end = max(size - int(last), 0), size
    else:
        start, end = int(first), min(int(last) + 1, size) if last else size
    if start >= size or start >= end:
        raise ValueError(f"range {header} of {size} bytes")
    return start, end


def from_row(row: asyncpg.Record) -> Artifact:
    """An artifact from its row."""
    return Artifact(
        row["path"], row["size"], row["sha256"], row["content_type"], row["created_at"], row["captured"]
    )
