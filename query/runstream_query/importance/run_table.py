"""Runs by parameters: what a question for importance is about. Numbers, categories, and what a run does not have."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

from runstream_schemas.runs.definitions import DETAIL
from runstream_schemas.runs.params import number_of
from runstream_schemas.runs.record import ParamRecord

from ..runs.runs import Run

Statistic: TypeAlias = Literal["last", "min", "max", "mean", "first", "best"]
"""What of a metric is explained; `best` is its good end, as the runs define it."""

MOST_PARAMS = 50
"""Parameters that are weighed: those most runs have."""
MOST_CATEGORIES = 30
"""Different values of a parameter that is no number; with more it names runs, and explains none."""

_TRUTHS: Final = {"true": 1.0, "false": 0.0}


@dataclass(frozen=True, slots=True)
class Column:
    """A parameter: a value a run, None where the run has none."""

    name: str
    kind: Literal["number", "category"]
    values: list[float | str | None]

    @property
    def present(self) -> list[float | str]:
        """The values there are."""
        return [value for value in self.values if value is not None]


@dataclass(slots=True)
class RunTable:
    """The runs that have a number to explain, and their parameters.

    Attributes:
        numbers: what is explained, a number a run.
        columns: parameters in which the runs differ.
        constant: names of those in which they do not.
        left_out: names of those with too many categories, and those beyond `MOST_PARAMS`.
    """

    numbers: list[float] = field(default_factory=list)
    columns: list[Column] = field(default_factory=list)
    constant: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


def table_of(runs: Sequence[Run], metric: str, stat: str) -> RunTable:
    """The table of those of `runs` whose metric is a finite number, with the parameters and the summary they were given."""
    table, kept = RunTable(), []
    for run in runs:
        number = getattr((run.summaries or {}).get(metric), stat, None)
        if number is not None and math.isfinite(number):
            table.numbers.append(number)
            kept.append(run.params or {})
    for name in sorted({name for params in kept for name in params}):
        column = _column(name, [params.get(name) for params in kept])
        different = set(column.values)
        if len(different) < 2:
            table.constant.append(name)
        elif column.kind == "category" and len(different) > MOST_CATEGORIES:
            table.left_out.append(name)
        else:
            table.columns.append(column)
    table.columns.sort(key=lambda column: (-len(column.present), column.name))
    table.left_out += [column.name for column in table.columns[MOST_PARAMS:]]
    del table.columns[MOST_PARAMS:]
    return table


def _column(name: str, records: Sequence[ParamRecord | None]) -> Column:
    """Numbers, if every value is one, be it as a text; a truth is 0 or 1."""
    there = [None if record is None or _is_nothing(record) else record for record in records]
    numbers = [None if record is None else _number(record) for record in there]
    if all(record is None or number is not None for record, number in zip(there, numbers, strict=True)):
        return Column(name, "number", [*numbers])
    return Column(name, "category", [None if record is None else record["text"] for record in there])


def _is_nothing(record: ParamRecord) -> bool:
    return record["kind"] == "null" or (record["kind"] == "float" and record["text"] == "NaN")


def _number(record: ParamRecord) -> float | None:
    if record["kind"] == "bool":
        return _TRUTHS.get(record["text"])
    return None if record["kind"] == "json" else number_of(record["text"])


def good_end(runs: Sequence[Run], metric: str) -> str | None:
    """Which statistic of a metric is its good end, `min` or `max`, as the newest run says that says so; None: none does."""
    for run in sorted(runs, key=lambda run: run.created, reverse=True):
        defined = (run.details or {}).get(DETAIL)
        if isinstance(defined, dict) and (goal := _goal(defined, metric)) is not None:
            return goal
    return None


def _goal(defined: dict[str, Any], metric: str) -> str | None:
    """By the metric's own definition, else by that of the longest beginning."""
    beginnings = sorted(
        (name for name in defined if name.endswith("*") and metric.startswith(name[:-1])),
        key=len,
        reverse=True,
    )
    for name in (metric, *beginnings):
        definition = defined.get(name)
        if isinstance(definition, dict) and definition.get("goal") in ("min", "max"):
            return str(definition["goal"])
    return None
