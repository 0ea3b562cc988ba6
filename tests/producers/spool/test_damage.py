"""An interrupted writer, a killed reader, a damaged spool: what is whole is read, and nothing waits for ever."""

from __future__ import annotations

import errno
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.producers.reading import drain, logged, settings_for, steps_of_life, tags_of, values_of
from tests.producers.spool.scripts import run_script

from runstream.spool import segment
from runstream.spool.collecting.collector import Collector
from runstream.spool.reading import freeing
from runstream.spool.reading import reader as spool_reader
from runstream.spool.writing import writer as spool
from runstream_schemas.wire.events import MetricsEvent


def test_a_slot_taken_and_never_written_holds_nothing_up_for_ever(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool_reader, "HOLE_GRACE", 0.2)
    writer = spool.RunWriter(settings_for(directory), "run")
    writer.log("x", 0)
    next(iter(writer._slots))  # what a Ctrl-C between two instructions leaves behind
    writer.log("x", 1)
    collector = Collector(settings_for(directory))
    assert logged([e for item in collector.collect(1 << 20, now=True) for e in item.events])[
        "run", "x", ""
    ] == [0]
    time.sleep(0.3)
    assert logged(drain(collector))["run", "x", ""] == [1]


STOPPED_AT_A_SLOT = """
from runstream.spool.writing.hot_path import INTEGER
at = next(iter(writer._slots))  # as a thread does, before another one logs
writer.log('x', 2)
print(flush=True)
sys.stdin.readline()
INTEGER.pack_into(writer._map, at, 1, time.time(), 1, writer._series['x'][1])
"""


STOPPED_IN_A_FRAME = """
from runstream.spool import segment
checksum = segment.frame_crc
def half_way(*given):
    print(flush=True)
    sys.stdin.readline()
    return checksum(*given)
segment.frame_crc = half_way
writer.text('x', 'one')
segment.frame_crc = checksum
writer.log('x', 2)
"""


@pytest.mark.parametrize(
    ("body", "first", "rest"),
    [(STOPPED_AT_A_SLOT, [0], [1, 2]), (STOPPED_IN_A_FRAME, [0], ["one", 2])],
    ids=["slot", "frame"],
)
def test_a_process_that_was_stopped_for_long_loses_no_point(
    directory: Path, monkeypatch: pytest.MonkeyPatch, body: str, first: list[Any], rest: list[Any]
) -> None:
    """However long: a process that is stopped writes nothing, and resumes where it was."""
    monkeypatch.setattr(spool_reader, "HOLE_GRACE", 0.05)
    end = "print(flush=True)\nsys.stdin.readline()\n"
    process = run_script(directory, f"writer.log('x', 0)\n{body}{end}", stdin=subprocess.PIPE)
    assert process.stdout
    assert process.stdin
    try:
        process.stdout.readline()
        process.send_signal(signal.SIGSTOP)
        while psutil.Process(process.pid).status() != psutil.STATUS_STOPPED:
            time.sleep(0.01)
        collector = Collector(settings_for(directory))
        events = []
        for _ in range(20):  # looks, each later than the grace
            events += [event for item in collector.collect(1 << 20, now=True) for event in item.events]
            time.sleep(0.06)
        assert values(events) == first
        process.send_signal(signal.SIGCONT)
        process.stdin.write("\n")
        process.stdin.flush()
        process.stdout.readline()
        assert values(drain(collector)) == rest
    finally:
        process.kill()
        process.communicate()


def values(events: list[Any]) -> list[Any]:
    """What was logged as `x`, in order."""
    return [value for part in logged(events).values() for value in part]


def test_a_frame_that_is_being_written_keeps_nobody_busy(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = spool.RunWriter(settings_for(directory), "run")
    writer.log("x", 0)
    collector = Collector(settings_for(directory))
    assert logged(drain(collector)) == {("run", "x", ""): [0]}
    at = writer._take(20)
    assert at is not None
    segment.WORD.pack_into(writer._mapping(), at + 24, segment.OPEN | 20 << 32)
    assert drain(collector) == []
    assert not collector.busy
    writer.log("x", 1)  # of another thread: this waits for the frame
    assert collector.busy


def test_a_frame_killed_half_way_is_left_out_and_what_others_wrote_is_not(directory: Path) -> None:
    body = (
        "writer.log('x', 1)\n"
        "at = writer._take(20)\n"
        "from runstream.spool import segment\n"
        "segment.WORD.pack_into(writer._map, at + 24, segment.OPEN | 20 << 32)\n"
        "memoryview(writer._map).cast('B')[at + 32:at + 320] = b'\\x02' * 288\n"
        "writer.log('x', 2)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    process = run_script(directory, body)
    process.wait(20)
    assert process.stdout
    process.stdout.close()
    assert values_of(directory, "x") == [1, 2]


def test_a_segment_with_a_damaged_header_is_put_aside_and_the_rest_is_read(directory: Path) -> None:
    writer = spool.RunWriter(settings_for(directory), "run")
    for i in range(4000):
        writer.log("x", i)
    (source,) = [entry for entry in directory.iterdir() if len(entry.name) == 32]
    first, *_ = sorted(source.glob("*.seg"))
    with open(first, "r+b") as file:
        file.seek(20)
        file.write(b"\xff\xff")
    recorded = logged(drain(Collector(settings_for(directory))))
    assert list(source.glob("*.damaged"))
    assert (
        recorded.get(("run", "x", ""), []) == []
    )  # the name was defined in the lost segment: points without a name
    writer.log("y", 1)
    assert logged(drain(Collector(settings_for(directory))))["run", "y", ""] == [1]


def test_no_event_covers_the_slots_of_a_segment_that_is_missing(directory: Path) -> None:
    settings = settings_for(directory)
    writer = spool.RunWriter(settings, "run")
    for i in range(8000):
        writer.log("x", i)
    writer.status("complete")
    writer.close()
    _, second, third, *_ = sorted(directory.glob("*/*.seg"))
    heads = [
        segment.read_header(path.read_bytes()[: segment.HEADER_BYTES], str(path)) for path in (second, third)
    ]
    second.unlink()
    events = drain(Collector(settings))
    metrics = [event for event in events if isinstance(event, MetricsEvent)]
    covered = {slot for event in metrics for slot in range(event.first, event.first + event.count)}
    missing = set(range(heads[0].first, heads[1].first))
    assert covered == set(range(max(covered) + 1)) - missing
    assert list(steps_of_life(events)[-1][2]["ends"].values()) == [max(covered) + 1]


def test_a_damaged_record_is_left_out_and_counted(directory: Path) -> None:
    writer = spool.RunWriter(settings_for(directory), "run")
    writer.log("x", 1)
    writer.text("note", "hello world, this is a text")
    writer.log("x", 2)
    (path,) = directory.glob("*/*.seg")
    data = path.read_bytes()
    at = data.index(b"hello world")
    with open(path, "r+b") as file:
        file.seek(at)
        file.write(b"HELLO")
    collector = Collector(settings_for(directory))
    events = drain(collector)
    assert logged(events) == {("run", "x", ""): [1, 2]}
    assert max(e.dropped for e in events if isinstance(e, MetricsEvent)) > 0


def test_a_reader_killed_before_noting_what_was_stored_reads_it_again(directory: Path) -> None:
    writer = spool.RunWriter(settings_for(directory), "run")
    for i in range(5000):
        writer.log("x", i)
    once = Collector(settings_for(directory))
    taken = [event for item in once.collect(1 << 30, now=True) for event in item.events]
    assert logged(taken)["run", "x", ""]
    assert logged(drain(Collector(settings_for(directory))))["run", "x", ""] == list(range(5000))


def test_a_new_reader_goes_on_where_the_last_one_stored(directory: Path) -> None:
    writer = spool.RunWriter(settings_for(directory), "run")
    for i in range(3000):
        writer.log("x", i)
    first = logged(drain(Collector(settings_for(directory))))["run", "x", ""]
    for i in range(3000, 6000):
        writer.log("x", i)
    assert first + logged(drain(Collector(settings_for(directory))))["run", "x", ""] == list(range(6000))


@pytest.mark.parametrize("stored", [1009, 4000, 7121, 9000, 15296, 19000])
def test_so_it_does_where_the_first_segment_is_kept_and_others_behind_it_are_not(
    directory: Path, stored: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk keeps the segment that defines the series, as the definitions have no room elsewhere. Found where the next
    reader began as many slots too late as those that were given back had."""

    def full(folder: Path, definitions: list[bytes]) -> None:
        if definitions:
            raise OSError(errno.ENOSPC, "no space left")

    settings = settings_for(directory)
    writer = spool.RunWriter(settings, "run")
    for i in range(stored):
        writer.log("x", i)
    with monkeypatch.context() as patch:
        patch.setattr(freeing, "save_names", full)
        first = logged(drain(Collector(settings)))["run", "x", ""]
    assert first == list(range(stored))
    assert len(list(directory.glob("*/00000000.seg"))) == 1
    for i in range(stored, stored + 20_000):
        writer.log("x", i)
    assert logged(drain(Collector(settings)))["run", "x", ""] == list(range(stored, stored + 20_000))


def test_tags_and_statuses_that_are_stored_leave_the_next_reader_no_slots_it_never_saw(
    directory: Path,
) -> None:
    settings = settings_for(directory)
    writer = spool.RunWriter(settings, "run")
    writer.status("create")
    writer.status("start")
    events = drain(Collector(settings))
    writer.tag("a", "1")
    events += drain(Collector(settings))
    writer.status("fail")
    writer.close()
    events += drain(Collector(settings))
    life = steps_of_life(events)
    assert [kind for _, kind, _ in life] == ["create", "start", "fail"]
    assert tags_of(events) == [("set", "a", "1")]
    metrics = [event for event in events if isinstance(event, MetricsEvent)]
    assert [event.first for event in metrics][:1] == [0], "what is covered begins at the first slot"
    assert list(life[-1][2]["ends"].values()) == [max(event.first + event.count for event in metrics)]


def test_a_run_of_tags_alone_gives_its_segments_back(directory: Path) -> None:
    settings = settings_for(directory)
    writer = spool.RunWriter(settings, "run")
    collector, events = Collector(settings), []
    for number in range(6000):
        writer.tag("a", str(number))
        if number % 100 == 0:
            events += drain(collector)
    events += drain(collector)
    assert len(tags_of(events)) == 6000
    assert len(list(directory.glob("*/*.seg"))) <= 2
