"""Files of runs that grow while they are read: the logs of a run under way.

Each piece makes the file anew, the old content with the piece behind it, so that an object store can hold it too and a
reader sees one state or the next. Writers of long logs send fewer, larger pieces.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from typing import Any

import asyncpg

from runstream_schemas.errors import QueryError
from runstream_schemas.store import NewFile, Store, write_failed

from .. import queries
from .artifacts import (
    PIECE,
    Artifact,
    PathTaken,
    add_run,
    check_claim,
    check_folders,
    check_path,
    check_workspace,
    from_row,
    place,
)

MAX_PIECE = 16 << 20
"""Most bytes appended at once."""


class OtherSize(QueryError):
    """The file does not end where the piece was said to begin.

    Attributes:
        size: where it ends, in bytes.
    """

    def __init__(self, path: str, offset: int, size: int) -> None:
        super().__init__(f"{path} has {size} bytes, the piece begins at {offset}; send what is missing")
        self.size = size


def check_piece(path: str, size: int) -> None:
    """Refuse a piece of more than MAX_PIECE bytes.

    Raises:
        QueryError: it is.
    """
    if size > MAX_PIECE:
        raise QueryError(f"{path}: a piece of more than {MAX_PIECE} bytes; send it in parts")


async def append(
    pool: asyncpg.Pool[Any],
    store: Store,
    run_id: str,
    path: str,
    offset: int,
    piece: bytes,
    content_type: str | None,
    workspace: str | None = None,
) -> Artifact:
    """Add a piece at the end of a file, which is made when there is none.

    Args:
        offset: where the piece begins: the file's present size in bytes.
        workspace: see `artifacts.claim`.

    Raises:
        OtherSize: the file has another size.
        PathTaken: the path is a folder, or somebody stored a file there by a call.
        QueryError: the path cannot be used.
        StoreError: the store could not take it.
    """
    path = check_path(path)
    await check_folders(pool, run_id, path, workspace)
    async with pool.acquire() as connection, connection.transaction():
        await add_run(connection, run_id)
        await check_workspace(connection, run_id, workspace)
        row = await connection.fetchrow(queries.HOLD_ARTIFACT, run_id, path)
        check_claim(row, run_id, workspace)
        if row is not None and not row["captured"]:
            raise PathTaken(
                f"{path} of run {run_id} was stored by a call and does not grow; append to another name"
            )
        size = row["size"] if row is not None else 0
        if size != offset:
            raise OtherSize(path, offset, size)
        where = place(run_id, path)
        file, digest = await asyncio.to_thread(_grown, store, where, size, piece)
        try:
            if row is None:
                row = await connection.fetchrow(
                    queries.ADD_ARTIFACT, run_id, path, len(piece), digest, content_type, True, workspace
                )
                if row is None:  # somebody else made the file meanwhile
                    raise OtherSize(path, offset, -1)
            else:
                row = await connection.fetchrow(
                    queries.GROW_ARTIFACT, run_id, path, size + len(piece), digest
                )
            await asyncio.to_thread(file.commit)
        finally:
            await asyncio.shield(asyncio.to_thread(file.abort))  # does nothing after the commit
    return from_row(row)


def _grown(store: Store, where: str, size: int, piece: bytes) -> tuple[NewFile, str]:
    digest = hashlib.sha256()
    file = store.create(where)
    try:
        if size:
            with contextlib.closing(store.open_input(where)) as old:
                left = size
                while left and (part := bytes(old.read(min(PIECE, left)))):
                    digest.update(part)
                    file.stream.write(part)
                    left -= len(part)
        digest.update(piece)
        file.stream.write(piece)
    except OSError as error:
        file.abort()
        raise write_failed(where, store.root, error) from None
    except BaseException:
        file.abort()
        raise
    return file, digest.hexdigest()
