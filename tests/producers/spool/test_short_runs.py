"""What makes short runs cheap changes nothing of them: series defined together, segments used again, closed ones copied."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.producers.reading import drain, logged, settings_for

from runstream.exceptions import UserErrorException
from runstream.spool import segment
from runstream.spool.collecting.collector import Collector
from runstream.spool.reading.read_segment import ReadSegment
from runstream.spool.writing import frames
from runstream.spool.writing.writer import RunWriter

ROOT = Path(__file__).parents[3]
NAMES = [f"m{number}" for number in range(150)]


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    return tmp_path / "spool"


def test_new_series_of_one_call_are_one_record_each_and_read_as_such(spool: Path) -> None:
    writer = RunWriter(settings_for(spool), "run")
    writer.log("m3", 0.25)
    writer.log_metrics({name: float(at) for at, name in enumerate(NAMES)}, 1)
    writer.log_metrics({"m1": 7, "new": 8, "other": 0.5})
    writer.close()
    values = logged(drain(Collector(settings_for(spool))))
    expected = {("run", name, ""): [float(at)] for at, name in enumerate(NAMES)}
    expected["run", "m3", ""] = [0.25, 3.0]
    expected["run", "m1", ""] = [1.0, 7]
    assert values == expected | {("run", "new", ""): [8], ("run", "other", ""): [0.5]}


def test_a_name_that_is_refused_leaves_the_ones_before_it_logged(spool: Path) -> None:
    writer = RunWriter(settings_for(spool), "run")
    with pytest.raises(UserErrorException, match="empty"):
        writer.log_metrics({"a": 1.0, "b": 2.0, "": 3.0, "c": 4.0})
    writer.log_metrics({"c": 5.0})
    writer.close()
    values = logged(drain(Collector(settings_for(spool))))
    assert values == {("run", "a", ""): [1.0], ("run", "b", ""): [2.0], ("run", "c", ""): [5.0]}


class Head:
    """Stops before the word is written that makes the first frame, and with it all of them, visible."""

    pack, unpack_from = frames._FRAME.pack, frames._FRAME.unpack_from

    def pack_into(self, *_: Any) -> None:
        raise KeyboardInterrupt


def test_definitions_that_are_interrupted_are_passed_over_and_made_again(
    spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = RunWriter(settings_for(spool), "run")
    writer.log("before", 1.0)
    with monkeypatch.context() as broken:
        broken.setattr(frames, "_FRAME", Head())
        with pytest.raises(KeyboardInterrupt):
            writer.log_metrics({"x": 1.0, "y": 2.0})
    writer.log_metrics({"x": 3.0, "y": 4.0})
    writer.close()
    values = logged(drain(Collector(settings_for(spool))))
    assert values == {("run", "before", ""): [1.0], ("run", "x", ""): [3.0], ("run", "y", ""): [4.0]}


def test_of_a_process_that_is_killed_among_definitions_all_before_them_is_there(spool: Path) -> None:
    script = """
import os, sys
from pathlib import Path
from tests.producers.reading import settings_for
from runstream.spool.writing import frames
from runstream.spool.writing.writer import RunWriter
writer = RunWriter(settings_for(Path(sys.argv[1])), "run")
writer.log("before", 1.0)
class Head:
    pack, unpack_from = frames._FRAME.pack, frames._FRAME.unpack_from
    def pack_into(self, *_):
        os.kill(os.getpid(), 9)
frames._FRAME = Head()
writer.log_metrics({"x": 1.0, "y": 2.0})
"""
    done = subprocess.run([sys.executable, "-c", script, str(spool)], check=False, cwd=ROOT)
    assert done.returncode == -signal.SIGKILL
    assert logged(drain(Collector(settings_for(spool)))) == {("run", "before", ""): [1.0]}


def test_a_segment_that_is_used_again_holds_nothing_of_before(spool: Path) -> None:
    settings = settings_for(spool)
    collector = Collector(settings)
    for number in range(3):
        writer = RunWriter(settings, f"run-{number}")
        for at in range(40 * (3 - number)):  # each shorter than the one before
            writer.log("x", 10 * number + at)
        writer.close()
        assert logged(drain(collector)) == {
            (f"run-{number}", "x", ""): [10 * number + at for at in range(40 * (3 - number))]
        }
    assert len(os.listdir(spool / segment.SPARE)) == 1


def test_a_closed_source_is_read_without_a_mapping_and_its_positions_are_noted_in_the_file(
    spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_for(spool)
    writer = RunWriter(settings, "run")
    writer.log("x", 1.5)
    writer.close()

    def no_mapping(*_: Any) -> Any:
        raise AssertionError("mapped")

    monkeypatch.setattr(segment, "map_file", no_mapping)
    (path,) = spool.glob("*/*.seg")
    opened = ReadSegment.open(path)
    assert opened.copied
    opened.set_word(segment.REPORTED_AT, 123)
    assert ReadSegment.open(path).word(segment.REPORTED_AT) == 123
    assert logged(drain(Collector(settings))) == {("run", "x", ""): [1.5]}


def test_runs_that_are_read_together_are_what_each_is_by_itself(spool: Path) -> None:
    def write(number: int) -> None:
        writer = RunWriter(settings_for(spool), f"run{number}", owner=True)
        writer.status("create", {"experiment": "sweep"})
        for step in range(3):
            writer.log_metrics({"loss": number / 7 + step, "accuracy": step / 3}, step)
        if number % 5 == 1:
            writer.log("note", "a text")
        if number % 5 == 2:
            writer.log("loss", 3, "", 9)
        writer.tag("number", str(number))
        writer.status("complete")
        writer.close()

    expected: dict[tuple[str, str, str], list[Any]] = {}
    for number in range(40):
        write(number)
        run = f"run{number}"
        expected[run, "loss", ""] = [number / 7 + step for step in range(3)]
        expected[run, "accuracy", ""] = [step / 3 for step in range(3)]
        if number % 5 == 1:
            expected[run, "note", ""] = ["a text"]
        if number % 5 == 2:
            expected[run, "loss", ""].append(3)
    events = drain(Collector(settings_for(spool)))
    assert logged(events) == expected
    for number in range(40):
        kinds = [type(event).__name__ for event in events if event.run_id == f"run{number}"]
        assert kinds == ["MetricsEvent", "TagsEvent", "StatusEvent"]
