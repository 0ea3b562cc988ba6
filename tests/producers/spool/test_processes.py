"""Threads, forks and processes that write at once, or are killed while they do: nothing is lost or doubled."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from tests.producers.reading import drain, logged, settings_for, steps_of_life, values_of
from tests.producers.spool.scripts import run_script

from runstream.spool.collecting.collector import Collector
from runstream.spool.writing import writer as spool
from runstream_schemas.wire.events import MetricsEvent


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


def test_a_source_that_its_owner_closes_before_the_run_has_ended_still_tells_of_its_death(
    directory: Path,
) -> None:
    body = (
        "writer.status('start')\nwriter.log('x', 1)\nwriter.close()\nwriter.log('x', 2)\nwriter.close()\n"
        "print('closed', flush=True)\ntime.sleep(60)\n"
    )
    process = run_script(directory, body)
    assert process.stdout
    assert process.stdout.readline() == "closed\n"
    collector = Collector(settings_for(directory))
    events = drain(collector)  # all is stored, and the process lives
    assert logged(events) == {("run", "x", ""): [1, 2]}
    assert [kind for _, kind, _ in steps_of_life(events)] == ["start"]
    assert collector.live == 1
    process.kill()
    process.wait(20)
    process.stdout.close()
    ((_, kind, data),) = steps_of_life(drain(collector))
    assert (kind, data["error"]["code"]) == ("fail", "ProcessDied")


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
