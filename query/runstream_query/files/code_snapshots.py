"""Snapshots of source folders: each content lies in the store once, under its digest, for all snapshots that hold it.

A client first offers the list of files (`add`); what the store lacks is sent (`add_blob`), and the list offered again.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import re
from collections.abc import AsyncIterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import asyncpg
import msgspec

from runstream_schemas import strict_json
from runstream_schemas.errors import QueryError
from runstream_schemas.source_snapshot import SourceFile, is_digest, path_problem, snapshot_id
from runstream_schemas.store import Store

from .artifacts import receive

MAX_FILES = 100_000
"""Most files of a snapshot a server takes; clients stop far earlier."""
MAX_LIST_BYTES = 64 << 20
_HEAD = re.compile(r'\s*\{\s*"files"\s*:\s*\[\s*')
_NEXT = re.compile(r"\s*([,\]])\s*")

ADD_BLOB: Final = """
insert into blobs (sha256, size) values ($1, $2) on conflict (sha256) do nothing returning sha256
"""

BLOB_SIZES: Final = "select sha256, size from blobs where sha256 = any($1::text[])"

ADD_SNAPSHOT: Final = """
insert into source_snapshots (id, files, size) values ($1, $2, $3) on conflict (id) do nothing returning id
"""

ADD_SNAPSHOT_FILES: Final = """
insert into source_files (snapshot_id, path, sha256, executable)
select $1, w.path, w.sha256, w.executable from unnest($2::text[], $3::text[], $4::bool[]) as w (path, sha256, executable)
"""

# Snapshots without a run are deleted after a day; this one is about to get one.
KEEP_SNAPSHOT: Final = """
update source_snapshots set used_up = uptime() where id = $1 and used_up < uptime() - 43200
"""

SNAPSHOT: Final = "select * from source_snapshots where id = $1"

SNAPSHOT_FILES: Final = """
select f.path, f.sha256, f.executable, b.size
from source_files f join blobs b on b.sha256 = f.sha256
where f.snapshot_id = $1 and ($2::text is null or f.path = $2)
order by f.path
"""


@dataclass(frozen=True, slots=True)
class StoredSnapshot:
    """A stored snapshot."""

    id: str
    size: int
    created: datetime
    files: list[SourceFile]


def blob_path(sha256: str) -> str:
    """Where a content lies in the store."""
    return f"blobs/{sha256[:2]}/{sha256}"


class SourceFiles(msgspec.Struct):
    """The files of a snapshot, as its `PUT` brings them."""

    files: list[SourceFile]


def parse_files(body: bytes) -> SourceFiles:
    """The files of a `PUT` of a snapshot.

    Raises:
        QueryError: not a list of files, or one of them cannot be in a snapshot.
    """
    try:
        files = [msgspec.convert(entry, SourceFile) for entry in _listed(body)]
    except (ValueError, TypeError, RecursionError, msgspec.ValidationError) as error:
        raise QueryError(
            f'expected {{"files": [{{"path", "size", "sha256", "executable"}}]}} ({type(error).__name__}: {error})'
        ) from None
    if len(files) > MAX_FILES:
        raise QueryError(
            f"a snapshot has at most {MAX_FILES} files, not {len(files)}; leave some out by .amlignore"
        )
    seen: set[str] = set()
    for file in files:
        problem = path_problem(file.path) or (
            "its size or SHA-256 is none" if file.size < 0 or not is_digest(file.sha256) else None
        )
        if problem or file.path in seen:
            raise QueryError(
                f"snapshot file {file.path!r:.80}: {problem or 'it is there twice'}"
                "; rename it, or send what it is"
            )
        seen.add(file.path)
    return SourceFiles(files)


def _listed(body: bytes) -> Iterator[Any]:
    """The files of a list one by one, and no more than a snapshot may have.

    Parsed in one go, a long text would keep all other threads waiting.
    """
    text = body.decode()
    head = _HEAD.match(text)
    if head is None:
        raise ValueError('it does not begin with {"files": [')
    decode, at = strict_json.DECODER.raw_decode, head.end()
    for number in itertools.count():
        if text[at : at + 1] == "]" and not number:
            return
        if number == MAX_FILES:
            raise QueryError(f"a snapshot has at most {MAX_FILES} files; leave some out by .amlignore")
        entry, end = decode(text, at)
        json.dumps(entry, ensure_ascii=False).encode()  # no half of a surrogate pair
        yield entry
        follows = _NEXT.match(text, end)
        if follows is None:
            raise ValueError("the list of files breaks off")
        at = follows.end()
        if follows[1] == "]":
            return


async def add(pool: asyncpg.Pool[Any], snapshot: str, files: list[SourceFile]) -> tuple[bool, list[str]]:
    """Store the list of a snapshot's files; (whether it is new, digests of contents the store lacks).

    While contents are lacking nothing is stored.

    Raises:
        QueryError: `snapshot` is not the id of these files.
    """
    if snapshot_id(files) != snapshot:
        raise QueryError(
            f"snapshot {snapshot!r:.80} is not the id of these files, which is {snapshot_id(files)}"
            "; send them again"
        )
    async with pool.acquire() as connection, connection.transaction():
        if await connection.fetchrow(SNAPSHOT, snapshot) is not None:
            await connection.execute(KEEP_SNAPSHOT, snapshot)
            return False, []
        digests = {file.sha256 for file in files}
        sizes = {row["sha256"]: row["size"] for row in await connection.fetch(BLOB_SIZES, list(digests))}
        missing = sorted(digests - sizes.keys())
        if missing:
            return False, missing
        for file in files:
            if sizes[file.sha256] != file.size:
                raise QueryError(
                    f"snapshot file {file.path!r:.80}: its content has {sizes[file.sha256]} bytes, not {file.size}"
                    "; send the list again"
                )
        total = sum(file.size for file in files)
        if await connection.fetchval(ADD_SNAPSHOT, snapshot, len(files), total) is None:
            return False, []  # somebody else was a moment earlier
        await connection.execute(
            ADD_SNAPSHOT_FILES,
            snapshot,
            [file.path for file in files],
            [file.sha256 for file in files],
            [file.executable for file in files],
        )
    return True, []


async def add_blob(pool: asyncpg.Pool[Any], store: Store, sha256: str, content: AsyncIterable[bytes]) -> bool:
    """Store a content under its digest; False when it was there.

    Raises:
        QueryError: the content has another digest.
        StoreError: the store could not take it.
    """
    if not is_digest(sha256):
        raise QueryError(
            f"{sha256!r:.80} is not a SHA-256: 64 digits from 0 to f, small; send the digest of the content"
        )
    file = await asyncio.to_thread(store.create, blob_path(sha256))
    try:
        size, digest = await receive(file, content)
        if digest != sha256:
            raise QueryError(f"the content sent as {sha256} has SHA-256 {digest}; send it again")
        # First the file, then the row: a crash in between leaves a file that the next one replaces by itself.
        await asyncio.to_thread(file.commit)
    finally:
        await asyncio.shield(asyncio.to_thread(file.abort))  # does nothing after the commit
    return await pool.fetchval(ADD_BLOB, sha256, size) is not None


async def find(pool: asyncpg.Pool[Any], snapshot: str) -> StoredSnapshot | None:
    """A snapshot by its id, with its files by path; or None."""
    row = await pool.fetchrow(SNAPSHOT, snapshot)
    if row is None:
        return None
    files = [_file(record) for record in await pool.fetch(SNAPSHOT_FILES, snapshot, None)]
    return StoredSnapshot(row["id"], row["size"], row["created_at"], files)


async def find_file(pool: asyncpg.Pool[Any], snapshot: str, path: str) -> SourceFile | None:
    """One file of a snapshot, or None."""
    row = await pool.fetchrow(SNAPSHOT_FILES, snapshot, path)
    return None if row is None else _file(row)


def _file(row: asyncpg.Record) -> SourceFile:
    return SourceFile(row["path"], row["size"], row["sha256"], row["executable"])
