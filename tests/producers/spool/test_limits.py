"""Nothing enters the spool that cannot leave it: whatever is recorded becomes events within their limits, or is refused."""

from __future__ import annotations

import base64
import math
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.producers.reading import drain, logged, settings_for, steps_of_life, tags_of

from runstream.exceptions import UserErrorException
from runstream.spool import segment
from runstream.spool.collecting.collector import Collector
from runstream.spool.fitting import cut, fitted, pack_step
from runstream.spool.live_runs import failure_of
from runstream.spool.writing import source_writer
from runstream.spool.writing import writer as spool
from runstream.spool.writing.writer import RunWriter
from runstream_schemas.errors import LimitExceeded
from runstream_schemas.limits import (
    MAX_EVENT_BYTES,
    MAX_NAME_BYTES,
    MAX_RECORD_BYTES,
    MAX_TEXT_BYTES,
    TIME_MAX_US,
    TIME_MIN_US,
)
from runstream_schemas.series import SeriesClass
from runstream_schemas.wire.event_reading import decode_event
from runstream_schemas.wire.events import Event, MetricsEvent, encode_event
from runstream_schemas.wire.payload_reading import decode_points


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "spool"


def noise(n: int) -> str:
    """Text that no compression makes smaller than three quarters of it."""
    return base64.b64encode(os.urandom(n * 3 // 4)).decode()[:n]


def sent(directory: Path) -> list[Event]:
    """What the spool holds, as it comes out at the other end of a topic."""
    return [decode_event(encode_event(event)) for event in drain(Collector(settings_for(directory)))]


def _wide(writer: RunWriter, n: int, length: int) -> None:
    for _ in range(2):
        writer.log_metrics({f"{i:0{length}d}": float(i) for i in range(n)})


RECORDS: dict[str, Callable[[RunWriter], Any]] = {
    "text": lambda w: w.text("t", noise(MAX_TEXT_BYTES)),
    "many texts": lambda w: [w.text("t", noise(MAX_TEXT_BYTES - i)) for i in range(12)],
    "small texts of many series": lambda w: [w.text(f"t{i}", noise(900)) for i in range(5000)],
    "texts that compress": lambda w: [w.text(f"t{i}", "ü" * 4000) for i in range(500)],
    "names of a kilobyte": lambda w: _wide(w, 9000, MAX_NAME_BYTES),
    "names of a hundred bytes": lambda w: _wide(w, 33_000, 100),
    "row of four large cells": lambda w: w.log_row("r", {f"c{i}": noise(MAX_TEXT_BYTES) for i in range(4)}),
    "wide row": lambda w: w.log_row("r" * 300, {f"c{i}": i for i in range(5000)}),
    "wide row of texts": lambda w: w.log_row("r", {f"c{i}": noise(250) for i in range(6000)}),
    "table of large cells": lambda w: w.log_table(
        "r", {"a": [noise(1 << 20) for _ in range(9)], "b": [1.5] * 9}
    ),
    "table of long names": lambda w: w.log_table("r" * 1024, {f"{i:01024d}": [i, 2, 3] for i in range(900)}),
    "table of many nothings": lambda w: w.log_table("r", {"a": [None] * 300_000, "b": [True] * 300_000}),
    "array": lambda w: w.log_array("a", np.random.default_rng(0).standard_normal(400_000)),
    "array with steps and times": lambda w: w.log_array(
        "a",
        np.random.default_rng(0).standard_normal(100_000),
        np.random.default_rng(1).integers(-(2**62), 2**62, 100_000),
        np.random.default_rng(2).uniform(0, 2e9, 100_000),
    ),
    "tags": lambda w: [w.tag(f"{i:01024d}", noise(MAX_TEXT_BYTES)) for i in range(8)],
    "properties": lambda w: [w.add_property(f"p{i}", noise(MAX_TEXT_BYTES)) for i in range(8)],
    "display name": lambda w: w.set_field("display_name", noise(MAX_TEXT_BYTES)),
    "description": lambda w: w.set_field("description", noise(MAX_TEXT_BYTES)),
    "what a metric is": lambda w: w.describe("m", noise(MAX_TEXT_BYTES)),
    "exception": lambda w: w.status("error", {"error": failure_of(ValueError("x" * 7_000_000))}),
    "error": lambda w: w.status("error", {"error": {"code": "E" * 7_000_000, "message": "x" * 7_000_000}}),
    "warning": lambda w: w.status("warning", {"message": noise(7_000_000)}),
    "arguments": lambda w: w.status("create", {"details": {"arguments": [noise(1000)] * 20_000}}),
    "arguments of a megabyte": lambda w: w.status(
        "create", {"details": {"arguments": [noise(1 << 20)] * 20}}
    ),
    "parent": lambda w: w.status("create", {"parent_run_id": noise(7_000_000)}),
    "nested": lambda w: w.status("create", {"details": _nested(5000)}),
    "what is no text": lambda w: w.status("create", {"details": {"x": "\ud83d", "y": 2**70, "z": _Silent()}}),
    "many steps": lambda w: [w.status("warning", {"message": noise(1 << 20)}) for _ in range(9)],
    "file": lambda w: w.artifact(SeriesClass.IMAGE, "i" * 1024, noise(MAX_TEXT_BYTES)),
}


class _Silent:
    def __str__(self) -> str:
        raise ValueError("no")


def _nested(levels: int) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for _ in range(levels):
        made = {"x": made}
    return made


@pytest.mark.parametrize("name", RECORDS)
def test_every_record_leaves_the_spool_and_holds_up_no_other(directory: Path, name: str) -> None:
    writer = spool.RunWriter(settings_for(directory), "large")
    other = spool.RunWriter(settings_for(directory), "other")
    writer.log("before", 1.0)
    RECORDS[name](writer)
    writer.log("after", 2.0)
    other.log("x", 3.0)
    writer.status("complete")
    events = sent(directory)
    values = logged(events)
    assert values["large", "before", ""] == [1.0]
    assert values["large", "after", ""] == [2.0]
    assert values["other", "x", ""] == [3.0]
    assert "complete" in [kind for run, kind, _ in steps_of_life(events) if run == "large"]
    assert all(event.dropped == 0 for event in events if isinstance(event, MetricsEvent))
    if name in ("exception", "error", "warning", "arguments", "parent", "nested", "what is no text"):
        assert len(steps_of_life(events)) == 2


def test_a_spool_that_holds_more_than_an_event_comes_out_whole_and_in_order(directory: Path) -> None:
    writer = spool.RunWriter(settings_for(directory), "run")
    names = [f"{i:0900d}" for i in range(3000)]
    for k in range(12):
        writer.log_metrics({name: float(k) for name in names})
    for i in range(9):
        writer.tag(f"k{i}", noise(MAX_TEXT_BYTES))
    events = sent(directory)
    values = logged(events)
    assert all(values["run", name, ""] == [float(k) for k in range(12)] for name in names)
    assert [key for _, key, _ in tags_of(events)] == [f"k{i}" for i in range(9)]
    covered: dict[type, int] = {}
    for event in events:  # each topic's events follow one another without a gap
        assert event.first == covered.get(type(event), 0)
        covered[type(event)] = event.first + event.count


def test_a_row_that_no_event_has_room_for_is_refused_at_the_call(directory: Path) -> None:
    writer = spool.RunWriter(settings_for(directory), "run")
    row = {f"c{i}": noise(1_000_000) for i in range(9)}
    for call in (
        lambda: writer.log_row("big", row),
        lambda: writer.log_table("big", {c: [v] for c, v in row.items()}),
    ):
        with pytest.raises(
            UserErrorException, match=r"big.*9 cells.*9,\d\d\d,\d\d\d bytes.*5,242,880.*upload_file"
        ) as refused:
            call()
        assert isinstance(refused.value, LimitExceeded)
    with pytest.raises(UserErrorException, match="200,000 cells"):
        writer.log_row("wide", {f"c{i}": i for i in range(200_000)})
    table = {column: ["small", value, "small"] for column, value in row.items()}
    with pytest.raises(UserErrorException):
        writer.log_table("big", table)
    writer.log_row("big", {"fits": 1})
    assert logged(sent(directory)) == {("run", "big", "fits"): [1]}  # nothing of what was refused


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_a_row_is_refused_or_can_be_sent(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Rows near the limit, of all shapes."""
    directory = tmp_path_factory.mktemp("spool")
    chance = random.Random(data.draw(st.integers(0, 2**32)))
    cells = int(math.exp(chance.uniform(0, math.log(30_000))))
    length = chance.choice([1, 30, 300, 1000])
    total = MAX_RECORD_BYTES * chance.uniform(0.5, 1.1)
    each = int(max(1, min(MAX_TEXT_BYTES, total / cells - 2 * length)))
    columns = {
        f"{i:0{length}d}"[-1024:]: chance.choice([noise(each), "x" * each, i, 0.5, None])
        for i in range(cells)
    }
    writer = spool.RunWriter(settings_for(directory), "run")
    try:
        writer.log_row("t" * chance.choice([1, 1000]), columns)
    except UserErrorException:
        assert not drain(Collector(settings_for(directory)))
        return
    events = sent(directory)
    assert len([event for event in events if isinstance(event, MetricsEvent)]) == 1
    assert sum(map(len, logged(events).values())) == len(columns)


def test_a_record_of_an_older_version_that_cannot_be_sent_stops_no_other(directory: Path) -> None:
    """Spools written before rows were refused may hold one: it is kept as a dead letter and counted on its run."""
    settings = settings_for(directory)
    writer = spool.RunWriter(settings, "run")
    writer.log("x", 1.0)
    body = msgpack.packb(["big", 0, {f"c{i}": [noise(1_000_000)] for i in range(9)}])
    assert writer._frame(segment.ROWS, body)
    assert writer._frame(segment.ROWS, b"\xc1 is no msgpack")
    assert writer._frame(segment.TAG, b"\xc1")
    assert writer._frame(segment.TAG, msgpack.packb(["set", "k" * 7_000_000, "v"]))
    old = {"error": {"code": "UserError", "message": "x" * 7_000_000}}
    assert writer._frame(segment.STATUS, msgpack.packb(["error", old]))
    writer.log("x", 2.0)
    writer.tag("k", "v")
    writer.status("fail")
    events = sent(directory)
    assert logged(events) == {("run", "x", ""): [1.0, 2.0]}
    assert tags_of(events) == [("set", "k", "v")]
    steps = steps_of_life(events)
    warnings = [data["message"] for _, kind, data in steps if kind == "warning"]
    assert len(warnings) == 4
    assert str(MAX_EVENT_BYTES) in warnings[0]
    error = next(data["error"] for _, kind, data in steps if kind == "error")
    assert error["code"] == "UserError"
    assert error["message"].startswith("xxx")
    assert len(error["message"]) <= MAX_TEXT_BYTES
    assert max(event.dropped for event in events if isinstance(event, MetricsEvent)) == 4
    letters = sorted((settings.home_path / "dead-letters").iterdir())
    assert len(letters) == 4
    assert body in [msgpack.unpackb(letter.read_bytes())["value"] for letter in letters]


def test_times_of_the_script_are_clamped_to_what_can_be_shown(directory: Path) -> None:
    writer = spool.RunWriter(settings_for(directory), "run")
    times = [-1e300, -(2**62) / 1e6, -62135596800.0, 0.0, 1e9, 253402300799.0, 2**62 / 1e6, 1e300]
    writer.log_array("x", np.arange(8.0), times=times)
    (event,) = [event for event in sent(directory) if isinstance(event, MetricsEvent)]
    first, last = TIME_MIN_US, TIME_MAX_US
    assert decode_points(event.payload).times.tolist() == [
        first, first, first, 0, 1_000_000_000_000_000, last, last, last,
    ]  # fmt: skip


def test_a_clock_that_is_out_of_its_mind_makes_no_time_that_cannot_be(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for now in (1e300, -1e300, 2.0**62, float("inf"), float("nan")):
        monkeypatch.setattr(source_writer.time, "time", lambda now=now: now)
        writer = spool.RunWriter(settings_for(directory / str(now)), "run")
        writer.status("start")
        writer.log("x", 1)
        writer.text("t", "x")
        monkeypatch.undo()
        assert logged(sent(directory / str(now))) == {("run", "x", ""): [1], ("run", "t", ""): ["x"]}


@given(st.text(), st.integers(100, 400))
def test_a_cut_text_fits_and_a_fitting_one_is_kept(text: str, most: int) -> None:
    short = cut(text * 9, most)
    assert len(short.encode()) <= most
    whole = (text * 9).encode("utf-8", "backslashreplace").decode()
    assert short == whole or (
        len(whole.encode()) > most and short.endswith(f"{len(whole.encode()):,} bytes)")
    )


def test_what_is_recorded_as_it_should_be_is_not_changed() -> None:
    data = {"details": {"a": [1, 2.5, None, True, "text"], "b": {"c": "d" * 300_000}}, "name": "ü"}
    assert msgpack.unpackb(pack_step("create", data)) == ["create", data]
    assert fitted(data) == data
