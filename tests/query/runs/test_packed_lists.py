"""Lists of runs, packed and not, held to a full read."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from tests.query.conftest import utc
from tests.query.runs.packed import KEY, VALUES, pages
from tests.seeds import new_random

from runstream_consumers.compaction.packing import pack_runs
from runstream_consumers.storing.queries import UNPACK
from runstream_query.runs.edits import RunEdit, edit_runs
from runstream_query.runs.run_filter import MetricFilter, RunFilter
from runstream_query.runs.run_order import Order
from runstream_query.runs.run_statements import page_sql, reach_sql
from runstream_query.runs.runs import count_runs
from runstream_query.runs.search import search
from runstream_schemas.runs.deletion import delete_rows
from runstream_schemas.series import Kind


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
            "tags",
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


async def test_the_first_look_for_a_word_reads_the_tags_of_the_runs_it_looks_at_alone(database: Any) -> None:
    await add_many(database, 5_000)
    await database.pool.execute(
        "insert into tags (run_key, key, value, time_us, source, seq) "
        "select key, 'group', 'g' || key % 50, 0, gen_random_uuid(), 0 from runs"
    )
    await database.pool.execute("insert into experiments (name) values ('many')")
    await database.pool.execute("update runs set experiment_id = (select id from experiments)")
    await database.pool.execute("vacuum analyze")
    text, arguments = page_sql(
        RunFilter(words=["needle"], workspace="default"), Order(), True, None, 50, looked_at=500
    )
    async with database.pool.acquire() as connection:
        assert await connection.fetch(text, *arguments) == []
        assert await rows_read(connection, text, arguments) < 1_600


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
