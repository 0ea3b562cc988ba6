"""In which order a list has its runs, and the cursors that say where a page of it ended.

Pages are cut by the last run's value and key, not by counting rows, so a page costs the same wherever it lies and runs that
are created meanwhile shift nothing.
"""

from __future__ import annotations

import base64
import json
import math
import re
from dataclasses import dataclass
from typing import Any, Final

from runstream_schemas.errors import QueryError

from .. import queries

STATS = ("first", "last", "min", "max", "mean", "count")
"""Statistics of a metric that filters and orders know."""

COLUMNS = {
    "start_time": ("r.start_time", "timestamptz"),
    "end_time": ("r.end_time", "timestamptz"),
    "created": ("r.created_at", "timestamptz"),
    "number": ("r.number", "int8"),
    "status": ("r.status", "text"),
    "name": ("r.name", "text"),
    "display_name": ("r.display_name", "text"),
    "type": ("r.type", "text"),
    "target": ("r.target", "text"),
    "run_id": ("r.run_id", "text"),
    "experiment": ("e.name", "text"),
    "duration": ("(extract(epoch from r.end_time) - extract(epoch from r.start_time))::float8", "float8"),
}
"""What a list is ordered by besides metrics and labels: SQL of the value, and its type in Postgres."""


@dataclass(frozen=True, slots=True)
class Order:
    """Order of a list: by a column of the runs, a statistic of a metric, or a tag, property or parameter (numbers by their
    value, before texts); runs without the value come last.

    `created` never changes, so paging by it sees every run exactly once whatever happens meanwhile.
    """

    column: str = "start_time"
    metric: str | None = None
    stat: str = "last"
    descending: bool = True
    label: tuple[str, str] | None = None

    @classmethod
    def parse(cls, text: str) -> Order:
        """Read `start_time`, `-start_time`, `metric:NAME:min`, `-metric:NAME:last` or `tag:KEY`; a minus is descending.

        Raises:
            QueryError: no such column or statistic.
        """
        descending = text.startswith("-")
        body = text[1:] if descending else text
        if body.startswith("metric:"):
            name, _, stat = body[len("metric:") :].rpartition(":")
            if not name or stat not in STATS:
                raise QueryError(f"order={text!r}: expected metric:NAME:STAT with one of {', '.join(STATS)}")
            return cls(metric=name, stat=stat, descending=descending)
        kind, _, key = body.partition(":")
        if kind in queries.LABELS and key:
            return cls(label=(kind, key), descending=descending)
        if body not in COLUMNS:
            raise QueryError(
                f"order={text!r}: no such column; use one of {', '.join(COLUMNS)}, metric:NAME:STAT, "
                f"or one of {', '.join(queries.LABELS)} with :KEY"
            )
        return cls(column=body, descending=descending)

    @property
    def sql_type(self) -> str:
        """Postgres' type of what is ordered by."""
        if self.label is not None:
            return "text"
        return "float8" if self.metric is not None else COLUMNS[self.column][1]

    def __str__(self) -> str:
        body = self.column if self.metric is None else f"metric:{self.metric}:{self.stat}"
        if self.label is not None:
            body = ":".join(self.label)
        return ("-" if self.descending else "") + body


_TIME: Final = re.compile(r"\d{4,6}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(\+00|\+00:00)( AD| BC)?")


def write_cursor(order: Order, value: Any, key: int) -> str:
    """Where a page ended, for whoever asks for the next one."""
    if isinstance(value, float) and not math.isfinite(value):
        value = repr(value)
    data = json.dumps([str(order), value, key], separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _read_time(text: str) -> str:
    if not _TIME.fullmatch(text):
        raise ValueError(text)
    return text


def read_cursor(text: str, order: Order) -> tuple[Any, int]:
    """Value and key of the run a page ended with.

    Raises:
        QueryError: no cursor, or one of another order.
    """
    try:
        made_for, value, key = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        if made_for == str(order):
            if value is not None:
                read = {"timestamptz": _read_time, "float8": float, "int8": int, "text": str}[order.sql_type]
                value = read(value)  # type: ignore[operator]
            return value, int(key)
    except (ValueError, TypeError, KeyError, RecursionError):
        raise QueryError(
            f"after={text!r:.80} is no cursor; pass `next` of the page before, unchanged"
        ) from None
    raise QueryError(
        f"the cursor belongs to order={made_for!r}, not {str(order)!r}; start again without `after`"
    )
