"""`runstream run` and `experiment`: lists, filters, forms of output, changes."""

from __future__ import annotations

import re

import pytest
from tests.service.cli.conftest import TEXT_KEYS, Cli

from runstream.core import Experiment, Run


def test_run_list(cli: Cli, runs: list[Run]) -> None:
    listed = cli.json("run", "list")
    assert [run["run_id"] for run in listed] == [runs[2].id, runs[1].id, runs[0].id], (
        "newest first, no children"
    )
    newest = listed[0]
    for key in TEXT_KEYS:
        assert isinstance(newest[key], str), key
    assert newest["run_number"] == runs[2].number
    assert newest["data_container_id"] == f"dcid.{runs[2].id}"
    assert newest["_experiment_name"] == newest["experiment"] == "test"
    assert newest["tags"] == {"number": "2", "kind": "a b", "quality": "fantastic run"}
    assert newest["properties"] == {"author": "azureml-user"}
    assert newest["target"] == "local"
    assert not {"token", "token_expiry_time_utc", "options", "parent_run_id", "error"} & set(newest)
    assert listed[2]["error"] == {"error": {"code": "NoData", "message": "bad data"}}


@pytest.mark.parametrize(
    ("words", "numbers"),
    [
        (("--last", "1"), [2]),
        (("-n", "2"), [2, 1]),
        (("-e", "test"), [2, 1, 0]),
        (("--experiment-name", "other"), []),
        (("--status", "Failed"), [0]),
        (("--status", "Canceled", "Completed"), [2, 1]),
        (("--status", "Canceled", "--status", "Failed"), [1, 0]),
        (("--tags", "number=1"), [1]),
        (("--tags", "kind=a b", "--tags", "number=2"), [2]),
        (("--tags", "number=1", "number=2"), []),
        (("--tags", "worth another look"), [1]),
        (("--compute-target-name", "local"), [2, 1, 0]),
        (("--compute-target-name", "elsewhere"), []),
        (("--search", "loss<0.6"), [2, 1]),
        (("--order", "metric:loss:min"), [2, 1, 0]),
        (("--order", "start_time"), [0, 1, 2]),
        (("--include-children",), [3, 2, 1, 0]),
        (("--parent", "any", "-n", "1"), [3]),
        (("-w", "another-workspace"), []),
    ],
)
def test_run_list_filters(cli: Cli, runs: list[Run], words: tuple[str, ...], numbers: list[int]) -> None:
    assert [run["run_id"] for run in cli.json("run", "list", *words)] == [
        runs[number].id for number in numbers
    ]


def test_children_of_a_run(cli: Cli, runs: list[Run]) -> None:
    for option in ("--parent-run-id", "--pipeline-run-id"):
        (child,) = cli.json("run", "list", option, runs[2].id)
        assert (child["run_id"], child["parent_run_id"]) == (runs[3].id, runs[2].id)
        assert child["tags"] == child["properties"] == {}


def test_ten_by_default(cli: Cli, experiment: Experiment) -> None:
    parents = [experiment.start_logging(outputs=False, snapshot_directory=None) for _ in range(12)]
    for run in parents:
        run.complete()
    parents[-1].flush()
    assert len(cli.json("run", "list")) == 10
    assert len(cli.json("run", "list", "--last", "100")) == 12


def test_minimal(cli: Cli, runs: list[Run]) -> None:
    (run,) = cli.json("run", "list", "--minimal", "--last", "1")
    assert list(run) == ["RunId", "RunType", "Status", "StartTime", "EndTime", "Target", "Tags"]
    assert (run["RunId"], run["Status"], run["Tags"]["number"]) == (runs[2].id, "Completed", "2")


@pytest.mark.parametrize(
    ("expression", "numbers"),
    [
        ("[?properties.author=='azureml-user']", [2, 1]),
        ("[?tags.keys(@)[?starts_with(@, 'worth another look')]]", [1]),
        ("[?properties.author=='azureml-user' && tags.quality=='fantastic run']", [2]),
    ],
)
def test_the_known_queries(cli: Cli, runs: list[Run], expression: str, numbers: list[int]) -> None:
    listed = cli.json("run", "list", "--query", expression, "--include-children")
    assert [run["run_id"] for run in listed] == [runs[number].id for number in numbers]
    assert listed == cli.json("run", "list", "--experiment-name", "test", "--include-children", expression)


def test_wrong_query(cli: Cli, runs: list[Run]) -> None:
    cli("run", "list", "--query", "[?", exit_code=1)
    assert cli.stderr.startswith("error: --query '[?':")


def test_formats(cli: Cli, runs: list[Run]) -> None:
    assert (
        cli("run", "list", "--query", "[].[run_id, status]", "-o", "tsv").splitlines()[0]
        == f"{runs[2].id}\tCompleted"
    )
    lines = cli("run", "list", "-o", "table").splitlines()
    assert lines[0].split() == [
        "run_id",
        "status",
        "experiment",
        "display_name",
        "started",
        "duration",
        "tags",
    ]
    assert re.match(
        rf"{runs[2].id}  Completed +test +number 2 +\d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d  \d+\.\d s", lines[2]
    )
    assert f"run_id: {runs[2].id}" in cli("run", "list", "--last", "1", "-o", "yaml").replace('"', "")


def test_run_show(cli: Cli, runs: list[Run]) -> None:
    shown = cli.json("run", "show", "-r", runs[1].id)
    assert shown["tags"] == cli.json("run", "show", runs[1].id)["tags"]
    assert shown["summaries"]["loss"]["min"] == 0.5
    assert shown["tags"]["worth another look"] is None
    text = cli("run", "show", "--run", runs[1].id, "-o", "table")
    assert re.search(r"^status +Canceled$", text, re.MULTILINE)
    assert re.search(r"^loss +2 +0.5 +0.5.* of \*one\* epoch$", text, re.MULTILINE)
    cli("run", "show", exit_code=1)
    assert "runstream run show -r RUN_ID" in cli.stderr
    cli("run", "show", "-r", "no-such-run", exit_code=1)
    assert "no-such-run" in cli.stderr


def test_run_update(cli: Cli, runs: list[Run]) -> None:
    updated = cli.json("run", "update", "-r", runs[0].id, "--add-tag", "a=b=c", "--add-tag", "flag", "ü=")
    assert updated["tags"] == {"number": "0", "kind": "a b", "a": "b=c", "flag": None, "ü": ""}
    assert (updated["runId"], updated["experimentName"]) == (runs[0].id, "test")
    assert not [key for key in updated if "_" in key], "camelCase"
    changed = cli.json(
        "run",
        "update",
        "-r",
        runs[0].id,
        "--remove-tag",
        "a",
        "--display-name",
        "x y",
        "--description",
        "*d*",
    )
    assert (changed["displayName"], changed["description"], "a" in changed["tags"]) == ("x y", "*d*", False)
    assert runs[0].get_tags() == changed["tags"]
    for words, text in (
        (("-r", runs[0].id), "nothing to update"),
        (("-r", runs[0].id, "--add-tag", "=x"), "KEY=VALUE"),
        (("-r", "no-such-run", "--add-tag", "a"), "no-such-run"),
    ):
        cli("run", "update", *words, exit_code=1)
        assert text in cli.stderr


def test_cancel_of_a_run_that_has_ended(cli: Cli, runs: list[Run]) -> None:
    assert cli("run", "cancel", "-r", runs[1].id) == "Experiment run canceled successfully.\n"
    cli("run", "cancel", "-r", runs[0].id, exit_code=1)
    assert f"run {runs[0].id} is Failed already; there is nothing to cancel" in cli.stderr


def test_experiment_list(cli: Cli, runs: list[Run]) -> None:
    (experiment,) = cli.json("experiment", "list")
    assert experiment["name"] == "test"
    assert set(experiment) >= {"experimentId", "description", "createdUtc", "archivedTime", "tags"}
    assert experiment["runs"] == 4
    assert "test" in cli("experiment", "list", "-o", "table")


def test_run_delete(cli: Cli, runs: list[Run], monkeypatch: pytest.MonkeyPatch) -> None:
    cli("run", "delete", runs[2].id, exit_code=1)
    assert "1 runs with 1 descendants" in cli.stderr
    assert "--yes" in cli.stderr
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("builtins.input", lambda question: "n")
    cli("run", "delete", runs[2].id, exit_code=1)
    assert cli.stderr == "nothing was deleted\n"
    assert len(cli.json("run", "delete", "--yes", runs[2].id)["deleted"]) == 2
    cli("run", "show", runs[2].id, exit_code=1)
    assert len(cli.json("run", "list", "--include-children")) == 2
    cli("run", "delete", runs[2].id, exit_code=1)
    assert "there is no run" in cli.stderr
