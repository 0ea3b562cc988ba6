"""The hot tier for SQL: its points go to files of a statement's folder, a stretch of chunks at a time, as it may be larger
than memory; only the columns, runs and series the statement needs."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from runstream_schemas.parquet.arrow import constant, plain, strings, time_column, value_columns
from runstream_schemas.series import APART, Kind, SeriesClass
from runstream_schemas.values.typed_values import TYPED, kind_of_class
from runstream_schemas.wire.many_payloads import Pieces, decode_many
from runstream_schemas.wire.points import I8

from ..points.hot import Chunk, fetch_these
from ..points.point_views import KINDS, POINT_VIEWS
from ..points.vectors import Series, Vectors
from ..runs.runs import Connection
from . import queries
from .sql_needs import Needs
from .threads import in_thread

CHUNKS_AT_ONCE = 2000
"""Chunks read and decoded together."""

TOGETHER_BYTES = 8 << 10
"""Chunks up to this size are decoded together; of larger ones only the wanted series are fetched, where not all are."""

AT_ONCE_BYTES = 8 << 20
"""Bytes of larger chunks that are decoded together."""

_NAMES = pa.dictionary(pa.int32(), pa.string())
_VALUES = ("value", "int_value", "text")
S = TypeVar("S")
T = TypeVar("T")


@dataclass(slots=True)
class HotRows:
    """Writes the hot tier's points; see `spill`.

    Attributes:
        needs: by view, those of `POINT_VIEWS`: what of them is needed; those that are not named are not.
        chunks: how many were read.
        points: how many were written.
    """

    folder: Path
    needs: Mapping[str, Needs]
    chunks: int = 0
    points: int = 0
    _writers: dict[str, pq.ParquetWriter] = field(default_factory=dict)
    _with_runs: bool = True

    async def spill(self, connection: Connection, workspace: str | None) -> dict[str, Path]:
        """Write what is needed, and say in which file each view's rows are. Call it in a snapshot."""
        chosen = (workspace, self._only("run_id"), self._only("experiment"))
        with_runs = any(needs.wants("run_id", "experiment") for needs in self.needs.values())
        self._with_runs = with_runs or any(choice is not None for choice in chosen)
        try:
            cursor = await connection.cursor(
                queries.hot_points(with_runs=self._with_runs),
                TOGETHER_BYTES,
                *(chosen if self._with_runs else ()),
            )
            rows = await cursor.fetch(CHUNKS_AT_ONCE)
            while rows:
                # The database looks up the next ones meanwhile.
                others, following = await _both(
                    cursor.fetch(CHUNKS_AT_ONCE), in_thread(self._write_together, rows)
                )
                await self._write_others(connection, others)
                self.chunks += len(rows)
                rows = following
        finally:
            for writer in self._writers.values():
                writer.close()
        return {view: self._path(view) for view in self._writers}

    async def _write_others(self, connection: Connection, rows: Sequence[Any]) -> None:
        """Chunks that are large, or hold more than numbers."""
        names = self._only("name")
        if names is None:
            rows = await self._write_large_together(connection, rows)
        known = {row["run_key"]: (row["run_id"] or "", row["experiment"]) for row in rows}
        positions = [(row["run_key"], row["source_key"], row["first"]) for row in rows]
        async for chunks in fetch_these(connection, positions, names):
            await in_thread(self._write_one_by_one, chunks, known)

    async def _write_large_together(self, connection: Connection, rows: Sequence[Any]) -> Sequence[Any]:
        """Larger chunks, when every series of them is needed: a thousand series at once cost what one costs by itself.

        Returns those that hold more than numbers.
        """
        left: list[Any] = []
        for group in _groups([row for row in rows if row["payload"] is None], AT_ONCE_BYTES):
            positions = [[row[name] for row in group] for name in ("run_key", "source_key", "first")]
            fetched = await connection.fetch(queries.hot_payloads(with_runs=self._with_runs), *positions)
            left += await in_thread(self._write_together, fetched)
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
        needs_of_views = {view: self.needs[view] for view in _OF_NUMBERS if view in self.needs}
        columns = [
            name for name in ("step", "time") if any(needs.wants(name) for needs in needs_of_views.values())
        ]
        columns += ["value"] if any(needs.wants(*_VALUES) for needs in needs_of_views.values()) else []
        pieces = decode_many([row["payload"] for row in small], columns, _NO_NUMBERS)
        others += [small[number] for number in pieces.others]
        metrics = np.array([kind_of_class(key.cls) == "metrics" for key in pieces.keys], dtype=bool)
        for view, needs in needs_of_views.items():
            if len(pieces.counts):
                of_view = (metrics if view == "metrics" else ~metrics)[pieces.key]
                self._write_pieces(view, needs, small, pieces, of_view & (pieces.counts > 0))
        return others

    def _write_pieces(
        self, view: str, needs: Needs, rows: Sequence[Any], pieces: Pieces, taken_pieces: NDArray[np.bool_]
    ) -> None:
        """Write those pieces that are taken, less those of other names than are needed."""
        if "name" in needs.only:
            taken_pieces = (
                taken_pieces
                & np.array([key.name in needs.only["name"] for key in pieces.keys], dtype=bool)[pieces.key]
            )
        if not taken_pieces.any():
            return
        all_taken = bool(taken_pieces.all())
        chosen = slice(None) if all_taken else taken_pieces
        counts = pieces.counts[chosen]
        taken = slice(None) if all_taken else np.repeat(taken_pieces, pieces.counts)
        table: dict[str, Any] = {}
        for name in ("experiment", "run_id"):
            if needs.wants(name):
                names = [row[name] for row in rows]
                table[name] = _named(names, pieces.payload[chosen], counts)
        if needs.wants("name"):
            table["name"] = _named([key.name for key in pieces.keys], pieces.key[chosen], counts)
        if view == "system_metrics" and needs.wants("node"):
            table["node"] = _named([key.column for key in pieces.keys], pieces.key[chosen], counts)
        if needs.wants("step"):
            table["step"] = plain(pieces.steps[taken], pa.int64())
        if needs.wants("time"):
            table["time"] = time_column(pieces.times[taken])
        if needs.wants(*_VALUES):
            kinds: Any = pieces.kind[chosen]
            same_kind = len(kinds) and (kinds == kinds[0]).all()
            kinds = Kind(int(kinds[0])) if same_kind else np.repeat(kinds, counts)
            table |= dict(zip(_VALUES, value_columns(pieces.values[taken], kinds, []), strict=True))
        self._write(view, table, int(counts.sum()))

    def _write_one_by_one(self, chunks: Iterable[Chunk], known: Mapping[int, tuple[str, str | None]]) -> None:
        for chunk in chunks:
            run_id, experiment = known[chunk.run_key]
            all_series = [Series(run_id, key, piece) for key, piece in chunk.decode().by_series().items()]
            for view in self.needs:
                kind = KINDS[view]
                part = [series for series in all_series if kind_of_class(series.key.cls) == kind]
                if not part:
                    continue
                table = Vectors(part).to_arrow()
                called = _CALLED.get(view, {})
                columns = {called.get(name, name): table.column(name) for name in table.column_names}
                if kind in TYPED:
                    texts = ["" if text is None else text for text in table.column("text").to_pylist()]
                    columns |= dict(zip(TYPED[kind].names, TYPED[kind].columns(texts), strict=True))
                if experiment is not None:
                    columns["experiment"] = constant(experiment, len(table))
                self._write(view, columns, len(table))

    def _write(self, view: str, columns: Mapping[str, Any], rows: int) -> None:
        """Append rows; columns that are missing are null: nobody reads them."""
        schema = POINT_VIEWS[view]
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


_DICTIONARIES = ("experiment", "run_id", "name", "column", "node", "branch")
_OF_NUMBERS = ("metrics", "system_metrics")
_NO_NUMBERS = APART - {SeriesClass.SYSTEM}
_CALLED = {
    "rows": {"step": "row"},
    "system_metrics": {"column": "node"},
    "former_metrics": {"column": "branch"},
}


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


def _named(names: Sequence[str | None], of: I8, counts: I8) -> pa.DictionaryArray:
    """A name for each point, null where it is None.

    Args:
        names: those there are, of payloads or of series; they may repeat.
        of: which of them is a piece's.
        counts: points of each piece.
    """
    index: dict[str | None, int] = {}
    codes = np.array([index.setdefault(name, len(index)) for name in names], dtype=np.int32)
    column = np.repeat(codes[of], counts)
    valid = None if None not in index else column != index[None]
    return pa.DictionaryArray.from_arrays(
        plain(column, pa.int32(), valid), strings([name or "" for name in index])
    )


async def _both(first: Coroutine[Any, Any, S], second: Coroutine[Any, Any, T]) -> tuple[T, S]:
    """Do both at once; whatever happens to one, the other has ended when this raises."""
    task = asyncio.ensure_future(first)
    try:
        return await second, await task
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait([task])
