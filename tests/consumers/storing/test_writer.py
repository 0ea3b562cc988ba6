"""The writer against a real Postgres: what is stored is what was logged, whatever way it comes."""

from __future__ import annotations

import asyncio
import json
import random
import zlib
from itertools import pairwise
from typing import Any
from uuid import UUID

import asyncpg
import msgpack
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.consumers.logged import T0, LoggingSource, assert_stored, stored_points

from runstream_consumers.compaction.packing import pack_runs
from runstream_consumers.sources.source import DeadLetter, Fetched, Missing, Partition
from runstream_consumers.storing.plan import find_series
from runstream_consumers.storing.run_states import MOST_LEVELS
from runstream_consumers.storing.transaction import FenceLost
from runstream_consumers.storing.writer import Writer
from runstream_schemas.series import SeriesKey
from runstream_schemas.settings import Settings
from runstream_schemas.wire.event_reading import decode_event
from runstream_schemas.wire.events import Event, StatusEvent, StatusOp, TagOp, TagsEvent, encode_event


class Log:
    """One partition, filled by the test."""

    def __init__(self, index: int = 0, topic_id: str = "topic-id") -> None:
        self.partition = Partition("cluster", topic_id, "runstream.metrics", index)
        self.next = 0

    def fetched(self, *events: Event, missing: Missing | None = None) -> Fetched:
        start, self.next = self.next, self.next + max(len(events), 1)
        return Fetched(self.partition, start, self.next, list(events), missing=missing)


def source(run_id: str = "run", points: int = 0, names: tuple[str, ...] = ("loss",)) -> LoggingSource:
    made = LoggingSource(run_id)
    for i in range(points):
        made.log(names[i % len(names)], float(i))
    return made


@pytest.fixture
def writer(pool: asyncpg.Pool) -> Writer:
    return Writer(pool, Settings())


async def test_writers_who_need_the_same_names_at_once_get_the_same_ids_and_waste_none(
    pool: asyncpg.Pool,
) -> None:
    keys = [SeriesKey(0, f"loss {number}") for number in range(300)]
    keys += [SeriesKey(6, "loss 1", "1"), SeriesKey(0, "with \0 in it")]
    before = await find_series(pool, keys[:100])
    several = await asyncio.gather(*(find_series(pool, keys[first:]) for first in (50, 0, 20, 100)))
    ids = several[1]
    assert set(ids) == set(keys)
    assert len(set(ids.values())) == len(keys)
    assert all(part.items() <= ids.items() for part in (before, *several))
    await find_series(pool, keys)
    assert await find_series(pool, [SeriesKey(0, "next")]) != {}
    highest, count = await pool.fetchrow("select max(id), count(*) from series")
    assert count == len(keys) + 1
    assert highest - count <= 4 * len(
        keys
    )  # of those that several added at once; none of those that were there


async def test_points_are_stored_as_logged(pool: asyncpg.Pool, writer: Writer) -> None:
    logging_source = source(points=100, names=("a", "b", "é" * 300))
    log = Log()
    await writer.store([log.fetched(logging_source.event(0, 60), logging_source.event(60, 100))])
    await assert_stored(pool, [logging_source])
    assert writer.counters.points == 100


async def test_a_resend_with_other_borders_changes_nothing(pool: asyncpg.Pool, writer: Writer) -> None:
    logging_source = source(points=30)
    log = Log()
    for first, end in [(0, 10), (0, 10), (5, 15), (10, 20), (0, 30), (25, 30)]:
        await writer.store([log.fetched(logging_source.event(first, end))])
    await assert_stored(pool, [logging_source])
    assert await pool.fetchval("select count(*) from gaps") == 0


async def test_a_gap_is_recorded_until_it_is_filled(pool: asyncpg.Pool, writer: Writer) -> None:
    logging_source = source(points=40)
    log = Log()
    await writer.store([log.fetched(logging_source.event(0, 10), logging_source.event(20, 30))])
    gap = await pool.fetchrow("select g.*, r.run_id from gaps g join runs r on r.key = g.run_key")
    assert (gap["first"], gap["next"], gap["reason"], gap["topic"], gap["run_id"]) == (
        10,
        20,
        "sequence",
        "metrics",
        "run",
    )
    assert gap["source"] == UUID(bytes=logging_source.id)
    await writer.store([log.fetched(logging_source.event(15, 40))])
    assert [tuple(r) for r in await pool.fetch("select first, next from gaps")] == [(10, 15)]
    await writer.store([log.fetched(logging_source.event(5, 20))])
    assert await pool.fetchval("select count(*) from gaps") == 0
    await assert_stored(pool, [logging_source])


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_schedule_stores_what_was_logged(data: st.DataObject, postgres_schedules: str) -> None:
    """Events of several sources, cut anywhere, sent twice, in any order, over two partitions, in any number of commits."""
    seed = data.draw(st.integers(0, 2**32))
    random_ = random.Random(seed)
    sources = [source(f"run-{seed}-{i // 2}") for i in range(random_.randint(1, 4))]
    times = random_.sample(range(10**6), 400)
    for logging_source in sources:
        mine = [times.pop() for _ in range(random_.randint(1, 60))]  # clocks are set back and forth
        for time in mine:
            logging_source.log(random_.choice("abc"), float(random_.randint(-100, 100)), T0 + time)
    pieces: list[Event] = []
    for logging_source in sources:
        for _ in range(random_.randint(1, 3)):
            cuts = sorted(
                {
                    0,
                    len(logging_source.points),
                    *(random_.randint(0, len(logging_source.points)) for _ in range(random_.randint(0, 6))),
                }
            )
            pieces += [logging_source.event(a, b) for a, b in pairwise(cuts)]
    random_.shuffle(pieces)

    async def run() -> None:
        pool = await asyncpg.create_pool(postgres_schedules, min_size=1, max_size=4)
        writers = [Writer(pool, Settings()), Writer(pool, Settings())]
        logs = [Log(0, str(seed)), Log(1, str(seed))]
        try:
            rest = pieces
            while rest:
                batches: list[list[Fetched]] = [[], []]
                for n in range(2):  # two writers at once, each with a partition, and the same sources in both
                    size = random_.randint(1, 6)
                    batches[n], rest = [logs[n].fetched(*rest[:size])] if rest[:size] else [], rest[size:]
                await asyncio.gather(*(w.store(b) for w, b in zip(writers, batches, strict=True)))
            await assert_stored(pool, sources)
        finally:
            pool.terminate()

    asyncio.run(run())


@pytest.fixture(scope="module")
def postgres_schedules(postgres_server: Any) -> str:
    """One database for all schedules: hypothesis calls the test many times in one fixture's life."""

    async def make() -> None:
        admin = await asyncpg.connect(postgres_server.dsn)
        await admin.execute("create database schedules template migrated")
        await admin.close()

    asyncio.run(make())
    return str(postgres_server.dsn.replace("/postgres", "/schedules", 1))


async def test_late_points_unpack_their_run(pool: asyncpg.Pool, writer: Writer) -> None:
    """Its summary continues from where it was; runs the commit does not touch stay packed."""
    late, other, log = source("late", 2), source("other", 2), Log()
    await writer.store([log.fetched(late.event(0, 1), other.event(0, 1))])
    await pool.execute("update runs set settled_at = now(), status = 'Completed'")
    assert await pack_runs(pool) == 2
    await writer.store([log.fetched(late.event(1, 2))])
    rows = await pool.fetch("select run_id, packing is not null from runs order by 1")
    assert [tuple(row) for row in rows] == [("late", False), ("other", True)]
    counts = await pool.fetch("select run_id, count from summaries join runs on key = run_key order by 1")
    assert [tuple(row) for row in counts] == [("late", 2), ("other", 1)]
    assert await pack_runs(pool) == 1


async def test_a_tag_of_a_packed_run_is_found_by_a_word(pool: asyncpg.Pool, writer: Writer) -> None:
    logging_source, log = source("one", 1), Log()
    await writer.store([log.fetched(logging_source.event(0, 1))])
    await pool.execute("update runs set settled_at = now(), status = 'Completed'")
    assert await pack_runs(pool) == 1
    tag = TagOp(0, 1, "set", "colour", "Red")
    await writer.store([log.fetched(TagsEvent("one", b"t" * 16, 0, 1, [tag]))])
    assert await pool.fetchval("select text from run_texts") == "one\x01red"


async def test_the_second_writer_loses_the_fence(pool: asyncpg.Pool, writer: Writer) -> None:
    first_source, second_source = source(points=20), source("other", points=20)
    log = Log()
    first = log.fetched(first_source.event(0, 20))
    await writer.store([first])
    other_log, late = Log(1), Writer(pool, Settings())
    with pytest.raises(FenceLost) as lost:
        await late.store(
            [
                other_log.fetched(second_source.event(0, 20)),
                Fetched(log.partition, 0, 1, [second_source.event(0, 10)]),
            ]
        )
    assert lost.value.partitions == [log.partition]
    assert await stored_points(pool, "other") == {}
    assert await pool.fetchval("select count(*) from offsets") == 1
    assert await late.load_offsets([log.partition, other_log.partition]) == {
        log.partition: 1,
        other_log.partition: None,
    }


async def test_of_two_writers_at_once_one_stores(pool: asyncpg.Pool) -> None:
    logging_source = source(points=2000)
    log = Log()
    writers = [Writer(pool, Settings()) for _ in range(4)]
    for i in range(20):
        batch = log.fetched(logging_source.event(i * 100, i * 100 + 100))
        results = await asyncio.gather(*(w.store([batch]) for w in writers), return_exceptions=True)
        assert sorted(type(r).__name__ for r in results) == ["FenceLost"] * 3 + ["NoneType"]
    await assert_stored(pool, [logging_source])


async def test_a_connection_lost_in_the_middle_is_survived(pool: asyncpg.Pool, writer: Writer) -> None:
    logging_source = source(points=10_000)
    log = Log()
    cuts = 12

    async def cut() -> None:
        nonlocal cuts
        admin = await asyncpg.connect(**_address(pool))
        while cuts:
            cuts -= 1
            await admin.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() "
                "and pid <> pg_backend_pid()"
            )
            await asyncio.sleep(0.02 + random.random() * 0.15)
        await admin.close()

    cutting = asyncio.create_task(cut())
    at = 0
    async with asyncio.timeout(60):
        while at < 100 or cuts:
            batch = Fetched(
                log.partition, at, at + 1, [logging_source.event(at % 100 * 100, at % 100 * 100 + 100)]
            )
            try:
                await writer.store([batch])
                at += 1
            except FenceLost:
                # The commit had succeeded although its answer was lost.
                at = (await writer.load_offsets([log.partition]))[log.partition] or 0
    await cutting
    assert writer.counters.retries
    await assert_stored(pool, [logging_source])


def _address(pool: asyncpg.Pool) -> dict[str, Any]:
    return {"dsn": pool._connect_args[0] or pool._connect_kwargs["dsn"]}


async def test_two_thousand_tiny_events_in_one_commit(pool: asyncpg.Pool, writer: Writer) -> None:
    sources = [source(f"run-{i}", points=10, names=("a", "b", "c", "d", "e")) for i in range(2000)]
    log = Log()
    await writer.store([log.fetched(*(logging_source.event(0, 5) for logging_source in sources))])
    await writer.store([log.fetched(*(logging_source.event(5, 10) for logging_source in sources))])
    assert await pool.fetchval("select sum(points) from chunks") == 20_000
    for logging_source in sources[::400]:
        await assert_stored(pool, [logging_source])


@pytest.mark.parametrize("rows", [1, 1000])
async def test_summaries_keep_nan_and_infinity(pool: asyncpg.Pool, writer: Writer, rows: int) -> None:
    """`rows`: few go by unnest, many by the staging table."""
    names = [f"m{i}" for i in range(rows)]
    values = [float("nan"), 1e308, float("inf"), 1e308, -1.0, float("nan")]
    logging_source = LoggingSource("run")
    for value in values:
        for name in names:
            logging_source.log(name, value)
    log = Log()
    with np.errstate(all="ignore"):
        for i in range(len(values)):
            await writer.store([log.fetched(logging_source.event(i * rows, i * rows + rows))])
    summaries = await pool.fetch("select distinct count, finite, min, max, sum, first, last from summaries")
    assert len(summaries) == 1
    row = summaries[0]
    assert (row["count"], row["finite"], row["min"], row["max"]) == (6, 3, -1.0, float("inf"))
    assert row["sum"] == float("inf")
    assert np.isnan([row["first"], row["last"]]).all()


async def test_summaries_of_mixed_kinds(pool: asyncpg.Pool, writer: Writer) -> None:
    logging_source = LoggingSource("run")
    for value in [1, 2.5, "text \0 with a null", None, True]:
        logging_source.log("m", value)
    log = Log()
    await writer.store([log.fetched(logging_source.event(0, 3))])
    row = await pool.fetchrow("select * from summaries")
    assert (row["count"], row["first"], row["last"], row["last_text"]) == (
        3,
        1.0,
        None,
        "text \u2400 with a null",
    )
    await writer.store([log.fetched(logging_source.event(3, 5))])
    row = await pool.fetchrow("select * from summaries")
    assert (row["count"], row["first"], row["last"], row["last_text"]) == (5, 1.0, 1.0, None)
    assert (row["min"], row["max"]) == (1.0, 2.5)


async def test_a_name_with_a_null_character_is_stored(pool: asyncpg.Pool, writer: Writer) -> None:
    logging_source = LoggingSource("run")
    logging_source.log("a\0b", 1.0)
    await writer.store([Log().fetched(logging_source.event(0, 1))])
    assert await pool.fetchval("select name from series") == "a\u2400b"
    assert (await stored_points(pool, "run"))[logging_source.id][0][1] == "a\0b"


async def test_drops_are_counted_once(pool: asyncpg.Pool, writer: Writer) -> None:
    first_source, second_source = source(points=20), source(points=20)
    log = Log()
    await writer.store(
        [log.fetched(first_source.event(0, 10, dropped=7), second_source.event(0, 10, dropped=1))]
    )
    await writer.store(
        [log.fetched(first_source.event(10, 20, dropped=9), first_source.event(0, 10, dropped=7))]
    )
    await writer.store([log.fetched(first_source.event(20, 20, dropped=12))])
    assert await pool.fetchval("select dropped from runs") == 13


async def test_what_was_dropped_and_whose_child_a_run_is_do_not_hang_on_the_moment_after_a_commit(
    pool: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found where Postgres was killed right after a commit: 20 dropped points were told of, and never shown."""

    async def killed(self: Writer, plan: Any, created: list[int]) -> None:
        if lost_with_the_process:
            return
        self._created.update(created)  # as where the database is away

    monkeypatch.setattr(Writer, "_conclude", killed)
    for number, lost_with_the_process in enumerate((False, True)):
        child, parent = f"child-{number}", f"parent-{number}"
        logged, created = source(child, points=20), source(parent)
        log = Log(number)
        writer = Writer(pool, Settings())
        of_child = {"workspace": "default", "experiment": "e", "parent_run_id": parent}
        await writer.store(
            [
                log.fetched(
                    StatusEvent(child, source().id, 0, 1, [StatusOp(0, T0, "create", of_child)]),
                    logged.event(0, 10, dropped=7),
                )
            ]
        )
        of_parent = {"workspace": "default", "experiment": "e", "parent_run_id": "grandparent"}
        await writer.store(
            [log.fetched(StatusEvent(parent, created.id, 0, 1, [StatusOp(0, T0, "create", of_parent)]))]
        )
        assert await pool.fetchval("select dropped from runs where run_id = $1", child) == 7
        if lost_with_the_process:
            writer = Writer(pool, Settings())
        await writer.look_after_runs()
        assert await pool.fetchval("select root_run_id from runs where run_id = $1", child) == "grandparent"


@pytest.mark.attack
async def test_an_event_the_database_refuses_becomes_a_dead_letter(pool: asyncpg.Pool) -> None:
    letters: list[DeadLetter] = []

    async def reject(some: Any) -> None:
        letters.extend(some)

    writer = Writer(pool, Settings(), reject)
    good = [source(f"run-{i}", points=10) for i in range(9)]
    bad = source("r" * 100_000, points=10)  # longer than any index entry
    bad.run_id = "".join(random.choices("abcdefghijklmnopqrstuvwxyz", k=100_000))
    events = [logging_source.event(0, 10) for logging_source in [*good[:4], bad, *good[4:]]]
    log = Log()
    await writer.store([log.fetched(*events)])
    await assert_stored(pool, good)
    assert [letter.partition for letter in letters] == [log.partition]
    assert "ProgramLimitExceeded" in letters[0].reason
    assert await writer.load_offsets([log.partition]) == {log.partition: 10}


RULES = {
    "unique": "create unique index on chunks (points) where points = 13; insert into runs (run_id) values ('other');"
    "insert into chunks (run_key, source_key, first, count, points, payload) select key, 0, 0, 13, 13, '' from runs",
    "foreign key": "create table sizes (n int primary key); insert into sizes values (10);"
    "alter table chunks add foreign key (points) references sizes (n)",
    "exclusion": "alter table chunks add exclude (points with =) where (points = 13); "
    "insert into runs (run_id) values ('other');"
    "insert into chunks (run_key, source_key, first, count, points, payload) select key, 0, 0, 13, 13, '' from runs",
}


@pytest.mark.attack
@pytest.mark.parametrize("rule", RULES)
async def test_an_event_that_breaks_a_rule_for_good_becomes_a_dead_letter(
    pool: asyncpg.Pool, rule: str
) -> None:
    """A violation passes when another writer was quicker; one that stays is the event's, and stops no other event."""
    letters: list[DeadLetter] = []

    async def reject(some: Any) -> None:
        letters.extend(some)

    await pool.execute(RULES[rule])
    writer = Writer(pool, Settings(), reject)
    good, bad = [source(f"run-{i}", points=10) for i in range(3)], source("bad", points=13)
    log = Log()
    await writer.store([log.fetched(good[0].event(0, 10), bad.event(0, 13), good[1].event(0, 10))])
    await writer.store([log.fetched(good[2].event(0, 10))])
    for logging_source in good:
        assert await stored_points(pool, logging_source.run_id)
    (letter,) = letters
    assert letter.span is not None
    assert letter.span[0] == "bad"
    assert "Violation" in letter.reason
    assert await writer.load_offsets([log.partition]) == {log.partition: 4}


@pytest.mark.attack
async def test_details_nested_beyond_all_sense_stop_nobody(pool: asyncpg.Pool, writer: Writer) -> None:
    """As deep as an event can hold them: whatever goes down them by recursion would fail, here and at each reader."""
    packed = encode_event(
        StatusEvent("run", source().id, 0, 1, [StatusOp(0, T0, "create", {"x": "here", "y": {"z": [1]}})])
    )
    version, kind, _, body = msgpack.unpackb(packed)
    body = body.replace(b"\xa4here", b"\x91" * 1000 + b"\x90")
    event = decode_event(msgpack.packb([version, kind, zlib.crc32(body, zlib.crc32(kind.encode())), body]))
    good = source("good", points=10)
    await writer.store([Log().fetched(event, good.event(0, 10))])
    await assert_stored(pool, [good])
    (data,) = [row["data"] for row in await pool.fetch("select data from transitions")]
    assert json.loads(data)["y"] == {"z": [1]}
    assert data.count("[") == MOST_LEVELS
    assert writer.counters.dead_letters == 0


async def test_lost_offsets_are_recorded(pool: asyncpg.Pool, writer: Writer) -> None:
    log = Log(3)
    await writer.store([log.fetched(missing=Missing(0, 120, "retention"))])
    row = await pool.fetchrow("select * from gaps")
    assert (row["first"], row["next"], row["reason"], row["partition"], row["topic"]) == (
        0,
        120,
        "retention",
        3,
        "topic-id",
    )


async def test_listeners_hear_of_a_commit_and_never_of_a_lost_one(pool: asyncpg.Pool, writer: Writer) -> None:
    heard: asyncio.Queue[Any] = asyncio.Queue()
    connection = await asyncpg.connect(**_address(pool))
    await connection.add_listener("runstream", lambda *args: heard.put_nowait(json.loads(args[3])))
    logging_source = source(points=20)
    log = Log()
    await writer.store([log.fetched(logging_source.event(0, 10))])
    with pytest.raises(FenceLost):
        await writer.store([Fetched(log.partition, 0, 1, [logging_source.event(10, 20)])])
    await writer.store(
        [log.fetched(TagsEvent("run", logging_source.id, 0, 1, [TagOp(0, T0, "set", "k", "v")]))]
    )
    async with asyncio.timeout(5):
        assert await heard.get() == {"topic": "metrics", "runs": ["run"]}
        assert await heard.get() == {"topic": "tags", "runs": ["run"]}
    await connection.close()
