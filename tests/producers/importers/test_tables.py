"""`runstream import csv` and `neptune`: tables that were written by others, every value, once."""

from __future__ import annotations

import math
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from runstream.client.reading import fetch_metrics, fetch_params
from runstream.core import Experiment, Run, Workspace
from runstream.exceptions import UserErrorException
from runstream.importers.csv_file import CsvFile
from runstream.importers.foreign_runs import ForeignStore
from runstream.importers.neptune_export import NeptuneExport
from runstream.importers.runs import RunReport
from runstream.importers.taking_over import TakingOver
from tests.producers.conftest import environment
from tests.producers.importers.foreign_sources import FIRST, attribute, exported, point

FIRST_US = int(FIRST.timestamp() * 1e6)


def take(workspace: Workspace, store: ForeignStore, experiment: str = "tables") -> dict[str, RunReport]:
    importing = TakingOver(workspace, store, experiment)
    with importing.alone():
        reports = {report.name: report for report in importing.once()}
        importing.settled()
    return reports


def points_of(workspace: Workspace, run_id: str) -> dict[str, list[tuple[int, int, Any]]]:
    return {
        series.name: list(zip(series.steps, series.times, series.values, strict=True))
        for series in fetch_metrics(workspace._client, [run_id])[run_id]
    }


# --- CSV ---------------------------------------------------------------------------------------------------------------


def test_a_row_a_step_and_a_column_a_metric(workspace: Workspace, tmp_path: Path) -> None:
    table = tmp_path / "history.csv"
    table.write_text(
        "run,step,timestamp,loss,count,said,lr\n"
        f"a,1,{FIRST.isoformat()},0.5,1,hello,0.1\n"
        f"b,1,{FIRST.timestamp()},nan,7,,0.2\n"
        f'a,2,{FIRST_US // 1000},-inf,2,"x, y",0.1\n'
        "a,3,soon,1,1,,0.1\n"
        "a,4\n"
        "a,five,0,1,1,,0.1\n",
        encoding="utf-8-sig",
    )
    reports = take(workspace, CsvFile(table, ["lr"]))
    assert {name: report.outcome for name, report in reports.items()} == {"a": "new", "b": "new"}
    assert points_of(workspace, reports["a"].run_id) == {
        "loss": [(1, FIRST_US, 0.5), (2, FIRST_US, -math.inf)],
        "count": [(1, FIRST_US, 1), (2, FIRST_US, 2)],
        "said": [(1, FIRST_US, "hello"), (2, FIRST_US, "x, y")],
    }
    loss = points_of(workspace, reports["b"].run_id)["loss"]
    assert (len(loss), math.isnan(loss[0][2])) == (1, True)
    assert fetch_params(workspace._client, reports["a"].run_id) == {"lr": "0.1"}
    assert Run(Experiment(workspace, "tables"), reports["a"].run_id).get_status() == "Completed"
    assert reports["a"].left_out == {
        "rows whose time cannot be read": 1,
        "rows with another number of cells than there are columns": 1,
        "rows whose step is no number": 1,
    }


def test_without_times_a_repeat_brings_only_what_is_new(workspace: Workspace, tmp_path: Path) -> None:
    table = tmp_path / "grown.csv"
    table.write_text("loss,acc\n0.5,1\n0.25,2\n")
    first = take(workspace, CsvFile(table))["grown"]
    assert take(workspace, CsvFile(table))["grown"].outcome == "unchanged"
    table.write_text("loss,acc\n0.5,1\n0.25,2\n0.125,3\n")
    again = take(workspace, CsvFile(table))["grown"]
    assert (again.run_id, again.points) == (first.run_id, {"numbers": 2})
    points = points_of(workspace, first.run_id)
    assert [(step, value) for step, _, value in points["loss"]] == [(0, 0.5), (1, 0.25), (2, 0.125)]
    assert [(step, value) for step, _, value in points["acc"]] == [(0, 1), (1, 2), (2, 3)]


def test_points_that_were_exported_come_back(
    experiment: Experiment, workspace: Workspace, tmp_path: Path
) -> None:
    run = experiment.start_logging(snapshot_directory=None)
    for step in range(20):
        run.log("loss", 1 / (step + 3), step=step * 5)
    run.log("said", "a text, with a comma")
    run.complete()
    run.get_metrics()
    answer = workspace._client.request("GET", "/api/v1/export/points", [("run", run.id)])
    table = tmp_path / "exported.csv"
    table.write_text(answer.body.decode().replace(run.id, f"{run.id}-copy"), encoding="utf-8")
    (report,) = take(workspace, CsvFile(table)).values()
    assert report.run_id == f"{run.id}-copy"
    assert points_of(workspace, report.run_id) == points_of(workspace, run.id)


@pytest.mark.parametrize(
    ("text", "params", "why"),
    [
        ("a,a\n1,2\n", [], "a name of its own"),
        ("", [], "name each column"),
        ("a,b\n1,2\n", ["lr"], "no column 'lr'"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path: Path, text: str, params: list[str], why: str) -> None:
    table = tmp_path / "t.csv"
    table.write_text(text)
    with pytest.raises(UserErrorException, match=why):
        CsvFile(table, params)


def test_the_command_says_where_the_runs_are(workspace: Workspace, served_home: Path, tmp_path: Path) -> None:
    (tmp_path / "said.csv").write_text("loss\n1\n2\n")
    command = [sys.executable, "-m", "runstream", "import", "csv", "said.csv", "--workspace", workspace.name]
    for more, experiment in (([], "said"), (["--experiment", "mine"], "mine")):
        done = subprocess.run(
            [*command, *more],
            env=environment(served_home, PYTHONWARNINGS="default"),
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.stdout.endswith(f" values of 1 runs are in the experiment {experiment}\n"), done.stderr


# --- Neptune -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def neptune(tmp_path: Path) -> Path:
    root = tmp_path / "exports"
    facts = [
        attribute("sys/name", "string", "my run"),
        attribute("sys/description", "string", "why"),
        attribute("sys/creation_time", "datetime", FIRST),
        attribute("sys/modification_time", "datetime", FIRST + timedelta(hours=1)),
        attribute("sys/tags", "string_set", ["b", "a"]),
        attribute("sys/failed", "bool", True),
        attribute("config/lr", "float", 0.1),
        attribute("config/layers", "int", 3),
        attribute("config/amp", "bool", False),
    ]
    first = [point("metrics/loss", str(step), 1 / (step + 1)) for step in range(5)]
    second = [
        *(point("metrics/loss", str(step), 1 / (step + 1)) for step in range(5, 9)),
        point("metrics/loss", "9.5", 0.0),
        point("said", "1", "hello", "string"),
        {"attribute_path": "model/weights", "attribute_type": "file", "file_value": {"path": "p/w.bin"}},
        {"attribute_path": "data", "attribute_type": "file_set", "file_value": {"path": "p/set"}},
        {"attribute_path": "gone", "attribute_type": "file", "file_value": {"path": "../../etc/passwd"}},
    ]
    exported(root, "RUN-1", [facts + first, second])
    child = [
        attribute("sys/creation_time", "datetime", FIRST + timedelta(minutes=1)),
        attribute("sys/forking/parent", "string", "RUN-1"),
        point("metrics/loss", "7", 0.5),
    ]
    exported(root, "RUN-2", [child])
    (root / "files" / "p" / "set").mkdir(parents=True)
    (root / "files" / "p" / "w.bin").write_bytes(b"\0\1\2")
    (root / "files" / "p" / "set" / "x.txt").write_text("x")
    return root


def test_what_neptunes_exporter_wrote(workspace: Workspace, neptune: Path) -> None:
    reports = take(workspace, NeptuneExport(neptune))
    report = reports["my run"]
    run = Run(Experiment(workspace, "tables"), report.run_id)
    assert report.run_id == "org.proj.RUN-1"
    points = points_of(workspace, report.run_id)
    assert points["metrics/loss"] == [
        *((step, FIRST_US + step * 1_000_000, 1 / (step + 1)) for step in range(9)),
        (9, FIRST_US + 9_500_000, 0.0),
    ]
    assert points["said"] == [(1, FIRST_US + 1_000_000, "hello")]
    assert fetch_params(workspace._client, report.run_id) == {
        "config/lr": 0.1,
        "config/layers": 3,
        "config/amp": False,
    }
    assert (run.get_status(), run.description, set(run.get_tags())) == ("Failed", "why", {"a", "b"})
    assert sorted(run.get_file_names()) == ["data/x.txt", "model/weights.bin"]
    assert report.left_out == {
        "files that the exporter has not brought": 1,
        "fractions of steps, which are whole numbers here": 1,
    }
    child = Run(Experiment(workspace, "tables"), reports["RUN-2"].run_id)
    assert child.parent is not None
    assert child.parent.id == report.run_id
    again = take(workspace, NeptuneExport(neptune))
    assert {each.outcome for each in again.values()} == {"unchanged"}


def test_a_folder_without_an_export_and_a_damaged_file_are_said(workspace: Workspace, neptune: Path) -> None:
    with pytest.raises(UserErrorException, match="no run of Neptune's exporter"):
        NeptuneExport(neptune / "files")
    damaged = next(neptune.rglob("RUN-2*.parquet"))
    damaged.write_bytes(damaged.read_bytes()[:200])
    with pytest.raises(UserErrorException, match="cannot be read as a file of Neptune's exporter"):
        take(workspace, NeptuneExport(neptune))
