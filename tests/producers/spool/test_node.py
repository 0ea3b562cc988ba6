"""What a reader on the same node can tell of the spool without being its reader."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tests.producers.reading import settings_for

from runstream.spool.collecting.collector import Collector
from runstream.spool.node import KEPT, NodeSpool, Written, note_delivered
from runstream.spool.writing.writer import RunWriter
from runstream_schemas.wire.events import MetricsEvent, StatusEvent, TagsEvent

Write = Callable[[RunWriter], object]

RECORDED: dict[str, Write] = {
    "points": lambda w: [w.log("a", float(i)) for i in range(3)],
    "over a segment's end": lambda w: [w.log("a", i) for i in range(5000)],
    "text": lambda w: w.log("t", "x" * 100),
    "rows": lambda w: w.log_row("r", {"a": 1, "b": 2.5}),
    "an array": lambda w: w.log_array("a", np.arange(5000.0)),
    "tags behind points": lambda w: [w.log("a", 1.0), w.tag("k", "v"), w.tag("k", "w" * 500)],
    "points behind tags": lambda w: [w.tag("k", "v"), w.log("a", 1.0)],
    "statuses": lambda w: [w.status("create", {}), w.status("start")],
    "a life": lambda w: [
        w.status("create", {}),
        w.log("a", 1.0),
        w.tag("k", "v"),
        w.status("complete"),
        w.close(),
    ],
}


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@pytest.mark.parametrize("what", RECORDED)
def test_all_that_was_recorded_is_told_and_nothing_that_will_not_be_stored(spool: Path, what: str) -> None:
    settings = settings_for(spool)
    writer = RunWriter(settings, "run 1, of two", owner=True)
    RECORDED[what](writer)
    node = NodeSpool(spool)
    (written,) = node.written()
    assert written.run_id == "run 1, of two"
    assert node.written("another run") == []
    assert node.undelivered([written]) == [written]

    # It is delivered exactly when events that cover it are told stored.
    collector = Collector(settings)
    ends = {"metrics": 0, "tags": 0, "status": 0}
    while items := collector.collect(1 << 30, now=True):
        for item in items:
            for event in item.events:
                if event.source.hex() == written.source:
                    kind = {MetricsEvent: "metrics", TagsEvent: "tags", StatusEvent: "status"}[type(event)]
                    ends[kind] = event.first + event.count
            collector.stored(item)
    assert not node.undelivered([written])
    assert written.metrics <= ends["metrics"]
    assert (written.tags, written.status) == (ends["tags"], ends["status"])
    assert bool(written.metrics) == bool(ends["metrics"])

    if what == "a life":
        return
    writer.log("a", 2.0)
    (later,) = node.written()
    assert later.metrics > written.metrics
    assert node.undelivered([later]) == [later]
    writer.close()


def test_sources_come_and_go(spool: Path) -> None:
    settings = settings_for(spool)
    node = NodeSpool(spool)
    assert node.written() == []
    writers = [RunWriter(settings, f"run-{k}", owner=True) for k in range(3)]
    for k, writer in enumerate(writers):
        writer.log("a", 1.0)
        assert {source.run_id for source in node.written()} == {f"run-{i}" for i in range(k + 1)}
    writers[1].status("complete")
    writers[1].close()
    sources = node.written()
    collector = Collector(settings)
    for item in [*collector.collect(1 << 30, now=True), *collector.collect(1 << 30, now=True)]:
        collector.stored(item)
    assert node.undelivered(sources) == []
    assert sorted(source.run_id for source in node.written()) == ["run-0", "run-2"]


def test_what_the_agent_has_delivered_is_listed_when_it_is_gone(spool: Path) -> None:
    settings = settings_for(spool)
    writer = RunWriter(settings, "a run", owner=True)
    RECORDED["a life"](writer)
    node = NodeSpool(spool)
    (written,) = node.written()
    collector = Collector(settings, lists_delivered=True)
    while items := collector.collect(1 << 30, now=True):
        for item in items:
            collector.stored(item)
    assert node.written() == []
    (gone,) = node.delivered()
    assert (gone.source, gone.run_id) == (written.source, "a run")
    assert gone.metrics >= written.metrics
    assert (gone.tags, gone.status) == (written.tags, written.status)
    assert list(gone.positions()) == [f"{gone.source}{topic}@a%20run" for topic in ("", ".tags", ".status")]


def test_the_list_of_the_delivered_stays_small(spool: Path) -> None:
    spool.mkdir()
    node = NodeSpool(spool)
    for k in range(6000):
        note_delivered(spool, Written(f"{k:032x}", f"run {k % 2}", k, 0, 1))
    assert sum(path.stat().st_size for path in spool.iterdir()) < 200_000
    assert [source.metrics for source in node.delivered()] == list(range(6000 - KEPT, 6000))
    assert {source.run_id for source in node.delivered("run 1")} == {"run 1"}


def test_damage_is_passed_over(spool: Path) -> None:
    settings = settings_for(spool)
    writer = RunWriter(settings, "whole", owner=True)
    writer.log("a", 1.0)
    (spool / ("e" * 32)).mkdir()
    (spool / ("f" * 32)).mkdir()
    (spool / ("f" * 32) / "00000000.seg").write_bytes(b"no segment" * 100)
    (spool / "delivered").write_text("cut\nx y z w\n" + "a" * 32 + " one 2 3 run\n")
    node = NodeSpool(spool)
    assert [source.run_id for source in node.written()] == ["whole"]
    assert node.delivered() == []


def test_two_threads_may_look_at_once(spool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One stands before the first source of its listing; the other finds a new source and stops in the middle of its own."""
    settings = settings_for(spool)
    writers = [RunWriter(settings, f"run {i}", owner=True) for i in range(3)]
    for writer in writers[:2]:
        writer.log("a", 1.0)
    node, look, run_of = NodeSpool(spool), NodeSpool._look, NodeSpool._run_of
    assert len(node.written()) == 2
    looks: list[list[Written]] = []
    stands, goes_on = threading.Event(), threading.Event()
    first = threading.Thread(target=lambda: looks.append(node.written()))

    def looking(self: NodeSpool, *words: str) -> Written | None:
        if threading.current_thread() is first:
            stands.set()
            assert goes_on.wait(30)
        return look(self, *words)

    def asking(self: NodeSpool, name: str) -> str | None:
        goes_on.set()
        first.join(30)
        return run_of(self, name)

    monkeypatch.setattr(NodeSpool, "_look", looking)
    first.start()
    assert stands.wait(30)
    writers[2].log("a", 1.0)
    monkeypatch.setattr(NodeSpool, "_run_of", asking)
    assert {source.run_id for source in node.written()} == {"run 0", "run 1", "run 2"}
    assert [{source.run_id for source in looked} for looked in looks] == [{"run 0", "run 1"}]
