"""RunDetails: its data, its text, and what a real kernel is given to show."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.producers.conftest import environment

from runstream.core import Experiment, Run
from runstream.exceptions import UserErrorException
from runstream.train import widgets as first_path
from runstream.widgets import RunDetails
from runstream.widgets.logs import choose_log, log_note

KEYS = {
    "status", "workbench_run_details_uri", "run_id", "run_properties", "child_runs", "children_metrics",
    "run_metrics", "run_logs", "graph", "widget_settings",
}  # fmt: skip


def start(experiment: Experiment, **kwargs: Any) -> Run:
    return experiment.start_logging(outputs=False, snapshot_directory=None, **kwargs)


def test_the_first_path_leads_to_the_same_class() -> None:
    assert first_path.RunDetails is RunDetails


def test_the_data_of_a_finished_run(experiment: Experiment) -> None:
    run = start(experiment, tags={"quality": "good"})
    run.log("loss", 3.0)
    run.log("loss", float("inf"))
    run.log("once", 7)
    run.log_row("curve", x=1, y=0.5)
    run.log_row("curve", x=2, y=0.25)
    run.complete()
    data = RunDetails(Run(experiment, run.id)).get_widget_data({"debug": True})
    assert set(data) == KEYS
    assert (data["status"], data["run_id"]) == ("Completed", run.id)
    assert data["workbench_run_details_uri"] == run.get_portal_url()
    assert data["run_metrics"] == [
        {"name": "loss", "run_id": run.id, "categories": [0, 1], "series": [{"data": [3.0, float("inf")]}]},
        {"name": "once", "run_id": run.id, "categories": [0], "series": [{"data": [7]}]},
        {
            "name": "curve",
            "run_id": run.id,
            "categories": [0, 1],
            "series": [{"name": "x", "data": [1, 2]}, {"name": "y", "data": [0.5, 0.25]}],
        },
    ]
    assert data["run_logs"] == "Run is completed."
    assert data["widget_settings"] == {"childWidgetDisplay": "popup", "debug": True}
    properties = data["run_properties"]
    assert (properties["run_number"], properties["tags"]) == (1, {"quality": "good"})
    assert properties["run_duration"].count(":") == 2
    assert (data["child_runs"], data["children_metrics"], data["graph"]) == ([], {}, {})


def test_children_and_their_metrics(experiment: Experiment) -> None:
    run = start(experiment)
    for k, child in enumerate(run.create_children(2)):
        child.log("loss", k)
        child.complete()
    run.complete()
    data = RunDetails(run).get_widget_data()
    assert {child["status"] for child in data["child_runs"]} == {"Completed"}
    assert data["run_metrics"] == []
    assert sorted(item["series"][0]["data"] for item in data["children_metrics"]["loss"]) == [[0], [1]]
    assert {item["run_id"] for item in data["children_metrics"]["loss"]} == {
        child["run_id"] for child in data["child_runs"]
    }


def test_the_log_of_the_latest_phase_and_the_error(experiment: Experiment, tmp_path: Path) -> None:
    run = start(experiment)
    assert "monitoring to get logs" in RunDetails(run).get_widget_data()["run_logs"]
    for name in ("azureml-logs/55_execution.txt", "azureml-logs/70_driver_log.txt", "logs/z.txt"):
        (tmp_path / "log").write_text(f"this is {name}\n")
        run.upload_file(name, str(tmp_path / "log"))
    run.fail("out of memory")
    data = RunDetails(run).get_widget_data()
    assert data["run_logs"] == "this is azureml-logs/70_driver_log.txt\nError occurred: out of memory"
    assert data["run_properties"]["log_groups"] == [
        ["azureml-logs/55_execution.txt", "azureml-logs/70_driver_log.txt"],
        ["logs/z.txt"],
    ]


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        ([], None),
        (["user_logs/std_log.txt"], "user_logs/std_log.txt"),
        (
            ["azureml-logs/70_driver.txt", "azureml-logs/8_x.txt", "user_logs/a.txt"],
            "azureml-logs/70_driver.txt",
        ),
        (["logs/azureml/99_azureml.log", "azureml-logs/55_a.txt"], "azureml-logs/55_a.txt"),
    ],
)
def test_the_log_shown_first(names: list[str], chosen: str | None) -> None:
    assert choose_log(names) == chosen


def test_an_error_without_details_is_still_named() -> None:
    assert log_note("Failed", None, True) == "Error occurred: no details were given"


def test_outside_of_a_notebook_it_is_text(experiment: Experiment, capsys: pytest.CaptureFixture[str]) -> None:
    run = start(experiment)
    run.log("loss", 1.0)
    run.log("loss", 0.5)
    RunDetails(run).show()  # under way in this very process: it returns
    assert "Status: Running" in capsys.readouterr().out
    run.complete()
    RunDetails(run).show(None, {"debug": True})
    said = capsys.readouterr().out
    assert "Status: Completed" in said
    assert "loss: 0.5 (last of 2)" in said
    assert run.get_portal_url() in said


def test_what_is_no_run_is_refused() -> None:
    with pytest.raises(UserErrorException, match="expected a Run, got str"):
        RunDetails("a run id")  # type: ignore[arg-type]


def test_a_kernel_is_given_a_table_with_a_link(
    experiment: Experiment, served_home: Path, tmp_path: Path
) -> None:
    import nbformat
    from nbclient import NotebookClient

    run = start(experiment)
    run.complete()
    code = (
        "from runstream.core import Run, Workspace\n"
        "from runstream.widgets import RunDetails\n"
        f"RunDetails(Run.get(Workspace(workspace_name={experiment.workspace.name!r}), {run.id!r})).show()"
    )
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    variables = environment(served_home, PYTHONWARNINGS="ignore", IPYTHONDIR=str(tmp_path / "ipython"))
    client = NotebookClient(
        notebook, timeout=60, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    )
    asyncio.run(
        client.async_execute(
            env={**os.environ, **variables, "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}
        )
    )
    [shown] = [
        output["data"] for output in notebook.cells[0].outputs if output["output_type"] == "display_data"
    ]
    assert f'<a href="{run.get_portal_url()}"' in shown["text/html"]
    assert "Status: Completed" in shown["text/plain"]
