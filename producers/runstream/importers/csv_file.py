"""Reads a table of values (CSV) as runs: a column each for what is told of a point, in either of two shapes.

run,step,loss,acc            a row a step, and a column a metric
run_id,name,step,time,value  a row a point, as `GET /api/v1/export/points` writes it
"""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np

from ..exceptions import UserErrorException
from .foreign_runs import ForeignRun, Points
from .positions import key_of

_RUN = ("run_id", "run", "run_name")
_STEP = ("step", "_step", "global_step", "iteration", "epoch")
_TIME = ("time", "timestamp", "_timestamp", "wall time", "wall_time", "date")
_NAME = ("name", "metric", "key", "tag")
_VALUE = "value"
_MILLISECONDS_FROM = 1e11  # seconds would be in the year 5138
_LONGEST_CELL = 1 << 20


@dataclass(slots=True)
class _Series:
    steps: list[int] = field(default_factory=list)
    times: list[int] = field(default_factory=list)
    numbers: list[float] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    whole: bool = True


@dataclass(slots=True)
class _Run:
    series: dict[str, _Series] = field(default_factory=dict)
    texts: dict[str, _Series] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    rows: int = 0


class CsvFile:
    """A file of values.

    Args:
        path: the file; its first row has the columns' names.
        params: columns that are parameters of a run, by its first row.

    Attributes:
        tool, place: as of any store.

    Raises:
        UserErrorException: no such file, or one that is no table of values.
    """

    tool = "CSV"

    def __init__(self, path: Path, params: Sequence[str] = ()) -> None:
        if not path.is_file():
            raise UserErrorException(f"{path}: there is no such file; give the path of one")
        self._path, self._params = path.resolve(), tuple(params)
        self.place = str(self._path)
        self._left_out: Counter[str] = Counter()
        csv.field_size_limit(_LONGEST_CELL)
        with self._path.open(encoding="utf-8-sig", errors="replace", newline="") as stream:
            self._columns = next(csv.reader(stream), [])
        lowered = [column.strip().lower() for column in self._columns]
        self._run = _first(lowered, _RUN)
        self._step, self._time = _first(lowered, _STEP), _first(lowered, _TIME)
        self._name = _first(lowered, _NAME) if _VALUE in lowered else None
        self._value = lowered.index(_VALUE) if self._name is not None else None
        if missing := [name for name in self._params if name not in self._columns]:
            raise UserErrorException(
                f"{path}: there is no column {missing[0]!r}; there are {', '.join(self._columns)}"[:500]
            )
        if len(set(self._columns)) != len(self._columns) or not all(lowered) or len(lowered) < 1:
            raise UserErrorException(
                f"{path}: the first row has to name each column, and each by a name of its own"
            )

    def total(self) -> int:
        """About how many values there are, by the size of the file."""
        return os.path.getsize(self._path) // 10

    def runs(self) -> Iterator[ForeignRun]:
        """A run for each value of the column `run`, or one run of the file's name."""
        status = self._path.stat()
        started = status.st_mtime
        by_name = self._read()
        for name, run in by_name.items():
            times = [time for series in (*run.series.values(), *run.texts.values()) for time in series.times]
            is_id = self._run is not None and self._columns[self._run].strip().lower() == "run_id"
            own = name if is_id else f"csv-{key_of({'file': str(self._path), 'run': name})[:24]}"
            yield ForeignRun(
                run_id=own,
                experiment=self._path.stem,
                name=name,
                started=min(times) / 1e6 if times else started,
                ended=max(times) / 1e6 if times else started,
                ending="complete",
                params=run.params,
                properties={"csv.file": str(self._path)},
                points=partial(_points, run),
                left_out=self._left_out,
            )
            self._left_out = Counter()  # is of the file, and said once

    def close(self) -> None:
        """Nothing is open."""

    def _read(self) -> dict[str, _Run]:
        runs: dict[str, _Run] = {}
        told = {self._run, self._step, self._time, self._name, self._value}
        params = {
            place: self._columns[place]
            for place in range(len(self._columns))
            if self._columns[place] in self._params
        }
        metrics = (
            []
            if self._name is not None
            else [
                (place, column)
                for place, column in enumerate(self._columns)
                if place not in told and place not in params
            ]
        )
        with self._path.open(encoding="utf-8-sig", errors="replace", newline="") as stream:
            reader = csv.reader(stream)
            next(reader, None)
            while True:
                try:
                    row = next(reader, None)
                except csv.Error as error:
                    self._left_out[f"rows that cannot be read ({error})"] += 1
                    continue
                if row is None:
                    return runs
                if len(row) != len(self._columns):
                    self._left_out["rows with another number of cells than there are columns"] += bool(row)
                    continue
                key = row[self._run] if self._run is not None else self._path.stem
                run = runs.get(key)
                if run is None:
                    run = runs[key] = _Run(
                        params={name: row[place] for place, name in params.items() if row[place]}
                    )
                time = _time(row[self._time]) if self._time is not None else None
                if self._time is not None and time is None:
                    self._left_out["rows whose time cannot be read"] += 1
                    continue
                pairs = (
                    [(row[self._name], row[self._value or 0])]
                    if self._name is not None
                    else [(column, row[place]) for place, column in metrics]
                )
                try:
                    step = int(float(row[self._step])) if self._step is not None and row[self._step] else None
                except (ValueError, OverflowError):
                    self._left_out["rows whose step is no number"] += 1
                    continue
                self._put(run, pairs, step, time)
                run.rows += 1

    def _put(self, run: _Run, pairs: Sequence[tuple[str, str]], step: int | None, time: int | None) -> None:
        for name, cell in pairs:
            if not cell:
                continue
            try:
                number = float(cell)
                series = run.series.get(name) or run.series.setdefault(name, _Series())
                series.numbers.append(number)
                series.whole = series.whole and cell.lstrip("+-").isdecimal() and abs(number) <= 1 << 53
            except ValueError:
                series = run.texts.setdefault(name, _Series())
                series.texts.append(cell)
            series.steps.append(
                step if step is not None else run.rows if self._name is None else len(series.steps)
            )
            if time is not None:
                series.times.append(time)


def _points(run: _Run) -> Iterator[Points]:
    for name in run.series | run.texts:
        for series in (run.series.get(name), run.texts.get(name)):
            if series is not None:
                times = np.array(series.times, np.int64) if series.times else None
                numbers = np.array(series.numbers, np.int64 if series.whole else np.float64)
                yield Points(name, np.array(series.steps, np.int64), times, series.texts or numbers)


def _first(columns: Sequence[str], names: Sequence[str]) -> int | None:
    return next((columns.index(name) for name in names if name in columns), None)


def _time(cell: str) -> int | None:
    """Microseconds since the epoch of a number (seconds, or milliseconds) or of ISO 8601; None: it is neither."""
    try:
        number = float(cell)
    except ValueError:
        try:
            moment = datetime.fromisoformat(cell.strip())
        except ValueError:
            return None
        number = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    if not abs(number) < 1e14:
        return None
    return round(number * 1000) if abs(number) >= _MILLISECONDS_FROM else round(number * 1e6)
