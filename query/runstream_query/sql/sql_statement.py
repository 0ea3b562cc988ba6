"""What a statement may be: one that reads, of the views and nothing else.

DuckDB itself parses it and says what it consists of, so what is looked at is what will run. Its settings alone
are no fence: files the views are made of may be opened for writing too (`WITH a AS (COPY ... TO ...)`, `EXPLAIN ANALYZE
COPY`), and functions such as `query` or `json_execute_serialized_sql` run statements nobody has looked at.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import duckdb

from runstream_schemas.errors import QueryError

VIEWS = (
    "metrics",
    "rows",
    "histograms",
    "media",
    "system_metrics",
    "former_metrics",
    "runs",
    "params",
    "summaries",
)
"""What a statement can read."""

TABLE_FUNCTIONS = frozenset(
    {
        "duckdb_columns", "duckdb_functions", "duckdb_keywords", "duckdb_tables", "duckdb_types", "generate_series",
        "icu_calendar_names", "json_each", "json_tree", "pg_timezone_names", "pragma_version", "range", "repeat",
        "repeat_row", "unnest",
    }
)  # fmt: skip
"""Functions that may stand for a table: those that read no file and run no other statement."""

_BLANK = r"(?:\s|--[^\n]*(?:\n|$)|/\*.*?\*/)*"
_FIRST_WORDS = "select|with|from|values|table|describe|summarize|pivot|unpivot"
_READS = re.compile(rf"{_BLANK}(?:\(|{_BLANK})*(?:{_FIRST_WORDS})\b", re.I | re.S)
_EXPLAIN = re.compile(rf"{_BLANK}explain\b\s*(analyze\b\s*)?(\([\w\s,]*\)\s*)?(?=[a-z(])", re.I | re.S)
_NODES = frozenset({"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"})
_KINDS = "SELECT, WITH, FROM, VALUES, DESCRIBE, SUMMARIZE or EXPLAIN"


@dataclass(frozen=True, slots=True)
class CheckedStatement:
    """A statement that only reads.

    Attributes:
        text: the statement to be run.
        views: those of `VIEWS` it may name.
    """

    text: str
    views: frozenset[str]


def check_statement(text: str) -> CheckedStatement:
    """Refuse anything but one statement that reads the views.

    Raises:
        QueryError: it is something else, and what.
    """
    try:
        parsed = duckdb.extract_statements(text)
    except duckdb.Error as error:
        raise QueryError(error_text(error)) from None
    if len(parsed) != 1:
        raise QueryError(f"{len(parsed)} statements; send one SELECT at a time")
    kind = parsed[0].type
    explain = _EXPLAIN.match(text) if kind == duckdb.StatementType.EXPLAIN else None
    body = text[explain.end() :] if explain else text
    if (kind != duckdb.StatementType.SELECT and not explain) or not _READS.match(body):
        named = str(kind).rpartition(".")[2]
        raise QueryError(f"{named} is not allowed: only {_KINDS} over {', '.join(VIEWS)}")
    views = set()
    for part in _parts(body):
        _check_part(part)
        if part.get("type") == "BASE_TABLE":
            views.add(str(part.get("table_name")).lower())
    if explain:  # put together anew: what is run is what was looked at
        text = f"explain {explain[1] or ''}{explain[2] or ''}{body}"
    return CheckedStatement(text, frozenset(views) & set(VIEWS))


def error_text(error: duckdb.Error) -> str:
    """DuckDB's error for people."""
    return re.sub(r"\n\n+", "\n", str(error)).strip()


@functools.cache
def _parser() -> duckdb.DuckDBPyConnection:
    return duckdb.connect(
        ":memory:", config={"enable_external_access": "false", "lock_configuration": "true", "threads": "1"}
    )


def _parts(text: str) -> Iterator[dict[str, Any]]:
    """Every object of the parsed statement."""
    with _parser().cursor() as cursor:
        row = cursor.execute("select json_serialize_sql(?::varchar)", [text]).fetchone()
    assert row is not None
    try:
        document = json.loads(row[0])
    except RecursionError:
        raise QueryError("the statement is nested too deeply; use WITH for its inner parts") from None
    if document["error"]:
        raise QueryError(f"{document['error_message']}; send one of {_KINDS} over {', '.join(VIEWS)}")
    waiting = [document]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            yield node
            waiting += node.values()
        elif isinstance(node, list):
            waiting += node


def _check_part(part: dict[str, Any]) -> None:
    kind = part.get("type")
    if isinstance(kind, str) and kind.endswith("_NODE") and kind not in _NODES:
        raise QueryError(f"{kind.partition('_')[0]} is not allowed: only {_KINDS} over {', '.join(VIEWS)}")
    if kind == "TABLE_FUNCTION":
        name = str(part["function"].get("function_name", "")).lower()
        if name not in TABLE_FUNCTIONS:
            raise QueryError(
                f"the table function {name:.80} is not allowed: read {', '.join(VIEWS)}, "
                f"or one of {', '.join(sorted(TABLE_FUNCTIONS))}"
            )
    if kind == "BASE_TABLE":
        # DuckDB puts catalog, schema and table together again when none is found, and looks for a file of that name.
        for name in (str(part.get(f"{level}_name") or "") for level in ("catalog", "schema", "table")):
            if re.search(r"[./\\:*?\[]", name):
                raise QueryError(
                    f"the table {name!r:.80} looks like a file, which cannot be read: read {', '.join(VIEWS)}"
                )
