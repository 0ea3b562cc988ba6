"""What plugins of TensorBoard keep beside or in a value: parameters of hparams, layouts of custom scalars."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .wire import as_bytes, as_double, as_int, as_text, fields

_SUCCESS, _FAILURE = 1, 2


@dataclass(slots=True)
class Parameters:
    """What a value of the plugin hparams says.

    Attributes:
        values: parameters and their values. All numbers of the format are doubles: a whole one is an integer here.
        ending: how the session ended, `complete` or `fail`; empty when it does not say.
        metrics: tags of the metrics that are shown beside them.
    """

    values: dict[str, Any] = field(default_factory=dict)
    ending: str = ""
    metrics: list[str] = field(default_factory=list)


def decode_hparams(content: bytes) -> Parameters:
    """Read a value of the plugin hparams: start of a session, end of one, or an experiment.

    Raises:
        WireError: it is none.
    """
    parameters = Parameters()
    for number, value in fields(content):
        if number == 2:
            parameters.metrics = _metrics(as_bytes(value))
        elif number == 3:
            for part, entry in fields(as_bytes(value)):
                if part == 1:
                    pair = dict(fields(as_bytes(entry)))
                    name = as_text(pair.get(1, b""))
                    if name:
                        parameters.values[name] = _value(as_bytes(pair.get(2, b"")))
        elif number == 4:
            status = as_int(dict(fields(as_bytes(value))).get(1, 0))
            parameters.ending = {_SUCCESS: "complete", _FAILURE: "fail"}.get(status, "")
    return parameters


def _metrics(experiment: bytes) -> list[str]:
    tags = []
    for number, value in fields(experiment):
        if number == 5:
            name = as_bytes(dict(fields(as_bytes(value))).get(1, b""))
            tags.append(as_text(dict(fields(name)).get(2, b"")))
    return tags


def _value(data: bytes) -> Any:
    """A `google.protobuf.Value`."""
    for number, value in fields(data):
        if number == 2:
            given = as_double(value)
            return int(given) if given.is_integer() and abs(given) < 2**53 else given
        if number == 3:
            return as_text(value)
        if number == 4:
            return bool(as_int(value))
        if number == 6:
            return [_value(as_bytes(entry)) for at, entry in fields(as_bytes(value)) if at == 1]
    return None


def decode_layout(data: bytes) -> dict[str, Any]:
    """Read a layout of the plugin custom scalars: categories of charts, as the JSON form of its message has them.

    Raises:
        WireError: it is none.
    """
    layout: dict[str, Any] = {"version": 0, "category": []}
    for number, value in fields(data):
        if number == 1:
            layout["version"] = as_int(value)
        elif number == 2:
            category: dict[str, Any] = {"title": "", "chart": [], "closed": False}
            for part, inner in fields(as_bytes(value)):
                if part == 1:
                    category["title"] = as_text(inner)
                elif part == 2:
                    category["chart"].append(_chart(as_bytes(inner)))
                elif part == 3:
                    category["closed"] = bool(as_int(inner))
            layout["category"].append(category)
    return layout


def _chart(data: bytes) -> dict[str, Any]:
    chart: dict[str, Any] = {"title": ""}
    for number, value in fields(data):
        if number == 1:
            chart["title"] = as_text(value)
        elif number == 2:
            tags = [as_text(tag) for at, tag in fields(as_bytes(value)) if at == 1]
            chart["multiline"] = {"tag": tags}
        elif number == 3:
            series = [_margin(as_bytes(entry)) for at, entry in fields(as_bytes(value)) if at == 1]
            chart["margin"] = {"series": series}
    return chart


def _margin(data: bytes) -> dict[str, str]:
    names = {1: "value", 2: "lower", 3: "upper"}
    return {names[at]: as_text(tag) for at, tag in fields(data) if at in names}
