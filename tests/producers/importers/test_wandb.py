"""`runstream import wandb`: what real scripts recorded with W&B's offline mode, every value, once."""

from __future__ import annotations

import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from runstream.client.reading import fetch_metrics, settle
from runstream.core import Experiment, Run, Workspace
from runstream.importers import wandb_follower, wandb_intake, wandb_records
from runstream.importers.runs import RunReport
from runstream.importers.wandb import WandbImport
from runstream.importers.wandb_files import BLOCK_BYTES, HEADER, WandbFile
from runstream.tensorboard.wire import WireError
from tests.producers.conftest import environment

Point = tuple[int, Any]

SCRIPT = """
import wandb, numpy as np, wave
with wave.open("a.wav", "wb") as sound:
    sound.setnchannels(1); sound.setsampwidth(2); sound.setframerate(8000); sound.writeframes(bytes(100))
open("kept.txt", "w").write("kept")
run = wandb.init(project="proj ect", id="first", name="my name", group="g", job_type="train", tags=["a", "b"], notes="why",
                 config={"lr": 0.1, "opt": {"name": "adam", "betas": [0.9, 0.99]}},
                 settings=wandb.Settings(x_stats_sampling_interval=0.5))
run.define_metric("loss", summary="min")
for i in range(200):
    run.log({"loss": 1 / (i + 1), "nested": {"acc": i, "deep": {"x": i * 0.5}}, "flag": i % 2 == 0})
run.log({"nan": float("nan"), "inf": float("-inf"), "text": "hello \u2603", "none": None,
         "list": [1, 2], "big": 2**62 + 1}, step=300)
pixels = np.zeros((4, 4, 3), dtype=np.uint8)
run.log({"image": wandb.Image(pixels, caption="black"),
         "several": [wandb.Image(pixels, caption="1"), wandb.Image(pixels + 9)],
         "hist": wandb.Histogram([1, 2, 3, 3]), "sound": wandb.Audio("a.wav", caption="beep"),
         "page": wandb.Html("<b>x</b>"), "cloud": wandb.Object3D(np.ones((3, 3))),
         "table": wandb.Table(columns=["n", "t"], data=[[1, "x"], [2, "y"]])}, step=301)
run.config.update({"late": 3})
run.summary["best"] = 0.5
run.alert("careful", "it diverges")
artifact = wandb.Artifact("data", "dataset")
artifact.add_file("kept.txt")
run.log_artifact(artifact)
run.save("kept.txt")
print("printed by the script")
import time; time.sleep(1.5)
run.finish()
"""


def record(folder: Path, script: str, *, check: bool = True) -> Path:
    """Run a script in a folder with W&B's offline mode; where its runs lie."""
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=folder,
        env=offline(folder),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert not check or done.returncode == 0, done.stderr
    return folder / "wandb"


def offline(folder: Path) -> dict[str, str]:
    kept = {
        name: str(folder / name.lower()) for name in ("WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR")
    }
    return {**os.environ, **kept, "WANDB_MODE": "offline", "WANDB_DIR": str(folder), "WANDB_SILENT": "true"}


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return record(tmp_path_factory.mktemp("recorded"), SCRIPT)


def import_once(
    workspace: Workspace, directory: Path, experiment: str | None = "imported"
) -> dict[str, RunReport]:
    reports = {report.name: report for report in WandbImport(workspace, directory, experiment).once()}
    settle(workspace._client)
    return reports


def points_of(workspace: Workspace, run_id: str) -> dict[str, list[Point]]:
    return {
        series.name: list(zip(series.steps, series.values, strict=True))
        for series in fetch_metrics(workspace._client, [run_id]).get(run_id, [])
        if series.cls == 0
    }


def written_by_wandb(directory: Path) -> dict[str, list[Point]]:
    """Scalars as W&B's own protocol classes read them."""
    from wandb.proto.wandb_internal_pb2 import Record

    points: dict[str, list[Point]] = {}
    for path in sorted(directory.glob("*run-*/*.wandb")):
        file = WandbFile(path)
        while records := file.read():
            for data in records:
                message = Record.FromString(data)
                for item in message.history.item:
                    value, name = json.loads(item.value_json), ".".join(item.nested_key)
                    if isinstance(value, (bool, int, float)) and not name.startswith("_"):
                        points.setdefault(name, []).append((message.history.step.num, value))
    return points


def plain(points: dict[str, list[Point]]) -> dict[str, list[Point]]:
    """Points that may be compared: NaN is equal to itself."""
    return {
        name: [(step, "nan" if value != value else value) for step, value in series]
        for name, series in points.items()
    }


def test_every_value_of_a_script(workspace: Workspace, recorded: Path, tmp_path: Path) -> None:
    report = import_once(workspace, recorded, None)["my name"]
    run = Run.get(workspace, report.run_id)
    assert (run.id, run.status, run.display_name, run.experiment.name) == (
        "first",
        "Completed",
        "my name",
        "proj-ect",
    )
    assert run.description == "why"
    assert {"a": None, "b": None, "group": "g", "job_type": "train"}.items() <= run.get_tags().items()
    assert run.get_params() == {"lr": 0.1, "opt.name": "adam", "opt.betas": [0.9, 0.99], "late": 3}
    points = points_of(workspace, "first")
    numbers = {
        name: series
        for name, series in plain(written_by_wandb(recorded)).items()
        if "." in name or name.isalpha()
    }
    assert len(numbers["loss"]) == 200
    assert numbers["nested.deep.x"][3] == (3, 1.5)
    media = ("image.", "sound.", "page.", "cloud.", "table.", "several.", "hist.")
    for name, series in numbers.items():
        if not name.startswith(media):
            assert plain(points)[name] == series, name
    assert points["text"] == [(300, "hello \u2603")]
    assert points["list"] == [(300, "[1, 2]")]
    assert points["best"] == [(301, 0.5)]
    assert points["loss.min"] == [(301, 1 / 200)]
    assert points["wandb.alerts"] == [(300, "INFO: careful\nit diverges")]
    assert math.isnan(points["nan"][0][1])
    assert points["inf"] == [(300, -math.inf)]
    assert points["big"] == [(300, 2**62 + 1)]
    assert report.left_out["values that are null"] == 1

    (image,) = run.get_media("image")
    assert (image.step, image.type, image.caption) == (301, "image", "black")
    (file,) = (recorded / "latest-run" / "files" / "media" / "images").glob("image_*.png")
    assert image.read() == file.read_bytes()
    assert [medium.caption for medium in run.get_media("several")] == ["1", None]
    assert [medium.type for name in ("sound", "page", "cloud") for medium in run.get_media(name)] == [
        "audio",
        "html",
        "object3d",
    ]
    (histogram,) = run.get_histograms("hist")
    assert (histogram.count, sum(histogram.counts), histogram.edges[0], histogram.edges[-1]) == (
        4,
        4,
        1.0,
        3.0,
    )
    assert run.get_metrics()["table"] == {"_step": [301, 301], "n": [1, 2], "t": ["x", "y"]}
    names = run.get_file_names()
    assert {"kept.txt", "requirements.txt", "wandb/summary.json"} <= set(names)
    (artifact,) = (
        name for name in names if name.startswith("artifacts/data/") and name.endswith("/kept.txt")
    )
    run.download_file(artifact, str(tmp_path / "kept"))
    assert (tmp_path / "kept").read_text() == "kept"
    run.download_file("user_logs/std_log.txt", str(tmp_path / "log"))
    assert "printed by the script\n" in (tmp_path / "log").read_text()
    assert any(name.startswith("proc.") for name in run.get_system_metrics())


def test_again_nothing_twice(workspace: Workspace, recorded: Path) -> None:
    first = import_once(workspace, recorded)["my name"]
    before = points_of(workspace, first.run_id)
    again = import_once(workspace, recorded)["my name"]
    assert (again.run_id, again.outcome, again.points) == (first.run_id, "unchanged", {})
    assert plain(points_of(workspace, first.run_id)) == plain(before)


def test_the_id_is_taken_by_another_run(workspace: Workspace, recorded: Path) -> None:
    reports = [import_once(workspace, recorded, name)["my name"] for name in ("one", "two")]
    ids = {report.run_id for report in reports}
    assert len(ids) == 2
    assert all(run_id.startswith("first") for run_id in ids)
    assert len({len(points_of(workspace, run_id)["loss"]) for run_id in ids}) == 1


def test_killed_between_batches(
    workspace: Workspace, recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever it dies, the next one finishes it: each value is there once."""
    shutil.copytree(recorded, tmp_path / "runs", symlinks=True)
    monkeypatch.setattr(wandb_intake, "ARRAY_POINTS", 10)
    whole: Any = wandb_intake.WandbIntake._refuse_drops
    for allowed in (0, 3, 30, 20):
        left = allowed

        def die(intake: Any) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise KeyboardInterrupt
            whole(intake)

        monkeypatch.setattr(wandb_intake.WandbIntake, "_refuse_drops", die)
        with pytest.raises(KeyboardInterrupt):
            import_once(workspace, tmp_path / "runs", "killed")
    monkeypatch.setattr(wandb_intake.WandbIntake, "_refuse_drops", whole)
    report = import_once(workspace, tmp_path / "runs", "killed")["my name"]
    points, expected = points_of(workspace, report.run_id), written_by_wandb(recorded)
    for name in ("loss", "nested.acc", "flag"):
        assert points[name] == expected[name]
    assert len(points["best"]) == len(points["text"]) == 1
    run = Run.get(workspace, report.run_id)
    assert len(run.get_media("several")) == 2
    assert len(run.get_histograms("hist")) == 1
    assert run.get_metrics()["table"]["n"] == [1, 2]


def test_flipped_bytes_and_torn_ends(workspace: Workspace, tmp_path: Path) -> None:
    script = """
import wandb
run = wandb.init(project="p", id="damaged", settings=wandb.Settings(x_disable_stats=True))
for i in range(3000):
    run.log({"loss": i * 0.5, "acc": i})
run.finish(exit_code=3)
"""
    (path,) = record(tmp_path, script).glob("offline-run-*/*.wandb")
    content = path.read_bytes()
    assert len(content) > 8 * BLOCK_BYTES
    expected = written_by_wandb(tmp_path / "wandb")["loss"]
    damaged = bytearray(content)
    damaged[3 * BLOCK_BYTES + 500] ^= 0x40
    damaged[5 * BLOCK_BYTES + 4] ^= 0xFF  # a length
    path.write_bytes(damaged)
    path.chmod(0o400)
    report = import_once(workspace, tmp_path / "wandb")["damaged"]
    points = points_of(workspace, report.run_id)["loss"]
    assert set(points) < set(expected)
    assert len(points) == len(set(points))
    assert len(points) > len(expected) - 600
    assert sum("are passed over" in note for note in report.notes) == 2
    assert Run.get(workspace, report.run_id).status == "Failed"
    for cut in (len(HEADER) + 3, BLOCK_BYTES - 3, BLOCK_BYTES + 5, len(content) - 1):
        torn = tmp_path / "torn.wandb"
        torn.write_bytes(content[:cut])
        file = WandbFile(torn)
        records = file.read()
        torn.write_bytes(content)
        while more := file.read():
            records += more
        assert records == WandbFile(torn).read(size=1 << 30), cut
        assert not file.damage


def test_messages_that_are_none_are_said_to_be_none(recorded: Path) -> None:
    """Whatever lies in a record that passes its checksum, reading it raises `WireError` or nothing."""
    (path,) = recorded.glob("offline-run-*/*.wandb")
    dice = random.Random(5)
    readers = [
        wandb_records.decode_run,
        wandb_records.summary_changes,
        wandb_records.decode_stats,
        wandb_records.decode_artifact,
        wandb_records.decode_environment,
        wandb_records.decode_alert,
        wandb_records.decode_step,
        wandb_records.decode_output,
        wandb_records.decode_exit,
        lambda message: list(wandb_records.decode_items(message)),
    ]
    refused = 0
    for record in WandbFile(path).read()[::7]:
        for _ in range(20):
            damaged = bytearray(record[: dice.randrange(1, len(record) + 1)])
            damaged[dice.randrange(len(damaged))] ^= 1 << dice.randrange(8)
            for read in readers:
                try:
                    read(wandb_records.decode_record(bytes(damaged))[1])
                except WireError:
                    refused += 1
    assert refused


def test_what_is_no_file_of_wandb(workspace: Workspace, tmp_path: Path) -> None:
    for name, content in {"a": b"", "b": b"something else", "c": HEADER, "d": HEADER + bytes(100)}.items():
        (tmp_path / f"{name}.wandb").write_bytes(content)
    reports = import_once(workspace, tmp_path)
    assert {report.outcome for report in reports.values()} == {"skipped"}
    assert set(reports) == {"a", "b", "c", "d"}


def test_a_run_that_was_resumed_is_one_run(workspace: Workspace, tmp_path: Path) -> None:
    for part in range(2):
        script = f"""
import wandb
run = wandb.init(project="p", id="again", resume="allow", settings=wandb.Settings(x_disable_stats=True))
for i in range(10):
    run.log({{"loss": {part} * 10 + i}}, step={part} * 10 + i)
run.finish()
"""
        directory = record(tmp_path, script)
        report = import_once(workspace, directory)["again"]
        time.sleep(1.1)  # the names of W&B's directories hold the second
    assert report.outcome == "continued"
    assert points_of(workspace, report.run_id)["loss"] == [(step, step) for step in range(20)]
    assert Run.get(workspace, report.run_id).status == "Completed"


def test_a_script_is_followed_and_killed(workspace: Workspace, tmp_path: Path) -> None:
    script = """
import wandb, time
run = wandb.init(project="p", id="live", settings=wandb.Settings(x_disable_stats=True))
for i in range(100000):
    run.log({"loss": i})
    time.sleep(0.01)
"""
    stop = threading.Event()
    (tmp_path / "wandb").mkdir()

    def follow() -> None:
        wandb_follower.follow(
            WandbImport(workspace, tmp_path / "wandb", "followed"), stop, lambda report: None
        )
        workspace._client.close()  # this thread's connection

    thread = threading.Thread(target=follow)
    thread.start()
    process = subprocess.Popen(
        [sys.executable, "-c", script], cwd=tmp_path, env=offline(tmp_path), start_new_session=True
    )
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            run_id = next((run.id for run in Experiment(workspace, "followed").get_runs()), "")
            if run_id and len(points_of(workspace, run_id).get("loss", [])) > 20:
                break
            time.sleep(0.1)
        assert process.poll() is None
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        time.sleep(1.0)
        stop.set()
        thread.join(30)
    settle(workspace._client)
    expected = written_by_wandb(tmp_path / "wandb")["loss"]
    assert len(expected) > 20
    assert points_of(workspace, run_id)["loss"] == expected


def test_the_command(workspace: Workspace, recorded: Path, served_home: Path) -> None:
    command = [sys.executable, "-P", "-m", "runstream", "import", "wandb", str(recorded), "-e", "command"]
    done = subprocess.run(
        [*command, "--workspace", workspace.name],
        env=environment(served_home),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "values of 1 runs are in the experiment command" in done.stdout
    assert "1 values that are null" in done.stdout
