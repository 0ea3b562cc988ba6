"""A script recorded twice, by W&B's offline mode and the importer, and by `runstream.wandb`: the runs are equal."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from runstream.client.reading import fetch_metrics, settle
from runstream.core import Run, Workspace
from runstream.importers.wandb import WandbImport
from runstream.wandb.mapping import SUMMARY_FILE, scalars_of
from tests.producers.conftest import environment
from tests.producers.importers.test_wandb import offline

ROWS = """
import datetime, enum, sys
import numpy as np
class Colour(enum.Enum):
    RED = 1
run = wandb.init(project="rows", id=RUN_ID)
run.log({"a": 1}); run.log({"b": 2}, commit=False); run.log({"b": 3, "c": 1})
run.log({"d": 1}, step=5); run.log({"e": 1}, step=5); run.log({"f": 1}, step=3)
run.log({"g": 1}); run.log({"h": 1})
run.log({"i": 1}, step=10, commit=True); run.log({"j": 1}, step=10); run.log({"k": 1}, step=11)
run.log({}, step=12); run.log({"l": 1}, step=13); run.log({}); wandb.log({"m": 1})
run.log({"n": 1}, commit=False); run.log({}, commit=True)
run.log({"o": 1}, step=30, commit=False); run.log({"p": 1}); run.log({"q": 1}, step=-3)
for name, value in {
    "few": np.arange(5), "many": np.arange(100.0), "half": np.float32(0.1), "truth": np.bool_(True), "none": None,
    "bytes": b"xx", "list": [1, 2.5], "tuple": (1, 2), "nan": float("nan"), "inf": float("inf"), "int": np.int64(3),
    "single": np.array([4.5]), "scalar": np.array(2), "empty": {}, "nested": {"x": np.float32(2), "y": {"z": [1, {"q": 2}]}},
    "function": print, "time": datetime.datetime(2020, 1, 1), "colour": Colour.RED, "matrix": np.ones((3, 3)), "text": "s",
    "a.b": 1, "x/y": 2, "big": 2**62 + 1, "bigger": 2**70,
}.items():
    run.log({name: value})
for wrong in ({1: 2}, [1], "x"):
    try:
        run.log(wrong)
    except TypeError:
        pass
run.define_metric("val/*", step_metric="epoch")
run.define_metric("loss", summary="min,max,mean,last,first")
run.define_metric("quiet", summary="none")
run.define_metric("top", summary="max", step_metric="epoch", step_sync=False)
run.log({"epoch": 1}); run.log({"val/loss": 2.0}); run.log({"val/acc": 2.0, "epoch": 7})
run.log({"top": 2}); run.log({"top": 1})
for value in (3, 1, 2):
    run.log({"loss": value, "quiet": value})
run.summary["own"] = 4
run.summary["tree"] = {"a": {"b": 5}}
run.summary.update({"a": 100, "words": "t", "small": np.float32(0.1)})
run.log({"last": 1}, commit=False)
run.config["half"] = np.float32(0.5)
run.config["colour"] = Colour.RED
run.config.update({"n": {"m": [1, (2, 3)]}, "none": None, "nan": float("nan"), "function": print,
                   "day": datetime.date(2020, 1, 1), "-dash": 3, "array": np.arange(3), "whole": 2.0})
run.config.update({"half": 0.25}, allow_val_change=True)
try:
    run.config.half = 3
except Exception as error:
    print(type(error).__name__)
run.finish()
"""

OBJECTS = """
import wave
import numpy as np
with wave.open("a.wav", "wb") as sound:
    sound.setnchannels(1); sound.setsampwidth(2); sound.setframerate(8000); sound.writeframes(bytes(100))
open("kept.txt", "w").write("kept")
open("model.bin", "wb").write(bytes(1000))
with wandb.init(project="some objects", id=RUN_ID, name="my name", group="g", job_type="train", tags=["a", "b"], notes="why",
                config={"lr": 0.1, "opt": {"name": "adam", "betas": [0.9, 0.99]}}) as run:
    pixels = np.zeros((4, 4, 3), dtype=np.uint8)
    run.log({"loss": 1.0})
    run.log({"image": wandb.Image(pixels, caption="black"),
             "several": [wandb.Image(pixels, caption="1"), wandb.Image(pixels + 9)],
             "inner": {"image": wandb.Image(pixels[:, :, 0])},
             "hist": wandb.Histogram([1, 2, 3, 3]), "sound": wandb.Audio("a.wav", caption="beep"),
             "page": wandb.Html("<b>x</b>"), "cloud": wandb.Object3D(np.ones((3, 3))),
             "table": wandb.Table(columns=["n", "t"], data=[[1, "x"], [2.5, None]])})
    table = wandb.Table(columns=["a"])
    table.add_data(3); table.add_data(4)
    lists = wandb.Table(columns=["l", "d"], data=[[[1, 2], {"x": 1}]])
    run.log({"more": table, "lists": lists, "loss": 0.5})
    run.alert("careful", "it diverges", level=wandb.AlertLevel.WARN)
    artifact = wandb.Artifact("data", "dataset", description="some", metadata={"rows": 3})
    artifact.add_file("kept.txt"); artifact.add_file("model.bin", name="deep/model.bin")
    artifact.add_reference("https://example.org/x.bin", name="far", checksum=False)
    run.log_artifact(artifact, aliases=["best"])
    run.save("kept.txt")
    with open(run.dir + "/in_its_folder.txt", "w") as stream:
        stream.write("x")
"""

CHARTS = """
import numpy as np
run = wandb.init(project="charts", id=RUN_ID)
table = wandb.Table(columns=["x", "y.of", "class"], data=[[i, i * 0.5, "ab"[i % 2]] for i in range(7)])
run.log({"table": table})
run.log({"line": wandb.plot.line(table, "x", "y.of", stroke="class", title="t"), "loss": 1.0})
run.log({"in": {"points": wandb.plot.scatter(table, "x", "y.of", split_table=True)}})
run.log({"bars": wandb.plot.bar(table, "class", "x"), "hist": wandb.plot.histogram(table, value="y.of")})
run.log({"several": wandb.plot.line_series([0, 1, 2], [[1, 2, 3], [3.5, float("nan"), 1]], keys=["p", "q"], xname="epoch")})
truth = [0, 1, 1, 0, 2, 2, 1]
scores = np.random.default_rng(7).dirichlet(np.ones(3), size=7)
run.log({"who": wandb.plot.confusion_matrix(probs=scores, y_true=truth, class_names=["u", "v", "w"])})
run.log({"pr": wandb.plot.pr_curve(truth, scores, labels=["u", "v", "w"])})
run.log({"roc": wandb.plot.roc_curve(truth, scores, labels=["u", "v", "w"], classes_to_plot=[0, 2])})
run.log({"own": wandb.plot_table("me/own/v0", table, {"x": "x"}, {"title": "t"})})
run.log({"wrong": wandb.plot.line(table, "x", "nothing")})
try:
    wandb.plot_table("wandb/line/v0", "no table", {})
except wandb.Error as error:
    print(type(error).__name__)
run.finish()
"""

BY_STEP = """
run = wandb.init(project="steps", id=RUN_ID, config=None)
for i in range(300):
    run.log({"loss": 1 / (i + 1), "nested": {"acc": i}, "flag": i % 2 == 0}, step=i * 2)
    if i % 10 == 0:
        run.log({"every_tenth": i}, step=i * 2)
raise SystemExit(3)
"""

SCRIPTS = {"rows": ROWS, "objects": OBJECTS, "charts": CHARTS, "by_step": BY_STEP}


def described(workspace: Workspace, run_id: str) -> dict[str, Any]:
    """All of a run that both ways record."""
    run = Run.get(workspace, run_id)
    series = fetch_metrics(workspace._client, [run_id]).get(run_id, [])
    kinds = {}
    for name in sorted(run.get_metrics()):
        media = (
            [(medium.step, medium.type, medium.caption, figure_of(medium)) for medium in run.get_media(name)]
            if name in MEDIA
            else []
        )
        kinds[name] = media
    names = {name for name in run.get_file_names() if not name.startswith(("user_logs/", "media/"))}
    summary = json.loads(workspace._client.request("GET", f"/api/v1/runs/{run_id}/files/{SUMMARY_FILE}").body)
    return {
        "status": run.status,
        "name": (run.display_name or "").replace(run_id, "ID"),
        "notes": run.description,
        "experiment": run.experiment.name,
        "tags": run.get_tags(),
        "params": run.get_params(),
        "points": {
            vector.name: plain(zip(vector.steps, vector.values, strict=True))
            for vector in series
            if vector.cls == 0
        },
        "tables": {
            f"{column.name}/{column.column}": list(map(text, column.values))
            for column in series
            if column.column
        },
        "media": kinds,
        "histograms": [
            (histogram.step, histogram.counts, histogram.edges)
            for histogram in run.get_histograms("hist") + run.get_histograms("many")
        ],
        "files": sorted(names - WRITTEN_BY_WANDB),
        "definitions": run._client.get_json(f"/api/v1/runs/{run_id}")["details"].get("metric_definitions"),
        "summary": {key: text(value) for key, value in scalars_of(summary)},
    }


def figure_of(medium: Any) -> Any:
    """What a figure holds; other media are not byte for byte the same."""
    return json.loads(medium.read()) if medium.type == "vega" else None


CHART_NAMES = ("line", "in.points", "bars", "hist", "several", "who", "pr", "roc")
MEDIA = (*CHART_NAMES, "image", "several", "inner.image", "sound", "page", "cloud")
WRITTEN_BY_WANDB = {
    "requirements.txt",
    "wandb-metadata.json",
    "wandb-summary.json",
    "config.yaml",
    "output.log",
}


def plain(points: Any) -> list[tuple[int, Any]]:
    return [(step, text(value)) for step, value in points]


def text(value: Any) -> Any:
    """NaN is equal to itself."""
    return "nan" if value != value else value


@pytest.fixture(scope="module")
def recorded_by_wandb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scripts, side by side: W&B's own service takes seconds to come up and to end."""
    folder = tmp_path_factory.mktemp("recorded")
    started = []
    for name, script in SCRIPTS.items():
        (folder / name).mkdir()
        whole = f"import wandb\nRUN_ID = 'w-{name}'\n{script}"
        started.append(
            subprocess.Popen([sys.executable, "-c", whole], cwd=folder / name, env=offline(folder / name))
        )
    for process in started:
        process.wait(120)
    return folder


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_leaves_the_same_run(
    workspace: Workspace, recorded_by_wandb: Path, served_home: Path, tmp_path: Path, name: str
) -> None:
    by_wandb, ours = f"w-{name}", f"r-{name}-{tmp_path.name}"
    list(WandbImport(workspace, recorded_by_wandb / name).once())
    script = f"import runstream.wandb as wandb\nRUN_ID = {ours!r}\n{SCRIPTS[name]}"
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env=environment(served_home, RUNSTREAM_WORKSPACE=workspace.name),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == (3 if name == "by_step" else 0), done.stderr
    settle(workspace._client)
    expected, recorded = described(workspace, by_wandb), described(workspace, ours)
    for part, value in expected.items():
        assert recorded[part] == value, part
