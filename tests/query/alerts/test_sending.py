"""What is raised reaches real receivers, once, or after a kill again; one that refuses or hangs costs the others nothing."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from runstream_query.alerts import log
from runstream_query.alerts.postman import Post
from runstream_query.alerts.raising import raise_test
from runstream_query.alerts.receivers import Receiver, parse_receivers, records
from runstream_query.alerts.role import LOCK, run_alerts
from runstream_query.alerts.rules import NewRule, put_rule
from runstream_query.alerts.sending import ATTEMPTS, Sender
from runstream_query.alerts.state import AlertsState
from runstream_schemas.database import connect
from runstream_schemas.errors import ServiceError

from .receiving import Mail, Web, listening, until

pytestmark = pytest.mark.attack

SECONDS, PAUSE = 20.0, 0.01


class World:
    """A database, receivers that listen, and their names."""

    def __init__(self, database: Any, web: Web, mail: Mail) -> None:
        self.database, self.web, self.mail = database, web, mail
        names = ("web", "refuses", "hangs")
        self.setting = " ".join([*(f"{name}={web.address(name)}" for name in names), f"mail={mail.address}"])
        self.receivers = parse_receivers(self.setting)
        self.counted = AlertsState()
        web.failing.add("refuses")
        web.hanging.add("hangs")

    @asynccontextmanager
    async def sender(self, seconds: float = SECONDS) -> AsyncIterator[Sender]:
        post = Post(seconds)
        sender = Sender(self.database.pool, self.receivers, post, PAUSE, self.counted)
        try:
            yield sender
        finally:
            await sender.stop()
            await post.close()

    async def rule(self, name: str, *receivers: str, wait: float = 300.0) -> None:
        rule = NewRule(name=name, kind="failed", receivers=receivers, wait_seconds=wait)
        async with self.database.pool.acquire() as connection:
            await put_rule(connection, "default", rule, self.receivers, "ada")

    async def fail(self, run_id: str) -> None:
        """A run that failed, and the word of it."""
        await self.database.add_run(run_id, status="Failed", end_time=datetime.now(UTC))
        notice = json.dumps({"topic": "status", "runs": [run_id]})
        await self.database.pool.execute("select pg_notify('runstream', $1)", notice)

    async def raised(self, rule: str, title: str, text: str = "t") -> int:
        """An alert of a rule for each of its receivers, as the evaluator raises it."""
        return int(
            await self.database.pool.fetchval(
                """with a as (insert into alerts (workspace, rule_id, rule, title, text, level)
                    select workspace, id, name, $2, $3, 'WARN' from alert_rules where name = $1 returning id, rule_id),
                s as (insert into alert_sends (alert_id, receiver)
                    select a.id, unnest(u.receivers) from a join alert_rules u on u.id = a.rule_id)
                select id from a""",
                rule,
                title,
                text,
            )
        )

    async def states(self) -> dict[tuple[int, str], str]:
        """What became of each alert at each receiver."""
        async with self.database.pool.acquire() as connection:
            read = await log.read_log(connection, None, None, None, 1000)
        return {
            (alert["id"], send["receiver"]): send["state"]
            for alert in read["alerts"]
            for send in alert["sends"]
        }

    async def settled(self) -> dict[tuple[int, str], str]:
        """The same, once nothing waits."""

        async def over() -> dict[tuple[int, str], str]:
            states = await self.states()
            return {} if {"waiting", "sending"} & {*states.values()} else states

        answer: dict[tuple[int, str], str] = await until(over, "that all was sent", 30)
        return answer


@pytest.fixture
async def world(database: Any) -> AsyncIterator[World]:
    web, mail = Web(), Mail()
    async with listening(web), listening(mail):
        yield World(database, web, mail)


async def test_mail_and_web_get_it_as_text(world: World) -> None:
    await world.rule("bad", "web", "mail")
    hostile = '<script>alert("x")</script> & *stars*\nsecond line'
    first = await world.raised("bad", "<b>title</b> of ünicode", hostile)
    long = await world.raised("bad", "long", "x" * 5000)
    async with world.sender() as sender:
        await sender.wake()
        assert {*(await world.settled()).values()} == {"sent"}
    assert [document["title"] for document in world.web.taken] == ["<b>title</b> of ünicode", "long"]
    assert world.web.taken[0]["message"] == f"{hostile}\n\nAlert {first} of the rule bad"
    assert world.web.taken[1]["message"] == f"{'x' * 5000}\n\nAlert {long} of the rule bad"
    assert {document["type"] for document in world.web.taken} == {"warning"}
    letter = world.mail.taken[0]
    assert (letter["subject"], letter["to"]) == ("<b>title</b> of ünicode", "ada@example.com")
    assert letter.get_content_type() == "text/plain"
    assert letter.get_content().replace("\r\n", "\n").startswith(hostile)


async def test_one_that_refuses_and_one_that_hangs_hold_up_no_other(world: World) -> None:
    await world.rule("bad", "refuses", "hangs", "web", wait=0.0)
    ids = [await world.raised("bad", f"title {n}") for n in range(2)]
    async with world.sender() as sender:
        await sender.wake()

        async def given_up() -> bool:
            return (await world.states())[ids[0], "refuses"] == "failed"

        await until(given_up, "that it gives up")
        states = await world.states()
        assert [states[alert, "web"] for alert in ids] == ["sent", "sent"]
        assert [states[alert, "hangs"] for alert in ids] == ["sending", "waiting"]
    attempts = world.counted.attempts
    assert (attempts["web", "sent"], attempts["refuses", "failed"]) == (2, 1)
    assert attempts["refuses", "refused"] >= ATTEMPTS - 1
    assert not {outcome for receiver, outcome in attempts if receiver == "hangs"}
    assert world.web.asked.count("refuses") >= ATTEMPTS
    async with world.database.pool.acquire() as connection:
        sends = (await log.read_log(connection, None, None, None, 2))["alerts"][1]["sends"]
    refused = next(send for send in sends if send["receiver"] == "refuses")
    assert (refused["attempts"], "500" in (refused["error"] or "")) == (ATTEMPTS, True)
    assert "127.0.0.1" not in (refused["error"] or "")


async def test_what_hangs_is_let_go_of_in_time_with_its_process(world: World) -> None:
    post = Post(1.0)
    try:
        assert await post.deliver(world.receivers["web"], "t", "t", "INFO") is None
        hanging = asyncio.create_task(post.deliver(world.receivers["hangs"], "t", "t", "INFO"))
        assert await hanging == "no answer within 1 s"
        assert await post.deliver(world.receivers["web"], "t", "t", "INFO") is None
    finally:
        await post.close()


async def test_within_the_wait_of_a_rule_the_same_title_is_held(world: World) -> None:
    await world.rule("bad", "web", wait=300.0)
    await world.rule("other", "web", wait=0.0)
    first, same, another = [await world.raised("bad", title) for title in ("a", "a", "b")]
    others = [await world.raised("other", "a") for _ in range(2)]
    async with world.sender() as sender:
        await sender.wake()
        states = await world.settled()
        assert [states[alert, "web"] for alert in (first, same, another, *others)] == [
            "sent", "held", "sent", "sent", "sent",
        ]  # fmt: skip
        await world.database.pool.execute(
            "update alert_sends set changed_at = changed_at - interval '301 seconds'"
        )
        later = await world.raised("bad", "a")
        await sender.wake()
        assert (await world.settled())[later, "web"] == "sent"


async def test_a_test_is_sent_and_names_that_are_gone_are_said(world: World) -> None:
    await world.rule("bad", "web")
    alert = await world.raised("bad", "a")
    async with world.database.pool.acquire() as connection:
        test = await raise_test(connection, "default", "mail", "ada")
    del world.receivers["web"]  # type: ignore[attr-defined]
    async with world.sender() as sender:
        await sender.wake()
        states = await world.settled()
    assert (states[alert, "web"], states[test, "mail"]) == ("failed", "sent")
    assert f"Alert {test}" in str(world.mail.taken[0])


def test_a_setting_that_names_no_receivers_is_refused_without_its_secrets() -> None:
    for setting in (
        "mailto://a:secret@b",
        "a=secret",
        "a b=json://secret",
        "=json://secret",
        "a=json://x a=json://secret",
    ):
        with pytest.raises(ServiceError, match="RUNSTREAM_ALERT_RECEIVERS: ") as refused:
            parse_receivers(setting)
        assert "secret" not in str(refused.value)
    receivers = parse_receivers("  a=json://user:secret@host b=slack://t/o/k/en  ")
    assert records(receivers) == [{"name": "a", "kind": "json"}, {"name": "b", "kind": "slack"}]
    assert "secret" not in repr(receivers)
    assert parse_receivers("") == {}


async def test_an_address_apprise_does_not_know_fails_with_a_word(world: World) -> None:
    post = Post(SECONDS)
    try:
        unknown = Receiver("x", "bogus", "bogus://secret")
        assert await post.deliver(unknown, "t", "t", "INFO") == (
            "its address is none that apprise knows; see RUNSTREAM_ALERT_RECEIVERS"
        )
        nobody = Receiver("x", "json", "json://user:secret@127.0.0.1:9/path-of-secrets")
        error = await post.deliver(nobody, "t", "t", "INFO")
        assert error
        assert "secret" not in error
    finally:
        await post.close()


PROCESS = """
import asyncio, sys
from runstream_query.alerts.role import run_alerts
from runstream_schemas.settings import Settings
asyncio.run(run_alerts(Settings.load(), asyncio.Event(), seconds=60.0))
"""


@asynccontextmanager
async def process_of(world: World) -> AsyncIterator[asyncio.subprocess.Process]:
    """The role in a process of its own, killed at the end."""
    variables = {
        "RUNSTREAM_DATABASE": world.database.settings.database,
        "RUNSTREAM_ALERT_RECEIVERS": world.setting,
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", PROCESS, env=os.environ | variables)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def test_a_kill_while_it_is_sent_sends_it_again_and_raises_it_once(world: World) -> None:
    await world.rule("bad", "hangs")
    async with process_of(world):
        await world.fail("f")
        await until(lambda: world.web.asked == ["hangs"], "that it is under way", 30)
        assert [*(await world.states()).values()] == ["sending"]
    world.web.hanging.clear()
    async with process_of(world):
        await until(lambda: world.web.taken, "that it is sent again", 30)
        assert [*(await world.settled()).values()] == ["sent"]
    assert len(world.web.taken) == 1
    assert world.web.taken[0]["message"].endswith(
        "Run: f (f)\nExperiment: e, workspace default\nAlert 1 of the rule bad"
    )


async def test_of_two_processes_one_has_the_lock_and_the_other_takes_over(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runstream_query.alerts.role.OTHERS_PAUSE", 0.1)
    await world.rule("bad", "web", wait=0.0)
    settings = world.database.settings.__class__(
        database=world.database.settings.database, alert_receivers=world.setting
    )
    stops = [asyncio.Event(), asyncio.Event()]
    roles = [asyncio.create_task(run_alerts(settings, stop)) for stop in stops]
    holders = "select count(*) from pg_locks where locktype = 'advisory' and objid = $1 and granted"
    connection = await connect(settings)
    try:
        for turn, run_id in enumerate(("f", "g")):

            async def held() -> bool:
                return bool(await connection.fetchval(holders, LOCK & 0xFFFFFFFF))

            await until(held, "the lock")
            await world.fail(run_id)
            await until(lambda turn=turn: len(world.web.taken) == turn + 1, "that it is sent", 30)
            first = await connection.fetchval(
                "select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and objid = $1",
                LOCK & 0xFFFFFFFF,
            )
            assert first
        assert len(await world.states()) == 2
    finally:
        await connection.close()
        for stop in stops:
            stop.set()
        await asyncio.gather(*roles)
