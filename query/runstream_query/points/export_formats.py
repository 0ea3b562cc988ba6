"""Tables as a file: CSV, Parquet or an Arrow stream, made while they are sent."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator
from typing import Any, Final, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

Format = Literal["csv", "csv-raw", "parquet", "arrow"]
FORMATS: Final[dict[str, str]] = {
    "csv": "text/csv; charset=utf-8",
    "csv-raw": "text/csv; charset=utf-8",
    "parquet": "application/vnd.apache.parquet",
    "arrow": "application/vnd.apache.arrow.stream",
}
"""Formats and their media types."""
_BATCH = 1 << 16
"""Rows of one record batch."""


async def encode(tables: AsyncIterator[pa.Table], format: str) -> AsyncIterator[bytes]:
    """The tables, all of one schema, as one file.

    Args:
        format: one of `FORMATS`.
    """
    encoder: _ParquetEncoder | _ArrowEncoder | _CsvEncoder
    if format == "parquet":
        encoder = _ParquetEncoder()
    elif format == "arrow":
        encoder = _ArrowEncoder()
    else:
        encoder = _CsvEncoder(raw=format == "csv-raw")
    async for table in tables:
        yield await asyncio.to_thread(encoder.add, table)
    yield await asyncio.to_thread(encoder.finish)


class _ParquetEncoder:
    def __init__(self) -> None:
        self._sink = _Pieces()
        self._writer: pq.ParquetWriter | None = None

    def add(self, table: pa.Table) -> bytes:
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._sink, table.schema, compression="zstd")
        self._writer.write_table(table)
        return self._sink.take()

    def finish(self) -> bytes:
        if self._writer is not None:
            self._writer.close()
        return self._sink.take()


class _ArrowEncoder:
    def __init__(self) -> None:
        self._sink = _Pieces()
        self._writer: pa.RecordBatchStreamWriter | None = None

    def add(self, table: pa.Table) -> bytes:
        if self._writer is None:
            self._writer = pa.ipc.new_stream(self._sink, table.schema)
        self._writer.write_table(table, max_chunksize=_BATCH)
        return self._sink.take()

    def finish(self) -> bytes:
        if self._writer is not None:
            self._writer.close()
        return self._sink.take()


class _Pieces(io.RawIOBase):
    """A file that is written from front to end, and handed on in pieces."""

    def __init__(self) -> None:
        self._held: list[bytes] = []
        self._size = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._held.append(bytes(data))
        self._size += len(self._held[-1])
        return len(self._held[-1])

    def tell(self) -> int:
        return self._size

    def take(self) -> bytes:
        pieces, self._held = self._held, []
        return b"".join(pieces)


class _CsvEncoder:
    """RFC 4180. Times are ISO 8601 with Z, maps JSON, a missing value is empty; NaN and infinities are nan, inf and -inf.

    Texts a spreadsheet would take for a formula get a `'` in front, unless they are to be `raw`.
    """

    def __init__(self, *, raw: bool) -> None:
        self._begun, self._raw = False, raw

    def add(self, table: pa.Table) -> bytes:
        shown = pa.table([_shown(column) for column in table.columns], names=table.column_names)
        if not self._raw:
            names = _harmless(pa.chunked_array([pa.array(shown.column_names, pa.string())])).to_pylist()
            shown = pa.table([_harmless(column) for column in shown.columns], names=names)
        out = io.BytesIO()
        options = pa_csv.WriteOptions(include_header=not self._begun, quoting_style="needed")
        pa_csv.write_csv(shown, out, options)
        self._begun = True
        return out.getvalue()

    def finish(self) -> bytes:
        return b""


_FORMULA = r"^[=+\-@\t\r]"
_NUMBER = r"^[+-]?((\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|inf|nan)$"


def _harmless(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Texts that begin as formulas do, as texts; numbers stay what they are."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        return column
    risky = pc.and_not(pc.match_substring_regex(column, _FORMULA), pc.match_substring_regex(column, _NUMBER))
    if not pc.any(risky).as_py():
        return column
    marked = pc.binary_join_element_wise(pa.scalar("'", column.type), column, pa.scalar("", column.type))
    return pc.if_else(risky, marked, column)


def _shown(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column as texts and numbers."""
    if pa.types.is_timestamp(column.type):
        return pc.strftime(column, "%Y-%m-%dT%H:%M:%SZ")
    if pa.types.is_list(column.type):
        lists = [None if value is None else json.dumps(value) for value in column.to_pylist()]
        return pa.chunked_array([pa.array(lists, pa.string())])
    if pa.types.is_map(column.type):
        texts = [
            None if entries is None else json.dumps(dict(entries), ensure_ascii=False)
            for entries in column.to_pylist()
        ]
        return pa.chunked_array([pa.array(texts, pa.string())])
    return column
