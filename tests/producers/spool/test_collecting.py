"""From sources to events: whose turn it is, how much at once, and in which order."""

from __future__ import annotations

import errno
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.producers.reading import drain, logged, settings_for, steps_of_life, tags_of

from runstream.spool import segment
from runstream.spool.collecting import collector as collector_module
from runstream.spool.collecting import discovery
from runstream.spool.collecting.collector import Collector
from runstream.spool.writing import writer as spool
from runstream_schemas.wire.events import MetricsEvent, StatusEvent, TagsEvent


def test_the_ending_status_says_how_far_every_source_of_the_run_goes(directory: Path) -> None:
    settings = settings_for(directory)
    first, second = spool.RunWriter(settings, "run"), spool.RunWriter(settings, "run")
    for i in range(10):
        first.log("x", i)
        second.log("x", i)
    second.tag("k", "v")
    first.status("complete")
    events = drain(Collector(settings))
    (_, _, data) = next(step for step in steps_of_life(events) if step[1] == "complete")
    ends = {e.source.hex(): e.first + e.count for e in events if isinstance(e, MetricsEvent)}
    assert data["ends"] == ends
    assert len(ends) == 2
    assert data["tag_ends"] == {e.source.hex(): e.first + e.count for e in events if isinstance(e, TagsEvent)}
    assert len(data["tag_ends"]) == 1


def test_a_backlog_of_ended_runs_is_read_run_after_run(directory: Path) -> None:
    settings = settings_for(directory)
    for number in range(30):
        writer = spool.RunWriter(settings, f"run-{number}")
        writer.log_array("x", np.arange(5000))  # larger than the first segment: several reads
        writer.log("y", 0.5)
        writer.status("complete")
        writer.close()
    live = spool.RunWriter(settings, "live")
    live.log("x", 1)
    collector = Collector(settings)
    begun: list[str] = []
    ended: set[str] = set()
    at_once = 0
    while not ended >= {f"run-{number}" for number in range(30)}:
        items = collector.collect(1)
        assert items
        for item in items:
            if item.source.run_id not in begun:
                begun.append(item.source.run_id)
            ended |= {
                e.run_id for e in item.events if isinstance(e, StatusEvent) and e.ops[-1].kind == "complete"
            }
            collector.stored(item)
        at_once = max(at_once, len(set(begun) - ended - {"live"}))
    assert at_once <= 8
    assert "live" in begun[:20]  # a live run does not wait for them


@pytest.mark.parametrize("killed", [False, True])
def test_no_batch_holds_more_items_than_it_may(
    directory: Path, monkeypatch: pytest.MonkeyPatch, killed: bool
) -> None:
    """A backlog of runs, ended or of a process that died: what is not in the first batch is in the next ones."""
    monkeypatch.setattr(collector_module, "MOST_AT_ONCE", 5)
    script = f"""
import os
from runstream.spool.writing.writer import RunWriter
from tests.producers.reading import settings_for
from pathlib import Path
for number in range(23):
    writer = RunWriter(settings_for(Path({str(directory)!r})), f"run-{{number}}", owner=True)
    writer.status("create", {{}})
    writer.log("x", number)
    if not {killed}:
        writer.status("complete")
        writer.close()
os._exit(0)
"""
    subprocess.run([sys.executable, "-c", script], check=True, cwd=Path(__file__).parents[3])
    collector = Collector(settings_for(directory))
    events: list[Any] = []
    most = 0
    for _ in range(100):
        items = collector.collect(1 << 30, now=True)
        most = max(most, len(items))
        for item in items:
            events += item.events
            collector.stored(item)
        if not items and not collector.busy:
            break
    assert 5 <= most <= 10  # a slow look may find as many as the sources themselves, and a source gives two
    assert logged(events) == {(f"run-{number}", "x", ""): [number] for number in range(23)}
    kind = "fail" if killed else "complete"
    assert sorted(run for run, step, _ in steps_of_life(events) if step == kind) == sorted(
        f"run-{number}" for number in range(23)
    )


def test_small_ended_runs_are_handed_out_together(directory: Path) -> None:
    settings = settings_for(directory)
    for number in range(50):
        writer = spool.RunWriter(settings, f"run-{number}")
        writer.log("x", number)
        writer.status("complete")
        writer.close()
    collector = Collector(settings)
    items = collector.collect(1 << 20)
    assert {item.source.run_id for item in items} == {f"run-{number}" for number in range(50)}
    for item in items:
        collector.stored(item)
    list(collector.collect(1 << 20, now=True))
    assert collector.sources == {}
    assert collector.sources.of_run("run-0") == []


def test_of_a_backlog_of_ended_runs_a_few_are_open_at_a_time(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And all come: of a run with several sources those together, its end counts every one; live ones at once."""
    settings = settings_for(directory)
    for number in range(60):
        parts = 2 if number % 10 == 3 else 1
        for part in range(parts):
            writer = spool.RunWriter(settings, f"run-{number}", owner=part == parts - 1)
            writer.log("x", 100 * part + number)
            if part == parts - 1:
                writer.status("complete")
            writer.close()
    live = spool.RunWriter(settings, "live", owner=True)
    live.log("x", -1)
    monkeypatch.setattr(discovery, "MOST_OPEN", 7)
    collector = Collector(settings)
    events: list[Any] = []
    first = [event for item in collector.collect(1 << 30, now=True) for event in item.events]
    assert "live" in {event.run_id for event in first}
    assert collector.backlog > 50
    collector.forget()
    for _ in range(200):
        items = collector.collect(1 << 30, now=True)
        assert len(collector.sources) <= 7 + 2
        for item in items:
            events += item.events
            collector.stored(item)
        if not items and not collector.busy:
            break
    live.close()
    expected = {(f"run-{number}", "x", ""): [number] for number in range(60)} | {("live", "x", ""): [-1]}
    expected |= {(f"run-{number}", "x", ""): [number, 100 + number] for number in range(3, 60, 10)}
    assert {name: sorted(values) for name, values in logged(events).items()} == expected
    ends = {run: data["ends"] for run, kind, data in steps_of_life(events) if kind == "complete"}
    assert {run: len(of) for run, of in ends.items()} == {
        f"run-{number}": 2 if number % 10 == 3 else 1 for number in range(60)
    }


def test_a_source_there_is_no_room_for_is_read_later(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_for(directory)
    writer = spool.RunWriter(settings, "run")
    writer.log("x", 1)

    def no_room(*_: Any) -> Any:
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    collector = Collector(settings)
    with monkeypatch.context() as full:
        full.setattr(segment, "map_file", no_room)
        assert collector.collect(1 << 20, now=True) == []
    events: list[Any] = []
    for _ in range(100):
        events += [event for item in collector.collect(1 << 20, now=True) for event in item.events]
        if events:
            break
        time.sleep(0.05)
    writer.close()
    assert logged(events) == {("run", "x", ""): [1]}


def test_tags_properties_and_statuses_keep_their_order(directory: Path) -> None:
    writer = spool.RunWriter(settings_for(directory), "run")
    writer.status("create", {"experiment": "e"})
    writer.tag("k", "1")
    writer.tag("k")
    writer.remove_tag("k")
    writer.add_property("p", "v")
    writer.set_field("display_name", "new")
    writer.status("complete")
    events = drain(Collector(settings_for(directory)))
    assert tags_of(events) == [
        ("set", "k", "1"),
        ("set", "k", None),
        ("remove", "k", None),
        ("property", "p", "v"),
        ("field", "display_name", "new"),
    ]
    assert [kind for _, kind, _ in steps_of_life(events)] == ["create", "complete"]


def test_positions_are_what_the_events_reach(directory: Path) -> None:
    writer = spool.RunWriter(settings_for(directory), "run")
    writer.status("create", {"experiment": "e"})
    writer.log("x", 1)
    writer.tag("k", "1")
    writer.tag("l", "1")
    positions = writer.positions()
    reached: dict[str, int] = {}
    for event in drain(Collector(settings_for(directory))):
        suffix = {"MetricsEvent": "", "TagsEvent": ".tags", "StatusEvent": ".status"}[type(event).__name__]
        reached[event.source.hex() + suffix] = event.first + event.count
    assert set(positions) <= set(reached)
    assert all(reached[key] >= position for key, position in positions.items())
