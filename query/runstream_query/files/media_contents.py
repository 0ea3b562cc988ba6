"""Contents of media that come many in one request: stored under their digests, in one transaction and few statements."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from typing import Any

import asyncpg

from runstream_schemas.store import Store
from runstream_schemas.values.media import media_path

from .. import queries
from .artifacts import Artifact, add_run, check_claim, check_run_id, check_workspace, claim, from_row, place

_WRITERS = 4  # threads that write the contents of a request


async def save_media(
    pool: asyncpg.Pool[Any],
    store: Store,
    run_id: str,
    contents: Sequence[tuple[str, bytes]],
    workspace: str | None = None,
) -> list[Artifact]:
    """Store contents of a run under their digests, in one transaction; what is there already is left as it is.

    Args:
        contents: content type, one of `media.SUFFIXES`, and bytes.
        workspace: see `artifacts.claim`.

    Returns:
        what each path holds, in the order of the paths, each once.

    Raises:
        PathTaken: another workspace's run, or its file.
        QueryError: the run id cannot be used, or the run was deleted.
        StoreError: the store could not take it.
    """
    check_run_id(run_id)
    by_path = await asyncio.to_thread(_by_path, contents)
    async with pool.acquire() as connection, connection.transaction():
        await add_run(connection, run_id)
        await check_workspace(connection, run_id, workspace)
        stored, new = await _claim_all(connection, run_id, by_path, workspace)
        files = [(place(run_id, path), by_path[path][1]) for path in new]
        shares = [files[start::_WRITERS] for start in range(min(_WRITERS, len(files)))]
        await asyncio.gather(*(asyncio.to_thread(store.write_all, share) for share in shares))
    return stored


def _by_path(contents: Sequence[tuple[str, bytes]]) -> dict[str, tuple[str, bytes, str]]:
    """Content type, bytes and digest by path; in one order, so that of two requests none waits for the other in a circle."""
    by_path = {}
    for content_type, content in contents:
        digest = hashlib.sha256(content).hexdigest()
        by_path[media_path(digest, content_type)] = content_type, content, digest
    return dict(sorted(by_path.items()))


async def _claim_all(
    connection: Any, run_id: str, by_path: dict[str, tuple[str, bytes, str]], workspace: str | None
) -> tuple[list[Artifact], list[str]]:
    """Give paths to contents (`artifacts.claim`); (what they hold, those whose bytes have to be put there now)."""
    types, contents, digests = zip(*by_path.values(), strict=True) if by_path else ((), (), ())
    sizes = [len(content) for content in contents]
    rows = await connection.fetch(
        queries.ADD_ARTIFACTS, run_id, list(by_path), sizes, digests, types, workspace
    )
    stored = {row["path"]: from_row(row) for row in rows}
    new = list(stored)
    there = [path for path in by_path if path not in stored]
    for row in await connection.fetch(queries.HOLD_ARTIFACTS, run_id, there) if there else ():
        check_claim(row, run_id, workspace)
        if row["sha256"] == by_path[row["path"]][2] and not row["captured"]:
            stored[row["path"]] = from_row(row)
    for path, (content_type, content, digest) in by_path.items():
        if path not in stored:  # gone since, collected by itself, or not what its name says
            stored[path], is_new = await claim(
                connection, run_id, path, len(content), digest, content_type, False, workspace
            )
            if is_new:
                new.append(path)
    return [stored[path] for path in by_path], new
