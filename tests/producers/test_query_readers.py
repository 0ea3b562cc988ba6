"""`runstream.sql` and `runstream.query`, and the demo that uses all of it."""

from __future__ import annotations

import math
import multiprocessing
import re
from collections.abc import Iterable
from typing import Any

import pytest

import runstream
from runstream.core import Experiment, Run, Workspace
from runstream.exceptions import ServiceException, UserErrorException
from runstream.points_scan import Part
from runstream_schemas.settings import Settings
from runstream_service import demo


@pytest.fixture
def runs(experiment: Experiment) -> list[Run]:
    made = []
    for number in range(3):
        with experiment.start_logging(outputs=False, tags={"n": str(number)}) as run:
            for step in range(5):
                run.log("loss", 1.0 / (step + 1 + number))
            run.log("epoch", number)
            run.log("note", "text")
        made.append(run)
    return made


def test_sql_sees_what_was_just_logged(runs: list[Run]) -> None:
    table = runstream.sql(
        "select name, count(*) as n, min(value) as best from metrics "
        f"where run_id = '{runs[0].id}' group by name order by name"
    )
    assert table.to_pylist() == [
        {"name": "epoch", "n": 1, "best": 0.0},
        {"name": "loss", "n": 5, "best": 0.2},
        {"name": "note", "n": 1, "best": None},
    ]
    assert "epoch" in repr(table)
    assert len(table) == 3


def test_a_wrong_statement_is_refused_with_its_place(workspace: Workspace) -> None:
    with pytest.raises(ServiceException) as wrong:
        runstream.sql("select nothing from nowhere")
    assert wrong.value.status_code == 400
    assert "nowhere" in wrong.value.message


def test_vectors_of_many_runs(runs: list[Run]) -> None:
    table = runstream.query.metrics(runs, "loss")
    assert len(table) == 15
    frame = table.to_pandas()
    assert frame.groupby("run_id", observed=True)["value"].max().round(3).to_dict() == {
        run.id: round(1 / (number + 1), 3) for number, run in enumerate(runs)
    }
    assert table.to_polars()["step"].to_list() == [0, 1, 2, 3, 4] * 3
    whole = runstream.query.metrics(runs[2].id)
    assert [row["text"] for row in whole.to_pylist() if row["name"] == "note"] == ["text"]
    assert [row["integer"] for row in whole.to_pylist() if row["name"] == "epoch"] == [2]
    assert math.isnan(whole.to_numpy("value")[-1])


def test_lists_of_runs(runs: list[Run], workspace: Workspace) -> None:
    table = runstream.query.runs("test", workspace=workspace, order="metric:loss:min")
    assert [row["run_id"] for row in table.to_pylist()] == [run.id for run in reversed(runs)]
    assert table.to_pylist()[0]["loss"]["min"] == pytest.approx(1 / 7)
    assert dict(table.to_pylist()[0]["tags"]) == {"n": "2"}
    assert len(runstream.query.runs("test", workspace=workspace, tags={"n": 1})) == 1
    assert len(runstream.query.runs("test", workspace=workspace, limit=2)) == 2
    with pytest.raises(ServiceException):
        runstream.query.runs(order="nonsense")


def logged(run: Run) -> list[tuple[str, str, float]]:
    """What a fixture's run has of numbers."""
    number = int(run.get_tags()["n"])
    return [
        *((run.id, "loss", 1.0 / (step + 1 + number)) for step in range(5)),
        (run.id, "epoch", float(number)),
    ]


def rows_of(tables: Iterable[Any]) -> list[tuple[str, str, float]]:
    """Numbers of Arrow tables, sorted."""
    rows = [row for table in tables for row in table.to_pylist()]
    return sorted((row["run_id"], row["name"], row["value"]) for row in rows if row["text"] is None)


@pytest.mark.parametrize("most", [1, 4, 8, 1 << 20])
def test_a_scan_reads_every_point_in_parts(
    runs: list[Run], workspace: Workspace, monkeypatch: Any, most: int
) -> None:
    """Parts end where a million points are, within a run where it has more; here at fewer."""
    monkeypatch.setattr("runstream.points_scan.PART_POINTS", most)
    monkeypatch.setattr("runstream.query._RUNS_A_STATEMENT", 2)
    scan = runstream.query.scan(workspace=workspace)
    assert scan.points == 21
    assert all(part.points <= max(most, 5) for part in scan.parts)
    if most < 8:
        assert {part.names for part in scan.parts} != {()}
    expected = sorted(row for run in runs for row in logged(run))
    for at_once in (1, 2, 9):
        tables = list(scan.tables(at_once))
        assert rows_of(tables) == expected
        assert {table.schema for table in tables} == {scan.schema}
    steps = runstream.query.scan(runs[0], "loss").to_polars()["step"].to_list()
    assert steps == [0, 1, 2, 3, 4]
    by_id = runstream.query.scan([run.id for run in runs], ["loss", "epoch"])
    assert rows_of(by_id.tables()) == expected


def test_a_scan_goes_to_polars_dask_and_other_processes(
    runs: list[Run], workspace: Workspace, monkeypatch: Any
) -> None:
    monkeypatch.setattr("runstream.points_scan.PART_POINTS", 8)
    scan = runstream.query.scan(names=["loss", "epoch"], experiment="test", workspace=workspace)
    frame = scan.to_polars()
    assert frame.columns == scan.schema.names
    assert frame["value"].sum() == pytest.approx(sum(value for run in runs for _, _, value in logged(run)))
    with_dask = scan.to_dask()
    assert with_dask.npartitions == len(scan.parts) == 3
    best = (
        with_dask[with_dask["name"] == "loss"].groupby("run_id")["value"].max().compute(scheduler="threads")
    )
    assert best.to_dict() == {run.id: 1 / (n + 1) for n, run in enumerate(runs)}
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert rows_of(pool.map(Part.read, scan.parts)) == rows_of(scan.tables())


def test_a_scan_of_nothing_has_its_columns(workspace: Workspace) -> None:
    scan = runstream.query.scan("no-such-run", search="nothing is called this", workspace=workspace)
    assert (scan.points, list(scan.tables())) == (0, [])
    assert scan.to_polars().columns == list(scan.to_dask().columns) == scan.schema.names
    with pytest.raises(UserErrorException, match="at_once"):
        next(scan.tables(0))
    with pytest.raises(ServiceException):
        runstream.query.scan(search="metric:loss<<1", workspace=workspace)


def test_a_scan_takes_what_a_search_takes(runs: list[Run], workspace: Workspace) -> None:
    scan = runstream.query.scan(search="tag:n=1", workspace=workspace)
    assert {row[0] for row in rows_of(scan.tables())} == {runs[1].id}
    assert runstream.query.scan(runs[0], search="tag:n=1", workspace=workspace).parts == []


def test_a_name_is_no_statement(experiment: Experiment) -> None:
    with experiment.start_logging(outputs=False) as run:
        run.log("it's \" or 1=1 --", 1.0)
        run.log("other", 2.0)
    assert rows_of(runstream.query.scan(run, "it's \" or 1=1 --").tables()) == [
        (run.id, "it's \" or 1=1 --", 1.0)
    ]


def test_demo(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("sklearn")
    monkeypatch.setattr(demo, "ALPHAS", (0.1, 0.5, 5.0))
    assert demo.main(Settings.load(workspace=workspace.name), parquet_timeout=30) == 0
    out = capsys.readouterr().out
    assert "Best: alpha = 0.5" in out
    assert "points of this sweep" in out
    assert re.search(r"\nLook at it: http://\S+/runs/\S+\n.*\n$", out)  # the last but one line
    assert re.search("runstream'? sql", out)  # quoted where the path has blanks


def test_importance_of_the_parameters_of_runs_that_were_just_logged(experiment: Experiment) -> None:
    for number in range(9):
        with experiment.start_logging(outputs=False) as run:
            run.log_params({"lr": number / 10, "batch": 32})
            run.log("mse", -number)
    asked = {"experiment": experiment.name, "workspace": experiment.workspace.name}
    weighed = runstream.query.param_importance("mse", "min", **asked)
    assert [param.name for param in weighed.params] == ["lr"]
    assert (weighed.params[0].importance, weighed.params[0].correlation) == (1.0, pytest.approx(-1))
    assert (weighed.runs, weighed.constant, weighed.refusal) == (9, ["batch"], None)
    few = runstream.query.param_importance("mse", runs=[run], workspace=experiment.workspace.name)
    assert few.refusal is not None
    assert "1 of 1 run has" in few.refusal


def test_parts_of_many_and_long_names_fit_into_requests(experiment: Experiment, monkeypatch: Any) -> None:
    """Names go into the address of a request, for which servers and proxies have a limit."""
    monkeypatch.setattr("runstream.points_scan.PART_POINTS", 400)
    names = [f"{number:03} {'ä' * 400}" for number in range(300)]
    with experiment.start_logging(outputs=False) as run:
        for _ in range(2):
            run.log_metrics(dict.fromkeys(names, 1.0))
    scan = runstream.query.scan(run)
    assert max(len(part.names) for part in scan.parts) == 200
    assert rows_of(scan.tables()) == sorted((run.id, name, 1.0) for name in names * 2)
    assert rows_of(runstream.query.scan(run, names[:150]).tables()) == sorted(
        (run.id, name, 1.0) for name in names[:150] * 2
    )
