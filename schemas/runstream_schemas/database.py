"""Connections to Postgres, and its schema: plain SQL files applied in order, once, under a lock.

A migration is `migrations/NNNN_phrase.sql`. It runs in one transaction together with its row in `schema_migrations`, and
a file that was ever released is never edited: the checksum kept there tells.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import ssl
import time
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any

from .backoff import Backoff
from .errors import DatabaseError
from .settings import Settings

if TYPE_CHECKING:
    import asyncpg

MIGRATION_LOCK = 0x72756E73747265  # "runstre": the advisory lock of those who migrate

CREATE_MIGRATIONS_TABLE = """
create table if not exists schema_migrations (
    version    integer primary key,
    name       text not null,
    checksum   text not null,
    applied_at timestamptz not null default now()
)"""
APPLIED_MIGRATIONS = "select version, name, checksum from schema_migrations order by version"
RECORD_MIGRATION = "insert into schema_migrations (version, name, checksum) values ($1, $2, $3)"
FOREIGN_TABLES = """
select count(*) from pg_class c join pg_namespace n on n.oid = c.relnamespace
where n.nspname = current_schema() and c.relkind = 'r' and c.relname in ('runs', 'experiments', 'chunks', 'files')"""


@dataclass(frozen=True, slots=True)
class Migration:
    """One step of the schema."""

    version: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the SQL, line ends normalised."""
        return hashlib.sha256(self.sql.replace("\r\n", "\n").encode()).hexdigest()


def migrations() -> list[Migration]:
    """Every migration this runstream knows, in order."""
    migrations = []
    for entry in resources.files(__package__).joinpath("migrations").iterdir():
        match = re.fullmatch(r"(\d{4})_(\w+)\.sql", entry.name)
        if match:
            migrations.append(Migration(int(match[1]), match[2], entry.read_text(encoding="utf-8")))
    return sorted(migrations, key=lambda migration: migration.version)


def connect_options(settings: Settings) -> dict[str, Any]:
    """Keyword arguments for `asyncpg.connect` and `asyncpg.create_pool`.

    Raises:
        DatabaseError: `database` is empty or no Postgres address, or the certificate authority cannot be read.
    """
    dsn = settings.database
    if not re.match(r"postgres(ql)?://", dsn):
        raise DatabaseError(
            f"RUNSTREAM_DATABASE={redact(dsn)!r} is not a Postgres address; write postgresql://user:password@host:5432/name"
        )
    options: dict[str, Any] = {"dsn": dsn, "timeout": 10.0}
    server_settings = {"application_name": "runstream"}
    if settings.database_pgbouncer:
        # In transaction mode the next statement may meet another server connection: nothing may be prepared by name, and
        # PgBouncer refuses start parameters it does not track (application_name it does).
        options["statement_cache_size"] = 0
    else:
        server_settings["timezone"] = "UTC"
    options["server_settings"] = server_settings
    if settings.database_ca_file:
        try:
            options["ssl"] = ssl.create_default_context(cafile=settings.database_ca_file)
        except (OSError, ssl.SSLError) as error:
            raise DatabaseError(
                f"RUNSTREAM_DATABASE_CA_FILE={settings.database_ca_file}: cannot be used ({error}); it must be a PEM file"
            ) from None
    return options


def redact(dsn: str) -> str:
    """A Postgres address without its password, for messages."""
    return re.sub(r"(://[^:/@?]*):[^@]*@", r"\1:***@", dsn)


async def connect(settings: Settings) -> asyncpg.Connection[Any]:
    """One connection to the database of `settings`.

    Raises:
        DatabaseError: the address cannot be used. What the server or the network says comes as it is.
    """
    import asyncpg

    return await asyncpg.connect(**connect_options(settings))


async def create_pool(
    settings: Settings, *, min_size: int = 1, max_size: int | None = None
) -> asyncpg.Pool[Any]:
    """A pool of at most `settings.database_pool` connections (or `max_size`)."""
    import asyncpg

    from .times import show_times

    most = max_size or settings.database_pool
    pool: asyncpg.Pool[Any] = await asyncpg.create_pool(
        **connect_options(settings),
        min_size=min(min_size, most),
        max_size=most,
        max_inactive_connection_lifetime=300.0,
        init=show_times,
    )
    return pool


async def wait_for_database(settings: Settings, timeout: float = 60.0) -> None:
    """Wait until the database takes connections.

    Args:
        settings: `database` is waited for.
        timeout: seconds, in all.

    Raises:
        DatabaseError: not within `timeout`, or an answer that waiting does not change (a wrong password, no such database).
    """
    import asyncpg

    final = (
        asyncpg.InvalidAuthorizationSpecificationError,
        asyncpg.InvalidCatalogNameError,
    )  # a wrong password is the first
    deadline = time.monotonic() + timeout
    for pause in Backoff(0.05, 2.0, 1.5):
        try:
            connection = await connect(settings)
        except final as error:
            raise DatabaseError(f"{redact(settings.database)}: {error}; check RUNSTREAM_DATABASE") from None
        except (
            OSError,
            TimeoutError,
            asyncpg.PostgresError,
            asyncpg.InterfaceError,
            asyncpg.InternalClientError,
        ) as error:
            if time.monotonic() + pause > deadline:
                raise DatabaseError(
                    f"{redact(settings.database)} took no connection for {timeout:.0f} s "
                    f"({type(error).__name__}: {error}); check that Postgres runs there and RUNSTREAM_DATABASE is right"
                ) from None
            await asyncio.sleep(pause)
        else:
            await connection.close()
            return


async def migrate(connection: asyncpg.Connection[Any], steps: list[Migration] | None = None) -> int:
    """Bring the database to the newest schema this runstream knows; any number of processes may do so at once.

    Args:
        connection: outside of a transaction.
        steps: migrations to apply instead of the packaged ones.

    Returns:
        how many migrations were applied.

    Raises:
        DatabaseError: the database is newer than this runstream, was made by changed migrations, or is not ours. It is
            left as it was.
    """
    steps = migrations() if steps is None else steps
    applied = 0
    while True:
        async with connection.transaction():
            # Of the transaction, not of the session: that works behind PgBouncer, and cannot be forgotten.
            await connection.execute("select pg_advisory_xact_lock($1)", MIGRATION_LOCK)
            step = await _next_step(connection, steps)
            if step is None:
                return applied
            await connection.execute(step.sql)
            await connection.execute(RECORD_MIGRATION, step.version, step.name, step.checksum)
            applied += 1


async def _next_step(connection: asyncpg.Connection[Any], steps: list[Migration]) -> Migration | None:
    if await connection.fetchval("select to_regclass('schema_migrations') is null"):
        if await connection.fetchval(FOREIGN_TABLES):
            raise DatabaseError(
                "the database holds tables called runs, experiments, chunks or files that runstream did not make; give "
                "runstream a database of its own (create database runstream) and put it into RUNSTREAM_DATABASE"
            )
        await connection.execute(CREATE_MIGRATIONS_TABLE)
    done = {row["version"]: row for row in await connection.fetch(APPLIED_MIGRATIONS)}
    newest = steps[-1].version if steps else 0
    if done and max(done) > newest:
        raise DatabaseError(
            f"the database has schema version {max(done)}, this runstream knows {newest}; upgrade with "
            "`pip install -U runstream`, or use another database"
        )
    for step in steps:
        row = done.get(step.version)
        if row is None:
            return step
        if row["checksum"] != step.checksum:
            raise DatabaseError(
                f"schema version {step.version}: the database has {row['name']} ({row['checksum'][:8]}), this runstream has "
                f"{step.name} ({step.checksum[:8]}); they come from different builds: install the runstream that made the "
                "database, or use another database"
            )
    return None


async def schema_version(connection: asyncpg.Connection[Any]) -> int:
    """Version of the database's schema, 0 when runstream has not been there."""
    if await connection.fetchval("select to_regclass('schema_migrations') is null"):
        return 0
    return int(await connection.fetchval("select coalesce(max(version), 0) from schema_migrations"))
