"""Runs and summaries for SQL: as Arrow files of a statement's folder, some thousand rows at a time, and only what it needs.

Summaries are many, ten million of a million runs. Numbers come by COPY, whose rows all have one size, so that numpy takes
them as they are; a row by row way takes ten times as long.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from runstream_schemas.arrow import plain, strings

from .. import queries
from ..json_values import from_json
from ..runs.runs import Connection
from .sql_needs import Needs

ROWS_AT_ONCE = 10_000
COPY_BYTES = 4 << 20
"""Bytes of COPY that are turned into columns at once."""

_STRINGS = pa.map_(pa.string(), pa.string())
_TIME = pa.timestamp("us", tz="UTC")
RUNS = pa.schema(
    [
        *(
            (name, pa.string())
            for name in ("experiment", "workspace", "run_id", "parent_run_id", "root_run_id")
        ),
        ("number", pa.int64()),
        *(
            (name, pa.string())
            for name in ("name", "display_name", "description", "type", "target", "status")
        ),
        *((name, _TIME) for name in ("created_time", "start_time", "end_time")),
        ("settled", pa.bool_()),
        ("dropped", pa.int64()),
        ("tags", _STRINGS),
        ("properties", _STRINGS),
    ]
)
SUMMARIES = pa.schema(
    [
        ("run_id", pa.string()),
        ("name", pa.string()),
        ("count", pa.int64()),
        *((name, pa.float64()) for name in ("first", "last", "min", "max", "mean")),
        ("last_step", pa.int64()),
        ("last_text", pa.string()),
    ]
)


async def write_runs(connection: Connection, path: Path, needs: Needs, workspace: str | None) -> int:
    """Write the view `runs`; returns its rows. Call it in a snapshot."""
    names = [name for name in RUNS.names if needs.wants(name)]
    selected = ", ".join(f"{queries.SQL_RUNS_COLUMNS[name]} as {name}" for name in names or ["dropped"])
    arguments = (workspace, needs.only.get("run_id"), needs.only.get("experiment"))
    cursor = await connection.cursor(queries.SQL_RUNS.format(columns=selected), *arguments)
    total = 0
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, RUNS) as writer:
        while rows := await cursor.fetch(ROWS_AT_ONCE):
            columns = {}
            for name in names:
                values = [row[name] for row in rows]
                if RUNS.field(name).type == _STRINGS:
                    values = [list((from_json(value) or {}).items()) for value in values]
                columns[name] = pa.array(values, RUNS.field(name).type)
            writer.write_batch(_batch(RUNS, columns, len(rows)))
            total += len(rows)
    return total


async def write_summaries(connection: Connection, path: Path, needs: Needs, workspace: str | None) -> int:
    """Write the view `summaries`; returns its rows. Call it in a snapshot."""
    arguments = (workspace, needs.only.get("run_id"), needs.only.get("name"))
    numbers = [name for name in queries.SQL_SUMMARY_NUMBERS if needs.wants(name)]
    with_text = needs.wants("last_text")
    total = 0
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, _DICTIONARIES) as writer:
        names = _Names(
            *await _names(connection, queries.SQL_SERIES_NAMES, arguments[2:], needs.wants("name"))
        )
        runs = _Names(*await _names(connection, queries.SQL_RUN_NAMES, arguments[:2], needs.wants("run_id")))
        keys = [key for key, name in (("run_key", "run_id"), ("series_id", "name")) if needs.wants(name)]
        copied = _Copied([*keys, *numbers])

        def write(rows: NDArray[Any]) -> None:
            nonlocal total
            columns = {name: _column(rows, name, bit) for bit, name in enumerate(numbers)}
            if "run_key" in keys:
                columns["run_id"] = runs.column(rows["run_key"])
            if "series_id" in keys:
                columns["name"] = names.column(rows["series_id"])
            writer.write_batch(_batch(_DICTIONARIES, columns, len(rows)))
            total += len(rows)

        async def take(data: bytes) -> None:
            copied.add(data)
            if len(copied.held) >= COPY_BYTES:
                write(copied.rows())

        which = "m.last_text is null" if with_text else "true"
        selected = queries.sql_summaries([*keys, *numbers], which, arguments[2])
        await connection.copy_from_query(selected, *arguments, output=take, format="binary")
        write(copied.rows())
        if with_text:
            cursor = await connection.cursor(queries.SQL_TEXT_SUMMARIES, *arguments)
            while rows := await cursor.fetch(ROWS_AT_ONCE):
                texts = {
                    field.name: pa.array([row[field.name] for row in rows], field.type).cast(field.type)
                    for field in SUMMARIES
                }
                writer.write_batch(_batch(_DICTIONARIES, texts, len(rows)))
                total += len(rows)
    return total


_NAME = pa.dictionary(pa.int32(), pa.string())
_DICTIONARIES = pa.schema([pa.field(f.name, _NAME) if f.name in ("run_id", "name") else f for f in SUMMARIES])


def _batch(schema: pa.Schema, columns: dict[str, Any], rows: int) -> pa.RecordBatch:
    """Rows of `schema`; columns that are missing are null: nobody reads them."""
    arrays = [columns[f.name].cast(f.type) if f.name in columns else pa.nulls(rows, f.type) for f in schema]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


async def _names(
    connection: Connection, statement: str, arguments: Sequence[Any], with_texts: bool
) -> tuple[NDArray[np.int64], list[str]]:
    """Keys, rising, and the name of each; none if they are not wanted."""
    keys: list[int] = []
    texts: list[str] = []
    if with_texts:
        cursor = await connection.cursor(statement, *arguments)
        while rows := await cursor.fetch(ROWS_AT_ONCE):
            keys += [row[0] for row in rows]
            texts += [row[1] for row in rows]
    return np.array(keys, dtype=np.int64), texts


class _Names:
    """Names of runs or series by their keys."""

    def __init__(self, keys: NDArray[np.int64], names: list[str]) -> None:
        self._keys, self._names = keys, strings(names)

    def column(self, keys: NDArray[np.int64]) -> pa.Array:
        """The names of these; null if they were not fetched."""
        if not len(self._keys):
            return pa.nulls(len(keys), _NAME)
        codes = np.searchsorted(self._keys, keys).astype(np.int32)
        return pa.DictionaryArray.from_arrays(plain(codes, pa.int32()), self._names)


class _Copied:
    """Rows of COPY in its binary format, of columns that are all 8 bytes and never null, and `nulls` at the end."""

    def __init__(self, columns: Sequence[str]) -> None:
        fields: list[tuple[str, str]] = [("fields", ">i2")]
        for name in (*columns, "nulls"):
            fields += [(f"size of {name}", ">i4"), (name, ">f8" if name in _FLOATS else ">i8")]
        self._dtype = np.dtype(fields)
        self._columns = (*columns, "nulls")
        self._begun = False
        self.held = bytearray()

    def add(self, data: bytes) -> None:
        """Take what has come."""
        self.held += data

    def rows(self) -> NDArray[Any]:
        """The rows that are complete; takes them away."""
        start = 0
        if not self._begun and len(self.held) >= _COPY_HEAD:
            self._begun, start = True, _COPY_HEAD
        n = max(len(self.held) - start, 0) // self._dtype.itemsize
        values = np.frombuffer(bytes(self.held[start : start + n * self._dtype.itemsize]), dtype=self._dtype)
        del self.held[: start + n * self._dtype.itemsize]
        wide = np.empty(n, dtype=[(name, self._dtype[name].newbyteorder("=")) for name in self._columns])
        for name in self._columns:
            wide[name] = values[name]
        return wide


_COPY_HEAD = 19  # signature, flags, length of the extension, which there is none
_FLOATS = frozenset(("first", "last", "min", "max", "mean"))


def _column(rows: NDArray[Any], name: str, bit: int) -> pa.Array:
    valid = (rows["nulls"] >> bit) & 1 == 0
    return plain(np.ascontiguousarray(rows[name]), SUMMARIES.field(name).type, valid)
