"""The hot tier for SQL: its points go to files of a statement's folder, a stretch of chunks at a time, as it may be larger
than memory; only the columns, runs and series the statement needs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from runstream_schemas.arrow import constant, plain, repeated, time_column, value_columns
from runstream_schemas.many_payloads import decode_many
from runstream_schemas.series import SeriesClass

from .. import queries
from ..points.hot import Chunk, fetch_these
from ..points.vectors import Series, Vectors
from ..runs.runs import Connection
from .sql_needs import Needs

CHUNKS_AT_ONCE = 2000
"""Chunks read and decoded together."""

TOGETHER_BYTES = 8 << 10
"""Chunks up to this size are decoded together; of larger ones only the wanted series are fetched, where not all are."""

AT_ONCE_BYTES = 8 << 20
"""Bytes of larger chunks that are decoded together."""

METRICS = pa.schema(
    [
        ("experiment", pa.string()),
        ("run_id", pa.string()),
        ("name", pa.string()),
        ("step", pa.int64()),
        ("time", pa.timestamp("us", tz="UTC")),
        ("value", pa.float64()),
        ("int_value", pa.int64()),
        ("text", pa.string()),
    ]
)
ROWS = pa.schema([*list(METRICS)[:3], ("row", pa.int64()), ("column", pa.string()), *list(METRICS)[4:]])

_NAMES = pa.dictionary(pa.int32(), pa.string())
_VALUES = ("value", "int_value", "text")
T = TypeVar("T")


@dataclass(slots=True)
class HotRows:
    """Writes the hot tier's points; see `spill`.

    Attributes:
        needs: by view, `metrics` and `rows`: what of them is needed; those that are not named are not.
        chunks: how many were read.
        points: how many were written.
    """

    folder: Path
    needs: Mapping[str, Needs]
    chunks: int = 0
    points: int = 0
    _writers: dict[str, pq.ParquetWriter] = field(default_factory=dict)

    async def spill(self, connection: Connection, workspace: str | None) -> dict[str, Path]:
        """Write what is needed, and say in which file each view's rows are. Call it in a snapshot."""
        names = self._only("name")
        try:
            cursor = await connection.cursor(
                queries.HOT_POINTS, workspace, self._only("run_id"), self._only("experiment"), TOGETHER_BYTES
            )
            while rows := await cursor.fetch(CHUNKS_AT_ONCE):
                others = await _in_thread(self._write_together, rows)
                if names is None:
                    others = await self._write_large_together(connection, others)
                known = {row["run_key"]: (row["run_id"], row["experiment"]) for row in others}
                positions = [(row["run_key"], row["source_key"], row["first"]) for row in others]
                async for chunks in fetch_these(connection, positions, names):
                    await _in_thread(self._write_one_by_one, chunks, known)
                self.chunks += len(rows)
        finally:
            for writer in self._writers.values():
                writer.close()
        return {view: self._path(view) for view in self._writers}

    async def _write_large_together(self, connection: Connection, rows: Sequence[Any]) -> Sequence[Any]:
        """Larger chunks, when every series of them is needed: a thousand series at once cost what one costs by itself.

        Returns those that hold more than numbers.
        """
        left: list[Any] = []
        for group in _groups([row for row in rows if row["payload"] is None], AT_ONCE_BYTES):
            positions = [[row[name] for row in group] for name in ("run_key", "source_key", "first")]
            left += await _in_thread(
                self._write_together, await connection.fetch(queries.HOT_PAYLOADS, *positions)
            )
        return [*left, *(row for row in rows if row["payload"] is not None)]

    def _only(self, column: str) -> list[str] | None:
        """The values of a column that any of the views wants; None: all."""
        bounds = [needs.only.get(column) for needs in self.needs.values()]
        if any(values is None for values in bounds):
            return None
        return sorted({value for values in bounds if values is not None for value in values})

    def _write_together(self, rows: Sequence[Any]) -> Sequence[Any]:
        """Write the chunks that hold nothing but numbers, and return the others."""
        small = [row for row in rows if row["payload"] is not None]
        others = [row for row in rows if row["payload"] is None]
        needs = self.needs.get("metrics")
        if needs is None:
            columns: list[str] = []
        else:
            columns = [name for name in ("step", "time") if needs.wants(name)]
            columns += ["value"] if needs.wants(*_VALUES) else []
        pieces = decode_many([row["payload"] for row in small], columns)
        others += [small[number] for number in pieces.others]
        if needs is None or not len(pieces.counts):
            return others
        taken_pieces = pieces.counts > 0
        if "name" in needs.only:
            taken_pieces &= np.array([key.name in needs.only["name"] for key in pieces.keys], dtype=bool)[
                pieces.key
            ]
        counts = pieces.counts[taken_pieces]
        taken = np.repeat(taken_pieces, pieces.counts)
        n = int(counts.sum())
        table: dict[str, Any] = {}
        if needs.wants("experiment", "run_id"):
            of = pieces.payload[taken_pieces]
            for name in ("experiment", "run_id"):
                table[name] = _of_runs([row[name] for row in small], of, counts)
        table["name"] = repeated(
            [pieces.keys[number].name for number in pieces.key[taken_pieces].tolist()], counts
        )
        if "step" in columns:
            table["step"] = plain(pieces.steps[taken], pa.int64())
        if "time" in columns:
            table["time"] = time_column(pieces.times[taken])
        if "value" in columns:
            kinds = np.repeat(pieces.kind[taken_pieces], counts)
            table |= dict(zip(_VALUES, value_columns(pieces.values[taken], kinds, []), strict=True))
        self._write("metrics", table, n)
        return others

    def _write_one_by_one(self, chunks: Iterable[Chunk], known: Mapping[int, tuple[str, str | None]]) -> None:
        for chunk in chunks:
            run_id, experiment = known[chunk.run_key]
            all_series = [Series(run_id, key, segment) for key, segment in chunk.decode().items()]
            for view in self.needs:
                part = [
                    series
                    for series in all_series
                    if (series.key.cls == SeriesClass.TABLE) == (view == "rows")
                ]
                if not part:
                    continue
                table = Vectors(part).to_arrow()
                columns = {
                    "row" if name == "step" and view == "rows" else name: table.column(name)
                    for name in table.column_names
                }
                if experiment is not None:
                    columns["experiment"] = constant(experiment, len(table))
                self._write(view, columns, len(table))

    def _write(self, view: str, columns: Mapping[str, Any], rows: int) -> None:
        """Append rows; columns that are missing are null: nobody reads them."""
        schema = METRICS if view == "metrics" else ROWS
        named = pa.schema([pa.field(f.name, _NAMES) if f.name in _DICTIONARIES else f for f in schema])
        arrays = [
            columns[f.name].cast(f.type) if f.name in columns else pa.nulls(rows, f.type) for f in named
        ]
        if view not in self._writers:
            self._writers[view] = pq.ParquetWriter(
                self._path(view),
                named,
                compression="lz4",
                use_dictionary=list(_DICTIONARIES),
                write_statistics=False,
            )
        self._writers[view].write_table(pa.Table.from_arrays(arrays, schema=named))
        self.points += rows

    def _path(self, view: str) -> Path:
        return self.folder / f"hot-{view}.parquet"


_DICTIONARIES = ("experiment", "run_id", "name", "column")


def _groups(rows: Sequence[Any], most: int) -> Iterable[list[Any]]:
    """Chunks in groups of at most `most` bytes, or of one chunk."""
    group: list[Any] = []
    size = 0
    for row in rows:
        if group and size + row["size"] > most:
            yield group
            group, size = [], 0
        group.append(row)
        size += row["size"]
    if group:
        yield group


def _of_runs(names: Sequence[str | None], of: Any, counts: Any) -> pa.Array:
    """The name of each point's run or experiment; null where it is None.

    Args:
        names: of each payload.
        of: payload of each piece.
        counts: points of each piece.
    """
    column = repeated([names[number] or "" for number in of.tolist()], counts)
    if None not in names:
        return column
    valid = np.repeat(np.array([name is not None for name in names], dtype=bool)[of], counts)
    codes = plain(np.asarray(column.indices), pa.int32(), valid)
    return pa.DictionaryArray.from_arrays(codes, column.dictionary)


async def _in_thread(work: Callable[..., T], *args: Any) -> T:
    """Do it in a thread; cancelled, wait until that has ended: what it writes to is closed next."""
    task = asyncio.ensure_future(asyncio.to_thread(work, *args))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise
