"""What a statement needs of the views: DuckDB plans it over stand-ins of them, and its plan says which columns each scan
reads and by which names, runs or experiments it filters.

The plan holds for any rows, as nothing is concluded from those there are: statistics are left out of it, and for PIVOT,
whose columns are made of rows, all is needed. Nor is anything computed: a plan must not cost what the statement may not.
A filter that is not understood restricts nothing.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

import duckdb

COLUMNS = {
    "metrics": "experiment varchar, run_id varchar, name varchar, step bigint, time timestamptz, value double, "
    "int_value bigint, text varchar",
    "rows": 'experiment varchar, run_id varchar, name varchar, "row" bigint, "column" varchar, time timestamptz, '
    "value double, int_value bigint, text varchar",
    "histograms": "experiment varchar, run_id varchar, name varchar, step bigint, time timestamptz, counts bigint[], "
    'edges double[], "count" bigint, "min" double, "max" double, "sum" double, "nan" bigint, positive_infinite bigint, '
    "negative_infinite bigint",
    "media": "experiment varchar, run_id varchar, name varchar, step bigint, time timestamptz, type varchar, "
    "content_type varchar, size bigint, sha256 varchar, place bigint, caption varchar, file_name varchar, path varchar",
    "system_metrics": "experiment varchar, run_id varchar, name varchar, node varchar, step bigint, time timestamptz, "
    "value double",
    "former_metrics": "experiment varchar, run_id varchar, name varchar, branch varchar, step bigint, time timestamptz, "
    "value double, int_value bigint, text varchar",
    "runs": "experiment varchar, workspace varchar, run_id varchar, parent_run_id varchar, root_run_id varchar, "
    "number bigint, name varchar, display_name varchar, description varchar, type varchar, target varchar, status varchar, "
    "created_time timestamptz, start_time timestamptz, end_time timestamptz, settled boolean, dropped bigint, "
    "tags map(varchar, varchar), properties map(varchar, varchar)",
    "params": "experiment varchar, run_id varchar, name varchar, kind varchar, value double, int_value bigint, "
    "bool_value boolean, text varchar",
    "summaries": 'run_id varchar, name varchar, "count" bigint, "first" double, "last" double, "min" double, "max" double, '
    "mean double, last_step bigint, last_text varchar",
}
"""The views' columns."""

_COLUMN = re.compile(r'"?(\w+)"? (varchar|bigint|double|timestamptz|boolean|map\([^)]*\))')


def column_types(view: str) -> dict[str, str]:
    """Type of each column of a view."""
    return dict(_COLUMN.findall(COLUMNS[view]))


_LITERAL = r"'(?:[^']|'')*'"
# "optional": what is left out of this scan is left out by another one it is joined with.
_EQUAL = re.compile(rf"(?:optional: )?\(?\"?(name|run_id|experiment)\"? = ({_LITERAL})\)?")
_ONE = rf"(?:CAST\({_LITERAL} AS VARCHAR\)|{_LITERAL})"
_IN = re.compile(rf"(?:optional: )?\(?\"?(name|run_id|experiment)\"? IN \(({_ONE}(?:, {_ONE})*)\)\)?")
_BY_CONTENT = re.compile(r"\bpivot", re.I)  # what it becomes depends on the rows
_WORD = re.compile(r"\w+")
_LONGEST = 1000  # characters of a filter that is looked at


@dataclass(slots=True)
class Needs:
    """What is needed of a view.

    Attributes:
        columns: these, None: all.
        only: rows whose name, run_id or experiment is one of these; a key that is missing restricts nothing.
    """

    columns: list[str] | None = None
    only: dict[str, list[str]] = field(default_factory=dict)

    def wants(self, *columns: str) -> bool:
        """Whether one of these columns is needed."""
        return self.columns is None or any(column in self.columns for column in columns)


def find_needs(statement: str, views: Collection[str]) -> dict[str, Needs]:
    """What a statement needs of each of the views it names; of one that cannot be told, all.

    Args:
        statement: a checked one (`sql_statement`).
        views: those it names.
    """
    if not views or _BY_CONTENT.search(statement):
        return {view: Needs() for view in views}
    try:
        scans = list(_scans(json.loads(_plan(statement))))
    except (duckdb.Error, ValueError, LookupError, TypeError, AttributeError):
        scans = []
    return {view: _joined(view, [scan for scan in scans if scan[0] == view]) for view in views}


def _plan(statement: str) -> str:
    with _stand_ins().cursor() as cursor:
        cursor.execute("set TimeZone = 'UTC'")
        row = cursor.execute(f"explain (format json) {statement}").fetchone()
        assert row is not None
        return str(row[1])


@functools.cache
def _stand_ins() -> duckdb.DuckDBPyConnection:
    """A database with empty tables for the views. It is kept, as making one takes longer than planning; nothing ever
    runs in it."""
    connection = duckdb.connect(
        ":memory:",
        config={"enable_external_access": "false", "threads": "1", "autoload_known_extensions": "false"},
    )
    connection.execute("set disabled_optimizers = 'statistics_propagation,expression_rewriter'")
    for view, columns in COLUMNS.items():
        connection.execute(f"create table {view} ({columns})")
    return connection


def _scans(plan: Any) -> Iterator[tuple[str, set[str], dict[str, set[str]]]]:
    """View, columns and restrictions of each scan."""
    waiting = list(plan)
    while waiting:
        node = waiting.pop()
        waiting += node.get("children", [])
        about = node.get("extra_info") or {}
        table = str(about.get("Table", "")).rpartition(".")[2].strip('"')
        if table not in COLUMNS:
            continue
        columns = {column.strip('"') for column in _texts(about.get("Projections"))}
        only: dict[str, set[str]] = {}
        for text in _texts(about.get("Filters")):
            columns.update(_WORD.findall(text))
            match = len(text) <= _LONGEST and (_EQUAL.fullmatch(text) or _IN.fullmatch(text))
            if match:
                literals = {literal[1:-1].replace("''", "'") for literal in re.findall(_LITERAL, match[2])}
                only[match[1]] = only[match[1]] & literals if match[1] in only else literals
        yield table, columns, only


def _texts(value: Any) -> list[str]:
    return [] if value is None else [value] if isinstance(value, str) else [str(item) for item in value]


def _joined(view: str, scans: list[tuple[str, set[str], dict[str, set[str]]]]) -> Needs:
    if not scans:
        return Needs()
    known = column_types(view)
    columns = set().union(*(columns for _, columns, _ in scans))
    only: dict[str, list[str]] = {
        key: sorted(set().union(*(restricted[key] for _, _, restricted in scans)))
        for key in ("name", "run_id", "experiment")
        if key in known and all(key in restricted for _, _, restricted in scans)
    }
    return Needs([column for column in known if column in columns], only)
