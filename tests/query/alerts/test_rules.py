"""Rules held against runs: each tells what its kind is about, once, and of no run that is not its own."""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from runstream_consumers.compaction.packing import pack_runs
from runstream_query.alerts import log
from runstream_query.alerts.evaluator import Evaluator, Notified, changes_of
from runstream_query.alerts.receivers import Receiver
from runstream_query.alerts.rules import NewRule, list_rules, put_rule, remove_rule
from runstream_query.not_there import NotThere
from runstream_schemas.database import connect
from runstream_schemas.errors import LimitExceeded, QueryError

RECEIVERS = {"mail": Receiver("mail", "mailto", "mailto://a:b@example.com")}
MUCH_LATER = datetime.now(UTC) + timedelta(days=1)


class World:
    """A database with rules and runs, and who holds them against each other."""

    def __init__(self, database: Any, connection: Any) -> None:
        self.database, self.connection = database, connection
        self.evaluator = Evaluator(connection)

    async def rule(self, name: str, kind: str, workspace: str = "default", **more: Any) -> None:
        rule = NewRule(name=name, kind=kind, receivers=("mail",), **more)  # type: ignore[arg-type]
        await put_rule(self.connection, workspace, rule, RECEIVERS, "ada")
        await self.evaluator.renew()

    async def step(self, key: int, data: dict[str, Any], seq: int = 0, time: datetime = MUCH_LATER) -> None:
        await self.database.pool.execute(
            "insert into transitions (run_key, topic, source, seq, time_us, kind, data) values ($1, 'status', $2, $3, $4, "
            "'alert', $5)",
            key,
            uuid.UUID(int=7),
            seq,
            int(time.timestamp() * 1_000_000),
            json.dumps(data),
        )

    async def told(self, *run_ids: str, workspace: str | None = None) -> list[tuple[str, str]]:
        """Titles and texts in the log, oldest first, after a look at these runs (none named: at any)."""
        await self.evaluator.look(Notified(set(run_ids) if run_ids else None))
        alerts = (await log.read_log(self.connection, workspace, None, None, 1000))["alerts"]
        return [(alert["title"], alert["text"]) for alert in reversed(alerts)]


@pytest.fixture
async def world(database: Any) -> AsyncIterator[World]:
    connection = await connect(database.settings)
    try:
        yield World(database, connection)
    finally:
        await connection.close()


async def live(world: World, run_id: str, **columns: Any) -> int:
    key: int = await world.database.add_run(
        run_id, **{"status": "Running", "start_time": datetime.now(UTC), **columns}
    )
    return key


# --- kinds -----------------------------------------------------------------------------------------------------------


COMPARED: list[tuple[str, float | None, float | None, bool]] = [
    (">", 0.0, 10.0, False),
    (">", 0.0, 10.5, True),
    (">=", 0.0, 10.0, True),
    ("<", 10.0, 99.0, False),
    ("<", 9.0, 99.0, True),
    ("<=", 10.0, 99.0, True),
    (">", -math.inf, math.inf, True),
    (">", None, None, False),
]


async def test_a_metric_is_compared_by_the_extreme_it_had(world: World) -> None:
    """Not by its last value: what it had between two looks counts."""
    for number, (comparison, low, high, _) in enumerate(COMPARED):
        compared = {"metric": "loss", "comparison": comparison, "threshold": 10.0}
        await world.rule(f"rule {number}", "metric", experiment=f"e{number}", **compared)
        key = await live(world, f"r{number}", experiment=f"e{number}")
        await world.database.add_summary(key, "loss", min=low, max=high, last=10.0, last_step=7)
    told = await world.told()
    assert {title.partition(":")[0] for title, _ in told} == {
        f"rule {number}" for number, (*_, tells) in enumerate(COMPARED) if tells
    }
    assert told[0] == ("rule 1: loss > 10", "loss reached 10.5; its last value is 10, at step 7.")


async def test_a_packed_run_is_compared_too(world: World) -> None:
    await world.rule("low", "metric", metric="acc", comparison="<", threshold=0.5)
    key = await world.database.add_run("r", settled_at=datetime.now(UTC), end_time=MUCH_LATER)
    for name in ("other", "acc"):
        await world.database.add_summary(
            key, name, first=0.1, last=0.2, min=0.1, max=0.9, sum=1.0, first_time=0, last_step=3
        )
    assert await pack_runs(world.database.pool) == 1
    assert await world.database.pool.fetchval("select count(*) from packed_summaries") == 1
    assert [title for title, _ in await world.told("r")] == ["low: acc < 0.5"]


async def test_a_value_that_is_not_finite_is_told(world: World) -> None:
    await world.rule("of loss", "nan", metric="loss")
    await world.rule("of any", "nan")
    key = await live(world, "r")
    await world.database.add_summary(key, "text", kind=3, count=5, finite=0)
    await world.database.add_summary(key, "fine", count=5, finite=5, last_step=4)
    assert await world.told("r") == []
    await world.database.add_summary(key, "loss", count=5, finite=3, last_step=4)
    text = "2 of 5 values of loss are NaN, infinite or no numbers; its last step is 4."
    assert sorted(await world.told("r")) == [
        ("of any: loss is not finite", text),
        ("of loss: loss is not finite", text),
    ]


async def test_a_run_that_failed_and_one_that_ended(world: World) -> None:
    await world.rule("bad", "failed")
    await world.rule("over", "ended")
    now = datetime.now(UTC) + timedelta(hours=1)
    error = json.dumps({"code": "UserError", "message": "out of memory"})
    await world.database.add_run("f", status="Failed", error=error, end_time=now)
    await world.database.add_run("c", start_time=now - timedelta(seconds=3723), end_time=now)
    await live(world, "r")
    assert sorted(await world.told("f", "c", "r")) == [
        ("bad: run failed", "UserError: out of memory"),
        ("over: run ended", "Completed after 1:02:03."),
        ("over: run ended", "Failed."),
    ]


async def test_alerts_that_a_run_gives_are_passed_on_from_a_level_on(world: World) -> None:
    await world.rule("warned", "alert", level="WARN")
    key = await live(world, "r")
    for seq, level in enumerate(["INFO", "WARN", "ERROR", "FATAL", 7, None]):
        await world.step(key, {"title": f"t{seq}", "text": "x", "level": level}, seq)
    await world.step(key, {"title": "before the rule", "level": "ERROR"}, 9, datetime(2020, 1, 1, tzinfo=UTC))
    assert await world.told("r") == [("t1", "x"), ("t2", "x")]
    assert await world.told("r") == [("t1", "x"), ("t2", "x")]
    shown = await log.alerts_of_run(world.connection, "r")
    assert [(alert["title"], alert["level"], len(alert["sends"])) for alert in shown] == [
        ("t5", "INFO", 0), ("t4", "INFO", 0), ("t3", "INFO", 0), ("t2", "ERROR", 1), ("t1", "WARN", 1), ("t0", "INFO", 0),
        ("before the rule", "ERROR", 0),
    ]  # fmt: skip


async def test_hostile_alerts_are_bounded_and_shown_as_text(world: World) -> None:
    await world.rule("any", "alert")
    key = await live(world, "r")
    texts = ["<b>&amp;</b>", "a\r\nBcc: eve@example.com", "\x1b[31mred\x07", "x" * (1 << 20), "", "\u2028"]
    for seq, text in enumerate(texts):
        await world.step(key, {"title": text, "text": text, "level": "INFO"}, seq)
    await world.step(key, {"title": {"no": "text"}, "text": 7}, 99)
    told = await world.told("r")
    assert [title[:40] for title, _ in told] == [
        "<b>&amp;</b>", "a Bcc: eve@example.com", "[31mred", "x" * 40, "(no title)", "(no title)", "(no title)",
    ]  # fmt: skip
    assert [text[:40] for _, text in told] == [
        "<b>&amp;</b>", "a\nBcc: eve@example.com", "\ufffd[31mred\ufffd", "x" * 40, "", "\u2028", "",
    ]  # fmt: skip
    assert [max(map(len, column)) for column in zip(*told, strict=True)] == [250, 5000]


async def test_silence_is_told_after_its_span_and_not_of_what_machines_report(world: World) -> None:
    await world.rule("quiet", "silent", seconds=60.0)
    key = await live(world, "r")
    await world.database.source_key(key, b"s" * 16, next=10)
    system = await world.database.pool.fetchval(
        "insert into series (cls, name, \"column\") values (9, 'cpu', 'node') returning id"
    )
    machine = await world.database.source_key(key, b"m" * 16, ordinal=1, next=1)
    await world.database.pool.execute(
        "insert into live_summaries (run_key, series_id, kind, count, finite, last_time) values ($1, $2, 0, 0, 0, 0)",
        key,
        system,
    )

    async def at(now: float, points: int, samples: int) -> list[tuple[str, str]]:
        await world.database.pool.execute(
            "update sources set next = $1 where run_key = $2 and ordinal = 0", points, key
        )
        await world.database.pool.execute("update sources set next = $1 where key = $2", 1 + samples, machine)
        await world.database.pool.execute(
            "update live_summaries set count = $1 where series_id = $2", samples, system
        )
        await world.evaluator.listen(now)
        return await world.told("r")

    assert await at(1000.0, 10, 0) == []
    assert await at(1050.0, 11, 1) == []
    assert await at(1109.0, 11, 5) == []
    assert await at(1110.0, 11, 9) == [
        ("quiet: no new point of any metric for 60 s", "The run has not ended.")
    ]
    assert len(await at(5000.0, 11, 9)) == 1
    assert world.evaluator.pause == 15.0


async def test_silence_of_one_metric_and_none_of_what_has_not_begun_or_is_over(world: World) -> None:
    await world.rule("quiet", "silent", metric="loss", seconds=60.0)
    key = await live(world, "r")
    await world.database.add_summary(key, "loss", count=3)
    await live(world, "queued", start_time=None, status="Queued")
    await world.database.add_run("over", end_time=MUCH_LATER)
    await world.evaluator.listen(0.0)
    await world.evaluator.listen(61.0)
    assert await world.told() == [("quiet: no new point of loss for 60 s", "3 points of it are stored.")]


# --- of which runs ---------------------------------------------------------------------------------------------------


async def test_a_rule_tells_once_of_a_run_however_often_it_is_looked_at(world: World) -> None:
    await world.rule("bad", "failed")
    await world.database.add_run("f", status="Failed", end_time=MUCH_LATER)
    for _ in range(3):
        assert len(await world.told("f")) == 1
    assert len(await world.told()) == 1
    other = Evaluator(world.connection)
    await other.begin()
    await other.sweep()
    assert (other.raised, len(await world.told())) == (0, 1)


async def test_another_condition_is_another_rule_and_other_receivers_are_not(world: World) -> None:
    compared = {"metric": "loss", "comparison": ">"}
    await world.rule("high", "metric", **compared, threshold=1.0)
    await world.database.add_summary(await live(world, "r"), "loss", min=0.0, max=99.0)
    assert len(await world.told("r")) == 1
    await world.rule("high", "metric", **compared, threshold=1.0, wait_seconds=5.0)
    assert len(await world.told("r")) == 1
    await world.rule("high", "metric", **compared, threshold=10.0)
    assert [title for title, _ in await world.told("r")] == ["high: loss > 1", "high: loss > 10"]


async def test_a_rule_of_one_workspace_or_experiment_tells_of_no_other(world: World) -> None:
    await world.rule("elsewhere", "failed", workspace="other")
    await world.rule("of e2", "failed", experiment="e2")
    for experiment in ("e", "e2"):
        await world.database.add_run(experiment, experiment, status="Failed", end_time=MUCH_LATER)
    assert [title for title, _ in await world.told("e", "e2")] == ["of e2: run failed"]
    assert await world.told(workspace="other") == []


async def test_what_had_ended_before_the_rule_is_not_told_and_what_lives_is(world: World) -> None:
    past = datetime.now(UTC) - timedelta(seconds=1)
    await world.database.add_run("f", status="Failed", end_time=past)
    await world.database.add_summary(await live(world, "r"), "loss", min=0.0, max=99.0)
    await world.rule("bad", "failed")
    await world.rule("high", "metric", metric="loss", comparison=">", threshold=1.0)
    assert [title for title, _ in await world.told("f")] == ["high: loss > 1"]


async def test_a_rule_that_is_off_tells_nothing_and_of_what_ended_meanwhile_never(world: World) -> None:
    await world.rule("bad", "failed", enabled=False)
    await world.database.add_run("f", status="Failed", end_time=datetime.now(UTC))
    assert await world.told("f") == []
    await world.rule("bad", "failed")
    assert await world.told("f") == []


# --- which runs are looked at ----------------------------------------------------------------------------------------


async def test_a_notification_that_names_no_run_stands_for_open_and_new_ones(world: World) -> None:
    await world.rule("bad", "failed")
    key = await live(world, "old")
    assert await world.told("old") == []
    await world.database.add_run("new", status="Failed", end_time=MUCH_LATER)
    await world.database.pool.execute(
        "update runs set status = 'Failed', end_time = $2 where key = $1", key, MUCH_LATER
    )
    assert len(await world.told()) == 2


async def test_a_restart_looks_at_what_changed_meanwhile(world: World) -> None:
    await world.rule("bad", "failed")
    settled = {"settled_at": datetime.now(UTC), "end_time": datetime.now(UTC)}
    await world.database.add_run("whole", **settled)
    key = await live(world, "r")
    await world.database.add_run("whole too", **settled)
    await world.evaluator.sweep()
    await world.database.pool.execute(
        "update runs set status = 'Failed', end_time = $2 where key = $1", key, MUCH_LATER
    )
    assert await world.database.pool.fetchval("select next_key from alert_cursor") == key
    restarted = Evaluator(world.connection)
    await restarted.begin()
    assert restarted.raised == 1
    await restarted.sweep()
    await restarted.sweep()
    assert (
        await world.database.pool.fetchval("select next_key from alert_cursor") == key
    )  # it is not settled yet


async def test_without_rules_nothing_is_looked_at(world: World) -> None:
    await world.evaluator.begin()
    await world.database.add_run("f", status="Failed", end_time=MUCH_LATER)
    assert (world.evaluator.idle, world.evaluator.pause) == (True, None)


def test_notifications_are_put_together() -> None:
    def notice(topic: str, runs: list[str] | None) -> str:
        return json.dumps({"topic": topic, "runs": runs})

    assert changes_of([notice("metrics", ["a"]), notice("status", ["b", "a"])]) == Notified({"a", "b"})
    assert changes_of([notice("metrics", None), notice("status", ["b"])]) == Notified(None)
    assert changes_of([notice("alerts", []), "{}"]) == Notified(set(), rules=True)
    assert changes_of(None) == Notified(None, rules=True)


# --- keeping rules ---------------------------------------------------------------------------------------------------


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"kind": "metric"}, "metric: a rule of kind metric needs it"),
    ({"kind": "metric", "metric": "m", "comparison": ">"}, "threshold: a rule of kind metric needs it"),
    ({"kind": "metric", "metric": "m", "comparison": ">", "threshold": math.nan}, "a finite number"),
    ({"kind": "failed", "metric": "m"}, "metric: a rule of kind failed takes none"),
    ({"kind": "silent"}, "seconds: a rule of kind silent needs it"),
    ({"kind": "silent", "seconds": 1.0}, "seconds: expected 5 to 2.592e"),
    ({"kind": "failed", "wait_seconds": -1.0}, "wait_seconds: expected 0 to"),
    ({"kind": "failed", "wait_seconds": math.nan}, "wait_seconds: expected 0 to"),
    ({"kind": "failed", "receivers": ("bob",)}, "receiver 'bob': this server knows mail"),
    ({"kind": "failed", "experiment": "a\0"}, "experiment: the character NUL"),
    ({"kind": "failed", "name": ""}, "name of the rule is empty"),
]


async def test_what_is_no_rule_is_refused_with_the_field(world: World) -> None:
    for fields, says in REFUSED:
        with pytest.raises((QueryError, LimitExceeded), match=says):
            await put_rule(world.connection, "default", NewRule(**{"name": "r", **fields}), RECEIVERS, "ada")
    assert await list_rules(world.connection, None) == []


async def test_a_rule_that_is_removed_leaves_its_log_and_takes_back_what_waits(world: World) -> None:
    await world.rule("bad", "failed")
    await world.database.add_run("f", status="Failed", end_time=MUCH_LATER)
    assert len(await world.told("f")) == 1
    await remove_rule(world.connection, "default", "bad")
    (alert,) = (await log.read_log(world.connection, "default", "bad", None, 10))["alerts"]
    assert [(send["state"], send["error"]) for send in alert["sends"]] == [("held", "its rule was removed")]
    with pytest.raises(NotThere, match="has no alert rule 'bad'; list the rules"):
        await remove_rule(world.connection, "default", "bad")


async def test_the_log_is_read_in_pages(world: World) -> None:
    await world.rule("bad", "failed")
    names = [f"r{n}" for n in range(5)]
    for name in names:
        await world.database.add_run(name, status="Failed", end_time=MUCH_LATER)
    await world.told(*names)
    read, before = [], None
    while True:
        page = await log.read_log(world.connection, "default", None, before, 2)
        read += [alert["run_id"] for alert in page["alerts"]]
        if (before := page["next"]) is None:
            break
    assert sorted(name or "" for name in read) == names
