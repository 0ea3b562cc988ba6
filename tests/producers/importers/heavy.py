"""`runstream import aim` with a repository that Aim itself has written: make test-aim."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import pytest

from runstream.client.reading import fetch_metrics, fetch_params
from runstream.core import Experiment, Run, Workspace
from runstream.importers.aim import AimRepository
from runstream.importers.runs import RunReport
from runstream.importers.taking_over import TakingOver
from tests.producers.conftest import environment

STEPS = 4
# In a process of its own, which ends while its second run is still open.
WRITER = """
import os, sys
import numpy as np
from aim import Audio, Distribution, Image, Repo, Run, Text
root, steps = sys.argv[1], int(sys.argv[2])
repo = Repo.from_path(root, init=True)
quiet = {"repo": repo, "system_tracking_interval": None, "capture_terminal_logs": False}
run = Run(experiment="digits", **quiet)
run.name, run.description, run.archived = "first", "why", True
run.add_tag("good")
run["hparams"] = {"lr": 0.1, "layers": [1, 2], "deep": {"amp": True}}
run["__system_params"] = {
    "packages": {"numpy": "1.0"}, "env_variables": {"A": "b", "C": "d"}, "executable": "/usr/bin/python",
    "arguments": ["train.py"],
    "git_info": {"branch": "main", "remote_origin_url": "https://me:word@host/x.git", "commit": {"hash": "abc"}},
}
for step in range(steps):
    run.track(1 / (step + 1), name="loss", step=step, context={"subset": "val", "fold": 1})
    run.track(step * 2, name="loss", step=step * 10)
    run.track(Image(np.full((4, 4, 3), step, np.uint8), caption=f"picture {step}"), name="pictures", step=step)
    run.track([Image(np.full((4, 4, 3), 9 + step * 2 + place, np.uint8)) for place in (0, 1)], name="several", step=step)
    run.track(Audio(np.zeros(100, np.int16), rate=8000, caption="beep"), name="sounds", step=step)
    run.track(Distribution(hist=[step, 1], bin_range=(0, 2)), name="weights", step=step, context={"layer": 1})
    run.track(Text(f"said {step}"), name="said", step=step)
    run.track([Text("a"), Text("b")], name="all said", step=step)
run.log_warning("careful")
with open(os.path.join(root, "kept.txt"), "w") as file:
    file.write("hello")
run.set_artifacts_uri(f"file://{root}/artifacts")
run.log_artifact(f"{root}/kept.txt", block=True)
run.close()
open_run = Run(**quiet)
open_run.name = "open"
open_run.track(float("nan"), name="loss")
open_run.track(1, name="loss")
sys.stdout.flush()
os._exit(0)
"""


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("aim")
    subprocess.run([sys.executable, "-c", WRITER, str(root), str(STEPS)], check=True, timeout=120)
    return root


def take(workspace: Workspace, root: Path) -> dict[str, RunReport]:
    store = AimRepository(root)
    importing = TakingOver(workspace, store)
    with importing.alone():
        reports = {report.name: report for report in importing.once()}
        importing.settled()
    store.close()
    return reports


def test_everything_a_run_of_aim_has(workspace: Workspace, repository: Path) -> None:
    reports = take(workspace, repository)
    report = reports["first"]
    run = Run(Experiment(workspace, "digits"), report.run_id)
    assert report.left_out == {"variables of the environment, which may hold secrets": 2}
    assert (run.get_status(), run.description, set(run.get_tags())) == ("Completed", "why", {"good"})
    record = workspace._client.get_json(f"/api/v1/runs/{report.run_id}")
    assert record["archived_utc"]
    facts = {
        "aim.executable": "/usr/bin/python",
        "aim.arguments": '["train.py"]',
        "aim.packages": '{"numpy": "1.0"}',
        "azureml.git.branch": "main",
        "azureml.git.commit": "abc",
        "azureml.git.repository_uri": "https://host/x.git",
    }
    assert record["properties"].items() >= facts.items()
    assert fetch_params(workspace._client, report.run_id) == {
        "hparams.lr": 0.1,
        "hparams.layers": [1, 2],
        "hparams.deep.amp": True,
    }
    series = {
        each.name: list(zip(each.steps, each.values, strict=True))
        for each in fetch_metrics(workspace._client, [report.run_id])[report.run_id]
    }
    assert series == {
        "loss {fold=1, subset=val}": [(step, 1 / (step + 1)) for step in range(STEPS)],
        "loss": [(step * 10, step * 2) for step in range(STEPS)],
        "said": [(step, f"said {step}") for step in range(STEPS)],
        "all said": [(step, text) for step in range(STEPS) for text in ("a", "b")],
        "__log_records": [(0, "WARNING careful")],
    }
    pictures = [(each.step, each.caption, each.content_type) for each in run.get_media("pictures")]
    assert pictures == [(step, f"picture {step}", "image/png") for step in range(STEPS)]
    assert [each.step for each in run.get_media("several")] == [0, 0, 1, 1, 2, 2, 3, 3]
    assert {(each.caption, each.content_type) for each in run.get_media("sounds")} == {("beep", "audio/wav")}
    weights = [(each.step, each.counts, each.edges) for each in run.get_histograms("weights {layer=1}")]
    assert weights == [(step, [step, 1], [0, 1, 2]) for step in range(STEPS)]
    assert "kept.txt" in run.get_file_names()


def test_a_run_that_has_not_ended_and_numbers_that_are_none(workspace: Workspace, repository: Path) -> None:
    report = take(workspace, repository)["open"]
    (loss,) = fetch_metrics(workspace._client, [report.run_id])[report.run_id]
    assert (loss.steps, math.isnan(loss.values[0]), loss.values[1]) == ([0, 1], True, 1)  # type: ignore[arg-type]
    record = workspace._client.get_json(f"/api/v1/runs/{report.run_id}")
    assert (record["status"], record["end_time_utc"]) == ("Running", None)


def test_again_nothing_changes(workspace: Workspace, repository: Path) -> None:
    take(workspace, repository)
    assert {report.outcome for report in take(workspace, repository).values()} == {"unchanged"}


def test_the_command(served_home: Path, workspace: Workspace, repository: Path) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "runstream",
            "import",
            "aim",
            str(repository / ".aim"),
            "--workspace",
            workspace.name,
        ],
        env=environment(served_home, PYTHONWARNINGS="default"),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert " values of 2 runs are in experiments called as they were\n" in done.stdout
    assert "  2 variables of the environment, which may hold secrets\n" in done.stdout
