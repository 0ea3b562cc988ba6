"""Many series, many runs, and what a source leaves behind: directories, lock files, mappings."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tests.producers.reading import drain, logged, settings_for, values_of

from runstream.spool import process_lock, segment
from runstream.spool.collecting.collector import Collector
from runstream.spool.reading import reader as spool_reader
from runstream.spool.writing import writer as spool
from runstream_schemas.wire.events import MetricsEvent
from runstream_schemas.wire.payload_reading import decode_points

# --- volume ---


def test_ten_thousand_series_in_a_run(directory: Path) -> None:
    writer = spool.RunWriter(settings_for(directory), "run")
    names = [f"metric/{i}" for i in range(10_000)]
    for step in range(3):
        for i, name in enumerate(names):
            writer.log(name, float(i), step=step)
    collector = Collector(settings_for(directory))
    recorded = logged(drain(collector, 1000))
    assert len(recorded) == 10_000
    assert all(recorded["run", f"metric/{i}", ""] == [float(i)] * 3 for i in range(0, 10_000, 777))


def test_a_thousand_runs_in_a_process_keep_no_descriptor_each(directory: Path) -> None:
    before = len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 0
    writers = [spool.RunWriter(settings_for(directory), f"run-{i}") for i in range(1000)]
    for i, writer in enumerate(writers):
        writer.log("x", i)
    if sys.platform == "linux":
        assert len(os.listdir("/proc/self/fd")) - before < 10
    recorded = logged(drain(Collector(settings_for(directory)), 2000))
    assert recorded == {(f"run-{i}", "x", ""): [i] for i in range(1000)}


def test_segments_grow_and_read_ones_are_used_again(directory: Path) -> None:
    writer = spool.RunWriter(settings_for(directory), "run")
    collector = Collector(settings_for(directory))
    seen = []
    for i in range(400_000):
        writer.log("x", i)
        if i % 50_000 == 0:
            seen.extend(logged(drain(collector)).get(("run", "x", ""), []))
    seen.extend(logged(drain(collector))["run", "x", ""])
    assert seen == list(range(400_000))
    (source,) = [entry for entry in directory.iterdir() if len(entry.name) == 32]
    segments = [entry for entry in source.iterdir() if entry.suffix in (".seg", ".free")]
    assert sum(entry.stat().st_size for entry in segments) <= 4 * segment.LARGEST


def test_a_closed_source_leaves_its_directory_to_the_next_one(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool_reader, "HOLE_GRACE", 0.0)
    settings, collector = settings_for(directory), Collector(settings_for(directory))
    for number in range(4):
        writer = spool.RunWriter(settings, f"run-{number}")
        writer.log(f"x{number}", number)
        if number == 2:
            next(iter(writer._slots))  # taken by somebody who may still fill it
        writer.close()
        assert logged(drain(collector)) == {(f"run-{number}", f"x{number}", ""): [number]}
        assert len(list((directory / segment.SPARE).iterdir())) == (number != 2)
        assert [entry for entry in directory.iterdir() if len(entry.name) == 32] == []


def test_a_directory_kept_for_the_next_source_outlives_a_clock_that_is_set_forward(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, collector = settings_for(directory), Collector(settings_for(directory))
    writer = spool.RunWriter(settings, "run")
    writer.log("x", 1)
    writer.close()
    drain(collector)
    real, monotonic = time.time, time.monotonic
    monkeypatch.setattr(time, "time", lambda: real() + 1e6)
    drain(collector)
    assert len(list((directory / segment.SPARE).iterdir())) == 1
    monkeypatch.setattr(time, "monotonic", lambda: monotonic() + 1e6)
    drain(collector)
    assert list((directory / segment.SPARE).iterdir()) == []


# --- the disk ---


UNBEGUN = """
import os, sys
from runstream.spool import process_lock

spool, name = sys.argv[1:]
process_lock.process_token(spool)
os.mkdir(os.path.join(spool, name))
print("made", flush=True)
sys.stdin.read()
"""


def test_a_directory_without_a_segment_goes_when_its_writer_is_dead_and_not_before(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory.mkdir()
    unbegun = directory / ("ab" * 16)
    command = [sys.executable, "-c", UNBEGUN, str(directory), unbegun.name]
    writer = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert writer.stdout is not None
    assert writer.stdout.readline() == b"made\n"
    collector = Collector(settings_for(directory))
    real, monotonic = time.time, time.monotonic
    monkeypatch.setattr(time, "time", lambda: real() + 1e6)  # set forward
    monkeypatch.setattr(time, "monotonic", lambda: monotonic() + 1e6)  # or it was stopped for long
    for _ in range(3):
        assert collector.collect(1 << 20, now=True) == []
    assert unbegun.exists(), "it is about to begin"
    writer.kill()
    writer.communicate()
    assert drain(collector) == []
    assert not unbegun.exists()


def test_what_is_logged_into_a_directory_that_was_seen_empty_is_read(directory: Path) -> None:
    writer = spool.RunWriter(settings_for(directory), "run")
    collector = Collector(settings_for(directory))
    make = segment.create_segment

    def look_first(path: Any, header: Any, size: int) -> Any:
        assert collector.collect(1 << 20, now=True) == []
        return make(path, header, size)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(segment, "create_segment", look_first)
        writer.log("x", 1)
    assert logged(drain(collector)) == {("run", "x", ""): [1]}
    assert writer.dropped == 0


def test_a_lock_file_of_a_process_has_its_name_only_when_it_is_held(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[bool] = []
    rename = os.rename

    def look(source: str, target: str) -> None:
        assert Path(source).exists()
        assert not Path(target).exists()
        command = "from runstream.spool import process_lock; import sys; print(process_lock.process_alive(*sys.argv[1:]))"
        where = [str(directory), Path(source).name]
        held.append(subprocess.check_output([sys.executable, "-c", command, *where]) == b"True\n")
        rename(source, target)

    monkeypatch.setattr(os, "rename", look)
    token = process_lock.process_token(directory)
    assert held == [True]
    assert os.listdir(directory / "procs") == [token]


def test_logging_after_close_starts_a_new_source(directory: Path) -> None:
    writer = spool.RunWriter(settings_for(directory), "run")
    writer.log("x", 1)
    writer.status("complete")
    writer.close()
    writer.close()
    writer.log("x", 2)
    assert sorted(values_of(directory, "x")) == [1, 2]


def test_a_closed_source_frees_its_mapping(directory: Path) -> None:
    for i in range(50):
        writer = spool.RunWriter(settings_for(directory), f"run-{i}")
        writer.log("x", 1)
        writer.close()
    gc.collect()
    if sys.platform == "linux":
        maps = Path("/proc/self/maps").read_text()
        assert maps.count(str(directory)) <= 1


def test_sources_of_a_run_are_seen_in_the_order_they_began(directory: Path) -> None:
    collector = Collector(settings_for(directory))
    events: list[Any] = []
    for seen_before in (False, True):  # whether a reader knew a source before it had points
        for number in range(12):
            run = f"run-{seen_before}-{number}"
            for value in (1, 2, 3):
                writer = spool.RunWriter(settings_for(directory), run, owner=True)
                writer.status("create", {"experiment": "e"})
                for item in collector.collect(1 << 20) if seen_before else ():
                    events.extend(item.events)
                    collector.stored(item)
                writer.log("x", value)
                writer.status("complete")
                writer.close()
    order: dict[str, list[Any]] = {}
    for event in [*events, *drain(collector)]:
        if isinstance(event, MetricsEvent):
            order.setdefault(event.run_id, []).extend(decode_points(event.payload).python_values(0))
    assert len(order) == 24
    assert set(map(tuple, order.values())) == {(1, 2, 3)}
