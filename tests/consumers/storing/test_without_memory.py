"""Without memory for a while nothing is lost: what cannot be read, made or stored then is no fault of the record's.

Found where a consumer that starved for two seconds made dead letters of events that were well ("118 bytes are not msgpack
(MemoryError: )"), and of others because asyncpg calls an argument it has no memory for an invalid one.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import zstandard
from tests.consumers.logged import LoggingSource, assert_stored
from tests.producers.reading import drain, logged, settings_for

from runstream.spool.collecting.collector import Collector
from runstream.spool.reading import encoder
from runstream.spool.writing.writer import RunWriter
from runstream_consumers.sources.source import DeadLetter, Fetched, Partition
from runstream_consumers.storing import refused, retrying
from runstream_consumers.storing.retrying import MOST_STARVED, persist
from runstream_consumers.storing.writer import Writer
from runstream_schemas.errors import CorruptEvent, RefusedEvent, lacks_memory
from runstream_schemas.order import unpack_place
from runstream_schemas.settings import Settings
from runstream_schemas.wire import event_reading, payload_index, unpacking
from runstream_schemas.wire.event_reading import decode_event
from runstream_schemas.wire.events import MetricsEvent, encode_event


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


SHORTAGES = [
    MemoryError(),
    RuntimeError("can't start new thread"),
    caused(asyncpg.DataError("invalid input for query argument $7: [...]"), MemoryError()),
    caused(ValueError("any"), OSError(errno.ENOMEM, "Cannot allocate memory")),
    zstandard.ZstdError("zstd decompress error: Allocation error : not enough memory"),
]
OTHERS = [
    ValueError("memory"),
    asyncpg.DataError("out of memory"),
    RuntimeError("no"),
    OSError(errno.ENOSPC, "full"),
]


def logging_source() -> LoggingSource:
    made = LoggingSource("run")
    for i in range(10):
        made.log("loss", float(i))
    return made


def rejecting() -> tuple[list[DeadLetter], Callable[[Any], Any]]:
    """Dead letters, and what publishes them."""
    letters: list[DeadLetter] = []

    async def reject(some: Any) -> None:
        letters.extend(some)

    return letters, reject


def starving(times: int, error: Exception, otherwise: Any = None) -> Callable[..., Any]:
    """Fails so many times, then does what it would."""
    left = times

    def call(*given: Any, **named: Any) -> Any:
        nonlocal left
        left -= 1
        if left >= 0:
            raise error
        return otherwise(*given, **named) if otherwise is not None else "stored"

    return call


@pytest.mark.parametrize("error", SHORTAGES, ids=repr)
def test_a_shortage_is_known_by_its_error_or_what_caused_it(error: Exception) -> None:
    assert lacks_memory(error)
    assert not any(lacks_memory(other) for other in OTHERS)


async def test_asyncpg_calls_an_argument_it_has_no_memory_for_invalid(pool: asyncpg.Pool) -> None:
    class Starved(list[str]):
        def __iter__(self) -> Any:
            raise MemoryError

    with pytest.raises(asyncpg.DataError) as told:
        await pool.fetch("select unnest($1::text[])", Starved(["x"]))
    assert lacks_memory(told.value)


@pytest.mark.parametrize("error", SHORTAGES, ids=repr)
async def test_it_is_waited_for_a_little_and_then_begun_anew(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retrying, "Backoff", lambda *_: iter(lambda: 0.0, 1.0))

    def attempts(times: int) -> Callable[[], Any]:
        call = starving(times, error)

        async def attempt() -> Any:
            return call()

        return attempt

    assert await persist("a batch cannot be stored", attempts(MOST_STARVED - 1), lambda: None) == "stored"
    with pytest.raises(MemoryError):
        await persist("a batch cannot be stored", attempts(MOST_STARVED), lambda: None)


@pytest.mark.parametrize("error", SHORTAGES, ids=repr)
async def test_no_event_becomes_a_dead_letter(
    pool: asyncpg.Pool, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retrying, "Backoff", lambda *_: iter(lambda: 0.0, 1.0))
    letters, reject = rejecting()
    source = logging_source()
    batch = [Fetched(Partition("cluster", "id", "runstream.metrics", 0), 0, 1, [source.event(0, 10)])]
    writer = Writer(pool, Settings(), reject)
    monkeypatch.setattr(writer, "_commit", starving(MOST_STARVED, error, writer._commit))
    with pytest.raises(MemoryError):
        await writer.store(batch)
    await writer.store(batch)
    assert not letters
    await assert_stored(pool, [source])


@pytest.mark.parametrize("where", ["looking for the refused", "writing the refused"])
async def test_nor_while_one_is_looked_for_that_is_refused(
    pool: asyncpg.Pool, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retrying, "Backoff", lambda *_: iter(lambda: 0.0, 1.0))
    letters, reject = rejecting()
    await pool.execute("alter table sources add check (next <> 13)")
    good, bad = logging_source(), LoggingSource("bad")
    for i in range(13):
        bad.log("loss", float(i))
    batch = [
        Fetched(
            Partition("cluster", "id", "runstream.metrics", 0), 0, 2, [good.event(0, 10), bad.event(0, 13)]
        )
    ]
    writer = Writer(pool, Settings(), reject)
    with monkeypatch.context() as patch:
        if where == "writing the refused":
            patch.setattr(refused, "encode_event", starving(1, MemoryError()))
        else:
            look, commit = starving(MOST_STARVED, MemoryError(), writer._commit), writer._commit
            patch.setattr(
                writer,
                "_commit",
                lambda *given, **named: (look if named.get("trial") else commit)(*given, **named),
            )
        with pytest.raises(MemoryError):
            await writer.store(batch)
    assert not letters
    await writer.store(batch)
    (letter,) = letters
    assert letter.span is not None
    assert letter.span[0] == "bad"
    await assert_stored(pool, [good])


def test_an_event_that_cannot_be_read_for_want_of_memory_is_not_corrupt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    value = encode_event(logging_source().event(0, 10))
    for module, name in ((unpacking.msgpack, "unpackb"), (event_reading, "_read_metrics")):
        with monkeypatch.context() as patch:
            if name == "_read_metrics":
                patch.setitem(event_reading._READERS, "metrics", starving(1, MemoryError()))
            else:
                patch.setattr(module, name, starving(1, MemoryError()))
            with pytest.raises(MemoryError):
                decode_event(value)
    with monkeypatch.context() as patch:
        patch.setitem(event_reading._READERS, "metrics", starving(1, ValueError()))
        with pytest.raises(RefusedEvent):
            decode_event(value)
    assert isinstance(decode_event(value), MetricsEvent)


def test_nor_are_its_payload_and_a_manifests_places(monkeypatch: pytest.MonkeyPatch) -> None:
    payload = logging_source().event(0, 10).payload
    for error, expected in ((MemoryError(), MemoryError), (ValueError(), CorruptEvent)):
        with monkeypatch.context() as patch:
            patch.setattr(payload_index, "unpack", starving(1, error))
            with pytest.raises(expected):
                payload_index.read_index(payload)
    with monkeypatch.context() as patch:
        patch.setattr(zstandard, "ZstdDecompressor", starving(1, MemoryError()))
        with pytest.raises(MemoryError):
            unpack_place(0, 1, b"")


def test_a_record_of_the_spool_is_not_left_out_for_want_of_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_for(tmp_path)
    writer = RunWriter(settings, "run")
    writer.log("x", 1)
    with monkeypatch.context() as patch:
        patch.setattr(encoder, "_encode", starving(1 << 10, MemoryError()))
        with pytest.raises(MemoryError):
            Collector(settings).collect(1 << 20, now=True)
    assert logged(drain(Collector(settings)))["run", "x", ""] == [1]
