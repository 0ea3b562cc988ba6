"""A full disk, a quota, a spool that is gone: the training continues, and what is lost is told."""

from __future__ import annotations

import errno
import os
import shlex
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from tests.producers.reading import drain, logged, settings_for, steps_of_life, tags_of, values_of

from runstream.spool import segment
from runstream.spool.collecting.collector import Collector
from runstream.spool.writing import source_writer
from runstream.spool.writing import writer as spool
from runstream_schemas.wire.events import MetricsEvent


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
