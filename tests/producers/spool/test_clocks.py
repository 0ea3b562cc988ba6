"""Clocks that go backwards change no order."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import numpy as np
import pytest
from tests.producers.reading import drain, settings_for, values_of

from runstream.spool import process_lock
from runstream.spool.collecting.collector import Collector
from runstream.spool.writing import writer as spool
from runstream_schemas.wire.events import MetricsEvent, StatusEvent, TagsEvent


def test_a_clock_that_goes_backwards_changes_no_order(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter(range(10_000, 0, -1))
    monkeypatch.setattr(time, "time", lambda: float(next(times)))
    writer = spool.RunWriter(settings_for(directory), "run")
    monkeypatch.undo()
    for i in range(50):
        writer.log("x", i)
    assert values_of(directory, "x") == list(range(50))


def test_each_new_series_of_one_call_has_a_first_time_of_its_own(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lists of series go by first times; 1 µs added to a double of our days is now and then the same microsecond."""
    times = iter(
        1.8e9 + i * 0.24e-6 for i in range(20)
    )  # every place between two microseconds that a double has
    monkeypatch.setattr(time, "time", lambda: next(times))
    writer = spool.RunWriter(settings_for(directory), "run")
    monkeypatch.undo()
    for call in range(20):
        writer.log_metrics({f"{call}.{name}": name for name in range(10)})
    firsts: dict[str, int] = {}
    for event in drain(Collector(settings_for(directory))):
        if isinstance(event, MetricsEvent) and event.points:
            names = [key.name for key, _ in event.series]
            firsts.update(zip(names, event.summary.first_time.tolist(), strict=True))
    for call in range(20):
        assert len({firsts[f"{call}.{name}"] for name in range(10)}) == 10, call


def test_summaries_tell_the_times_of_the_first_and_the_last_point(directory: Path) -> None:
    writer = spool.RunWriter(settings_for(directory), "run")
    writer.log_array("x", np.arange(20_000.0), steps=None, times=np.linspace(3000.0, 1000.0, 20_000))
    said = [
        e.summary
        for e in drain(Collector(settings_for(directory)))
        if isinstance(e, MetricsEvent) and e.points
    ]
    assert (float(said[0].first[0]), int(said[0].first_time[0])) == (0.0, 3_000_000_000)
    assert (float(said[-1].last[0]), int(said[-1].last_time[0])) == (19_999.0, 1_000_000_000)


def test_a_clock_that_goes_backwards_puts_no_end_before_the_beginning(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = spool.RunWriter(settings_for(directory), "run", owner=True)
    writer.status("start")
    writer.log("x", 1)
    drain(Collector(settings_for(directory)))
    collector = Collector(settings_for(directory))  # another reader, which knows only what the spool says
    monkeypatch.setattr(process_lock, "process_alive", lambda *_: False)
    monkeypatch.setattr(time, "time_ns", lambda: 10**15)  # 1970
    steps = [op for e in drain(collector) if isinstance(e, StatusEvent) for op in e.ops]
    assert [op.kind for op in steps] == ["fail"]
    assert steps[0].time_us > 10**15


def test_a_clock_that_goes_backwards_makes_no_tag_an_older_one(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = spool.RunWriter(settings_for(directory), "run")
    writer.tag("latest", "1")
    monkeypatch.setattr(time, "time", lambda: 1000.0)
    writer.tag("latest", "2")
    monkeypatch.undo()
    events = drain(Collector(settings_for(directory)))
    ops = [op for event in events if isinstance(event, TagsEvent) for op in event.ops]
    assert max(ops, key=lambda op: (op.time_us, op.seq)).value == "2"


def test_a_reader_whose_clock_is_set_back_is_not_taken_for_an_older_one(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = spool.RunWriter(settings_for(directory), "run", owner=True)
    writer.log("x", 1)
    other = spool.RunWriter(
        settings_for(directory), "run"
    )  # does not report for the run: its owner may have died
    other.log("y", 1)
    slots = []
    for now in (10**18, 10**15):
        monkeypatch.setattr(time, "time_ns", lambda now=now: now)
        beating = dataclasses.replace(settings_for(directory), heartbeat_interval=0.0)
        collector = Collector(beating)
        items = collector.collect(1 << 20, now=True) + collector.collect(1 << 20, now=True)
        slots += [op.seq for item in items for e in item.events if isinstance(e, StatusEvent) for op in e.ops]
    assert len(slots) == 2
    assert slots[1] > slots[0]
