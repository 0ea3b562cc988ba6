"""`wandb.plot`: charts over tables, by the names and arguments W&B 0.31 has.

A chart that is logged as `name` is recorded as the table `name_table`, as W&B does, and drawn as a Vega-Lite figure `name`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .chart_specs import ChartSpec
from .data_types import Table
from .errors import Error

if TYPE_CHECKING:
    import numpy as np

    Floats = np.ndarray[Any, np.dtype[Any]]

_SPLIT = "Custom Chart Tables/"


@dataclass(frozen=True, slots=True)
class CustomChart:
    """A chart to log.

    Attributes:
        split_table: its table is called `Custom Chart Tables/name_table`.
    """

    table: Table
    spec: ChartSpec
    split_table: bool = False

    def table_name(self, name: str) -> str:
        """The name of the table of a chart that is logged as `name`."""
        return table_names(name)[self.split_table]


def table_names(name: str) -> tuple[str, str]:
    """What the table of a chart may be called: beside it, or in a section of its own."""
    return f"{name}_table", f"{_SPLIT}{name}_table"


def plot_table(
    vega_spec_name: str,
    data_table: Table,
    fields: Mapping[str, Any],
    string_fields: Mapping[str, Any] | None = None,
    split_table: bool = False,
) -> CustomChart:
    """A chart by the name of its specification; one that is not W&B's own (`wandb/line/v0` ...) is kept as its table only.

    Args:
        vega_spec_name: the specification.
        data_table: the values.
        fields: the column for each field of the specification.
        string_fields: its texts.
        split_table: see `CustomChart`.

    Raises:
        Error: `data_table` is no table.
    """
    if not isinstance(data_table, Table):
        raise Error(
            f"Expected `data_table` to be `wandb.Table` type, instead got {type(data_table).__name__}; make a Table of it"
        )
    return CustomChart(data_table, ChartSpec(vega_spec_name, fields, string_fields or {}), split_table)


def line(
    table: Table, x: str, y: str, stroke: str | None = None, title: str = "", split_table: bool = False
) -> CustomChart:
    """Lines: one, or one for each value of the column `stroke`."""
    fields = {"x": x, "y": y, "stroke": stroke}
    return plot_table("wandb/line/v0", table, fields, {"title": title}, split_table)


def scatter(table: Table, x: str, y: str, title: str = "", split_table: bool = False) -> CustomChart:
    """Points."""
    return plot_table("wandb/scatter/v0", table, {"x": x, "y": y}, {"title": title}, split_table)


def bar(table: Table, label: str, value: str, title: str = "", split_table: bool = False) -> CustomChart:
    """Bars."""
    return plot_table("wandb/bar/v0", table, {"label": label, "value": value}, {"title": title}, split_table)


def histogram(table: Table, value: str, title: str = "", split_table: bool = False) -> CustomChart:
    """How the values of a column are distributed."""
    return plot_table("wandb/histogram/v0", table, {"value": value}, {"title": title}, split_table)


def line_series(
    xs: Sequence[Any],
    ys: Sequence[Iterable[Any]],
    keys: Sequence[str] | None = None,
    title: str = "",
    xname: str = "x",
    split_table: bool = False,
) -> CustomChart:
    """Several lines.

    Args:
        xs: places of each line, or of all.
        ys: values of each line.
        keys: their names; default `line_0`, `line_1` ...

    Raises:
        ValueError: not as many `xs` or `keys` as `ys`.
    """
    if not isinstance(xs[0], Iterable) or isinstance(xs[0], (str, bytes)):
        xs = [xs] * len(ys)
    names = [f"line_{place}" for place in range(len(ys))] if keys is None else keys
    if len(xs) != len(ys):
        raise ValueError(f"Number of x-series ({len(xs)}) must match y-series ({len(ys)}).")
    if len(names) != len(ys):
        raise ValueError(f"Number of keys ({len(names)}) must match y-series ({len(ys)}).")
    rows = [
        [x, names[place], y]
        for place, (of_x, of_y) in enumerate(zip(xs, ys, strict=True))
        for x, y in zip(of_x, of_y, strict=False)
    ]
    columns = ["step", "lineKey", "lineVal"]
    return plot_table(
        "wandb/lineseries/v0",
        Table(data=rows, columns=columns),
        {name: name for name in columns},
        {"title": title, "xname": xname},
        split_table,
    )


def confusion_matrix(
    probs: Sequence[Sequence[float]] | None = None,
    y_true: Sequence[Any] | None = None,
    preds: Sequence[Any] | None = None,
    class_names: Sequence[str] | None = None,
    title: str = "Confusion Matrix Curve",
    split_table: bool = False,
) -> CustomChart:
    """How often what was predicted for what.

    Args:
        probs: the probability of each class, a sample a row; or
        preds: the class that was predicted.
        y_true: the class of each sample.
        class_names: default `Class_1`, `Class_2` ...

    Raises:
        ValueError: both or none of `probs` and `preds`, not as many as samples, or classes beyond the names.
    """
    import numpy as np

    if (probs is None) == (preds is None):
        raise ValueError("Only one of `probs` or `preds` should be provided, not both.")
    if preds is None:
        preds = np.argmax(np.asarray(probs), axis=1).tolist()
    y_true = list(y_true if y_true is not None else ())
    if len(preds) != len(y_true):
        raise ValueError("The number of predictions and true labels must be equal.")
    if class_names is not None:
        if len(set(preds)) > len(class_names):
            raise ValueError("The number of unique predicted classes exceeds the number of class names.")
        if len(set(y_true)) > len(class_names):
            raise ValueError("The number of unique true labels exceeds the number of class names.")
        classes: list[Any] = list(range(len(class_names)))
    else:
        classes = sorted({*preds, *y_true})
        class_names = [f"Class_{place + 1}" for place in range(len(classes))]
    place_of = {of: place for place, of in enumerate(classes)}
    counts = np.zeros((len(classes), len(classes)))
    for actual, predicted in zip(y_true, preds, strict=True):
        if actual not in place_of or predicted not in place_of:
            raise ValueError(
                f"class {actual!r:.80} or {predicted!r:.80} is none of the {len(classes)} that have names"
            )
        counts[place_of[actual], place_of[predicted]] += 1
    rows = [
        [actual, predicted, float(counts[i, j])]
        for i, actual in enumerate(class_names)
        for j, predicted in enumerate(class_names)
    ]
    columns = ["Actual", "Predicted", "nPredictions"]
    return plot_table(
        "wandb/confusion_matrix/v1",
        Table(columns=columns, data=rows),
        {name: name for name in columns},
        {"title": title},
        split_table,
    )


def pr_curve(
    y_true: Any = None,
    y_probas: Any = None,
    labels: Sequence[str] | None = None,
    classes_to_plot: Sequence[Any] | None = None,
    interp_size: int = 21,
    title: str = "Precision-Recall Curve",
    split_table: bool = False,
) -> CustomChart:
    """Precision over recall, for each class, at `interp_size` recalls.

    Args:
        y_true: classes, shape (samples,).
        y_probas: probability of each class, shape (samples, classes).
        labels: names of the classes, where these are whole numbers.
        classes_to_plot: only these.

    Raises:
        ValueError: nothing given, or not as many probabilities as samples and classes.
    """
    import numpy as np

    recalls = np.linspace(0, 1, interp_size)[::-1]
    rows: list[list[Any]] = []
    for name, hit, score in _classes(y_true, y_probas, labels, classes_to_plot):
        true, count = _cumulated(hit, score)
        # As scikit-learn has it: from the highest threshold on, behind the point (recall 0, precision 1).
        precision = np.concatenate(([1.0], true / count))[::-1]
        recall = np.concatenate(([0.0], true / true[-1] if true[-1] else np.ones_like(true)))
        smoothed = np.maximum.accumulate(precision)[::-1]
        at = np.searchsorted(recall, recalls, side="left")
        rows += [
            [name, *values]
            for values in zip(np.round(smoothed[at], 3).tolist(), np.round(recalls, 3).tolist(), strict=True)
        ]
    return _curve(
        ["class", "precision", "recall"],
        rows,
        ("recall", "Recall"),
        ("precision", "Precision"),
        title,
        split_table,
    )


def roc_curve(
    y_true: Any = None,
    y_probas: Any = None,
    labels: Sequence[str] | None = None,
    classes_to_plot: Sequence[Any] | None = None,
    title: str = "ROC Curve",
    split_table: bool = False,
) -> CustomChart:
    """The rate of true positives over that of false ones, for each class; arguments and errors as of `pr_curve`."""
    import numpy as np

    rows: list[list[Any]] = []
    for name, hit, score in _classes(y_true, y_probas, labels, classes_to_plot):
        true, count = _cumulated(hit, score)
        false = count - true
        # As scikit-learn has it: corners only, behind the point (0, 0).
        corner = (
            np.r_[True, np.logical_or(np.diff(false, 2), np.diff(true, 2)), True]
            if len(true) > 2
            else slice(None)
        )
        true, false = np.r_[0, true[corner]], np.r_[0, false[corner]]
        positives, negatives = true[-1] or np.nan, false[-1] or np.nan
        rates = (np.round(false / negatives, 3).tolist(), np.round(true / positives, 3).tolist())
        rows += [[name, *values] for values in zip(*rates, strict=True)]
    x, y = ("fpr", "False positive rate"), ("tpr", "True positive rate")
    return _curve(["class", "fpr", "tpr"], rows, x, y, title, split_table)


def _classes(
    y_true: Any, y_probas: Any, labels: Sequence[str] | None, classes_to_plot: Sequence[Any] | None
) -> Iterable[tuple[Any, Floats, Floats]]:
    """Of each class its name, whether each sample is of it, and the probability it was given."""
    import numpy as np

    if y_true is None or y_probas is None:
        raise ValueError("y_true and y_probas are needed; give both")
    truth, scores = np.asarray(y_true), np.asarray(y_probas, dtype=np.float64)
    classes = np.unique(truth)
    if truth.ndim != 1 or scores.ndim != 2 or len(scores) != len(truth) or scores.shape[1] < len(classes):
        raise ValueError(
            f"y_probas has the shape {scores.shape}; expected ({len(truth)}, {len(classes)}): one a sample and class"
        )
    for place, of in enumerate(classes):
        if classes_to_plot is None or of in classes_to_plot:
            named = labels is not None and isinstance(of, np.integer)
            yield (
                labels[int(of)] if labels is not None and named else of.item(),
                truth == of,
                scores[:, place],
            )


def _cumulated(hit: Floats, score: Floats) -> tuple[Floats, Floats]:
    """Of the samples at or above each score, the highest first: how many are hits, and how many there are."""
    import numpy as np

    order = np.argsort(score, kind="mergesort")[::-1]
    hits, scores = hit[order], score[order]
    last = np.r_[np.nonzero(np.diff(scores))[0], len(scores) - 1]
    return np.cumsum(hits)[last].astype(np.float64), (last + 1).astype(np.float64)


def _curve(
    columns: list[str],
    rows: list[list[Any]],
    x: tuple[str, str],
    y: tuple[str, str],
    title: str,
    split_table: bool,
) -> CustomChart:
    return plot_table(
        "wandb/area-under-curve/v0",
        Table(columns=columns, data=rows),
        {"x": x[0], "y": y[0], "class": "class"},
        {"title": title, "x-axis-title": x[1], "y-axis-title": y[1]},
        split_table,
    )
