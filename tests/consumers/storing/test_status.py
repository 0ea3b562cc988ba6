"""A run's life through the writer, in any order of arrival."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import time
import uuid
from typing import Any

import asyncpg
import pytest
from tests.consumers.logged import T0, LoggingSource
from tests.schemas.lives import DIED

from runstream_consumers.sources.source import Fetched, Partition
from runstream_consumers.storing.writer import Writer
from runstream_consumers.uptime import LONGEST_STEP, Uptime
from runstream_schemas.settings import Settings
from runstream_schemas.wire.events import Event, StatusEvent, StatusOp, TagOp, TagsEvent

A, B = "a" * 32, "b" * 32


class Arriving:
    """Sends events to a writer, one commit each."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self.pool = pool
        self.writer = Writer(pool, Settings())
        self.partition = Partition("cluster", uuid.uuid4().hex, "runstream.status", 0)
        self.next = 0

    async def __call__(self, *events: Event, complete: bool = False) -> None:
        self.next += 1
        await self.writer.store(
            [Fetched(self.partition, self.next - 1, self.next, list(events), complete=complete)]
        )

    async def run(self, run_id: str = "run") -> Any:
        return await self.pool.fetchrow("select * from runs where run_id = $1", run_id)


@pytest.fixture
def arrive(pool: asyncpg.Pool) -> Arriving:
    return Arriving(pool)


def status(
    run_id: str, source: bytes, seq: int, kind: str, data: dict[str, Any] | None = None
) -> StatusEvent:
    return StatusEvent(run_id, source, seq, 1, [StatusOp(seq, T0 + seq * 1_000_000, kind, data or {})])


async def test_a_run_from_creation_to_end(arrive: Arriving) -> None:
    source = LoggingSource("run")
    create = {
        "workspace": "w", "experiment": "e", "name": "n", "display_name": "d", "type": "t", "target": "local",
        "tags": {"k": "v", "empty": None}, "properties": {"p": "q"}, "details": {"script": "train.py"},
    }  # fmt: skip
    await arrive(status("run", source.id, 0, "create", create), status("run", source.id, 1, "start"))
    run = await arrive.run()
    assert (run["status"], run["name"], run["display_name"], run["number"]) == ("Running", "n", "d", 1)
    assert (run["root_run_id"], run["parent_run_id"], run["end_time"]) == ("run", None, None)
    assert json.loads(run["details"]) == {"script": "train.py"}
    assert round(run["start_time"].timestamp() * 1e6) == T0 + 1_000_000
    assert dict(await arrive.pool.fetch("select key, value from tags")) == {"k": "v", "empty": None}
    assert dict(await arrive.pool.fetch("select key, value from properties")) == {"p": "q"}
    await arrive(status("run", source.id, 2, "complete"))
    run = await arrive.run()
    assert run["status"] == "Completed"
    assert run["settled_at"] is not None
    experiment = await arrive.pool.fetchrow("select * from experiments")
    assert (experiment["workspace"], experiment["name"], experiment["run_count"]) == ("w", "e", 1)


_COMPARED = (
    "status", "name", "display_name", "description", "start_time", "end_time", "created_at", "error", "warnings", "details",
    "parent_run_id", "last_seen",
)  # fmt: skip


async def test_any_order_of_arrival_gives_the_same_run(pool: asyncpg.Pool) -> None:
    source = LoggingSource("")
    ops = [
        ("create", {"experiment": "e", "display_name": "first", "tags": {"k": "created"}}),
        ("start", {}),
        ("heartbeat", {}),
        ("error", {"error": {"code": "E", "message": "m"}}),
        ("cancel", {}),
    ]
    seen = set()
    for number, order in enumerate(itertools.permutations(range(len(ops) + 2))):
        if number % 60:
            continue
        run_id, arrive = f"run-{number}", Arriving(pool)
        source = LoggingSource(run_id)
        events: list[Event] = [
            status(run_id, source.id, seq, kind, data) for seq, (kind, data) in enumerate(ops)
        ]
        events.append(
            TagsEvent(run_id, source.id, 0, 1, [TagOp(0, T0 + 500_000, "field", "display_name", "second")])
        )
        events.append(TagsEvent(run_id, source.id, 1, 1, [TagOp(1, T0 + 600_000, "set", "k", "set")]))
        for i in order:
            await arrive(events[i])
        run = await arrive.run(run_id)
        tags = await pool.fetch("select key, value from tags where run_key = $1", run["key"])
        seen.add((*(str(run[name]) for name in _COMPARED), str([tuple(t) for t in tags])))
        assert run["root_run_id"] == run_id
        assert run["display_name"] == "second"
        assert run["number"]
    assert len(seen) == 1


async def test_numbers_count_within_an_experiment(arrive: Arriving) -> None:
    sources = [LoggingSource(f"run-{i}") for i in range(6)]
    await arrive(
        *(status(s.run_id, s.id, 0, "create", {"experiment": "xy"[i % 2]}) for i, s in enumerate(sources))
    )
    late = LoggingSource("late")
    await arrive(status("late", late.id, 0, "create", {"experiment": "x"}))
    rows = await arrive.pool.fetch(
        "select e.name, r.number from runs r join experiments e on e.id = r.experiment_id"
    )
    assert sorted(tuple(r) for r in rows) == [
        ("x", 1),
        ("x", 2),
        ("x", 3),
        ("x", 4),
        ("y", 1),
        ("y", 2),
        ("y", 3),
    ]


@pytest.mark.parametrize("order", list(itertools.permutations(["root", "child", "grandchild"])))
async def test_a_family_finds_its_root_in_any_order(arrive: Arriving, order: tuple[str, ...]) -> None:
    parents = {"root": None, "child": "root", "grandchild": "child"}
    for run_id in order:
        await arrive(status(run_id, uuid.uuid4().bytes, 0, "create", {"parent_run_id": parents[run_id]}))
    roots = dict(await arrive.pool.fetch("select run_id, root_run_id from runs"))
    assert roots == {"root": "root", "child": "root", "grandchild": "root"}


@pytest.mark.parametrize("ending_first", [True, False])
async def test_a_run_is_settled_when_its_last_point_is_stored(arrive: Arriving, ending_first: bool) -> None:
    first_source, second_source = LoggingSource("run"), LoggingSource("run")
    for source in (first_source, second_source):
        for i in range(20):
            source.log("loss", float(i))
    ends = {"ends": {first_source.id.hex(): 20, second_source.id.hex(): 20}}
    ending = status("run", first_source.id, 0, "complete", ends)
    steps: list[list[Event]] = [
        [first_source.event(0, 20), second_source.event(0, 10)],
        [second_source.event(10, 20)],
    ]
    steps.insert(0 if ending_first else 2, [ending])
    for events in steps:
        assert (await arrive.run()) is None or (await arrive.run())["settled_at"] is None
        await arrive(*events)
    assert (await arrive.run())["settled_at"] is not None


@pytest.mark.parametrize("ending_first", [True, False])
async def test_a_run_is_not_settled_before_its_last_tag_is_stored(
    arrive: Arriving, ending_first: bool
) -> None:
    source = LoggingSource("run")
    source.log("loss", 1.0)
    ending = status(
        "run", source.id, 2, "complete", {"ends": {source.id.hex(): 1}, "tag_ends": {source.id.hex(): 2}}
    )
    tag = TagsEvent("run", source.id, 0, 2, [TagOp(1, 5, "set", "latest", "100")])
    for event in (source.event(0, 1), *((ending, tag) if ending_first else (tag, ending))):
        assert (await arrive.run()) is None or (await arrive.run())["settled_at"] is None
        await arrive(event)
    assert (await arrive.run())["settled_at"] is not None


async def test_a_run_waits_for_the_points_of_a_source_that_left_before_its_end(arrive: Arriving) -> None:
    worker, owner = LoggingSource("run"), LoggingSource("run")
    worker.log("loss", 1.0)
    await arrive(
        status("run", worker.id, 5, "source_done", {"ends": {worker.id.hex(): 1}}),
        status("run", owner.id, 0, "complete", {"ends": {owner.id.hex(): 0}}),
    )
    assert (await arrive.run())["settled_at"] is None
    await arrive(worker.event(0, 1))
    assert (await arrive.run())["settled_at"] is not None


async def test_two_writers_settle_a_run_between_them(pool: asyncpg.Pool) -> None:
    """The ending and the last points are committed at the same time, by writers that do not see one another."""
    for i in range(30):
        source = LoggingSource(f"run-{i}")
        source.log("loss", 1.0)
        ending = status(source.run_id, source.id, 0, "complete", {"ends": {source.id.hex(): 1}})
        await asyncio.gather(Arriving(pool)(source.event(0, 1)), Arriving(pool)(ending))
    assert await pool.fetchval("select count(*) from runs where settled_at is null") == 0


async def _gaps(arrive: Arriving) -> list[tuple[str, str, int, int]]:
    rows = await arrive.pool.fetch("select reason, topic, first, next from gaps order by topic, first")
    return [tuple(row) for row in rows]


async def test_a_tail_that_will_never_come_is_a_gap_and_the_run_settles(arrive: Arriving) -> None:
    """In a log where everything came before the end that counts it, as a spool: what is missing then is lost."""
    source = LoggingSource("run")
    for i in range(100):
        source.log("loss", float(i))
    counted = {"ends": {source.id.hex(): 100}, "tag_ends": {source.id.hex(): 7}}
    ending = status("run", source.id, 0, "complete", counted)
    await arrive(source.event(0, 40), source.event(50, 60), ending, complete=True)
    assert (await arrive.run())["settled_at"] is not None
    assert await _gaps(arrive) == [
        ("sequence", "metrics", 40, 50),
        ("undelivered", "metrics", 60, 100),
        ("undelivered", "tags", 0, 7),
    ]
    # Some of it was sent twice, and comes after all.
    await arrive(source.event(60, 80))
    await arrive.writer.look_after_runs()
    assert ("undelivered", "metrics", 80, 100) in await _gaps(arrive)
    await arrive(source.event(40, 50), source.event(80, 100), TagsEvent("run", source.id, 0, 7, []))
    await arrive.writer.look_after_runs()
    assert await _gaps(arrive) == []
    assert await arrive.pool.fetchval("select sum(points) from chunks") == 100
    # The run continues, and ends once more.
    again = status("run", source.id, 2, "complete", {"ends": {source.id.hex(): 120}})
    await arrive(status("run", source.id, 1, "start"), again)
    assert (await arrive.run())["settled_at"] is None


async def test_what_may_still_come_is_waited_for(arrive: Arriving) -> None:
    """Ends of runs come by a topic of their own: what they count is given up when its partitions are stored that far."""
    source = LoggingSource("run")
    for i in range(100):
        source.log("loss", float(i))
    metrics = Partition("cluster", "topic", "runstream.metrics", 0)
    ends = {metrics: 3}

    async def horizon() -> dict[Partition, int]:
        return dict(ends)

    async def settled() -> bool:
        for _ in range(2):
            await arrive.writer.look_after_runs(horizon)
        return (await arrive.run())["settled_at"] is not None

    await arrive(status("run", source.id, 0, "complete", {"ends": {source.id.hex(): 100}}))
    assert not await settled()
    await arrive.writer.store([Fetched(metrics, 0, 2, [source.event(0, 60)])])
    assert not await settled(), "the partition is stored up to 2 of 3"
    del ends[metrics]
    assert not await settled(), "the topic is not there now: nobody knows"
    ends[metrics] = 3
    await arrive.writer.store([Fetched(metrics, 2, 3, [])])
    assert await settled()
    assert await _gaps(arrive) == [("undelivered", "metrics", 60, 100)]


@pytest.mark.parametrize("present", [{("topic", 0): 1}, {("made again", 0): 0}])
async def test_what_a_topic_lost_is_given_up(arrive: Arriving, present: dict[tuple[str, int], int]) -> None:
    source = LoggingSource("run")
    source.log("loss", 1.0)
    ends = {Partition("cluster", "topic", "runstream.metrics", 0): 3}

    async def horizon() -> dict[Partition, int]:
        return dict(ends)

    await arrive(status("run", source.id, 0, "complete", {"ends": {source.id.hex(): 1}}))
    await arrive.writer.store([Fetched(Partition("cluster", "topic", "runstream.metrics", 0), 0, 1, [])])
    for _ in range(2):
        await arrive.writer.look_after_runs(horizon)
    assert (await arrive.run())["settled_at"] is None
    ends = {Partition("cluster", topic, "runstream.metrics", n): end for (topic, n), end in present.items()}
    await arrive.writer.look_after_runs(horizon)
    assert (await arrive.run())["settled_at"] is not None
    assert await _gaps(arrive) == [("undelivered", "metrics", 0, 1)]


async def test_late_points_do_not_unsettle_but_a_new_start_does(arrive: Arriving) -> None:
    source = LoggingSource("run")
    source.log("loss", 1.0)
    ending = status("run", source.id, 1, "complete", {"ends": {source.id.hex(): 0}})
    await arrive(status("run", source.id, 0, "start"), ending)
    assert (await arrive.run())["settled_at"] is not None
    await arrive(source.event(0, 1))
    assert (await arrive.run())["settled_at"] is not None
    await arrive(status("run", source.id, 2, "start"))
    run = await arrive.run()
    assert (run["status"], run["settled_at"], run["end_time"]) == ("Running", None, None)


async def test_a_heartbeat_answers_a_presumed_failure(arrive: Arriving) -> None:
    source, agent = LoggingSource("run"), uuid.uuid4().bytes
    await arrive(status("run", source.id, 0, "create"), status("run", source.id, 1, "start"))
    await arrive(status("run", agent, 2, "fail", DIED))
    run = await arrive.run()
    assert (run["status"], json.loads(run["error"])["code"]) == ("Failed", "ProcessDied")
    await arrive(status("run", agent, 5, "heartbeat"))
    run = await arrive.run()
    assert (run["status"], run["error"], run["end_time"]) == ("Running", None, None)


@pytest.mark.parametrize("clock", [-1_000_000_000, 0, 1_000_000_000])
async def test_a_silent_run_does_not_respond_until_it_does(arrive: Arriving, clock: int) -> None:
    """Told by the database's uptime: what the clock of the node says, or the server's, decides nothing."""
    source = LoggingSource("run")

    def step(seq: int, kind: str) -> StatusEvent:
        at = time.time_ns() // 1000 + clock * 1_000_000 + seq
        return StatusEvent("run", source.id, seq, 1, [StatusOp(seq, at, kind, {})])

    await arrive(step(0, "create"), step(1, "start"))
    await arrive.pool.execute("update uptime set seconds = seconds + 119")
    await arrive.writer.look_after_runs()
    assert (await arrive.run())["status"] == "Running"
    await arrive.pool.execute("update uptime set seconds = seconds + 2")
    await arrive.writer.look_after_runs()
    assert (await arrive.run())["status"] == "NotResponding"
    await arrive(step(2, "heartbeat"))
    await arrive.writer.look_after_runs()
    assert (await arrive.run())["status"] == "Running"


async def test_the_database_s_clock_is_moved_on_by_one_of_many_and_never_faster_than_time(
    pool: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    clocks = [Uptime() for _ in range(3)]
    began = now
    for pause in (0.0, 0.4, 0.4, 0.4, 5.0, 0.2, 0.2, 1.0, 100.0, 3.0):
        now += pause
        for clock in clocks:
            await clock.tick(pool)
        assert await pool.fetchval("select uptime()") <= now - began
    # All but what is too short to be told, or longer than the longest step.
    assert await pool.fetchval("select uptime()") == 1 + 5 + 1 + LONGEST_STEP + 3


async def test_tags_and_properties(arrive: Arriving) -> None:
    lower, higher = sorted([uuid.uuid4().bytes, uuid.uuid4().bytes])

    def tags(source: bytes, seq: int, time: int, *ops: tuple[str, str, str | None]) -> TagsEvent:
        return TagsEvent(
            "run", source, seq, len(ops), [TagOp(seq + i, T0 + time, *op) for i, op in enumerate(ops)]
        )  # type: ignore[arg-type]

    events = [
        tags(
            lower,
            0,
            10,
            ("set", "a", "1"),
            ("set", "b", "1"),
            ("property", "p", "first"),
            ("set", "nul\0", "\0"),
        ),
        tags(higher, 0, 10, ("set", "a", "2"), ("remove", "b", None), ("property", "p", "second")),
        tags(lower, 4, 30, ("set", "c", "3"), ("remove", "c", None), ("remove", "d", None)),
        tags(higher, 3, 20, ("set", "c", "2"), ("set", "d", "2"), ("set", "e", None)),
    ]
    for order in itertools.permutations(events):
        await arrive.pool.execute("truncate runs, sources, tags, properties, transitions cascade")
        arrive.writer = Writer(arrive.pool, Settings())
        for event in order:
            await arrive(event)
        shown = dict(await arrive.pool.fetch("select key, value from tags where not removed"))
        assert shown == {"a": "2", "e": None, "nul\u2400": "\u2400"}
        assert dict(await arrive.pool.fetch("select key, value from properties")) == {"p": "first"}


async def test_a_long_value_is_a_value(arrive: Arriving) -> None:
    """Longer than an entry of an index may be, and no compression helps."""
    text = "".join(random.Random(1).choices("abcdefghijklmnopqrstuvwxyz0123456789", k=1 << 20))
    ops = [TagOp(0, T0, "set", "k" * 1024, text), TagOp(1, T0, "property", "k" * 1024, text)]
    await arrive(TagsEvent("run", uuid.uuid4().bytes, 0, 2, ops))
    assert await arrive.pool.fetchval("select value from tags") == text
    assert await arrive.pool.fetchval("select value from properties") == text


async def test_strange_data_is_stored(arrive: Arriving) -> None:
    source = LoggingSource("run")
    data = {"details": {"nan": float("nan"), "nul": "a\0b", "bytes": b"x", "deep": [{"inf": float("inf")}]}}
    await arrive(
        status("run", source.id, 0, "create", data), status("run", source.id, 1, "unheard_of", {"x": "\0"})
    )
    assert json.loads((await arrive.run())["details"])["nul"] == "a\u2400b"
