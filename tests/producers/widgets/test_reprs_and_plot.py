"""What notebooks show of objects, and figures of runs."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator

import pytest

from runstream.core import Experiment, Run, Workspace
from runstream.exceptions import UserErrorException

XSS = "<script>alert('\"&')</script>"


@pytest.fixture(autouse=True)
def figures(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("MPLBACKEND", "agg")
    import matplotlib.pyplot as plt

    yield
    plt.close("all")


def test_tables_with_links(experiment: Experiment, workspace: Workspace) -> None:
    run = experiment.start_logging(outputs=False, snapshot_directory=None)
    html = run._repr_html_()
    assert "<th>Experiment</th><th>Id</th><th>Type</th><th>Status</th><th>Details Page</th>" in html
    assert f"<td>{run.id}</td><td></td><td>Running</td>" in html
    assert f'href="{run.get_portal_url()}"' in html
    assert f'href="{experiment.get_portal_url()}"' in experiment._repr_html_()
    assert f"<td>{workspace.name}</td>" in workspace._repr_html_()
    run.complete()
    assert repr(run) == f"Run(Experiment: test,\nId: {run.id},\nType: None,\nStatus: Completed)"
    assert repr(experiment) == f"Experiment(Name: test,\nWorkspace: {workspace.name})"


@pytest.mark.attack
def test_names_are_never_markup(workspace: Workspace) -> None:
    hostile = Workspace(XSS, XSS, XSS)
    experiment = Experiment(workspace, XSS, _skip_name_validation=True)
    run = experiment.start_logging(
        run_id="<img src=x onerror=alert(1)>", outputs=False, snapshot_directory=None
    )
    for shown in (hostile, experiment, run):
        html = shown._repr_html_()
        assert "<script" not in html
        assert "<img" not in html
    run.complete()


def test_without_a_service_there_is_no_link_and_no_error(
    tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNSTREAM_HOME", f"{tmp_path}/nobody")
    away = Workspace(workspace_name="away")
    assert "href" not in away._repr_html_()
    assert "<td>test</td>" in Experiment(away, "test")._repr_html_()


@pytest.fixture
def run(experiment: Experiment) -> Run:
    run = experiment.start_logging(outputs=False, snapshot_directory=None)
    for step in range(5000):
        run.log("loss", 50.0 if step == 3333 else math.nan if step == 10 else 1 / (step + 1))
    run.log("val", 1, step=5)
    run.log("val", 2, step=7)
    run.log("note", "text")
    run.complete()
    return run


def test_one_metric_with_its_spike(run: Run) -> None:
    axes = run.plot("loss", log=True)
    [line] = axes.lines
    x, y = line.get_data()
    assert max(value for value in y if value == value) == 50.0
    assert x[list(y).index(50.0)] == 3333
    assert len(x) < 5000
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_yscale()) == ("step", "loss", "log")


def test_several_metrics_in_one_chart_or_each_in_its_own(run: Run) -> None:
    axes = run.plot(x="relative")
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["loss", "val"]
    below = run.plot("val", "loss", subplots=True, x="time", color="red")
    assert [axes.get_ylabel() for axes in below] == ["val", "loss"]
    assert list(below[0].lines[0].get_ydata()) == [1.0, 2.0]
    assert run.plot("val", ax=axes) is axes
    assert len(axes.lines) == 3


def test_what_cannot_be_drawn_says_why(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserErrorException, match="no metric 'nosuch'"):
        run.plot("nosuch")
    with pytest.raises(UserErrorException, match="expected one of step, time, relative"):
        run.plot("loss", x="epoch")
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"pip install 'runstream\[plot\]'"):
        run.plot("loss")
