"""From `log()` to events: nothing is lost, doubled or half-read, whatever happens to the process or the disk."""

from __future__ import annotations

import dataclasses
import errno
import gc
import math
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from tests.producers.reading import drain, logged, settings_for, steps_of_life, tags_of

from runstream.exceptions import AzureMLException, UserErrorException
from runstream.spool import process_lock, segment
from runstream.spool.collecting import collector as collector_module
from runstream.spool.collecting import discovery
from runstream.spool.collecting.collector import Collector
from runstream.spool.reading import reader as spool_reader
from runstream.spool.writing import source_writer
from runstream.spool.writing import writer as spool
from runstream_schemas.errors import LimitExceeded
from runstream_schemas.wire.events import MetricsEvent, StatusEvent, TagsEvent
from runstream_schemas.wire.payload_reading import decode_points


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "spool"


def values_of(directory: Path, name: str, column: str = "") -> list[Any]:
    recorded = logged(drain(Collector(settings_for(directory))))
    return [
        value
        for (_, series, col), values in recorded.items()
        if (series, col) == (name, column)
        for value in values
    ]


# --- values ---


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        (0.5, 0.5), (3, 3), (True, True), (None, None), ("text", "text"), ("", ""),
        (math.inf, math.inf), (-math.inf, -math.inf),
        (2**63 - 1, 2**63 - 1), (-(2**63), -(2**63)), (np.float64(1.5), 1.5), (np.float32(0.5), 0.5), (np.float16(0.5), 0.5),
        (np.int64(5), 5), (np.uint64(7), 7), (np.int8(-3), -3), (np.bool_(True), True), (np.str_("s"), "s"),
        (np.array(4), 4),
        (b"bytes", "b'bytes'"), ((1, 2), "(1, 2)"), ({"a": 1}, "{'a': 1}"), (1 + 2j, "(1+2j)"),
    ],
)  # fmt: skip
def test_a_value_keeps_its_type_and_content(directory: Path, value: Any, stored: Any) -> None:
    writer = spool.RunWriter(settings_for(directory), "run")
    writer.log("before", 1)
    writer.log("x", value)
    writer.log("x", value)
    (first, second) = values_of(directory, "x")
    assert (first, type(first)) == (second, type(second)) == (stored, type(stored))


def test_nan_is_a_value(directory: Path) -> None:
    spool.RunWriter(settings_for(directory), "run").log("x", math.nan)
    assert math.isnan(values_of(directory, "x")[0])


@pytest.mark.parametrize(
    ("name", "value", "step", "error", "says"),
    [
        ("x", [1, 2], None, UserErrorException, "log_list"),
        ("x", range(3), None, UserErrorException, "log_list"),
        ("x", 2**63, None, LimitExceeded, "64"),
        ("x", np.uint64(2**63), None, LimitExceeded, "64"),
        ("", 1.0, None, LimitExceeded, "empty"),
        ("n" * 1025, 1.0, None, LimitExceeded, "1024"),
        (7, 1.0, None, LimitExceeded, "expected a string"),
        (["x"], 1.0, None, LimitExceeded, "expected a string"),
        ("lone \ud800", 1.0, None, LimitExceeded, "surrogate"),
        ("x", "t" * ((1 << 20) + 1), None, LimitExceeded, "upload_file"),
        ("x", 1.0, "three", UserErrorException, "step"),
        ("x", 1.0, 2**63, LimitExceeded, "step"),
        ("x", 1.0, math.nan, UserErrorException, "step"),
    ],
)
def test_bad_input_is_refused_by_name_and_leaves_the_rest_alone(
    directory: Path, name: Any, value: Any, step: Any, error: type[Exception], says: str
) -> None:
    writer = spool.RunWriter(settings_for(directory), "run")
    writer.log("x", 1.0)
    with pytest.raises(error, match=says):
        writer.log(name, value, step=step)
    writer.log("x", 2.0)
    assert values_of(directory, "x") == [1.0, 2.0]


def test_steps_are_numbered_per_series_and_taken_as_given(directory: Path) -> None:
    writer = spool.RunWriter(settings_for(directory), "run")
    for value in (1.0, 2.0, 3.0):
        writer.log("auto", value)
    writer.log("given", 1.0, step=10)
    writer.log("given", 1.0, step=3.0)
    writer.log("given", 1.0, step=np.int64(-5))
    (event,) = [e for e in drain(Collector(settings_for(directory))) if isinstance(e, MetricsEvent)]
    points = decode_points(event.payload)
    assert points.steps.tolist() == [0, 1, 2, 10, 3, -5]


def test_names_are_kept_byte_for_byte(directory: Path) -> None:
    names = ["π/loss", "e\u0301", "\u00e9", " padded ", "a\nb", "\0", "x" * 1024]
    writer = spool.RunWriter(settings_for(directory), "run")
    for name in names:
        writer.log(name, 1)
    recorded = logged(drain(Collector(settings_for(directory))))
    assert sorted(name for _, name, _ in recorded) == sorted(names)


def test_log_list_extends_and_integers_among_floats_become_floats(directory: Path) -> None:
    writer = spool.RunWriter(settings_for(directory), "run")
    writer.log_list("a", [1, 2])
    writer.log_list("a", (3,))
    writer.log_list("b", (i for i in (1, 2.5)))
    writer.log_list("c", ["x", None, True])
    writer.log_list("d", [])
    with pytest.raises(AzureMLException, match="not supported"):
        writer.log_list("e", [1, {"a": 1}])
    recorded = {
        name: values for (_, name, _), values in logged(drain(Collector(settings_for(directory)))).items()
    }
    assert recorded == {"a": [1, 2, 3], "b": [1.0, 2.5], "c": ["x", None, True]}


def test_log_metrics_takes_one_step_for_all(directory: Path) -> None:
    writer = spool.RunWriter(settings_for(directory), "run")
    for step in range(3):
        writer.log_metrics({"f": step / 2, "i": step, "t": "x"}, step)
    recorded = {
        name: values for (_, name, _), values in logged(drain(Collector(settings_for(directory)))).items()
    }
    assert recorded == {"f": [0.0, 0.5, 1.0], "i": [0, 1, 2], "t": ["x"] * 3}


@pytest.mark.parametrize("dtype", ["f8", "f4", "i8", "u2", "?"])
def test_log_array_of_a_million_points_is_exact(directory: Path, dtype: str) -> None:
    values = np.random.default_rng(0).integers(0, 2, 1_000_000).astype(dtype)
    writer = spool.RunWriter(settings_for(directory), "run")
    writer.log("x", 0)
    writer.log_array("a", values, steps=np.arange(1_000_000) * 2, times=np.full(1_000_000, 1.7e9))
    events = [e for e in drain(Collector(settings_for(directory)), 1000) if isinstance(e, MetricsEvent)]
    values_back, steps = [], []
    for event in events:
        points = decode_points(event.payload, {k for k, _ in event.series if k.name == "a"})
        if len(points.series):
            values_back.append(points.floats(0))
            steps.append(points.steps)
    assert np.array_equal(np.concatenate(values_back), values.astype(float))
    assert np.array_equal(np.concatenate(steps), np.arange(1_000_000) * 2)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda w: w.log_array("a", np.zeros((2, 2))), "one dimension"),
        (lambda w: w.log_array("a", np.array(["x"])), "no numbers"),
        (lambda w: w.log_array("a", np.zeros(2, dtype=complex)), "no numbers"),
        (lambda w: w.log_array("a", [1, 2], steps=[1]), "steps of shape"),
        (lambda w: w.log_array("a", [1, 2], steps=[1.5, 2]), "no integers"),
        (lambda w: w.log_array("a", [1.0], times=[math.nan]), "NaN"),
        (lambda w: w.log_array("a", np.array([2**63], dtype=np.uint64)), "64"),
    ],
)
def test_log_array_refuses_what_it_cannot_keep(
    directory: Path, call: Callable[[Any], None], says: str
) -> None:
    writer = spool.RunWriter(settings_for(directory), "run")
    with pytest.raises((UserErrorException, LimitExceeded), match=says):
        call(writer)


def test_rows_and_tables_make_typed_columns_numbered_by_row(directory: Path) -> None:
    writer = spool.RunWriter(settings_for(directory), "run")
    writer.log_row("t", {"x": 1, "y": 0.5})
    writer.log_row("t", {"x": np.int64(2), "z": "new"})
    writer.log_table("t", {"x": [3, 4], "y": np.array([1.0, 2.0])})
    with pytest.raises(AzureMLException, match="same length"):
        writer.log_table("t", {"x": [1], "y": [1, 2]})
    with pytest.raises(AzureMLException, match="list values"):
        writer.log_row("t", {"x": [1]})
    recorded = {
        column: values for (_, _, column), values in logged(drain(Collector(settings_for(directory)))).items()
    }
    assert recorded == {"x": [1, 2, 3, 4], "y": [0.5, 1.0, 2.0], "z": ["new"]}


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


# --- threads, forks, processes ---


def test_threads_lose_and_double_nothing(directory: Path) -> None:
    writer = spool.RunWriter(settings_for(directory), "run")
    n, threads = 40_000, 6
    switch = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    stop = threading.Event()
    collector = Collector(settings_for(directory))
    events: list[Any] = []

    def read() -> None:
        while not stop.is_set():
            for item in collector.collect(1 << 20, now=True):
                events.extend(item.events)
                collector.stored(item)

    def write(number: int) -> None:
        for i in range(n):
            writer.log(f"t{number}", i)
            if i % 1000 == 0:
                writer.log_row("rows", {"thread": number, "i": i})

    reader = threading.Thread(target=read)
    reader.start()
    workers = [threading.Thread(target=write, args=(i,)) for i in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    stop.set()
    reader.join()
    sys.setswitchinterval(switch)
    events.extend(drain(collector))
    recorded = logged(events)
    for number in range(threads):
        assert recorded["run", f"t{number}", ""] == list(range(n))
    assert len(recorded["run", "rows", "i"]) == threads * n // 1000


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_writes_a_source_of_its_own(directory: Path) -> None:
    writer = spool.RunWriter(settings_for(directory), "run", owner=True)
    writer.log("x", 1)
    child = os.fork()
    if not child:
        try:
            writer.log("x", 2)
            writer.log("child", 1)
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    writer.log("x", 3)
    recorded = logged(events := drain(Collector(settings_for(directory))))
    assert sorted(recorded["run", "x", ""]) == [1, 2, 3]
    assert recorded["run", "child", ""] == [1]
    assert not [kind for _, kind, _ in steps_of_life(events) if kind == "fail"], (
        "the child's end is not the run's"
    )
    ((_, _, data),) = [step for step in steps_of_life(events) if step[1] == "source_done"]
    (of_child,) = [
        e for e in events if isinstance(e, MetricsEvent) and "child" in {k.name for k, _ in e.series}
    ]
    assert data == {"ends": {of_child.source.hex(): of_child.first + of_child.count}, "tag_ends": {}}


def run_script(directory: Path, body: str, *more: str, **options: Any) -> subprocess.Popen[str]:
    code = (
        "import os, signal, sys, time\nfrom runstream.spool.writing import writer as spool\n"
        "from runstream_schemas.settings import Settings\n"
        f"writer = spool.RunWriter(Settings.load({{}}, spool={str(directory)!r}), 'run', owner=True)\n" + body
    )
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path))
    return subprocess.Popen(
        [*more, sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment, **options
    )


def test_two_processes_on_one_run_id(directory: Path) -> None:
    body = "for i in range(5000): writer.log('x', i)\n"
    processes = [run_script(directory, body) for _ in range(2)]
    assert [process.wait(60) for process in processes] == [0, 0]
    for process in processes:
        assert process.stdout
        process.stdout.close()
    assert values_of(directory, "x") == list(range(5000)) * 2


@pytest.mark.parametrize("delay", [0.0, 0.003, 0.01, 0.05, 0.2])
def test_what_was_logged_before_a_kill_is_there_and_the_run_is_failed(directory: Path, delay: float) -> None:
    body = (
        "i = 0\n"
        "writer.status('create', {'experiment': 'e'})\n"
        "while True:\n    writer.log('x', i); writer.log_row('r', {'i': i, 't': 'x' * 100})\n    i += 1\n"
        "    if i % 100 == 0: os.write(1, b'%d\\n' % i)\n"
    )
    process = run_script(directory, body)
    assert process.stdout
    process.stdout.readline()
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    rest = process.stdout.read().split("\n")
    process.stdout.close()
    process.wait(10)
    acknowledged = max([100, *(int(line) for line in rest[:-1] if line)])
    events = drain(Collector(settings_for(directory)))
    recorded = logged(events)
    assert recorded["run", "x", ""] == list(range(len(recorded["run", "x", ""])))
    assert len(recorded["run", "x", ""]) >= acknowledged
    rows = recorded["run", "r", "i"]
    assert rows == list(range(len(rows)))
    assert len(recorded["run", "r", "t"]) == len(rows) >= acknowledged
    (_, _, data) = next(step for step in steps_of_life(events) if step[1] == "fail")
    assert data["error"]["code"] == "ProcessDied"
    assert str(process.pid) in data["error"]["message"]
    assert list(data["ends"].values()) == [
        max(e.first + e.count for e in events if isinstance(e, MetricsEvent))
    ]
    assert not [entry for entry in directory.iterdir() if len(entry.name) == 32], (
        "a source that is done is removed"
    )


def test_a_run_that_ended_is_not_failed_when_its_process_dies(directory: Path) -> None:
    process = run_script(
        directory, "writer.log('x', 1)\nwriter.status('complete')\nwriter.close()\nos.kill(os.getpid(), 9)\n"
    )
    process.wait(20)
    assert process.stdout
    process.stdout.close()
    kinds = [kind for _, kind, _ in steps_of_life(drain(Collector(settings_for(directory))))]
    assert kinds == ["complete"]


def test_a_run_that_another_process_goes_on_with_is_not_failed(directory: Path) -> None:
    collector = Collector(settings_for(directory))
    first = run_script(directory, "writer.log('x', 1)\nwriter.status('start')\nos.kill(os.getpid(), 9)\n")
    first.wait(20)
    second = spool.RunWriter(settings_for(directory), "run", owner=True)  # before anybody has noticed
    second.status("start")
    second.log("x", 2)
    events = drain(collector)
    assert [kind for _, kind, _ in steps_of_life(events)] == ["start", "start", "warning", "source_done"]
    warning = next(data for _, kind, data in steps_of_life(events) if kind == "warning")
    assert f"pid {first.pid} on" in warning["message"]
    second.status("complete")
    second.close()
    assert [kind for _, kind, _ in steps_of_life(drain(collector))] == ["complete"]
    assert first.stdout
    first.stdout.close()


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
            writer = spool.RunWriter(settings, f"run-{number}", owner=part == 0)
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


# --- an interrupted writer, a damaged spool ---


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


# --- the disk ---


def test_names_that_find_no_room_are_saved_later_and_hide_no_others(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_for(directory)
    writer = spool.RunWriter(settings, "run")
    sync, failed = os.fsync, []

    def no_room(descriptor: int) -> None:
        if len(failed) < 2:
            failed.append(descriptor)
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", no_room)
    collector, events = Collector(settings), []
    for name in ("a", "b", "c", "d"):
        for number in range(20_000):
            writer.log(name, number)
        events += drain(collector)
    assert len(failed) == 2
    assert len(list(directory.glob("*/*.seg"))) <= 2, "what was kept by a full disk is freed"
    for name in ("a", "b", "c", "d"):
        writer.log(name, -1)
    events += drain(Collector(settings))
    recorded = logged(events)
    assert {name: recorded["run", name, ""] for name in "abcd"} == {
        name: [*range(20_000), -1] for name in "abcd"
    }
    assert {event.dropped for event in events if isinstance(event, MetricsEvent)} == {0}


def test_a_disk_that_stays_full_gets_one_directory_a_run(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_writer, "_RETRY_SECONDS", 0.0)
    writer = spool.RunWriter(settings_for(directory), "run")
    make = segment.create_segment

    def no_room(*_: Any) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(segment, "create_segment", no_room)
    for number in range(5):
        writer.log("x", number)
    assert len([entry for entry in directory.iterdir() if len(entry.name) == 32]) == 1
    monkeypatch.setattr(segment, "create_segment", make)
    writer.log("x", 5)
    assert values_of(directory, "x") == [5]
    assert writer.dropped == 5


def test_the_quota_drops_points_and_counts_them_until_there_is_room(
    directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    writer = spool.RunWriter(settings_for(directory, spool_quota=200_000), "run")
    for i in range(20_000):
        writer.log("x", i)
    assert 0 < writer.dropped < 20_000
    assert "quota" in caplog.text
    assert len(caplog.records) == 1, "told once, not at every point"
    collector = Collector(settings_for(directory))
    events = drain(collector)
    kept = logged(events)["run", "x", ""]
    assert len(kept) + writer.dropped == 20_000
    collector.collect(1, now=True)  # writes down how full the spool is
    time.sleep(1.1)
    writer.log("x", -1)
    events += drain(collector)
    assert logged(events)["run", "x", ""][-1] == -1
    assert max(e.dropped for e in events if isinstance(e, MetricsEvent)) == writer.dropped


def test_drops_are_told_even_if_nothing_is_logged_after_them(directory: Path) -> None:
    writer = spool.RunWriter(settings_for(directory, spool_quota=100_000), "run")
    collector = Collector(settings_for(directory))
    for i in range(20_000):
        writer.log("x", i)
    events = drain(collector)
    assert max(e.dropped for e in events if isinstance(e, MetricsEvent)) == writer.dropped
    messages = [data["message"] for _, kind, data in steps_of_life(events) if kind == "warning"]
    assert not messages or "quota" in messages[0]


@pytest.mark.parametrize("kind", ["complete", "fail", "cancel"])
def test_a_run_that_ends_while_the_spool_is_full_is_ended(
    directory: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(source_writer, "_patience", 0.0)
    writer = spool.RunWriter(settings_for(directory, spool_quota=100_000), "run")
    writer.status("create")
    for i in range(20_000):
        writer.log("x", i)
    before = writer.dropped
    writer.tag("late", "one")
    writer.status(kind, {"error": {"message": "a reason"}} if kind == "fail" else {})
    writer.close()
    assert writer.dropped == before + 2, "the tag and the status are counted"
    life = steps_of_life(drain(Collector(settings_for(directory))))
    assert [step for _, step, _ in life if step in ("complete", "fail", "cancel")] == [kind]
    assert {step: data for _, step, data in life}[kind]["ends"], "it is settled once all is stored"


def test_a_run_that_ends_waits_a_little_for_room(directory: Path) -> None:
    writer = spool.RunWriter(settings_for(directory, spool_quota=300_000), "run")
    for i in range(20_000):
        writer.log("x", i)
    writer.tag("late", "one")
    writer.status("complete", {"note": "kept"})
    collector = Collector(settings_for(directory))
    events: list[Any] = []
    reading = threading.Thread(target=lambda: events.extend(drain(collector)))
    reading.start()
    writer.close()
    reading.join()
    events += drain(collector)
    assert ("set", "late", "one") in tags_of(events)
    assert ("run", "complete", "kept") in [
        (run, kind, data.get("note")) for run, kind, data in steps_of_life(events)
    ]


def test_a_run_that_never_had_room_is_recorded_when_there_is_some_at_its_end(directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    usage = directory / "usage"
    usage.write_text("100000")
    writer = spool.RunWriter(settings_for(directory, spool_quota=100_000), "run", owner=True)
    writer.status("create")
    for i in range(100):
        writer.log("x", i)
    writer.status("complete")
    usage.write_text("0")
    os.utime(usage, ns=(0, 0))
    writer.close()
    events = drain(Collector(settings_for(directory)))
    assert [step for _, step, _ in steps_of_life(events)] == ["create", "complete"]
    assert writer.dropped == 100
    assert max(event.dropped for event in events if hasattr(event, "dropped")) == 100


def test_a_run_that_has_no_room_until_its_end_says_what_is_lost(
    directory: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(source_writer, "_patience", 0.0)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "usage").write_text("100000")
    writer = spool.RunWriter(settings_for(directory, spool_quota=100_000), "run", owner=True)
    writer.status("create")
    for i in range(100):
        writer.log("x", i)
    writer.close()
    writer.close()
    said = [record.getMessage() for record in caplog.records if "is lost" in record.getMessage()]
    assert len(said) == 1
    assert "101 points, tags and statuses" in said[0]


IN_SMALL_TMPFS = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]


@pytest.mark.skipif(sys.platform != "linux", reason="mounts a tmpfs")
def test_a_full_disk_never_stops_the_training(tmp_path: Path) -> None:
    mount = tmp_path / "small"
    mount.mkdir()
    script = tmp_path / "train.py"
    script.write_text(
        "import sys, logging\n"
        "from runstream.spool.writing import writer as spool\n"
        "from runstream_schemas.settings import Settings\n"
        "from runstream.spool.collecting.collector import Collector\n"
        "sys.path.insert(0, sys.argv[2])\n"
        "from tests.producers.reading import drain, logged, settings_for\n"
        "from pathlib import Path\n"
        "settings = Settings.load({}, spool=sys.argv[1] + '/spool')\n"
        "writer = spool.RunWriter(settings, 'run')\n"
        "for i in range(60000): writer.log('x', i)\n"
        "writer.tag('still', 'here')\n"
        "assert writer.dropped > 0, 'the disk was not full'\n"
        "kept = logged(drain(Collector(settings)))['run', 'x', '']\n"
        "assert kept == list(range(len(kept))) and len(kept) + writer.dropped == 60000, (len(kept), writer.dropped)\n"
        "print('dropped', writer.dropped)\n"
    )
    run = shlex.join([sys.executable, str(script), str(mount), str(Path(__file__).parents[3])])
    command = f"mount -t tmpfs -o size=600k tmpfs {shlex.quote(str(mount))} && exec {run}"
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path))
    done = subprocess.run(
        [*IN_SMALL_TMPFS, command], capture_output=True, text=True, env=environment, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "dropped" in done.stdout
    assert "disk full" in done.stderr


def test_a_spool_that_cannot_be_written_never_stops_the_training(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    writer = spool.RunWriter(settings_for(tmp_path / "file" / "spool"), "run")
    for i in range(1000):
        writer.log("x", i)
    writer.status("complete")
    assert writer.dropped == 1000
    assert "cannot be written" in caplog.text


def test_a_vanished_spool_is_begun_anew(directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    writer = spool.RunWriter(settings_for(directory), "run")
    writer.log("x", 0)
    shutil.rmtree(directory)
    for i in range(5000):
        writer.log("x", i)
    assert "vanished" in caplog.text
    assert writer.dropped > 0
    recorded = logged(drain(Collector(settings_for(directory))))["run", "x", ""]
    assert recorded == list(range(5000 - len(recorded), 5000))


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
