"""Lists of runs: every form of filter, on every list that takes them, newest first, in pages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from runstream.core import Experiment, Run

ROWS: dict[str, dict[str, Any]] = {
    "plain": {},
    "valueless": {"tags": {"worth another look": None}},
    "one": {"tags": {"a": "1", "b": "x"}},
    "other": {"tags": {"a": "2", "b": "x", "k=v": "y"}},
    "author": {"properties": {"author": "me", "n": 3}, "end": "fail"},
    "source": {"properties": {"azureml.runsource": "made.up"}, "end": "cancel"},
}


@pytest.fixture(scope="module")
def parent(served_home: Any) -> Iterator[Run]:
    """A parent with one child a row, in this order, ended as the row says."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RUNSTREAM_HOME", str(served_home))
        from runstream.core import Workspace

        workspace = Workspace(workspace_name=f"filters-{datetime.now(UTC).timestamp()}")
        run = Experiment(workspace, "filters").start_logging(outputs=False, snapshot_directory=None)
        for name, row in ROWS.items():
            child = run.child_run(name)
            child.set_tags({"row": name, **row.get("tags", {})})
            child.add_properties(row.get("properties", {}))
            if name != "plain":
                getattr(child, row.get("end", "complete"))()
        run.flush()
        yield run
        for child in run.get_children(status="Running"):
            child.complete()
        run.complete()


Lister = Callable[..., Iterator[Run]]


@pytest.fixture(params=["get_runs", "Run.list", "get_children", "recursive"])
def listed(request: pytest.FixtureRequest, parent: Run) -> Lister:
    """The lists that take filters."""
    experiment = parent.experiment
    lists: dict[str, Lister] = {
        "get_runs": lambda **filters: experiment.get_runs(include_children=True, **filters),
        "Run.list": lambda **filters: Run.list(experiment, include_children=True, **filters),
        "get_children": parent.get_children,
        "recursive": lambda **filters: parent.get_children(recursive=True, **filters),
    }
    return lists[request.param]


def rows(runs: Iterator[Run]) -> list[str | None]:
    return [run.tags["row"] for run in runs if "row" in run.tags]  # the parent has no such tag


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, [*ROWS]),
        ({"tags": "worth another look"}, ["valueless"]),
        ({"tags": "b"}, ["one", "other"]),
        ({"tags": "B"}, []),
        ({"tags": {"a": "1", "b": "x"}}, ["one"]),
        ({"tags": {"a": 1}}, ["one"]),
        ({"tags": {"a": None}}, []),
        ({"tags": {"worth another look": None}}, ["valueless"]),
        ({"tags": {"k=v": "y"}}, ["other"]),
        ({"tags": "k=v"}, ["other"]),
        ({"tags": {"b": "X"}}, []),
        ({"tags": {}}, [*ROWS]),
        ({"properties": "author"}, ["author"]),
        ({"properties": {"n": 3, "author": "me"}}, ["author"]),
        ({"properties": {"author": "you"}}, []),
        ({"properties": {"author": "me"}, "tags": {"row": "author"}}, ["author"]),
        ({"properties": {"author": "me"}, "tags": {"row": "one"}}, []),
        ({"type": "made.up"}, ["source"]),
        ({"type": "azureml.scriptrun"}, []),
        ({"status": "Failed"}, ["author"]),
        ({"status": ["Failed", "Canceled"]}, ["author", "source"]),
        ({"status": "Running", "tags": "row"}, ["plain"]),
        ({"status": "Completed", "type": "made.up"}, []),
    ],
    ids=str,
)
def test_filters(listed: Lister, filters: dict[str, Any], expected: list[str]) -> None:
    assert rows(listed(**filters)) == expected[::-1]


def test_by_time(listed: Lister) -> None:
    started = {run.tags.get("row"): run.get_details()["startTimeUtc"] for run in listed()}
    since = started["other"]
    assert rows(listed(started_from=since)) == ["source", "author", "other"]
    assert rows(listed(started_to=since)) == ["one", "valueless", "plain"]
    moment = datetime.fromisoformat(since.replace("Z", "+00:00"))
    assert rows(listed(started_from=moment, started_to=moment + timedelta(microseconds=1))) == ["other"]
    assert rows(listed(started_from=moment.replace(tzinfo=None))) == ["source", "author", "other"]
    assert rows(listed(started_from=datetime.now(UTC) + timedelta(days=1))) == []


@pytest.mark.parametrize(
    ("filters", "text"),
    [
        ({"tags": ["a"]}, "Unknown filter type for run tags"),
        ({"tags": 5}, "Unknown filter type for run tags"),
        ({"properties": ["a"]}, "Unknown filter type for run properties"),
        ({"status": "Cancelled"}, "Unknown run status 'Cancelled'; the statuses are"),
    ],
    ids=str,
)
def test_what_can_match_nothing_is_refused_at_the_call(
    listed: Lister, filters: dict[str, Any], text: str
) -> None:
    with pytest.raises(ValueError, match=text):
        listed(**filters)


def test_only_runs_without_a_parent_unless_children_are_asked_for(parent: Run) -> None:
    assert [run.id for run in parent.experiment.get_runs()] == [parent.id]
    assert [run.id for run in Run.list(parent.experiment, status="Running")] == [parent.id]


def test_pages_are_fetched_as_they_are_asked_for(parent: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runstream.client.records.list_records.__defaults__", (2,))
    asked: list[str] = []
    get = parent._client.get_json
    monkeypatch.setattr(
        parent._client, "get_json", lambda path, params=(): asked.append(path) or get(path, params)
    )
    runs = parent.get_children()
    assert asked == []
    assert next(runs).tags["row"] == "source"
    assert len(asked) == 1
    assert len(list(runs)) == len(ROWS) - 1
    assert len(asked) == 3
