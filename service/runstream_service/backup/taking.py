"""Taking a backup: hold, rows in one snapshot, the files these name, and last the manifest."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from itertools import count, islice
from pathlib import Path
from typing import Any

import asyncpg

from runstream.version import __version__
from runstream_schemas.database import APPLIED_MIGRATIONS, create_pool, migrations, schema_version
from runstream_schemas.errors import BackupError, DatabaseError, StoreError
from runstream_schemas.settings import Settings
from runstream_schemas.store import LocalStore, Store, open_store, write_failed

from .directory import (
    INCOMING,
    LISTING,
    FileLine,
    Manifest,
    PackedWriter,
    alone,
    clear,
    content_path,
    digest_of,
    forget_contents,
    lines_of,
    open_directory,
    read_manifest,
    write_manifest,
)
from .hold import holding
from .rows import copy_out
from .stored_files import STORED

AT_ONCE = 8
"""Files copied side by side: an object store answers each only after a while."""

_TRIES = 10
_PAUSE = 0.3
_PAGE = 1000

INSTALLATION = "select id::text from installation"


@dataclass(slots=True)
class BackupReport:
    """What a backup did.

    Attributes:
        manifest: what the backup is made of.
        copied, copied_bytes: contents that the directory did not have.
    """

    manifest: Manifest
    copied: int = 0
    copied_bytes: int = 0


async def take_backup(settings: Settings, path: Path) -> BackupReport:
    """Write a backup of the database and the store of `settings` to a directory.

    Args:
        settings: with `database` set.
        path: the directory; made if need be. What it has of an earlier backup is not copied again.

    Raises:
        BackupError: the directory holds something else, or what is stored cannot be copied as the database says.
        StoreError: the store or the directory cannot be used.
        DatabaseError: the database has another schema than this runstream.
    """
    directory = await asyncio.to_thread(open_directory, path, create=True)
    store = await asyncio.to_thread(open_store, settings)
    with alone(directory):
        pool = await create_pool(settings, max_size=4)
        try:
            await _check_schema(pool)
            async with holding(pool):
                return await _Backup(pool, store, directory).take()
        finally:
            await pool.close()


async def _check_schema(pool: asyncpg.Pool[Any]) -> None:
    async with pool.acquire() as connection:
        version = await schema_version(connection)
    if version != (newest := migrations()[-1].version):
        raise DatabaseError(
            f"the database has schema version {version}, this runstream {newest}; take the backup with the runstream that "
            "serves the database"
        )


class _Backup:
    def __init__(self, pool: asyncpg.Pool[Any], store: Store, directory: LocalStore) -> None:
        self._pool, self._store, self._directory = pool, store, directory
        self._incoming, self._numbers = Path(directory.root, INCOMING), count()
        self._had: dict[str, tuple[int, str]] = {}
        self._copied = self._copied_bytes = 0

    async def take(self) -> BackupReport:
        before = await asyncio.to_thread(read_manifest, self._directory)
        await asyncio.to_thread(clear, self._directory, before)
        self._incoming.mkdir(mode=0o700)
        manifest = await self._copy_rows()
        if before is not None and before.installation == manifest.installation:
            self._had = await asyncio.to_thread(_parquet_of, self._directory, before)
        manifest = await self._copy_files(manifest)
        await asyncio.to_thread(write_manifest, self._directory, manifest)
        await asyncio.to_thread(clear, self._directory, manifest)
        await asyncio.to_thread(forget_contents, self._directory, manifest)
        return BackupReport(manifest, self._copied, self._copied_bytes)

    async def _copy_rows(self) -> Manifest:
        backup = uuid.uuid4().hex
        folder = f"rows-{backup}"
        began = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        async with (
            self._pool.acquire() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            schema = [(row["version"], row["checksum"]) for row in await connection.fetch(APPLIED_MIGRATIONS)]
            installation = await connection.fetchval(INSTALLATION)
            tables, sequences = await copy_out(connection, self._directory, folder)
            await self._list_files(connection)
        if await self._pool.fetchval("select max(version) from schema_migrations") != schema[-1][0]:
            raise BackupError(
                "the database was brought to a newer schema while it was copied; take the backup again"
            )
        listing = next(iter(tables.values()))  # until the files are copied
        return Manifest(backup, installation, schema, __version__, began, tables, sequences, listing, 0, 0)

    async def _list_files(self, connection: asyncpg.Connection[Any]) -> None:
        """Write down which files the snapshot names: there may be more than memory should hold."""
        with await asyncio.to_thread(open, self._incoming / "listed", "w", encoding="utf-8") as listed:
            for table, kind in STORED.items():
                async for row in connection.cursor(kind.listed, prefetch=_PAGE):
                    *key, size, sha256 = row.values()
                    line = FileLine(table, key, kind.place(*key), size, sha256)
                    listed.write(json.dumps(asdict(line)) + "\n")

    async def _copy_files(self, manifest: Manifest) -> Manifest:
        listing = PackedWriter(self._directory, f"{manifest.folder}/{LISTING}")
        files = size = 0
        try:
            async for line in self._copied_lines():
                listing.write(json.dumps(asdict(line)).encode() + b"\n")
                files += line.sha256 is not None
                size += line.size if line.sha256 is not None else 0
            packed = await asyncio.to_thread(listing.commit, files, [])
        finally:
            listing.abort()
        return replace(manifest, listing=packed, files=files, bytes=size)

    async def _copied_lines(self) -> AsyncIterator[FileLine]:
        rest = _listed_lines(self._incoming / "listed")
        while lines := list(islice(rest, AT_ONCE * 8)):
            left = iter(lines)

            async def some(left: Iterator[FileLine] = left) -> list[FileLine]:
                return [await self._keep(line) for line in left]

            for done in await asyncio.gather(*(some() for _ in range(AT_ONCE))):
                for line in done:
                    yield line

    async def _keep(self, line: FileLine) -> FileLine:
        """See to it that the directory has the content of a file; the file with what it has.

        Raises:
            BackupError: the store does not have what the database says.
        """
        kind = STORED[line.table]
        failure: Exception = BackupError(
            f"{line.place} of the store {self._store.root} is not what the database says; restore it from another backup, "
            "or delete it"
        )
        for _ in range(_TRIES):
            try:
                sha256 = await asyncio.to_thread(self._copy, line)
            except StoreError as error:
                failure, sha256 = error, None
            if sha256 is not None:
                return replace(line, sha256=sha256)
            now: Any = {"size": line.size, "sha256": line.sha256}
            if kind.now is not None:
                now = await self._pool.fetchrow(kind.now, *line.key)
            if now is None:
                return replace(line, sha256=None, changed=True)
            if (now["size"], now["sha256"]) == (line.size, line.sha256):
                await asyncio.sleep(
                    _PAUSE
                )  # a new state is in its place and about to be committed; or an outage
            else:
                line = replace(line, size=now["size"], sha256=now["sha256"], changed=True)
        raise failure

    def _copy(self, line: FileLine) -> str | None:
        """Copy what a file begins with, as far as the row says; its SHA-256, or None when that is not what the row says."""
        expected = line.sha256
        if expected is None:
            size, digest = self._had.get(line.place, (-1, ""))
            if size == line.size and self._has(digest, size):
                return digest
        elif self._has(expected, line.size):
            return expected
        incoming = self._incoming / str(next(self._numbers))
        try:
            with closing(self._store.open_input(line.place)) as source, incoming.open("xb") as target:
                # A log that grew begins with what it was.
                size, digest = digest_of(source, None if expected is None else line.size, target)
            if size != line.size or expected not in (None, digest):
                return None
            self._directory.adopt(incoming, content_path(digest))
        except OSError as error:
            raise write_failed(line.place, self._directory.root, error) from None
        finally:
            incoming.unlink(missing_ok=True)
        self._copied += 1
        self._copied_bytes += size
        return digest

    def _has(self, sha256: str, size: int) -> bool:
        path = content_path(sha256)
        return self._directory.exists(path) and self._directory.size(path) == size


def _listed_lines(file: Path) -> Iterator[FileLine]:
    with open(file, encoding="utf-8") as lines:
        for line in lines:
            yield FileLine(**json.loads(line))


def _parquet_of(directory: LocalStore, manifest: Manifest) -> dict[str, tuple[int, str]]:
    return {
        line.place: (line.size, line.sha256)
        for line in lines_of(directory, manifest)
        if line.table == "files" and line.sha256 is not None
    }
