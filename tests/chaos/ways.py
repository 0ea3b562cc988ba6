"""The ways to read a run, each with what must be true of its answer, whatever is being killed meanwhile.

Each takes what a reader looks at and returns how many values of `int` the answer shows; what may not be is raised as Wrong.
"""

from __future__ import annotations

import io
import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .api import ask
from .programs import Program
from .progress import read_progress


class Wrong(Exception):
    """An answer that cannot be."""


@dataclass(frozen=True)
class AnyLook:
    """A run that is looked at, whatever its trainer does.

    Attributes:
        notes: the trainer's file.
        gaps: values may be missing.
    """

    home: Path
    run_id: str
    notes: Path
    gaps: bool
    chance: random.Random

    def most(self) -> int:
        """So many calls at most had begun by now."""
        return read_progress(self.notes).begun

    def exported(self, names: list[str]) -> list[dict[str, Any]]:
        """The rows of a file of points, as CSV or Parquet."""
        import pyarrow.csv as pa_csv
        import pyarrow.parquet as pq

        format = self.chance.choice(["csv", "parquet"])
        parameters = {"run": self.run_id, "name": names, "format": format}
        source = io.BytesIO(ask(self.home, "/api/v1/export/points", parameters))
        rows: list[dict[str, Any]] = (
            pa_csv.read_csv(source) if format == "csv" else pq.read_table(source)
        ).to_pylist()
        return rows


@dataclass(frozen=True)
class Look(AnyLook):
    """A run of a program that is looked at."""

    program: Program

    def check(self, vectors: dict[str, list[Any]], *, whole: bool) -> None:
        """Raise what cannot be in an answer that has just come."""
        if problem := self.program.impossible(vectors, self.most(), gaps=self.gaps, whole=whole):
            raise Wrong(problem)

    def names(self) -> list[str]:
        """`int` and some other numeric series."""
        others = [
            name
            for name, series in self.program.series.items()
            if series.kind != "text" and "." not in name and name != "int"
        ]
        return ["int", *self.chance.sample(others, min(len(others), 2))]


def listed(value: Any) -> list[Any]:
    """A metric as `get_metrics` gives it (a scalar, a list, or missing), as a list."""
    return [] if value is None else value if isinstance(value, list) else [value]


def vectors_of(metrics: dict[str, Any]) -> dict[str, list[Any]]:
    """What `get_metrics` answers by series; a table's columns as `table.column`."""
    vectors: dict[str, list[Any]] = {}
    for name, value in metrics.items():
        if isinstance(value, dict):
            vectors |= {f"{name}.{column}": listed(values) for column, values in value.items()}
        else:
            vectors[name] = listed(value)
    return vectors


def metrics(look: Look) -> int:
    """`Run.get_metrics`: every value of every series, a prefix of what was logged."""
    from runstream.core import Workspace

    vectors = vectors_of(Workspace.get("default").get_run(look.run_id).get_metrics())
    look.check(vectors, whole=True)
    return len(vectors.get("int", []))


def sql(look: Look) -> int:
    """Counts and ends of every series, in one statement."""
    query = (
        "select name, count(*), count(distinct value), min(value), max(value) from metrics "
        f"where run_id = '{look.run_id}' and value is not null group by name"
    )
    answer = json.loads(ask(look.home, "/api/v1/sql", method="POST", body={"query": query}))
    most = look.program.counts(look.most())
    counts = {}
    for name, count, distinct, low, high in answer["rows"]:
        series = look.program.series.get(name)
        if series is None:
            raise Wrong(f"{name} was never logged")
        first, last = series.index(low), series.index(high)
        counts[name] = count
        if count != distinct:
            raise Wrong(f"SQL: {count} values of {name}, {distinct} of them distinct")
        if last >= most[name]:
            raise Wrong(f"SQL: value {last} of {name} is there, {most[name]} at most were logged")
        if not look.gaps and (first, last) != (0, count - 1):
            raise Wrong(f"SQL: {count} values of {name}, from number {first} to {last}")
    if not look.gaps and (problem := look.program.torn(counts, but="text")):
        raise Wrong(f"SQL: {problem}")
    return counts.get("int", 0)


def charts(look: Look) -> int:
    """The pages' charts, by step: buckets without holes between them, whose ends are those of the values."""
    names = look.names()
    parameters = {"run": look.run_id, "name": names, "width": look.chance.choice([50, 800, 5000])}
    answer = json.loads(ask(look.home, "/api/v1/charts", parameters))
    most = look.program.counts(look.most())
    points = 0
    for chart in answer["charts"]:
        series = look.program.series[chart["name"]]
        for line in chart["lines"]:
            lows, highs = ([series.index(value) for value in line[end]] for end in ("low", "high"))
            total = line["total"]
            if chart["name"] == "int":
                points = total
            if highs and max(highs) >= most[chart["name"]]:
                raise Wrong(
                    f"chart of {chart['name']}: value {max(highs)}, {most[chart['name']]} at most were logged"
                )
            if any(low > high for low, high in zip(lows, highs, strict=True)) or -1 in lows:
                raise Wrong(f"chart of {chart['name']}: lows {lows[:9]} and highs {highs[:9]}")
            after = [high + 1 for high in highs]
            if not look.gaps and (lows != [0, *after[:-1]][: len(lows)] or (after or [0])[-1] != total):
                raise Wrong(
                    f"chart of {chart['name']}: {total} values, lows {lows[:9]}, highs {highs[:9]}...{highs[-2:]}"
                )
            if look.gaps and any(low < past for low, past in zip(lows[1:], after, strict=False)):
                raise Wrong(f"chart of {chart['name']}: lows {lows[:9]} and highs {highs[:9]} overlap")
    return points


def export(look: Look) -> int:
    """A file of points, as CSV or Parquet."""
    vectors: dict[str, list[Any]] = {}
    for row in look.exported(look.names()):
        value = row["value"] if row.get("int_value") is None else row["int_value"]
        vectors.setdefault(row["name"], []).append(value)
    look.check(vectors, whole=False)
    return len(vectors.get("int", []))


WAYS: dict[str, Callable[[Look], int]] = {"metrics": metrics, "sql": sql, "charts": charts, "export": export}
