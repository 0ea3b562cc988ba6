"""Runs at rest are packed: every list and summary is the same before, after, and while some are packed and some not."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

import asyncpg
import pytest
from tests.query.conftest import utc
from tests.seeds import new_random

from runstream_consumers.compaction import packing
from runstream_consumers.compaction.packing import lock_and_unpack, pack_runs
from runstream_consumers.compaction.purge import purge_runs
from runstream_consumers.compaction.worker import Worker
from runstream_consumers.storing.queries import UNPACK
from runstream_query.runs import runs
from runstream_query.runs.edits import RunEdit, edit_runs
from runstream_query.runs.run_filter import MetricFilter, RunFilter
from runstream_query.runs.run_order import Order
from runstream_query.runs.run_statements import page_sql, reach_sql
from runstream_query.runs.runs import count_runs, list_runs
from runstream_query.runs.search import search
from runstream_schemas.database import migrate, migrations
from runstream_schemas.runs.deletion import delete_rows
from runstream_schemas.series import Kind, SeriesClass, SeriesKey

KEY = SeriesKey(SeriesClass.METRIC, "m")
SUMMARIES = "select * from summaries order by run_key, series_id"


async def pages(database: Any, order: str, filter_: RunFilter | None = None) -> list[str]:
    """All pages of a list, put together."""
    listed: list[str] = []
    after: str | None = None
    while True:
        async with database.pool.acquire() as connection:
            page = await list_runs(connection, filter_, order=Order.parse(order), limit=9, after=after)
        listed += [run.run_id for run in page.runs]
        after = page.next
        if after is None:
            return listed


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few runs are many here."""
    monkeypatch.setattr(packing, "STAGED", 4)
    monkeypatch.setattr(packing, "PIECE", 3)
    monkeypatch.setattr(packing, "PART", 2)
    monkeypatch.setattr(packing, "_BATCH", 7)
    monkeypatch.setattr(runs, "_LOOKED_AT", 20)


# --- lists, held to a full read ---------------------------------------------------------------------------------------


@dataclass
class Known:
    """What a test knows of a run; `values`: a metric's statistics."""

    key: int
    run_id: str
    name: str
    start: int
    status: str
    settled: bool
    values: dict[str, dict[str, float]] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def holds(self, word: str) -> bool:
        return any(word in text.lower() for text in (self.name, self.run_id, "one", *self.tags.values()))

    def value(self, metric: str, stat: str) -> float | None:
        of = self.values.get(metric)
        if of is None:
            return None
        value = of["sum"] / of["finite"] if stat == "mean" else of[stat]
        return None if math.isnan(value) else value


STATS = ("last", "min", "max", "mean", "first", "count")
COMPARE: dict[str, Callable[[float, float], bool]] = {
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "=": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
}
WORDS = ["red", "Green", "blue", "dark red", "ÄÖ"]
VALUES = [0.0, 0.5, 1.0, 1.0, 1.0, 2.5, -3.0, 1e300, math.inf, -math.inf, math.nan]


def some_filter(chance: Random) -> tuple[str, Callable[[Known], bool]]:
    """What to type, and what then passes."""
    kind = chance.choice(["metric", "metric", "metric", "word", "tag", "status", "not"])
    if kind == "not":
        text, passes = some_filter(chance)
        while " " in text or text.startswith("-"):
            text, passes = some_filter(chance)
        return f"-{text}", lambda run: not passes(run)
    if kind == "word":
        word = chance.choice(["red", "GREEN", "lu", "one", "run 1", "k r", "äö", "nowhere"])
        return f'"{word}"', lambda run: run.holds(word.lower())
    if kind == "tag":
        value = chance.choice(WORDS[:3])
        return f"tag:colour={value}", lambda run: run.tags.get("colour") == value
    if kind == "status":
        return "status:failed", lambda run: run.status == "Failed"
    metric, stat, operator = chance.choice("mn"), chance.choice(STATS), chance.choice(list(COMPARE))
    bound = chance.choice([0.0, 0.5, 1.0, 2.0, -5.0, 1e301])

    def compared(run: Known) -> bool:
        value = run.value(metric, stat)
        return value is not None and math.isfinite(value) and COMPARE[operator](value, bound)

    return f"{metric}.{stat}{operator}{bound!r}", compared


async def check_lists(database: Any, known: list[Known], chance: Random) -> None:
    for _ in range(12):
        asked = [some_filter(chance) for _ in range(chance.choice([0, 1, 1, 2]))]
        filter_ = search(" ".join(text for text, _ in asked))
        passing = [run for run in known if all(passes(run) for _, passes in asked)]
        descending = chance.random() < 0.5
        order = chance.choice(["start_time", "metric"])
        if order == "metric":
            metric, stat = chance.choice("mn"), chance.choice(STATS)
            order = f"metric:{metric}:{stat}"
            by = [(run.value(metric, stat), run) for run in passing]
        else:
            by = [(float(run.start), run) for run in passing]
        some = sorted(((v, run.key, run.run_id) for v, run in by if v is not None), reverse=descending)
        none = sorted(((run.key, run.run_id) for v, run in by if v is None), reverse=descending)
        expected = [run_id for *_, run_id in some] + [run_id for _, run_id in none]
        listed = await pages(database, ("-" if descending else "") + order, filter_)
        assert listed == expected, (order, descending, [text for text, _ in asked])
        async with database.pool.acquire() as connection:
            assert sum((await count_runs(connection, filter_)).values()) == len(expected)


async def add_known(database: Any, chance: Random, n: int) -> Known:
    settled = chance.random() < 0.7
    name, status, start = chance.choice(WORDS), chance.choice(["Completed", "Failed"]), chance.randrange(10)
    run_id = f"run {n}"
    key = await database.add_run(
        run_id,
        "one",
        display_name=name,
        status=status,
        start_time=utc(start),
        settled_at=utc(5) if settled else None,
    )
    run = Known(key, run_id, name, start, status, settled)
    for metric in "mn":
        if chance.random() < 0.8:
            run.values[metric] = some_values(chance)
            await database.add_summary(key, metric, **run.values[metric])
    if chance.random() < 0.3:
        await database.add_chunk(key, n.to_bytes(16, "big"), [(KEY, Kind.FLOAT, 0, 0, 0, 1.0)])
    await set_tag(database, run, chance)
    return run


def some_values(chance: Random) -> dict[str, float]:
    values: dict[str, float] = {
        name: chance.choice(VALUES) for name in ("first", "last", "min", "max", "sum")
    }
    return values | {"count": chance.randrange(1, 4), "finite": chance.randrange(1, 3)}


async def set_tag(database: Any, run: Known, chance: Random) -> None:
    run.tags["colour"] = chance.choice(WORDS)
    async with database.pool.acquire() as connection:
        await edit_runs(connection, [run.run_id], RunEdit(set_tags=dict(run.tags)))


async def change(database: Any, run: Known, chance: Random) -> None:
    """As the writer or a page does."""
    what = chance.choice(["points", "tag", "name"])
    async with database.pool.acquire() as connection:
        if what == "points" and run.values:
            metric = chance.choice(list(run.values))
            run.values[metric] = some_values(chance)
            columns = run.values[metric]
            async with connection.transaction():
                await connection.execute(UNPACK, [run.key])
                places = ", ".join(f"{name} = ${n + 3}" for n, name in enumerate(columns))
                await connection.execute(
                    f"update live_summaries set {places} from series s where run_key = $1 and s.id = series_id "
                    "and s.name = $2",
                    run.key,
                    metric,
                    *columns.values(),
                )
        elif what == "tag":
            await set_tag(database, run, chance)
        elif what == "name":
            run.name, run.status = (
                chance.choice(WORDS),
                "NotStarted",
            )  # as its steps say, of which there are none
            await edit_runs(connection, [run.run_id], RunEdit(display_name=run.name))


async def test_lists_are_those_of_a_full_read_whatever_is_packed(database: Any, small: None) -> None:
    chance = new_random(3)
    known = [await add_known(database, chance, n) for n in range(40)]
    await check_lists(database, known, chance)
    packed = sum(run.settled for run in known)
    assert await pack_runs(database.pool) == packed
    assert await pack_runs(database.pool) == 0
    assert await database.pool.fetchval("select count(*) from packed_summaries") > 10
    assert await database.pool.fetchval("select count(*) from ranks where cardinality(run_keys) > 1") > 4
    await check_lists(database, known, chance)
    for n in range(40, 55):
        known.append(await add_known(database, chance, n))
        await change(database, chance.choice(known), chance)
        gone = known.pop(chance.randrange(len(known)))
        async with database.pool.acquire() as connection, connection.transaction():
            await delete_rows(connection, [gone.key])
        if chance.random() < 0.3:
            await pack_runs(database.pool)
        if n % 3 == 0:
            await check_lists(database, known, chance)
    await pack_runs(database.pool)
    await check_lists(database, known, chance)


async def test_a_list_by_a_metric_looks_at_as_many_runs_as_it_shows(database: Any) -> None:
    """Of ten thousand settled runs, all of them in the hot tier: a page of nine looks at two pieces of values."""
    await add_many(database, 10_000)
    await pack_runs(database.pool)
    await database.pool.execute("analyze")
    filter_, order = RunFilter(archived=None), Order.parse("metric:m:min")
    async with database.pool.acquire() as connection:
        text, arguments = reach_sql(order, None, 1)
        reach = await connection.fetchval(text, *arguments)
        text, arguments = page_sql(filter_, order, True, None, 9, reach)
        assert len(await connection.fetch(text, *arguments)) == 9
        rows = await rows_read(connection, text, arguments)
    assert rows < 100


async def add_many(database: Any, runs: int) -> None:
    await database.pool.execute(
        "insert into runs (run_id, status, settled_at, start_time) "
        "select 'run ' || n, 'Completed', now(), now() - n * interval '1 s' from generate_series(1, $1::int) n",
        runs,
    )
    await database.pool.execute("insert into series (cls, name) values (0, 'm')")
    await database.pool.execute(
        "insert into live_summaries (run_key, series_id, kind, count, finite, min, last, last_time) "
        "select r.key, s.id, 0, 1, 1, r.key, r.key, 0 from runs r, series s"
    )
    await database.pool.execute(
        "insert into chunks (run_key, source_key, first, count, points, payload) select key, key, 0, 1, 1, '' from runs"
    )


async def rows_read(connection: Any, text: str, arguments: list[Any]) -> int:
    """Rows a statement reads of tables that have one or more a run."""
    (plan,) = await connection.fetchrow("explain (analyze, format json) " + text, *arguments)
    waiting, rows = [json.loads(plan)[0]["Plan"]], 0
    while waiting:
        node = waiting.pop()
        waiting += node.get("Plans", [])
        if "Scan" in node["Node Type"] and node.get("Relation Name") in (
            "live_summaries",
            "packed_summaries",
            "chunks",
            "ranks",
            "staged_ranks",
            "runs",
            "run_texts",
        ):
            removed = node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
            rows += (node["Actual Rows"] + removed) * node["Actual Loops"]
    return int(rows)


async def test_a_filter_by_a_metric_reads_the_values_that_may_pass(database: Any) -> None:
    await add_many(database, 10_000)
    await pack_runs(database.pool)
    await database.pool.execute("analyze")
    text, arguments = page_sql(search("m.min<=20"), Order(), True, None, 50)
    async with database.pool.acquire() as connection:
        assert len(await connection.fetch(text, *arguments)) == 20
        assert await rows_read(connection, text, arguments) < 100


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
    await database.pool.execute(
        "vacuum full live_summaries, packed_summaries, staged_ranks, ranks, run_texts"
    )
    size = await database.pool.fetchval(
        "select sum(pg_total_relation_size(t)) from unnest(array['live_summaries', 'packed_summaries', 'run_texts']) t"
    )
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


async def test_a_filter_by_tag_and_metric_reads_each_piece_once_though_the_planner_knows_nothing_of_them(
    database: Any,
) -> None:
    """After many runs came at once, until the statistics of the tables they went to are made: else a list took 20 times."""
    async with database.pool.acquire() as connection:
        await connection.execute(
            """
            insert into experiments (name) values ('many');
            insert into runs (run_id, experiment_id, status, start_time, settled_at)
            select 'many' || n, (select id from experiments where name = 'many'), 'Completed', now(), now()
            from generate_series(1, 5000) n;
            insert into series (cls, name) select 0, 'm' || n from generate_series(1, 10) n;
            insert into live_summaries (
                run_key, series_id, kind, count, finite, first, last, min, max, sum, last_step, last_time
            )
            select r.key, s.id, 0, 1, 1, 0.1, 0.1, 0.1, 0.1, 0.1, 0, 0 from runs r, series s;
            insert into tags (run_key, key, value, time_us, source, seq)
            select key, 'group', 'g' || key % 50, 0, gen_random_uuid(), 0 from runs;
            insert into tags (run_key, key, value, time_us, source, seq)
            select key, 'note', 'n', 0, gen_random_uuid(), 1 from runs;
            analyze;
            """
        )
        await pack_runs(database.pool)
        chosen = RunFilter(tags=[("group", "g7")], metrics=[MetricFilter("m3", "last", "<", 0.5)])
        text, arguments = page_sql(chosen, Order(), True, None, 51)
        plan = json.loads(await connection.fetchval(f"explain (analyze, format json) {text}", *arguments))

    def scans(node: dict[str, Any]) -> list[tuple[str, int]]:
        own = [(node["Relation Name"], node["Actual Loops"])] if "Relation Name" in node else []
        return own + [scan for part in node.get("Plans", ()) for scan in scans(part)]

    loops = dict(scans(plan[0]["Plan"]))
    assert (loops["ranks"], loops["staged_ranks"]) == (1, 1), plan
