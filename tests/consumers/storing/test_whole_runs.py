"""Runs that come whole are stored as those that come step by step are in the end, and what is special goes that way."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import asyncpg
import pytest
from tests.consumers.logged import T0, LoggingSource

from runstream_consumers.compaction.packing import pack_runs
from runstream_consumers.sources.source import Fetched, Partition
from runstream_consumers.storing.whole_runs import FEWEST
from runstream_consumers.storing.writer import Writer
from runstream_schemas.settings import Settings
from runstream_schemas.wire.events import Event, StatusEvent, StatusOp, TagOp, TagsEvent

MANY = 2 * FEWEST  # of a third of them a run has two series, of the others forty
SPOOL = Partition("spool:test", "spool", "spool", 0)

# What is told of a run, without what differs between two runs alike.
COMPARED = {
    "runs": """
        select replace(r.run_id, $1, ''), e.name, replace(parent_run_id, $1, ''), replace(root_run_id, $1, ''), r.name,
            display_name, r.description, type, target, status, r.created_at, start_time, end_time, last_seen,
            settled_at is null, packing is null, error::text, warnings::text, details::text
        from runs r join experiments e on e.id = r.experiment_id where starts_with(r.run_id, $1) order by 1""",
    "sources": """
        select replace(r.run_id, $1, ''), topic, ordinal, next, ahead::text, s.dropped
        from sources s join runs r on r.key = run_key where starts_with(r.run_id, $1) order by 1, 2""",
    "steps": """
        select replace(r.run_id, $1, ''), topic, seq, time_us, kind, replace((data - 'ends' - 'tag_ends')::text, $1, '')
        from transitions join runs r on r.key = run_key where starts_with(r.run_id, $1) order by 1, 2, 3""",
    "labels": """
        select replace(r.run_id, $1, ''), 'tag', t.key, value, removed, seq
        from tags t join runs r on r.key = run_key where starts_with(r.run_id, $1)
        union all
        select replace(r.run_id, $1, ''), 'property', p.key, value, false, seq
        from properties p join runs r on r.key = run_key where starts_with(r.run_id, $1)
        union all
        select replace(r.run_id, $1, ''), 'param', p.name, text, false, seq
        from params p join runs r on r.key = run_key where starts_with(r.run_id, $1) order by 1, 2, 3""",
    "points": """
        select replace(r.run_id, $1, ''), first, count, points, payload
        from chunks c join runs r on r.key = run_key where starts_with(r.run_id, $1) order by 1, 2""",
    "summaries": """
        select replace(r.run_id, $1, ''), to_jsonb(s) - 'run_key' from summaries s join runs r on r.key = run_key
        where starts_with(r.run_id, $1) order by 1, s.series_id""",
    "packed": """
        select replace(r.run_id, $1, ''), to_jsonb(p) - 'run_key' from packed_summaries p join runs r on r.key = run_key
        where starts_with(r.run_id, $1) order by 1, part""",
    "ranks": """
        select replace(r.run_id, $1, ''), v.series_id, v.stat, v.value
        from (
            select series_id, stat, unnest(run_keys) as key, unnest(packings) as packing, unnest(values) as value from ranks
            union all
            select k.series_id, s.stat, k.run_key, k.packing, s.value from staged_ranks k cross join lateral
                (values ('last', last), ('min', min), ('max', max), ('mean', mean)) s (stat, value)
            where s.value is not null
        ) v join runs r using (key, packing) where starts_with(r.run_id, $1) order by 1, 2, 3""",
    "texts": """
        select (
            select string_agg(part, ' ' order by part)
            from unnest(string_to_array(replace(text, lower($1), ''), chr(1))) part
        ) from run_texts t join runs r on r.key = run_key
        where starts_with(r.run_id, $1) order by r.run_id""",
}  # fmt: skip


def events_of(run_id: str, number: int = 0, *, values: Sequence[Any] = (), steps: int = 3) -> list[Event]:
    """All that a short run records."""
    logging_source = LoggingSource(run_id)
    for step in range(steps):
        for i in range(40 if number % 3 else 2):
            logging_source.log(f"m{i}", number * 7 % 11 + i * step if i % 2 else number / 7 + i * step)
    if number % 8 == 4:
        logging_source.log("m0", float("nan" if number % 16 else "-inf"))
    for value in values:
        logging_source.log("m0", value)
    n = len(logging_source.points)
    when = T0 + number * 10
    parent = run_id.replace(f"-{number}", "-0") if number % 4 == 3 else None
    details = {"script": "tŕain.py", "pid": number, "runDefinition": {"arguments": ["--lr", str(number)]}}
    data = {
        "experiment": f"sweep {number % 2}",
        "display_name": f"Näme {number}",
        "details": details,
        "tags": {"a": "B"},
    }
    life = [StatusOp(n, when, "create", data | ({"parent_run_id": parent} if parent else {}))]
    life.append(StatusOp(n + 1, when + 1, "start", {}))
    if number % 5 == 0:
        life.append(StatusOp(n + 2, when + 2, "warning", {"message": "\0 and NaN", "value": float("nan")}))
    ends = {"ends": {logging_source.id.hex(): n}}
    events: list[Event] = [logging_source.event(0, n // 2), logging_source.event(n // 2, n)]
    if number % 2:
        ops = [TagOp(n + 3, when, "set", "group", f"G{number}"), TagOp(n + 4, when + 1, "set", "a", "C")]
        ops.append(TagOp(n + 5, when + 1, "property", "p", "q"))
        ops.append(TagOp(n + 6, when + 1, "field", "description", f"about {number}"))
        events.append(TagsEvent(run_id, logging_source.id, 0, n + 7, ops))
        ends["tag_ends"] = {logging_source.id.hex(): n + 7}
    life.append(StatusOp(n + 8, when + 9, "complete", ends))
    events.append(StatusEvent(run_id, logging_source.id, 0, n + 9, life))
    return events


def many(prefix: str) -> list[Event]:
    return [event for i in range(MANY) for event in events_of(f"{prefix}-{i}", i)]


class Batches:
    """Of a spool."""

    def __init__(self) -> None:
        self.next = 0

    def of(self, events: list[Event], *, complete: bool = True) -> Fetched:
        start, self.next = self.next, self.next + 1
        return Fetched(SPOOL, start, self.next, events, complete=complete)


@pytest.fixture
def writer(pool: asyncpg.Pool) -> Writer:
    return Writer(pool, Settings())


async def whole(pool: asyncpg.Pool) -> set[str]:
    """Runs that were stored whole: no end of theirs is waited for."""
    rows = await pool.fetch(
        "select run_id from runs r where not exists (select from run_ends where run_key = r.key)"
    )
    return {row["run_id"] for row in rows}


async def stored(pool: asyncpg.Pool, prefix: str) -> dict[str, list[tuple[Any, ...]]]:
    """What is told of the runs whose ids begin so."""
    await pool.execute("analyze")
    return {name: [tuple(row) for row in await pool.fetch(query, prefix)] for name, query in COMPARED.items()}


async def test_they_are_stored_as_step_by_step(pool: asyncpg.Pool, writer: Writer) -> None:
    batches = Batches()
    await writer.store([batches.of(many("whole"))])
    assert len(await whole(pool)) == MANY
    assert await pool.fetchval("select count(*) from live_summaries") == 0
    await writer.store([batches.of(many("steps"), complete=False)])
    assert len(await whole(pool)) == MANY
    await pack_runs(pool)
    of_whole, of_steps = await stored(pool, "whole"), await stored(pool, "steps")
    for name in COMPARED:
        assert len(of_whole[name]) >= MANY // 2, name
        assert of_whole[name] == of_steps[name], name


async def test_a_resend_changes_nothing(pool: asyncpg.Pool, writer: Writer) -> None:
    batches, events = Batches(), many("run")
    await writer.store([batches.of(events)])
    before = await stored(pool, "run")
    await Writer(pool, Settings()).store([batches.of(events)])
    assert await stored(pool, "run") == before


async def test_what_comes_later_finds_them_as_any_other(pool: asyncpg.Pool, writer: Writer) -> None:
    batches = Batches()
    await writer.store([batches.of(many("run"))])
    again = LoggingSource("run-7")
    again.log("m0", 1e6)
    steps = [
        StatusOp(2, T0 + 10**6, "start", {}),
        StatusOp(3, T0 + 2 * 10**6, "fail", {"ends": {again.id.hex(): 1}}),
    ]
    await writer.store([batches.of([again.event(0, 1), StatusEvent("run-7", again.id, 0, 4, steps)])])
    row = await pool.fetchrow(
        "select status, settled_at, s.count, s.last from runs join summaries s on run_key = key "
        "join series on id = series_id where run_id = 'run-7' and series.name = 'm0'"
    )
    assert (row["status"], row["settled_at"] is None, row["count"], row["last"]) == ("Failed", False, 4, 1e6)


async def test_what_is_special_is_stored_step_by_step(pool: asyncpg.Pool, writer: Writer) -> None:
    batches = Batches()
    known = events_of("known", 1)
    await writer.store([batches.of([StatusEvent("known", b"k" * 16, 0, 1, [StatusOp(0, T0, "create", {})])])])
    await pool.execute("insert into deleted_runs (run_id, key) values ('deleted', 0)")
    other = LoggingSource("two sources")
    other.log("m0", 2.0)
    rare = LoggingSource("rare")
    rare.log("seldom", 1.0)
    rare_end = StatusOp(2, T0, "complete", {"ends": {rare.id.hex(): 1}})
    special: list[Event] = [
        *known,
        *events_of("deleted", 1),
        *events_of("nan", 1, values=[float("nan")], steps=0),
        *events_of("text", 1, values=["a text"]),
        *events_of("two sources", 1), other.event(0, 1),
        *events_of("dropped", 1)[1:],  # its first half is missing
        *events_of("running", 1)[:-1],
        rare.event(0, 1), StatusEvent("rare", rare.id, 0, 3, [StatusOp(1, T0, "create", {}), rare_end]),
    ]  # fmt: skip
    await writer.store([batches.of([*special, *many("run")])])
    without_ends = await whole(pool)
    assert {run_id for run_id in without_ends if not run_id.startswith("run-")} == {"running"}
    assert len(without_ends) == MANY + 1
    rows = await pool.fetch(
        "select run_id, status from runs where run_id <> all($1::text[])", list(without_ends)
    )
    assert {row["run_id"]: row["status"] for row in rows} == dict.fromkeys(
        ("known", "nan", "text", "two sources", "dropped", "rare"), "Completed"
    )


async def test_a_run_that_starts_again_in_the_batch_is_not_over(pool: asyncpg.Pool, writer: Writer) -> None:
    events = many("run")
    last = events[-1]
    assert isinstance(last, StatusEvent)
    last.ops.append(StatusOp(last.ops[-1].seq + 1, T0 + 10**6, "start", {}))
    last.count += 1
    await writer.store([Batches().of(events)])
    rows = await pool.fetch("select run_id, settled_at from runs where status = 'Running'")
    assert [tuple(row) for row in rows] == [(f"run-{MANY - 1}", None)]


async def test_another_writer_may_be_quicker(pool: asyncpg.Pool, writer: Writer) -> None:
    async with pool.acquire() as other:
        transaction = other.transaction()
        await transaction.start()
        await other.execute("insert into runs (run_id) values ('run-5')")
        storing = asyncio.create_task(writer.store([Batches().of(many("run"))]))
        waits = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
        while not await pool.fetchval(waits):
            await asyncio.sleep(0.01)
        await transaction.commit()
        await storing
    assert len(await whole(pool)) == MANY - 1
    assert await pool.fetchval("select count(*) from runs where status = 'Completed'") == MANY


async def test_an_event_that_is_refused_does_not_keep_the_others(pool: asyncpg.Pool) -> None:
    refused: list[Any] = []

    async def reject(letters: Sequence[Any]) -> None:
        refused.extend(letters)

    bad = events_of("bad", 1)
    bad[0].first = bad[0].count = 1 << 62  # beyond what a column holds
    bad[1].first = 0
    writer = Writer(pool, Settings(), reject)
    await writer.store([Batches().of([*many("run"), *bad])])
    assert len(refused) == 1
    assert await pool.fetchval("select count(*) from runs where status = 'Completed'") >= MANY
