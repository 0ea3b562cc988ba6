"""Runs at rest are packed: every list and summary is the same before, after, and while some are packed and some not."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import pytest
from tests.query.conftest import utc
from tests.query.runs.packed import KEY, SUMMARIES, VALUES, pages
from tests.seeds import new_random

from runstream_consumers.compaction import packing
from runstream_consumers.compaction.packing import lock_and_unpack, pack_runs
from runstream_consumers.compaction.purge import purge_runs
from runstream_consumers.compaction.worker import Worker
from runstream_consumers.storing.queries import UNPACK
from runstream_query.runs.runs import list_runs
from runstream_query.runs.search import search
from runstream_schemas.database import migrate, migrations
from runstream_schemas.runs.deletion import delete_rows
from runstream_schemas.series import Kind

# --- summaries --------------------------------------------------------------------------------------------------------


async def test_summaries_are_the_same_packed_and_unpacked(database: Any, small: None) -> None:
    chance = new_random(5)
    floats = ("first", "last", "min", "max", "sum")
    whole = ("count", "finite", "last_step", "last_time", "first_time", "first_position", "last_position")
    for n in range(12):
        key = await database.add_run(f"r{n}", settled_at=utc(5))
        same = chance.random() < 0.5
        for m in range(chance.choice([0, 1, 2, 5])):
            columns: dict[str, Any] = {name: 7 if same else chance.choice([0, 1, 1 << 60]) for name in whole}
            columns |= {name: chance.choice([None, -0.0, *VALUES]) for name in floats}
            columns |= {"kind": chance.choice([0, 0, 1, 3]), "last_text": chance.choice([None, None, "ü\n"])}
            if chance.random() < 0.3:
                columns |= {"last_step": None, "first_time": None}
            await database.add_summary(key, f"metric {m}", **columns)
    before = [tuple(map(repr, row)) for row in await database.pool.fetch(SUMMARIES)]
    assert await pack_runs(database.pool) == 12
    assert await database.pool.fetchval("select count(*) from live_summaries") == 0
    assert [tuple(map(repr, row)) for row in await database.pool.fetch(SUMMARIES)] == before
    keys = [row["key"] for row in await database.pool.fetch("select key from runs")]
    async with database.pool.acquire() as connection, connection.transaction():
        await lock_and_unpack(connection, keys)
    assert await database.pool.fetchval("select count(*) from live_summaries") == len(before)
    assert await database.pool.fetchval("select count(*) from packed_summaries") == 0
    assert [tuple(map(repr, row)) for row in await database.pool.fetch(SUMMARIES)] == before


async def test_a_packed_run_of_ten_metrics_takes_little_room(database: Any) -> None:
    """Of a sweep: 10 series of 3 points each, logged together."""
    await database.pool.execute(
        "insert into runs (run_id, status, settled_at) "
        "select gen_random_uuid(), 'Completed', now() from generate_series(1, 300);"
        "insert into series (cls, name) select 0, 'm' || n from generate_series(1, 10) n;"
        "insert into live_summaries (run_key, series_id, kind, count, finite, first, last, min, max, sum, last_step, "
        "last_time, first_time, first_position, last_position) select r.key, s.id, 0, 3, 3, random(), random(), random(), "
        "random(), random(), 2, r.key, r.key, 0, 0 from runs r, series s"
    )
    assert await pack_runs(database.pool) == 300
    for _ in range(20):  # rows that Postgres' own analysis still sees stay
        await database.pool.execute(
            "vacuum full live_summaries, packed_summaries, staged_ranks, ranks, run_texts"
        )
        size = await database.pool.fetchval(
            "select sum(pg_total_relation_size(t)) from unnest(array['live_summaries', 'packed_summaries', 'run_texts']) t"
        )
        if size / 300 < 1700:
            break
        await asyncio.sleep(0.2)
    assert size / 300 < 1700


async def test_late_points_of_a_packed_run_count_at_once_and_after_compaction(database: Any) -> None:
    for name, value in (("low", 1.0), ("high", 2.0)):
        await database.add_summary(
            await database.add_run(name, settled_at=utc(5)), "m", min=value, last=value
        )
    await pack_runs(database.pool)
    assert await pages(database, "metric:m:min") == ["low", "high"]
    high = await database.pool.fetchval("select key from runs where run_id = 'high'")
    # As the writer does, in one transaction.
    await database.add_chunk(high, b"s" * 16, [(KEY, Kind.FLOAT, 0, 0, 0, 0.5)])
    await database.pool.execute(UNPACK, [high])
    await database.pool.execute("update live_summaries set min = 0.5, last = 0.5 where run_key = $1", high)
    assert await pages(database, "metric:m:min") == ["high", "low"]
    await database.compact()
    assert await pages(database, "metric:m:min") == ["high", "low"]
    assert await pack_runs(database.pool) == 1
    assert await pages(database, "metric:m:min") == ["high", "low"]
    assert await database.pool.fetchval("select min from staged_ranks where run_key = $1", high) == 0.5


async def test_settled_runs_are_packed_before_they_are_compacted_and_stay_so(database: Any) -> None:
    for n in range(5):
        key = await database.add_run(f"r{n}", settled_at=utc(5))
        await database.add_chunk(key, n.to_bytes(16, "big"), [(KEY, Kind.FLOAT, 0, 0, 0, 9.0 - n)])
        await database.add_summary(
            key,
            "m",
            count=1,
            finite=1,
            min=9.0 - n,
            max=9.0 - n,
            first=9.0 - n,
            last=9.0 - n,
            sum=9.0 - n,
            first_time=0,
            last_step=0,
            last_time=0,
            first_position=0,
            last_position=0,
        )
    assert await pack_runs(database.pool) == 5
    assert await pages(database, "metric:m:min") == ["r4", "r3", "r2", "r1", "r0"]
    await database.compact()
    assert await database.pool.fetchval("select count(*) from runs where packing is not null") == 5
    assert await pages(database, "metric:m:min") == ["r4", "r3", "r2", "r1", "r0"]


async def test_what_compaction_corrects_of_a_packed_run_is_corrected(database: Any) -> None:
    key = await database.add_run("r", settled_at=utc(5))
    await database.add_chunk(key, b"s" * 16, [(KEY, Kind.FLOAT, 0, 0, 0, 2.0)])
    await database.add_summary(key, "m", last=77.0, min=77.0, max=77.0, first=77.0, sum=77.0, first_time=0)
    assert await pack_runs(database.pool) == 1
    await database.compact()
    assert await database.pool.fetchval("select last from summaries where run_key = $1", key) == 2.0
    assert await pack_runs(database.pool) == 1
    assert await pages(database, "metric:m:min", search("m<3")) == ["r"]


async def test_a_run_is_not_packed_while_a_writer_stores_points_of_it(database: Any) -> None:
    """Neither of a source it has, nor of a new one; and a writer that comes second finds it packed."""
    key = await database.add_run("r", settled_at=utc(5))
    await database.source_key(key, b"s" * 16)
    await database.add_summary(key, "m", min=2.0, last=2.0)
    add = "insert into sources (source, topic, run_key, ordinal) values (gen_random_uuid(), 'metrics', $1, 9)"
    for statement in ("update sources set next = next + 1 where run_key = $1", add):
        async with database.pool.acquire() as writer, writer.transaction():
            await writer.execute(statement, key)
            assert await asyncio.wait_for(pack_runs(database.pool), 20) == 0
    assert await pack_runs(database.pool) == 1
    async with database.pool.acquire() as writer, writer.transaction():
        await writer.execute("update sources set next = next + 1 where run_key = $1", key)
        await writer.execute(UNPACK, [key])
        assert await writer.fetchval("select min from live_summaries") == 2.0
        await writer.execute("update live_summaries set min = 1.0 where run_key = $1", key)
        assert await asyncio.wait_for(pack_runs(database.pool), 20) == 0
    assert await pages(database, "metric:m:min", search("m.min<2")) == ["r"]
    assert await pack_runs(database.pool) == 1
    assert await pages(database, "metric:m:min", search("m.min<2")) == ["r"]


async def test_many_series_are_packed_a_few_runs_at_a_time(database: Any, monkeypatch: Any) -> None:
    """A batch is bounded by series too; a run of more than that is packed by itself."""
    monkeypatch.setattr(packing, "_BATCH_SERIES", 4)
    for n in range(4):
        key = await database.add_run(f"r{n}", settled_at=utc(5))
        for m in range(1 + 2 * n):
            await database.add_summary(key, f"metric {m}", last=1.0)
    assert await pack_runs(database.pool) == 4
    assert await database.pool.fetchval("select count(distinct packing) from runs") == 3


async def test_values_of_deleted_runs_go_with_the_purge(database: Any, small: None) -> None:
    keys = [await database.add_run(f"r{n}", settled_at=utc(5)) for n in range(10)]
    for n, key in enumerate(keys):
        await database.add_summary(key, "m", last=float(n % 4), min=float(-n))
    await pack_runs(database.pool)
    assert await database.pool.fetchval("select count(*) from staged_ranks") > 0
    gone = [keys[n] for n in (0, 3, 4, 9)]
    async with database.pool.acquire() as connection, connection.transaction():
        await delete_rows(connection, gone)
    worker = Worker()
    await purge_runs(database.pool, database.store, worker)
    worker.close()
    held = await database.pool.fetch(
        "select unnest(run_keys) as key from ranks union select run_key from staged_ranks"
    )
    assert sorted(row["key"] for row in held) == sorted(set(keys) - set(gone))
    assert await pages(database, "metric:m:min") == [f"r{n}" for n in (8, 7, 6, 5, 2, 1)]
    assert await pages(database, "-metric:m:last") == [f"r{n}" for n in (7, 6, 2, 5, 1, 8)]


# --- databases of earlier versions ------------------------------------------------------------------------------------


async def test_a_database_of_before_goes_on_and_is_packed_bit_by_bit(
    postgres_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "_BATCH", 200)
    admin = await asyncpg.connect(postgres_server.dsn)
    await admin.execute("create database before_packing")
    try:
        connection = await asyncpg.connect(postgres_server.dsn.replace("@/postgres", "@/before_packing"))
        known = migrations()
        await migrate(connection, [step for step in known if step.version <= 16])
        await connection.execute(
            "insert into experiments (name) values ('one');"
            "insert into series (cls, name) values (0, 'm'), (0, 'n');"
            "insert into runs (run_id, experiment_id, status, start_time, settled_at, ranked) select 'run ' || n, 1, "
            "'Completed', now() + n * interval '1 s', now(), n % 2 = 0 from generate_series(1, 300) n;"
            "insert into summaries (run_key, series_id, kind, count, finite, first, last, min, max, sum, last_time) "
            "select r.key, s.id, 0, 1, 1, r.key % 7, r.key % 7, r.key % 7, r.key % 7, r.key % 7, 0 from runs r, series s;"
            "insert into settled_metrics select run_key, series_id, last, min, max, sum from summaries;"
            "insert into tags (run_key, key, value, time_us, source, seq) "
            "select key, 'colour', 'red', 0, gen_random_uuid(), 0 from runs where key % 5 = 0"
        )
        was = [tuple(row) for row in await connection.fetch(SUMMARIES)]
        assert await migrate(connection) == len(known) - 16
        expected = [f"run {n}" for n in range(300, 0, -1) if n % 7 < 3 and n % 5 == 0]
        filter_ = search("m<3 RED")

        async def listed() -> list[str]:
            return [run.run_id for run in (await list_runs(connection, filter_, limit=300)).runs]

        assert [tuple(row) for row in await connection.fetch(SUMMARIES)] == was
        assert await listed() == expected
        pool = await asyncpg.create_pool(
            postgres_server.dsn.replace("@/postgres", "@/before_packing"), min_size=1, max_size=2
        )
        assert await pack_runs(pool, 100) == 200  # whole batches
        assert await listed() == expected
        assert await pack_runs(pool) == 100
        await pool.close()
        assert [tuple(row) for row in await connection.fetch(SUMMARIES)] == was
        assert await listed() == expected
        await connection.close()
    finally:
        await admin.execute("drop database before_packing with (force)")
        await admin.close()
