"""`runstream import tensorboard`: every value is what TensorBoard's own reader finds, once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorboardX
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter
from tensorboard.util import tensor_util

from runstream.client.reading import fetch_metrics, settle
from runstream.core import Experiment, Run, Workspace
from runstream.importers import event_follower, event_intake
from runstream.importers.runs import RunReport
from runstream.importers.tensorboard import TensorBoardImport
from runstream.tensorboard import records
from runstream_schemas.settings import Settings
from tests.producers.conftest import environment
from tests.producers.tensorboard import oracle
from tests.producers.tensorboard.oracle import (
    Point,
    oracle_scalars,
    restart_event,
    scalar_event,
    write_events,
)

START = 1_600_000_000.25


def importing(workspace: Workspace, logdir: Path) -> TensorBoardImport:
    return TensorBoardImport(workspace, logdir, "imported")


def import_once(workspace: Workspace, logdir: Path) -> dict[str, RunReport]:
    reports = {report.name: report for report in importing(workspace, logdir).once()}
    settle(workspace._client)
    return reports


def imported_run(workspace: Workspace) -> str:
    """Id of the one run that was imported; empty as long as there is none."""
    return next((run.id for run in Experiment(workspace, "imported").get_runs()), "")


def points_of(workspace: Workspace, run_id: str) -> dict[str, list[Point]]:
    """Tag to what is stored of it: step, time and value."""
    series = fetch_metrics(workspace._client, [run_id]).get(run_id, [])
    return {
        vector.name: [
            (step, when / 1e6, value)
            for step, when, value in zip(vector.steps, vector.times, vector.values, strict=True)  # type: ignore[misc]
        ]
        for vector in series
        if vector.cls == 0
    }


def assert_same(imported: dict[str, list[Point]], expected: dict[str, list[Point]]) -> None:
    assert imported.keys() == expected.keys()
    for tag, points in expected.items():
        assert [(step, value) for step, _, value in imported[tag]] == [
            (step, value) for step, _, value in points
        ]
        assert [when for _, when, _ in imported[tag]] == pytest.approx(
            [when for _, when, _ in points], abs=1e-6
        )


def test_what_tensorboardx_wrote_at_any_depth(workspace: Workspace, tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    tags = ["loss", "train/loss", "Ünïcode ☃/acc", " spaces ", "a" * 1024]
    for place in ("a", "a/b/c", "."):
        with tensorboardX.SummaryWriter(str(logs / place)) as writer:
            for step in range(300):
                for number, tag in enumerate(tags):
                    writer.add_scalar(tag, step / 7 + number, step, walltime=START + step)
    reports = import_once(workspace, logs)
    assert {name: report.outcome for name, report in reports.items()} == {
        "logs": "new",
        "a": "new",
        "a/b/c": "new",
    }
    for name, report in reports.items():
        directory = logs if name == "logs" else logs / name
        assert_same(points_of(workspace, report.run_id), oracle_scalars(directory))
        assert report.points == {"scalars": 1500}
    run = Run.get(workspace, reports["a/b/c"].run_id)
    details = run.get_details()
    assert (run.status, run.display_name, run.experiment.name) == ("Completed", "a/b/c", "imported")
    assert details["startTimeUtc"].startswith("2020-09-13T12:26:40.25")
    assert details["endTimeUtc"].startswith("2020-09-13T12:31:39.25")


def test_again_nothing_twice_and_what_is_new(workspace: Workspace, tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    write_events(logs, [scalar_event("loss", step, step, START + step) for step in range(10)], ".1")
    first = import_once(workspace, logs)["logs"]
    assert import_once(workspace, logs)["logs"].outcome == "unchanged"
    write_events(logs, [scalar_event("loss", step, step, START + step) for step in range(10, 15)], ".2")
    third = import_once(workspace, logs)["logs"]
    assert (third.run_id, third.outcome, third.points) == (first.run_id, "continued", {"scalars": 5})
    assert_same(points_of(workspace, first.run_id), oracle_scalars(logs))
    assert Run.get(workspace, first.run_id).get_details()["endTimeUtc"].startswith("2020-09-13T12:26:54.25")


def test_steps_that_a_restart_made_void_are_left_out(workspace: Workspace, tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    write_events(logs, [scalar_event("loss", step, step, START + step) for step in range(100)], ".1")
    again = [restart_event(60, START + 200)]
    again += [scalar_event("loss", step / 2, step, START + 200 + step) for step in range(60, 90)]
    again += [restart_event(80, START + 400), scalar_event("loss", 7, 80, START + 401)]
    write_events(logs, again, ".2")
    report = import_once(workspace, logs)["logs"]
    expected = oracle_scalars(logs)
    assert len(expected["loss"]) == 81
    assert_same(points_of(workspace, report.run_id), expected)
    assert report.left_out == {"scalars of steps that a restart has made void": 50}


def test_a_restart_after_the_import_is_said(workspace: Workspace, tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    write_events(logs, [scalar_event("loss", step, step, START + step) for step in range(10)], ".1")
    import_once(workspace, logs)
    write_events(logs, [restart_event(5, START + 20), scalar_event("loss", 5, 5, START + 21)], ".2")
    report = import_once(workspace, logs)["logs"]
    assert report.notes == ["a restart at step 5 made void what had been taken over before; both are kept"]
    assert len(points_of(workspace, report.run_id)["loss"]) == 11


def test_files_of_version_1_are_judged_by_steps_that_go_back(workspace: Workspace, tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    events = [Event(wall_time=START, file_version="brain.Event:1")]
    events += [scalar_event("loss", step, step, START + step) for step in range(20)]
    events += [scalar_event("other", step, step, START + step) for step in range(20)]
    events += [scalar_event("loss", -step, step, START + 50 + step) for step in range(10, 15)]
    content = b"".join(records.frame(event.SerializeToString()) for event in events)
    (logs / "events.out.tfevents.1.host").write_bytes(content)
    report = import_once(workspace, logs)["logs"]
    assert_same(points_of(workspace, report.run_id), oracle_scalars(logs))


def test_damage_costs_what_it_hit_and_is_said(workspace: Workspace, tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    path = write_events(logs, [scalar_event("loss", step, step, START + step) for step in range(10)])
    content = bytearray(path.read_bytes())
    content[200] ^= 4
    path.write_bytes(content[:-3])
    report = import_once(workspace, logs)["logs"]
    assert "a checksum that is wrong" in report.notes[0]
    assert len(points_of(workspace, report.run_id)["loss"]) == 8
    path.write_bytes(content)  # the end was torn, and is there now
    import_once(workspace, logs)
    assert [step for step, _, _ in points_of(workspace, report.run_id)["loss"]][-1] == 9


def test_a_copy_is_not_taken_over_twice(workspace: Workspace, tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    path = write_events(logs / "a", [scalar_event("loss", 1.0, 1, START)])
    (logs / "b").mkdir()
    (logs / "b" / path.name).write_bytes(path.read_bytes())
    reports = import_once(workspace, logs)
    assert (reports["a"].outcome, reports["b"].outcome) == ("new", "skipped")
    assert reports["a"].run_id in reports["b"].notes[0]


def test_another_home_that_sees_the_directory_leaves_it_alone(workspace: Workspace, tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    write_events(logs, [scalar_event("loss", 1.0, 1, START)])
    report = import_once(workspace, logs)["logs"]
    address = workspace._client.address()
    (tmp_path / "other").mkdir(mode=0o700)
    other = Settings.load(home=str(tmp_path / "other"), url=address.url, token=address.token)
    elsewhere = Workspace(workspace_name=workspace.name, _settings=other)
    (refused,) = TensorBoardImport(elsewhere, logs, "imported").once()
    assert refused.outcome == "skipped"
    assert report.run_id in refused.notes[0]
    assert len(points_of(workspace, report.run_id)["loss"]) == 1


def test_a_run_that_was_deleted_stays_so_and_it_is_said(workspace: Workspace, tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    write_events(logs, [scalar_event("loss", 1.0, 1, START)], ".1")
    run_id = import_once(workspace, logs)["logs"].run_id
    workspace._client.request("DELETE", f"/api/v1/runs/{run_id}")
    write_events(logs, [scalar_event("loss", 2.0, 2, START)], ".2")
    report = import_once(workspace, logs)["logs"]
    assert (report.outcome, report.notes) == (
        "skipped",
        [f"its run {run_id} was deleted; name another experiment to take it over again"],
    )


def test_what_cannot_be_read_costs_itself_only(workspace: Workspace, tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    for name in ("a", "b", "c"):
        write_events(logs / name, [scalar_event("loss", 1.0, 1, START)], f".{name}")
    (logs / "a" / "events.out.tfevents.0").mkdir()
    (logs / "b" / "events.out.tfevents.9").mkdir()
    reports = import_once(workspace, logs)
    assert (reports["a"].outcome, reports["c"].outcome) == ("skipped", "new")
    assert "events.out.tfevents.0: cannot be read" in reports["a"].notes[0]
    assert any("events.out.tfevents.9: cannot be read" in note for note in reports["b"].notes)


SCRIPT = """
import sys, threading
from pathlib import Path
from runstream.importers.event_follower import follow
from runstream.importers.tensorboard import TensorBoardImport
from runstream.tensorboard import records
from runstream.core import Workspace
records.CHUNK_BYTES = 20_000
importing = TensorBoardImport(Workspace(workspace_name=sys.argv[1]), Path(sys.argv[2]), "imported")
print("ready", flush=True)
if sys.argv[3] == "follow":
    follow(importing, threading.Event(), lambda report: print(report.outcome, report.notes, flush=True))
else:
    print(list(importing.once()), flush=True)
"""


def start(workspace: Workspace, logs: Path, how: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, workspace.name, str(logs), how],
        env=environment(Path(os.environ["RUNSTREAM_HOME"])),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_killed_at_any_time_it_goes_on_and_nothing_is_lost_or_twice(
    workspace: Workspace, tmp_path: Path
) -> None:
    logs = tmp_path / "logs"
    write_events(logs, [scalar_event(f"loss/{step % 7}", step, step, START + step) for step in range(30_000)])
    kills = 0
    for pause in (0.02, 0.05, 0.1, 0.2, 0.3, 0.1, 0.15):
        process = start(workspace, logs, "once")
        time.sleep(pause)
        kills += process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()  # type: ignore[union-attr]
    assert kills
    report = import_once(workspace, logs)["logs"]
    assert_same(points_of(workspace, report.run_id), oracle_scalars(logs))


def test_killed_between_any_two_of_its_writes(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a kill would: what is in the spool stays, what was not written down is not."""

    class Killed(BaseException):
        pass

    logs = tmp_path / "logs"
    write_events(logs, [scalar_event(f"loss/{step % 3}", step, step, START + step) for step in range(200)])
    monkeypatch.setattr(records, "CHUNK_BYTES", 2000)
    monkeypatch.setattr(event_intake, "ARRAY_POINTS", 10)
    whole: Any = event_intake.EventIntake._refuse_drops
    for nth in range(1, 30, 3):
        calls = 0

        def die(self: Any, nth: int = nth) -> None:
            nonlocal calls
            calls += 1
            if calls == nth:
                raise Killed
            whole(self)

        monkeypatch.setattr(event_intake.EventIntake, "_refuse_drops", die)
        try:
            list(importing(workspace, logs).once())
        except Killed:
            continue
        break
    monkeypatch.setattr(event_intake.EventIntake, "_refuse_drops", whole)
    report = import_once(workspace, logs)["logs"]
    assert_same(points_of(workspace, report.run_id), oracle_scalars(logs))


def test_two_followers_of_one_directory(workspace: Workspace, tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    writer = tensorboardX.SummaryWriter(str(logs / "a"), flush_secs=1)
    writer.add_scalar("loss", 0.0, 0)
    writer.flush()
    followers = [start(workspace, logs, "follow") for _ in range(2)]
    for step in range(1, 200):
        writer.add_scalar("loss", float(step), step)
        if step % 10 == 0:
            writer.flush()
            time.sleep(0.02)
        if step == 100:  # the other one resumes from where it stopped
            time.sleep(1.0)
            followers[0].kill()
            followers[0].wait()
    writer.close()
    run_id = ""
    deadline = time.monotonic() + 30
    expected = oracle_scalars(logs / "a")
    while time.monotonic() < deadline:
        time.sleep(0.5)
        run_id = run_id or imported_run(workspace)
        if run_id and len(points_of(workspace, run_id).get("loss", [])) >= 200:
            break
    time.sleep(1.0)
    assert_same(points_of(workspace, run_id), expected)
    followers[1].kill()
    for follower in followers:
        follower.wait()
        follower.stdout.close()  # type: ignore[union-attr]


def test_what_is_written_while_it_follows_is_stored_soon(workspace: Workspace, tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    stop = threading.Event()

    def follow() -> None:
        event_follower.follow(importing(workspace, logs), stop, lambda report: None)
        workspace._client.close()  # this thread's connection

    thread = threading.Thread(target=follow)
    logs.mkdir()
    thread.start()
    try:
        writer = EventFileWriter(str(logs / "a"))
        delays = []
        run_id = ""
        for step in range(6):
            writer.add_event(scalar_event("loss", float(step), step, START + step))
            writer.flush()
            written = time.monotonic()
            while time.monotonic() < written + 15:
                run_id = run_id or imported_run(workspace)
                if run_id and len(points_of(workspace, run_id).get("loss", [])) > step:
                    break
                time.sleep(0.02)
            delays.append(time.monotonic() - written)
        writer.close()
    finally:
        stop.set()
        thread.join(30)
    assert min(delays) < 1.0, delays  # all of them, on a machine that does nothing else: see bench/
    assert Run.get(workspace, run_id).status == "Completed"


def test_a_directory_that_is_not_there(workspace: Workspace, tmp_path: Path) -> None:
    from runstream.exceptions import UserErrorException

    with pytest.raises(UserErrorException, match="no such directory"):
        importing(workspace, tmp_path / "nowhere")


def test_everything_that_is_no_scalar(workspace: Workspace, tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    pixels = np.arange(3 * 4 * 5, dtype=np.uint8).reshape(3, 4, 5)
    values = np.random.default_rng(1).normal(size=500)
    with tensorboardX.SummaryWriter(str(logs)) as writer:
        for step in range(2):
            writer.add_text("note", f"**{step}** ☃", step, walltime=START + step)
            writer.add_image("image", pixels, step, walltime=START + step)
            writer.add_histogram("weights", values, step, walltime=START + step)
            writer.add_pr_curve("pr", values > 0, np.clip(values, 0, 1), step, walltime=START + step)
        writer.add_custom_scalars({"all": {"losses": ["Multiline", ["a", "b"]]}})
        writer.add_hparams({"lr": 0.1, "layers": 3, "name": "x", "on": True}, {"acc": 0.5}, name="h")
    sound = Summary.Audio(sample_rate=8000.0, encoded_audio_string=b"RIFF....WAVE", content_type="audio/wav")
    summary = Summary(value=[Summary.Value(tag="sound", audio=sound)] * 2)
    write_events(logs, [Event(wall_time=START, step=1, summary=summary)], ".sound")
    reports = import_once(workspace, logs)
    report, run_id = reports["logs"], reports["logs"].run_id
    assert report.points == {
        "text": 2,
        "images": 2,
        "audio": 2,
        "histograms": 2,
        "pr_curves": 2,
        "custom_scalars": 1,
    }
    assert report.left_out == {}
    assert import_once(workspace, logs)["logs"].outcome == "unchanged"

    text = oracle.accumulated(logs)
    run = Run.get(workspace, run_id)
    wanted_texts = [event.tensor_proto.string_val[0].decode() for event in text.Tensors("note/text_summary")]
    assert run.get_metrics()["note/text_summary"] == wanted_texts
    for event, medium in zip(text.Images("image"), run.get_media("image"), strict=True):
        assert (medium.step, medium.type, medium.read()) == (event.step, "image", event.encoded_image_string)
        assert medium.time == round(event.wall_time * 1e6)
    assert [medium.read() for medium in run.get_media("sound")] == [b"RIFF....WAVE"] * 2
    for event, histogram in zip(text.Histograms("weights"), run.get_histograms("weights"), strict=True):
        assert (histogram.step, histogram.count) == (event.step, event.histogram_value.num)
        filled = [n for n in event.histogram_value.bucket if n]
        assert [n for n in histogram.counts if n] == filled
    table = run.get_metrics()["pr"]
    curve = [tensor_util.make_ndarray(event.tensor_proto) for event in text.Tensors("pr")]
    assert table["precision"] == pytest.approx(np.concatenate([row[4] for row in curve]).tolist())
    assert table["true_positives"] == np.concatenate([row[0] for row in curve]).tolist()
    run.download_file("tensorboard/custom_scalars.json", str(tmp_path / "layout.json"))
    chart = {"title": "losses", "multiline": {"tag": ["a", "b"]}}
    layout = json.loads((tmp_path / "layout.json").read_text())
    assert layout["category"] == [{"title": "all", "chart": [chart], "closed": False}]
    hparams = Run.get(workspace, reports["h"].run_id)
    assert hparams.get_params() == {"lr": 0.1, "layers": 3, "name": "x", "on": True}
