"""Custom charts of W&B as Vega-Lite: its servers hold the specifications that scripts name; these are for its own ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

Encoding = dict[str, Any]

MOST_ROWS = 10_000
"""Rows that are drawn: as many as W&B keeps of a table. Of more, every n-th is."""
_SCHEMA = "https://vega.github.io/schema/vega-lite/v5.json"


@dataclass(frozen=True, slots=True)
class ChartSpec:
    """What W&B says of a custom chart.

    Attributes:
        name: the name of the specification, such as `wandb/line/v0`.
        fields: the column of the table for each field of the specification.
        strings: its texts: `title` and those of axes.
    """

    name: str
    fields: Mapping[str, Any]
    strings: Mapping[str, Any]


def vega_lite_of(spec: ChartSpec, columns: Mapping[str, Sequence[Any]]) -> dict[str, Any] | None:
    """The chart over a table, with the table's values in it.

    Args:
        columns: the table, by column.

    Returns:
        None: it names a specification that only W&B's servers know, or columns that the table does not have.
    """
    name, _, _ = spec.name.rpartition("/")
    draw = _DRAWN.get(name)
    used = {field: str(column) for field, column in spec.fields.items() if column is not None}
    if draw is None or not set(_NEEDED[name]) <= used.keys() or not set(used.values()) <= columns.keys():
        return None
    rows = len(next(iter(columns.values()), ()))
    every = -(-rows // MOST_ROWS) or 1
    values = {field: [_drawn(value) for value in columns[column][::every]] for field, column in used.items()}
    return {
        "$schema": _SCHEMA,
        "title": str(spec.strings.get("title") or ""),
        "data": {
            "values": [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]
        },
        **draw(_Drawing(used, {field: _kind(of) for field, of in values.items()}, spec.strings)),
    }


@dataclass(frozen=True, slots=True)
class _Drawing:
    """Columns and kinds of values by field, and the texts of a chart."""

    columns: Mapping[str, str]
    kinds: Mapping[str, str]
    strings: Mapping[str, Any]

    def axis(self, field: str, title: str = "", **more: Any) -> Encoding:
        """The encoding of a field: its text, else its column, is the title."""
        return {"field": field, "type": self.kinds[field], "title": title or self.columns[field], **more}

    def colour(self, field: str) -> Encoding:
        """Lines told apart by a field, if the chart has it."""
        return {"color": self.axis(field, type="nominal")} if field in self.columns else {}

    def text(self, name: str) -> str:
        """One of the texts."""
        return str(self.strings.get(name) or "")


def _kind(values: Sequence[Any]) -> str:
    numbers = all(
        value is None or (isinstance(value, (int, float)) and not isinstance(value, bool)) for value in values
    )
    return "quantitative" if numbers else "nominal"


def _drawn(value: Any) -> Any:
    """JSON knows no NaN, and a gap says it better."""
    return None if isinstance(value, float) and not isfinite(value) else value


def _line(drawing: _Drawing) -> Encoding:
    axes = {"x": drawing.axis("x"), "y": drawing.axis("y"), **drawing.colour("stroke")}
    return {"mark": {"type": "line", "tooltip": True}, "encoding": axes}


def _line_series(drawing: _Drawing) -> Encoding:
    x = drawing.axis("step", drawing.text("xname"))
    axes = {"x": x, "y": drawing.axis("lineVal", " "), **drawing.colour("lineKey")}
    return {"mark": {"type": "line", "tooltip": True}, "encoding": axes}


def _area(drawing: _Drawing) -> Encoding:
    axes = {
        "x": drawing.axis("x", drawing.text("x-axis-title")),
        "y": drawing.axis("y", drawing.text("y-axis-title")),
        **drawing.colour("class"),
    }
    return {"mark": {"type": "line", "tooltip": True}, "encoding": axes}


def _scatter(drawing: _Drawing) -> Encoding:
    return {
        "mark": {"type": "point", "tooltip": True},
        "encoding": {"x": drawing.axis("x"), "y": drawing.axis("y")},
    }


def _bar(drawing: _Drawing) -> Encoding:
    label = drawing.axis("label", type="nominal", sort=None)
    return {"mark": {"type": "bar", "tooltip": True}, "encoding": {"x": drawing.axis("value"), "y": label}}


def _histogram(drawing: _Drawing) -> Encoding:
    count = {"aggregate": "count", "title": "count"}
    return {
        "mark": {"type": "bar", "tooltip": True},
        "encoding": {"x": drawing.axis("value", bin=True), "y": count},
    }


def _confusion(drawing: _Drawing) -> Encoding:
    places = {
        "x": drawing.axis("Predicted", type="nominal", sort=None),
        "y": drawing.axis("Actual", type="nominal", sort=None),
    }
    number = drawing.axis("nPredictions", "predictions", type="quantitative")
    return {
        "encoding": places,
        "layer": [
            {"mark": {"type": "rect", "tooltip": True}, "encoding": {"color": number}},
            {"mark": "text", "encoding": {"text": {"field": "nPredictions", "type": "quantitative"}}},
        ],
    }


_DRAWN: Mapping[str, Callable[[_Drawing], Encoding]] = {
    "wandb/line": _line,
    "wandb/lineseries": _line_series,
    "wandb/area-under-curve": _area,
    "wandb/scatter": _scatter,
    "wandb/bar": _bar,
    "wandb/histogram": _histogram,
    "wandb/confusion_matrix": _confusion,
}
_NEEDED = {
    "wandb/line": ("x", "y"),
    "wandb/lineseries": ("step", "lineKey", "lineVal"),
    "wandb/area-under-curve": ("x", "y"),
    "wandb/scatter": ("x", "y"),
    "wandb/bar": ("label", "value"),
    "wandb/histogram": ("value",),
    "wandb/confusion_matrix": ("Actual", "Predicted", "nPredictions"),
}
