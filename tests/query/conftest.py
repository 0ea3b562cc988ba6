"""A real Postgres, a local store, and ways to put points and runs into them as the writer and the compactor do."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from runstream_consumers.postgres_server import PostgresServer
from runstream_query.reader import Query
from runstream_schemas.database import create_pool, migrate
from runstream_schemas.payload import build_points, encode_points
from runstream_schemas.series import Kind, SeriesKey
from runstream_schemas.settings import Settings
from runstream_schemas.store import LocalStore

Row = tuple[SeriesKey, Kind, int, int, int, Any]  # key, kind, seq, step, time, value

EMPTY = """truncate experiments, runs, tags, properties, series, summaries, offsets, sources, run_ends, gaps, chunks, files,
    file_runs, artifacts, transitions restart identity cascade"""


@dataclass(slots=True)
class Database:
    """A migrated database and a store, and what is put into them."""

    pool: Any
    store: LocalStore
    settings: Settings
    query: Query
    sources: dict[bytes, int] = field(default_factory=dict)

    async def add_run(self, run_id: str, experiment: str = "e", **columns: Any) -> int:
        """A run; `columns` of `runs` by name."""
        experiment_id = await self.pool.fetchval(
            "insert into experiments (workspace, name) values ('default', $1) on conflict (workspace, name) "
            "do update set name = excluded.name returning id",
            experiment,
        )
        columns = {"status": "Completed", "experiment_id": experiment_id, "run_id": run_id, **columns}
        names = ", ".join(columns)
        places = ", ".join(f"${i + 1}" for i in range(len(columns)))
        key = await self.pool.fetchval(f"insert into runs ({names}) values ({places}) returning key", *columns.values())
        return int(key)

    async def source_key(self, run_key: int, source: bytes, ordinal: int = 0, next: int = 0) -> int:
        """The row of a source, made when missing."""
        if source not in self.sources:
            self.sources[source] = await self.pool.fetchval(
                "insert into sources (source, topic, run_key, ordinal, next) values ($1, 'metrics', $2, $3, $4) returning key",
                uuid.UUID(bytes=source), run_key, ordinal, next,
            )  # fmt: skip
        return self.sources[source]

    async def add_chunk(self, run_key: int, source: bytes, rows: Sequence[Row], ordinal: int = 0) -> None:
        """A hot chunk of one writer's points."""
        key = await self.source_key(run_key, source, ordinal)
        payload = encode_points(build_points(rows))
        await self.pool.execute(
            "insert into chunks (run_key, source_key, first, count, points, payload) values ($1, $2, $3, $4, $5, $6)",
            run_key, key, rows[0][2], rows[-1][2] - rows[0][2] + 1, len(rows), payload,
        )  # fmt: skip

    async def add_summary(self, run_key: int, name: str, **columns: Any) -> None:
        """A row of `summaries`; columns by name."""
        series = await self.pool.fetchval(
            'select id from series where cls = 0 and name = $1 and "column" = $2', name, ""
        ) or await self.pool.fetchval("insert into series (cls, name) values (0, $1) returning id", name)
        columns = {"run_key": run_key, "series_id": series, "kind": 0, "count": 1, "finite": 1, "last_time": 0, **columns}
        places = ", ".join(f"${i + 1}" for i in range(len(columns)))
        await self.pool.execute(f"insert into summaries ({', '.join(columns)}) values ({places})", *columns.values())


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    server = PostgresServer(tmp_path_factory.mktemp("query-pg"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def migrated(server: PostgresServer) -> str:
    import asyncio

    async def run() -> None:
        connection = await asyncpg.connect(server.dsn)
        await migrate(connection)
        await connection.close()

    asyncio.run(run())
    return server.dsn


@pytest_asyncio.fixture
async def database(migrated: str, tmp_path: Path) -> AsyncIterator[Database]:
    settings = Settings(database=migrated, store=str(tmp_path / "store"), query_timeout=20.0, home=str(tmp_path))
    pool = await create_pool(settings)
    await pool.execute(EMPTY)
    store = LocalStore(settings.store_url)
    yield Database(pool, store, settings, Query(pool, store, settings))
    await pool.close()


def utc(seconds: float) -> datetime:
    """A time, by seconds since the epoch."""
    return datetime.fromtimestamp(seconds, UTC)
