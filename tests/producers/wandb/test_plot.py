"""`wandb.plot` makes the tables that W&B itself makes, and figures that Vega-Lite takes."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

import runstream.wandb as ours
from runstream.wandb.chart_specs import MOST_ROWS, ChartSpec, vega_lite_of
from runstream.wandb.plot import CustomChart
from tests.seeds import SEED


def both(name: str, *arguments: Any, **options: Any) -> tuple[Any, CustomChart]:
    """A chart by W&B and by us."""
    import wandb

    return getattr(wandb.plot, name)(*arguments, **options), getattr(ours.plot, name)(*arguments, **options)


def assert_equal(theirs: Any, chart: CustomChart) -> None:
    assert list(theirs.table.columns) == list(chart.table.columns)
    plain = [
        [value.item() if hasattr(value, "item") else value for value in row] for row in theirs.table.data
    ]
    assert chart.table.data == plain
    assert (theirs.spec.spec_name, theirs.spec.fields) == (chart.spec.name, chart.spec.fields)
    assert theirs.spec.string_fields == chart.spec.strings


@pytest.mark.parametrize("name", ["pr_curve", "roc_curve"])
@pytest.mark.parametrize("case", ["ties", "many", "texts", "one class apart"])
def test_curves_are_those_of_wandb_point_by_point(name: str, case: str) -> None:
    """W&B has them from scikit-learn; ours need numpy only."""
    chance = np.random.default_rng(random.Random(f"{SEED} {name} {case}").randrange(1 << 32))
    size = {"ties": 40, "many": 3000, "texts": 60, "one class apart": 12}[case]
    truth: Any = chance.integers(0, 3, size)
    truth[:3] = [0, 1, 2]
    scores = chance.dirichlet(np.ones(3), size)
    if case == "ties":
        scores = scores.round(1)
    if case == "one class apart":
        scores[truth == 1] = [0.0, 1.0, 0.0]
    options: dict[str, Any] = {"labels": ["u", "v", "w"], "classes_to_plot": [0, 1]}
    if case == "texts":
        truth, options = np.array(["u", "v", "w"])[truth], {}
    assert_equal(*both(name, truth, scores, **options))


@pytest.mark.parametrize(
    "arguments",
    [
        {"y_true": [0, 1, 1], "preds": [1, 1, 0]},
        {"y_true": [0, 1, 1], "preds": [1, 1, 0], "class_names": ["a", "b", "c"]},
        {"y_true": ["x", "z"], "preds": ["y", "z"]},
        {"y_true": [0, 2, 1], "probs": [[0.2, 0.5, 0.3]] * 3, "class_names": ["a", "b", "c"], "title": "t"},
    ],
)
def test_a_confusion_matrix_is_that_of_wandb(arguments: dict[str, Any]) -> None:
    assert_equal(*both("confusion_matrix", **arguments))


@pytest.mark.parametrize(
    "arguments",
    [
        ([0, 1], [[1, 2], [3, 4]]),
        ([[0, 1], [5, 6, 7]], [[1, 2], [3, 4]], ["a", "b"], "title", "epoch"),
    ],
)
def test_a_series_of_lines_is_that_of_wandb(arguments: tuple[Any, ...]) -> None:
    assert_equal(*both("line_series", *arguments))


@pytest.mark.parametrize("arguments", [([[0]], [[1], [2]]), ([0], [[1]], ["a", "b"])])
def test_lines_that_do_not_fit_are_refused_as_by_wandb(arguments: tuple[Any, ...]) -> None:
    import wandb

    for module in (wandb.plot, ours.plot):
        with pytest.raises(ValueError, match="must match"):
            module.line_series(*arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        {"preds": [0], "probs": [[1.0]], "y_true": [0]},
        {"preds": [0, 1], "y_true": [0]},
        {"preds": [0, 1], "y_true": [0, 1], "class_names": ["a"]},
        {"preds": [7], "y_true": [0], "class_names": ["a"]},
        {"y_true": [0]},
    ],
)
def test_a_confusion_matrix_of_what_does_not_fit_is_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"class|equal|Only one"):
        ours.plot.confusion_matrix(**arguments)


@pytest.mark.parametrize("scores", [None, [0.5], [[0.5]], [[0.5], [0.5]]])
def test_a_curve_of_what_does_not_fit_is_refused(scores: Any) -> None:
    with pytest.raises(ValueError, match="y_probas"):
        ours.plot.roc_curve([0, 1], scores)


def test_a_figure_holds_at_most_so_many_rows_and_no_gap_is_a_number() -> None:
    spec = ChartSpec("wandb/line/v0", {"x": "a.b", "y": "c[0]", "stroke": None}, {"title": "t"})
    figure = vega_lite_of(spec, {"a.b": list(range(25_001)), "c[0]": [float("nan")] * 25_001})
    assert figure is not None
    rows = figure["data"]["values"]
    assert len(rows) <= MOST_ROWS
    assert rows[1] == {"x": 3, "y": None}
    assert figure["encoding"]["x"] == {"field": "x", "type": "quantitative", "title": "a.b"}


@pytest.mark.parametrize(
    "spec",
    [
        ChartSpec("me/own/v0", {"x": "a"}, {}),
        ChartSpec("wandb/line/v0", {"x": "a"}, {}),
        ChartSpec("", {}, {}),
    ],
)
def test_what_only_wandb_can_draw_is_no_figure(spec: ChartSpec) -> None:
    assert vega_lite_of(spec, {"a": [1]}) is None
