"""Runs, parameters and summaries for SQL: as Arrow files of a statement's folder, some thousand rows at a time, and only
what it needs.

Summaries are many, ten million of a million runs. Numbers come by COPY, whose rows all have one size, so that numpy takes
them as they are; a row by row way takes ten times as long.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import csv

from runstream_schemas.parquet.arrow import plain
from runstream_schemas.wire.points import I8

from ..json_values import from_json
from ..runs.runs import Connection
from . import queries
from .copied import CopiedRows, Rows
from .sql_needs import Needs
from .threads import in_thread

ROWS_AT_ONCE = 10_000
SUMMARIES_AT_ONCE = 200_000
"""Summaries that are unpacked at once."""
_CHEAP = "run_id"  # selected where rows are only counted
COPY_BYTES = 4 << 20
"""Bytes of COPY that are turned into columns at once."""

_STRINGS = pa.map_(pa.string(), pa.string())
_TIME = pa.timestamp("us", tz="UTC")
_MICROSECONDS = "(extract(epoch from {time}) * 1000000)::bigint"
_IN_CSV = {_TIME: pa.int64(), _STRINGS: pa.string()}
"""Types that are read as others."""
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
PARAMS = pa.schema(
    [
        *((name, pa.string()) for name in ("experiment", "run_id", "name", "kind")),
        ("value", pa.float64()),
        ("int_value", pa.int64()),
        ("bool_value", pa.bool_()),
        ("text", pa.string()),
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
    arguments = (workspace, needs.only.get("run_id"), needs.only.get("experiment"))
    return await _write_rows(
        connection, path, needs, RUNS, queries.SQL_RUNS, queries.SQL_RUNS_COLUMNS, arguments
    )


async def write_params(connection: Connection, path: Path, needs: Needs, workspace: str | None) -> int:
    """Write the view `params`; returns its rows. Call it in a snapshot."""
    arguments = (workspace, *(needs.only.get(key) for key in ("run_id", "experiment", "name")))
    return await _write_rows(
        connection, path, needs, PARAMS, queries.SQL_PARAMS, queries.SQL_PARAMS_COLUMNS, arguments
    )


async def _write_rows(
    connection: Connection,
    path: Path,
    needs: Needs,
    schema: pa.Schema,
    statement: str,
    selected: Mapping[str, str],
    arguments: Sequence[Any],
) -> int:
    """Write what a statement selects: COPY's CSV, which Arrow reads twenty times as fast as Python makes rows."""
    fields = [schema.field(name) for name in schema.names if needs.wants(name)] or [schema.field(_CHEAP)]
    columns_of = ", ".join(
        _MICROSECONDS.format(time=selected[field.name]) if field.type == _TIME else selected[field.name]
        for field in fields
    )
    held, total = bytearray(), 0
    with (
        pa.OSFile(str(path), "wb") as sink,
        pa.ipc.new_stream(sink, written := _held(schema, needs)) as writer,
    ):

        def write() -> None:
            nonlocal total
            rows = _read_csv(bytes(held), fields)
            held.clear()
            writer.write_batch(_batch(written, rows, len(next(iter(rows.values())))))
            total += len(next(iter(rows.values())))

        async def take(data: bytes) -> None:
            # Whole rows: the server sends each as a message of its own, and asyncpg no part of a message.
            held.extend(data)
            if len(held) >= COPY_BYTES:
                await in_thread(write)

        await connection.copy_from_query(
            statement.format(columns=columns_of), *arguments, output=take, format="csv"
        )
        await in_thread(write)
    return total


def _read_csv(data: bytes, fields: Sequence[pa.Field]) -> dict[str, pa.Array]:
    """Columns of rows as COPY writes them: a null is empty, an empty text is quoted."""
    types = {field.name: _IN_CSV.get(field.type, field.type) for field in fields}
    if not data:
        return {field.name: pa.array([], field.type) for field in fields}
    read = csv.read_csv(
        pa.BufferReader(data),
        csv.ReadOptions(use_threads=False, block_size=len(data) + 1, column_names=list(types)),
        csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False),
        csv.ConvertOptions(
            column_types=types,
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
            true_values=["t"],
            false_values=["f"],
        ),
    )
    columns = {}
    for field, column in zip(fields, read.combine_chunks().to_batches()[0].columns, strict=True):
        if field.type == _STRINGS:
            texts = [list((from_json(text) or {}).items()) for text in column.to_pylist()]
            columns[field.name] = pa.array(texts, _STRINGS)
        else:
            columns[field.name] = column.cast(field.type)
    return columns


async def write_summaries(connection: Connection, path: Path, needs: Needs, workspace: str | None) -> int:
    """Write the view `summaries`; returns its rows. Call it in a snapshot."""
    arguments = (workspace, needs.only.get("run_id"), needs.only.get("name"))
    numbers = [name for name in queries.SQL_SUMMARY_NUMBERS if needs.wants(name)]
    with_text = needs.wants("last_text")
    total = 0
    with (
        pa.OSFile(str(path), "wb") as sink,
        pa.ipc.new_stream(sink, held := _held(_DICTIONARIES, needs)) as writer,
    ):
        # To copy arrays as they are costs the database a third of taking them apart there.
        whole = not with_text and not queries.few_names(arguments[2])
        series = await _copied_names(
            connection, queries.SQL_SERIES_NAMES, arguments[2:], needed=whole or needs.wants("name")
        )
        runs = await _copied_names(
            connection, queries.SQL_RUN_NAMES, arguments[:2], needed=needs.wants("run_id")
        )

        def write(rows: int, run_keys: I8 | None, series_ids: I8 | None, columns: dict[str, Any]) -> None:
            nonlocal total
            if run_keys is not None and needs.wants("run_id"):
                columns["run_id"] = runs.column(run_keys)
            if series_ids is not None and needs.wants("name"):
                columns["name"] = series.column(series_ids)
            writer.write_batch(_batch(held, columns, rows))
            total += rows

        keys = [key for key, name in (("run_key", "run_id"), ("series_id", "name")) if needs.wants(name)]
        single = _Copied([*keys, *numbers])

        def write_single() -> None:
            rows = single.rows()
            run_keys = rows["run_key"] if "run_key" in keys else None
            series_ids = rows["series_id"] if "series_id" in keys else None
            columns = {name: _column(rows, name, bit) for bit, name in enumerate(numbers)}
            write(len(rows), run_keys, series_ids, columns)

        which = "m.last_text is null" if with_text else "true"
        selected = queries.sql_summaries([*keys, *numbers], which, arguments[2], live_only=whole)
        await _copy(connection, selected, arguments, single, write_single)
        if whole:
            packed = CopiedRows()

            def write_packed() -> None:
                for group in packed.take():
                    for part in _unpacked(group, numbers, series.keys):
                        write(*part)

            arrays = [name for number in numbers for name in queries.SQL_PACKED[number]]
            await _copy(connection, queries.sql_packed(arrays), arguments[:2], packed, write_packed)
        if with_text:
            cursor = await connection.cursor(queries.SQL_TEXT_SUMMARIES, *arguments)
            while rows := await cursor.fetch(ROWS_AT_ONCE):
                texts = {
                    field.name: pa.array([row[field.name] for row in rows], field.type).cast(field.type)
                    for field in SUMMARIES
                }
                writer.write_batch(_batch(held, texts, len(rows)))
                total += len(rows)
    return total


_NAME = pa.dictionary(pa.int32(), pa.string())
_DICTIONARIES = pa.schema([pa.field(f.name, _NAME) if f.name in ("run_id", "name") else f for f in SUMMARIES])


def _held(schema: pa.Schema, needs: Needs) -> pa.Schema:
    """What a file holds: columns that nobody reads are nulls without a type, which take no bytes; `sql_worker` gives them
    theirs."""
    return pa.schema(
        [field if needs.wants(field.name) else pa.field(field.name, pa.null()) for field in schema]
    )


def _batch(schema: pa.Schema, columns: dict[str, Any], rows: int) -> pa.RecordBatch:
    """Rows of `schema`; columns that are missing are null: nobody reads them."""
    arrays = [
        pa.nulls(rows, f.type)
        if f.name not in columns or f.type == pa.null()
        else columns[f.name].cast(f.type)
        for f in schema
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


async def _copy(
    connection: Connection,
    statement: str,
    arguments: Sequence[Any],
    into: _Copied | CopiedRows,
    write: Callable[[], None],
) -> None:
    """Copy what a statement selects, and have it written some megabytes at a time, in a thread."""

    async def take(data: bytes) -> None:
        into.add(data)
        if len(into.held) >= COPY_BYTES:
            await in_thread(write)

    await connection.copy_from_query(statement, *arguments, output=take, format="binary")
    await in_thread(write)


def _unpacked(
    rows: Rows, numbers: Sequence[str], series_ids: I8
) -> Iterator[tuple[int, I8, I8, dict[str, Any]]]:
    """How many summaries packed rows hold of the series `series_ids`; their run keys, series and numbers."""
    length = (rows.fields[1][1] - 20) // 12
    if length < 1:
        return
    most = max(1, SUMMARIES_AT_ONCE // length)
    for start in range(0, len(rows), most):
        some = Rows(rows.raw[start : start + most], rows.fields)
        ids = some.arrays(1, length, "i8")[0].reshape(-1)
        kept: Any = np.isin(ids, series_ids)
        if kept.all():
            kept = slice(None)
        held: list[tuple[NDArray[Any], NDArray[np.bool_] | None]] = []
        for number, name in enumerate(name for n in numbers for name in queries.SQL_PACKED[n]):
            values, valid = some.arrays(2 + number, length, "i8" if name in _INTEGERS else "f8")
            held.append((values.reshape(-1)[kept], None if valid is None else valid.reshape(-1)[kept]))
        columns, of_arrays = {}, iter(held)
        for name in numbers:
            values, valid = next(of_arrays)
            if name == "mean":
                finite, counted = next(of_arrays)
                some_finite = finite != 0 if counted is None else counted & (finite != 0)
                valid = some_finite if valid is None else valid & some_finite
                values = values / np.where(finite == 0, 1, finite)
            columns[name] = plain(values, SUMMARIES.field(name).type, valid)
        ids = ids[kept]
        yield len(ids), np.repeat(some.integers(0), length)[kept], ids, columns


async def _copied_names(
    connection: Connection, statement: str, arguments: Sequence[Any], *, needed: bool
) -> _Names:
    """Keys and the name of each; none if they are not needed."""
    keys, texts = [np.zeros(0, dtype=np.int64)], [pa.array([], pa.string())]
    copied = CopiedRows()

    def take() -> None:
        for rows in copied.take():
            keys.append(rows.integers(0))
            texts.append(rows.texts(1))

    if needed:
        await _copy(connection, statement, arguments, copied, take)
    return _Names(np.concatenate(keys), pa.concat_arrays(texts))


class _Names:
    """Names of runs or series by their keys."""

    def __init__(self, keys: I8, names: pa.Array) -> None:
        order = np.argsort(keys, kind="stable")
        self.keys, self._names = keys[order], names
        self._places = order.astype(np.int32)

    def column(self, keys: I8) -> pa.Array:
        """The names of these; null if they were not fetched."""
        if not len(self.keys):
            return pa.nulls(len(keys), _NAME)
        starts = np.flatnonzero(np.diff(keys, prepend=-1))  # series of a run lie together
        codes = self._places[np.searchsorted(self.keys, keys[starts])]
        codes = np.repeat(codes, np.diff(starts, append=len(keys)))
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
_INTEGERS = frozenset(("counts", "finites", "last_steps"))
_FLOATS = frozenset(("first", "last", "min", "max", "mean"))


def _column(rows: NDArray[Any], name: str, bit: int) -> pa.Array:
    valid = (rows["nulls"] >> bit) & 1 == 0
    return plain(np.ascontiguousarray(rows[name]), SUMMARIES.field(name).type, valid)
