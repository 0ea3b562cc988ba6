"""Dead letters are read back as they were kept, and what is an event can be stored once its reason is mended."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import asyncpg
import pytest
from tests.consumers.logged import LoggingSource, assert_stored, stored_points
from tests.consumers.storing.conftest import until_stored

from runstream_consumers.sources.dead_letters import DirectoryDeadLetters, TopicDeadLetters
from runstream_consumers.sources.kept_letters import letters_in, letters_of_topic
from runstream_consumers.sources.source import DeadLetter, Fetched, Partition
from runstream_consumers.storing.again import publish_again, store_again
from runstream_consumers.storing.consumer import run_consumer
from runstream_consumers.storing.writer import Writer
from runstream_schemas.errors import EventError, ServiceError
from runstream_schemas.settings import Settings
from runstream_schemas.wire.events import encode_event

PARTITION = Partition("cluster", "topic-id", "runstream.metrics", 0)
RULE = "alter table chunks add constraint no_thirteen check (points <> 13)"


def logged(run_id: str, points: int) -> LoggingSource:
    source = LoggingSource(run_id)
    for i in range(points):
        source.log("loss", float(i))
    return source


async def test_what_was_refused_is_stored_once_its_reason_is_gone(pool: asyncpg.Pool, tmp_path: Path) -> None:
    await pool.execute(RULE)
    source = logged("run", 20)
    letters = DirectoryDeadLetters(tmp_path / "dead-letters")
    writer = Writer(pool, Settings(), letters.publish)
    await writer.store([Fetched(PARTITION, 0, 2, [source.event(0, 13), source.event(13, 20)])])
    (letter,) = letters_in(tmp_path / "dead-letters")
    assert (letter.run_id, letter.origin) == ("run", "runstream.metrics-0 at offset 0")
    assert "no_thirteen" in letter.reason
    assert letter.value == encode_event(source.event(0, 13))

    assert "no_thirteen" in await store_again(pool, Settings(), letter.event())
    await pool.execute("alter table chunks drop constraint no_thirteen")
    assert await store_again(pool, Settings(), letter.event()) == ""
    await assert_stored(pool, [source])
    assert await pool.fetchval("select count(*) from gaps") == 0, "what was missing is there"
    assert await store_again(pool, Settings(), letter.event()) == "", "again: nothing twice"
    await assert_stored(pool, [source])


async def test_two_may_send_again_at_the_same_time(pool: asyncpg.Pool) -> None:
    sources = [logged(f"run-{i}", 5) for i in range(6)]
    done = await asyncio.gather(*(store_again(pool, Settings(), each.event(0, 5)) for each in sources))
    assert done == [""] * 6
    await assert_stored(pool, sources)


def keep(directory: Path, letters: Sequence[DeadLetter]) -> None:
    asyncio.run(DirectoryDeadLetters(directory).publish(letters))


def test_letters_that_hold_no_event_say_so(tmp_path: Path) -> None:
    assert list(letters_in(tmp_path / "none")) == []
    whole = encode_event(logged("run", 5).event(0, 5))
    keep(tmp_path, [DeadLetter(PARTITION, 7, "CorruptEvent: cut", b"r\xff", whole[:-3])])
    (tmp_path / "torn.msgpack").write_bytes(b"\xde")
    (tmp_path / "a-list.msgpack").write_bytes(b"\x91\x01")
    by_id = {letter.id: letter for letter in letters_in(tmp_path)}
    cut = by_id.pop("cluster-runstream.metrics-0-7-0")
    assert cut.run_id == "r\\xff"
    with pytest.raises(EventError, match=r"no event that can be sent .* --save FILE"):
        cut.event()
    assert set(by_id) == {"torn", "a-list"}
    for letter in by_id.values():
        assert "the file is damaged" in letter.reason
        with pytest.raises(EventError, match="no event"):
            letter.event()


@pytest.mark.kafka
async def test_the_topic_of_dead_letters_is_read_and_sent_again(
    settings: Settings, pool: asyncpg.Pool
) -> None:
    source = logged("run", 10)
    letters = TopicDeadLetters(settings)
    event = encode_event(source.event(0, 10))
    await letters.publish([
        DeadLetter(PARTITION, 3, "CheckViolationError: no", b"run", event),
        DeadLetter(PARTITION, 4, "CorruptEvent: noise", None, b"noise"),
        DeadLetter(PARTITION, 5, "CorruptEvent: large", b"run", bytes(9 << 20)),
    ])  # fmt: skip
    await letters.stop()
    kept = {letter.origin.rpartition(" ")[2]: letter async for letter in letters_of_topic(settings)}
    assert set(kept) == {"3", "4", "5"}
    assert (kept["3"].value, kept["3"].reason) == (event, "CheckViolationError: no")
    with pytest.raises(EventError, match="no event"):
        kept["4"].event()
    with pytest.raises(EventError, match=f"of {9 << 20} bytes were kept"):
        kept["5"].event()

    await publish_again(settings, [kept["3"].event()] * 2)
    stop = asyncio.Event()
    consumer = asyncio.create_task(run_consumer(settings, stop, source="kafka"))
    await until_stored(pool, 10)
    stop.set()
    await consumer
    await assert_stored(pool, [source])
    assert len(await stored_points(pool, "run"))


@pytest.mark.kafka
async def test_a_broker_that_is_away_is_said() -> None:
    away = Settings(kafka="127.0.0.1:9")
    with pytest.raises(ServiceError, match=r"127\.0\.0\.1:9"):
        _ = [letter async for letter in letters_of_topic(away)]
    with pytest.raises(ServiceError, match=r"127\.0\.0\.1:9 does not take it.*doctor"):
        await publish_again(away, [logged("run", 1).event(0, 1)])
