"""The sampler beside real processes of real runs: whose they are, what they use, and when it lets go of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runstream.monitoring.live_processes import LiveProcesses
from runstream.monitoring.sampler import Sampler
from runstream.spool import process_lock
from runstream.spool.collecting.collector import Collector
from runstream.spool.writing.writer import RunWriter
from runstream_schemas.series import SeriesClass
from runstream_schemas.settings import Settings
from runstream_schemas.wire.events import MetricsEvent, StatusEvent
from runstream_schemas.wire.payload_reading import decode_points

from .nvml import Device, install

OWNER = """
import os, subprocess, sys, time
from runstream.spool.live_runs import open_live
from runstream_schemas.settings import Settings
live = open_live(Settings.load(), sys.argv[1], owner=sys.argv[2] == "owner")
if sys.argv[2] == "owner":
    live.start({})
elif sys.argv[2] == "rank":
    live.writer.log("loss", 1.0)
else:
    live.writer.add_property("submitted", "here")
child = subprocess.Popen([sys.executable, "-c", sys.argv[3]]) if len(sys.argv) > 3 else None
print(child.pid if child else 0, flush=True)
sys.stdin.readline()
if child:
    child.kill()
    child.wait()
if sys.argv[2] == "owner":
    live.end("complete")
print("ended", flush=True)
sys.stdin.readline()
"""
BUSY = "x = bytearray(200_000_000)\nwhile True: pass"

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=str(tmp_path), system_interval=0.3)


@pytest.fixture
def start(settings: Settings) -> Iterator[Start]:
    """Start a process that writes to a run; its first line is the process it began."""
    begun: list[subprocess.Popen[str]] = []

    def start(run_id: str, kind: str = "owner", *child: str) -> subprocess.Popen[str]:
        environment = {
            **os.environ,
            **settings.environment(),
            "PYTHONPATH": os.pathsep.join(part for part in sys.path if part),
        }
        process = subprocess.Popen(
            [sys.executable, "-c", OWNER, run_id, kind, *child],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            start_new_session=True,
        )
        begun.append(process)
        assert process.stdout is not None
        process.child = int(process.stdout.readline())  # type: ignore[attr-defined]
        return process

    yield start
    for process in begun:
        with_children = process.poll() is None
        if with_children:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            pipe.close()


def end(process: subprocess.Popen[str]) -> None:
    """Have it end its run; it lives on."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    assert process.stdout.readline() == "ended\n"


def stored(settings: Settings) -> dict[str, dict[str, list[tuple[str, float]]]]:
    """Node and value of each system metric in the spool, by run and name."""
    series: dict[str, dict[str, list[tuple[str, float]]]] = {}
    for event in events(settings):
        if isinstance(event, MetricsEvent):
            points = decode_points(event.payload)
            for i, (key, _) in enumerate(points.series):
                if key.cls == SeriesClass.SYSTEM:
                    values = [(key.column, float(value)) for value in points.python_values(i)]
                    series.setdefault(event.run_id, {}).setdefault(key.name, []).extend(values)
    return series


def events(settings: Settings) -> list[Any]:
    """Everything that whoever reads the spool has to tell by now."""
    collector = Collector(settings)
    looks = [collector.collect(1 << 30, now=True) for _ in range(4)]
    return [event for items in looks for item in items for event in item.events]


def sample(sampler: Sampler, more: int, seconds: float = 60.0) -> None:
    """Look until there are so many samples more, as the service does."""
    deadline, samples = time.monotonic() + seconds, sampler.state.samples + more
    while sampler.state.samples < samples:
        assert time.monotonic() < deadline
        time.sleep(sampler.look())


def let_go(sampler: Sampler) -> None:
    """Look until no run is sampled any more."""
    deadline = time.monotonic() + 60
    while sampler.state.runs:
        assert time.monotonic() < deadline
        time.sleep(sampler.look())


def test_a_live_run_is_sampled_with_all_its_processes_have_begun(settings: Settings, start: Start) -> None:
    start("busy", "owner", BUSY)
    sampler = Sampler(settings, node="here")
    sample(sampler, 4)
    metrics = stored(settings)["busy"]
    assert {name for name in metrics if "gpu" not in name} == {
        "system/cpu_utilization_percentage",
        "system/system_memory_usage_megabytes",
        "system/system_memory_usage_percentage",
        "system/disk_usage_percentage",
        "system/disk_usage_megabytes",
        "system/disk_available_megabytes",
        "system/network_receive_megabytes",
        "system/network_transmit_megabytes",
        "system/process_cpu_percentage",
        "system/process_memory_rss_megabytes",
        "system/process_memory_percentage",
        "system/process_threads",
        *(
            ("system/process_disk_read_megabytes", "system/process_disk_written_megabytes")
            if sys.platform == "linux"
            else ()
        ),
    }
    assert {node for samples in metrics.values() for node, _ in samples} == {"here"}
    assert max(value for _, value in metrics["system/process_memory_rss_megabytes"]) > 200.0
    assert max(value for _, value in metrics["system/process_cpu_percentage"]) > 5.0
    assert all(0 <= value <= 100 for _, value in metrics["system/cpu_utilization_percentage"])
    assert metrics["system/network_receive_megabytes"][0][1] == 0.0, "counted from the run's first sample"
    assert sampler.state.runs == 1
    assert sampler.state.samples == len(metrics["system/process_threads"])
    sampler.close()


def test_a_run_that_has_ended_is_let_go_though_its_process_lives(settings: Settings, start: Start) -> None:
    process = start("over")
    sampler = Sampler(settings, node="here")
    sample(sampler, 2)
    assert sampler.state.runs == 1
    end(process)
    let_go(sampler)
    before = sampler.state.samples
    for _ in range(5):
        time.sleep(sampler.look())
    assert sampler.state.samples == before
    assert process.poll() is None


def test_a_process_that_is_killed_fails_its_run_as_ever(settings: Settings, start: Start) -> None:
    process = start("killed")
    sampler = Sampler(settings, node="here")
    sample(sampler, 2)
    process.kill()
    process.wait()
    steps = [
        (op.kind, op.data) for event in events(settings) if isinstance(event, StatusEvent) for op in event.ops
    ]
    (failure,) = [data for kind, data in steps if kind == "fail"]
    assert failure["error"]["code"] == "ProcessDied"
    assert failure["error"]["pid"] == process.pid
    assert len(failure["ends"]) == 2, "until where the samples go is told too"
    let_go(sampler)


def test_the_end_of_the_sampler_ends_no_run(settings: Settings, start: Start) -> None:
    start("lives")
    sampler = Sampler(settings, node="here")
    sample(sampler, 2)
    sampler.close()
    kinds = [op.kind for event in events(settings) if isinstance(event, StatusEvent) for op in event.ops]
    assert kinds == ["create", "start", "source_done"]


def test_another_sampler_goes_on_where_one_was_killed(settings: Settings, start: Start) -> None:
    start("goes on")
    program = (
        "import sys, time\nfrom runstream.monitoring.sampler import Sampler\n"
        "from runstream_schemas.settings import Settings\nsampler = Sampler(Settings.load(), node='here')\n"
        "while sampler.state.samples < 2: time.sleep(sampler.look())\nprint('sampled', flush=True)\nsys.stdin.readline()"
    )
    environment = {
        **os.environ,
        **settings.environment(),
        "PYTHONPATH": os.pathsep.join(part for part in sys.path if part),
    }
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "sampled\n"
        first.kill()
    before = len(stored(settings)["goes on"]["system/process_threads"])
    sampler = Sampler(settings, node="here")
    sample(sampler, 2)
    assert len(stored(settings)["goes on"]["system/process_threads"]) == before + 2
    sampler.close()


def test_short_runs_are_not_sampled(settings: Settings, start: Start) -> None:
    start("young")
    sampler = Sampler(replace(settings, system_interval=30.0), node="here")
    sampler.look()
    assert sampler.state.samples == 0


def test_the_processes_of_a_run_are_those_of_its_owner_else_those_that_log(
    settings: Settings, start: Start
) -> None:
    owner = start("owned")
    start("owned", "submitter")
    rank = start("elsewhere", "rank")
    start("elsewhere", "submitter")
    collector = Collector(settings)
    for item in collector.collect(1 << 30, now=True):
        collector.stored(item)
    collector.collect(1 << 20)
    live = LiveProcesses(settings.spool_path).look()
    assert live == {"owned": {owner.pid}, "elsewhere": {rank.pid}}


def test_who_holds_a_lock_is_told_and_our_own_is_not_lost(settings: Settings, start: Start) -> None:
    process = start("held")
    (token,) = process_lock.process_tokens(settings.spool_path)
    assert process_lock.holder(settings.spool_path, token) == process.pid
    own = process_lock.own_token(str(settings.spool_path))
    assert process_lock.holder(settings.spool_path, own) == os.getpid()
    looked = subprocess.run(
        [sys.executable, "-c", "import sys; from runstream.spool import process_lock; "
         "print(process_lock.process_alive(sys.argv[1], sys.argv[2]))", str(settings.spool_path), own],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(part for part in sys.path if part)},
        capture_output=True,
        text=True,
        check=True,
    )  # fmt: skip
    assert looked.stdout == "True\n"
    process.kill()
    process.wait()
    assert process_lock.holder(settings.spool_path, token) is None
    assert process_lock.holder(settings.spool_path, "1-none") is None


def test_gpus_are_told_of_the_run_whose_process_they_work_for(
    settings: Settings, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy, other = start("one", "owner", "import time; time.sleep(60)"), start("other")
    devices = [
        Device([busy.child], utilisation=10),  # type: ignore[attr-defined]
        Device([other.pid, 1 << 22], utilisation=20),
        Device([os.getppid()], utilisation=30),
    ]
    install(monkeypatch, devices)
    time.sleep(0.35)
    sampler = Sampler(settings, node="here")
    sample(sampler, 4)
    metrics = stored(settings)
    name = "system/gpu_{}_utilization_percentage"
    assert {key for key in metrics["one"] if key.endswith("gpu_0_utilization_percentage")}
    assert [value for _, value in metrics["one"][name.format(0)]] == [10.0] * 2
    assert [value for _, value in metrics["other"][name.format(1)]] == [20.0] * 2
    assert {key.split("_")[1] for run in metrics.values() for key in run if "gpu_" in key} == {"0", "1"}
    assert not [key for key in metrics["other"] if "gpu_0" in key]
    sampler.close()


def test_a_long_segment_does_not_make_a_run_young_again(settings: Settings) -> None:
    writer = RunWriter(settings, "rolls", owner=True)
    writer.status("start")
    live = LiveProcesses(settings.spool_path)
    assert live.look(0.3) == {}
    time.sleep(0.35)
    for number in range(3000):
        writer.log("loss", float(number))
    assert live.look(0.3) == {"rolls": {os.getpid()}}
    writer.close()
