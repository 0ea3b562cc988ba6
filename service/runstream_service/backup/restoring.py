"""Restoring a backup into an empty database and an empty store: all of it, or nothing that a reader sees.

Everything is held against its digests first. The files are put into the store, then all rows come in one transaction. Until
that is committed the database is empty; the same command resumes a restore that was broken off. A marker in the
store says whose it is.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runstream.home.layout import ServiceLock, claim_database, lock_owner, open_home
from runstream_consumers.compaction.orphans import MARKER
from runstream_schemas.database import connect, migrate, migrations, redact, schema_version, wait_for_database
from runstream_schemas.errors import BackupError
from runstream_schemas.settings import Settings
from runstream_schemas.store import LocalStore, Store, open_store, write_failed

from .directory import FileLine, Manifest, digest_of, lines_of, open_directory, verify
from .rows import copy_in, holds_rows
from .stored_files import ONLY_LIVE, STORED, first_file
from .taking import INSTALLATION

if TYPE_CHECKING:
    import asyncpg

RESTORING = "restoring.json"
"""File of the store while a restore is under way: the id of the backup."""


async def restore(settings: Settings, path: Path) -> Manifest:
    """Restore the backup in a directory. Call it on the main thread: an embedded Postgres' life is tied to it.

    Args:
        settings: where to: `database`, else the home's own; and the store.
        path: the directory of the backup.

    Raises:
        BackupError: the backup is damaged or of a newer runstream; or where it should go is not empty, or in use.
        StoreError: the store cannot be written.
        DatabaseError: the database cannot be used.
    """
    directory = await asyncio.to_thread(open_directory, path)
    manifest = await asyncio.to_thread(verify, directory)
    _check_schema(manifest)
    with ExitStack() as ends:
        if not settings.database:
            settings = _own_database(settings, ends)
        await wait_for_database(settings)
        store = await asyncio.to_thread(open_store, settings)
        connection = await connect(settings)
        try:
            await _Restore(connection, store, directory, manifest, redact(settings.database)).run()
        finally:
            await connection.close()
    return manifest


def _check_schema(manifest: Manifest) -> None:
    known = {step.version: step.checksum for step in migrations()}
    for version, checksum in manifest.schema:
        if known.get(version) != checksum:
            raise BackupError(
                f"the backup was taken by runstream {manifest.runstream}, whose schema version {version} this runstream "
                "does not know; restore it with that version or a later one"
            )


def _own_database(settings: Settings, ends: ExitStack) -> Settings:
    """Start the database of the home, which nobody serves meanwhile."""
    from ..servers.postgres import PostgresServer

    home = open_home(settings)
    lock = ServiceLock(home)
    if not lock.acquire():
        raise BackupError(
            f"the home {home.root} is served by process {lock_owner(home)}; end that (`runstream down`), and restore into "
            "an empty home"
        )
    ends.callback(lock.release)
    claim_database(home)
    postgres = PostgresServer(home.postgres)
    postgres.start()
    ends.callback(postgres.stop)
    return replace(settings, database=postgres.dsn)


class _Restore:
    def __init__(
        self,
        connection: asyncpg.Connection[Any],
        store: Store,
        directory: LocalStore,
        manifest: Manifest,
        address: str,
    ) -> None:
        self._connection, self._store = connection, store
        self._directory, self._manifest, self._address = directory, manifest, address

    async def run(self) -> None:
        if not await self._committed():
            await asyncio.to_thread(self._begin)
            await asyncio.to_thread(self._copy_files)
            await self._copy_rows()
        await migrate(self._connection)
        await self._connection.execute("analyze")
        await asyncio.to_thread(self._store.delete, RESTORING)

    async def _committed(self) -> bool:
        """Whether a restore of this backup was broken off after its rows were there.

        Raises:
            BackupError: database or store are not empty.
        """
        under_way = await asyncio.to_thread(self._under_way)
        if under_way not in (None, self._manifest.id):
            raise BackupError(
                f"a restore of another backup into the store {self._store.root} was broken off; repeat it to its end, or "
                "empty store and database"
            )
        if under_way is None and (file := await asyncio.to_thread(first_file, self._store)):
            raise BackupError(
                f"the store {self._store.root} is not empty: it holds {file}; restore into an empty one (RUNSTREAM_STORE, "
                "RUNSTREAM_HOME)"
            )
        version = await schema_version(self._connection)
        table = await holds_rows(self._connection)
        if table is not None:
            if under_way and await self._connection.fetchval(INSTALLATION) == self._manifest.installation:
                return True
            raise BackupError(
                f"the database {self._address} is not empty: its table {table} has rows; restore into an empty one "
                "(RUNSTREAM_DATABASE, RUNSTREAM_HOME)"
            )
        if version > self._manifest.schema[-1][0]:
            raise BackupError(
                f"the database {self._address} has schema version {version} already, the backup "
                f"{self._manifest.schema[-1][0]}; restore into a database without tables "
                "(RUNSTREAM_DATABASE), or into a new home (RUNSTREAM_HOME)"
            )
        return False

    def _under_way(self) -> str | None:
        if not self._store.exists(RESTORING):
            return None
        with closing(self._store.open_input(RESTORING)) as marker:
            return str(json.loads(marker.read())["backup"])

    def _begin(self) -> None:
        with self._store.create(RESTORING) as marker:
            marker.stream.write(json.dumps({"backup": self._manifest.id}).encode())

    def _copy_files(self) -> None:
        for line in self._lines():
            if line.content is not None and not self._is_there(line):
                self._copy(line)
        with self._store.create(MARKER) as marker:
            marker.stream.write(f"{self._manifest.installation}\n".encode())

    def _lines(self) -> Iterator[FileLine]:
        return lines_of(self._directory, self._manifest)

    def _is_there(self, line: FileLine) -> bool:
        if not self._store.exists(line.place):
            return False
        with closing(self._store.open_input(line.place)) as file:
            return digest_of(file) == (line.size, line.sha256)

    def _copy(self, line: FileLine) -> None:
        assert line.content is not None
        new = self._store.create(line.place)
        try:
            with closing(self._directory.open_input(line.content)) as source:
                if digest_of(source, target=new.stream) != (line.size, line.sha256):
                    raise BackupError(
                        f"{self._directory.root}: {line.content} changed while it was restored; restore again"
                    )
            new.commit()
        except OSError as error:
            raise write_failed(line.place, self._store.root, error) from None
        finally:
            new.abort()

    async def _copy_rows(self) -> None:
        newest = self._manifest.schema[-1][0]
        await migrate(self._connection, [step for step in migrations() if step.version <= newest])
        async with self._connection.transaction():
            await copy_in(self._connection, self._directory, self._manifest)
            await self._connection.execute(ONLY_LIVE)
            await self._correct_rows()

    async def _correct_rows(self) -> None:
        for line in self._lines():
            if line.changed and line.sha256 is None:
                await self._connection.execute(STORED[line.table].gone, *line.key)
            elif line.changed:
                await self._connection.execute(STORED[line.table].changed, *line.key, line.size, line.sha256)
