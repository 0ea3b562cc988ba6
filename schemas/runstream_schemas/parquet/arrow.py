"""Arrow and Parquet schemas of the store: what a file of metrics, tables or runs looks like to any reader.

One row a point. The three value columns keep the kind of a value without a column for it:

====== ========= =========== ================
kind   value     int_value   text
====== ========= =========== ================
FLOAT  the float null        null
INT    as float  the integer null
BOOL   0.0, 1.0  0, 1        'false', 'true'
TEXT   null      null        the text
NULL   null      null        null
====== ========= =========== ================

Rows lie by run, then series (as first seen), then in order of logging: step order for everybody whose steps rise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ..series import Kind
from .field_ids import with_field_ids

TIME = pa.timestamp("us", tz="UTC")
_NAME = pa.dictionary(pa.int32(), pa.string())
# Texts of one row group may add up to more than the 2 GiB that 32-bit offsets reach.
_TEXT = pa.large_string()
_VALUES = [
    pa.field("value", pa.float64()),
    pa.field("int_value", pa.int64()),
    pa.field("text", _TEXT),
]

METRICS = pa.schema(
    [
        pa.field("run_id", _NAME, nullable=False),
        pa.field("name", _NAME, nullable=False),
        pa.field("cls", pa.int8(), nullable=False),  # runstream_schemas.series.SeriesClass, TABLE excepted
        pa.field("step", pa.int64(), nullable=False),
        pa.field("time", TIME, nullable=False),
        *_VALUES,
    ]
)

TABLES = pa.schema(
    [
        pa.field("run_id", _NAME, nullable=False),
        pa.field("name", _NAME, nullable=False),
        pa.field("column", _NAME, nullable=False),
        pa.field(
            "row", pa.int64(), nullable=False
        ),  # (ordinal of the source << ROW_BITS) + row within the source
        pa.field("time", TIME, nullable=False),
        *_VALUES,
    ]
)

HISTOGRAMS = pa.schema(
    [
        pa.field("run_id", _NAME, nullable=False),
        pa.field("name", _NAME, nullable=False),
        pa.field("cls", pa.int8(), nullable=False),  # 7
        pa.field("step", pa.int64(), nullable=False),
        pa.field("time", TIME, nullable=False),
        pa.field("counts", pa.list_(pa.int64())),
        pa.field("edges", pa.list_(pa.float64())),  # one more than counts; none of none
        pa.field("count", pa.int64()),  # finite values
        pa.field("min", pa.float64()),
        pa.field("max", pa.float64()),
        pa.field("sum", pa.float64()),
        pa.field("nan", pa.int64()),
        pa.field("positive_infinite", pa.int64()),
        pa.field("negative_infinite", pa.int64()),
        pa.field("text", _TEXT),  # what came that is no histogram, as it came
    ]
)

MEDIA = pa.schema(
    [
        *list(HISTOGRAMS)[:5],  # cls is 8
        pa.field("type", pa.string()),
        pa.field("content_type", pa.string()),
        pa.field("size", pa.int64()),
        pa.field("sha256", pa.string()),
        pa.field("place", pa.int64()),  # among what was logged in one call
        pa.field("caption", pa.string()),
        pa.field("file_name", pa.string()),
        pa.field("path", pa.string()),  # among the files of the run
        pa.field("text", _TEXT),  # what came that is no medium, as it came
    ]
)

SYSTEM = pa.schema(
    [
        *list(HISTOGRAMS)[:2],
        pa.field("node", _NAME, nullable=False),  # name of the machine
        pa.field("step", pa.int64(), nullable=False),
        pa.field("time", TIME, nullable=False),
        *_VALUES,
    ]
)

FORMER = pa.schema(
    [
        *list(HISTOGRAMS)[:2],
        pa.field("branch", _NAME, nullable=False),  # number of the former branch of its run, from 1
        *list(SYSTEM)[3:],
    ]
)

ROW_BITS = 40
"""Rows of one source a table can hold: 2**40; above them lies the source's ordinal, so that rows never collide."""

_STRINGS = pa.map_(pa.string(), pa.string())
RUNS = pa.schema(
    [
        pa.field("run_id", pa.string(), nullable=False),
        pa.field("experiment", pa.string()),
        pa.field("workspace", pa.string()),
        pa.field("number", pa.int64()),
        pa.field("parent_run_id", pa.string()),
        pa.field("root_run_id", pa.string()),
        pa.field("display_name", pa.string()),
        pa.field("type", pa.string()),
        pa.field("target", pa.string()),
        pa.field("status", pa.string(), nullable=False),
        pa.field("created_time", TIME, nullable=False),
        pa.field("start_time", TIME),
        pa.field("end_time", TIME),
        pa.field("settled_time", TIME),
        pa.field("dropped", pa.int64(), nullable=False),
        pa.field("tags", _STRINGS, nullable=False),
        pa.field("properties", _STRINGS, nullable=False),
        pa.field(
            "params",
            pa.list_(
                pa.struct(
                    [
                        ("name", pa.string()),
                        ("kind", pa.string()),
                        ("value", pa.float64()),
                        ("int_value", pa.int64()),
                        ("bool_value", pa.bool_()),
                        ("text", pa.string()),
                    ]
                )
            ),
            nullable=False,
        ),
        pa.field(
            "summaries",
            pa.list_(
                pa.struct(
                    [
                        ("name", pa.string()),
                        ("count", pa.int64()),
                        ("first", pa.float64()),
                        ("last", pa.float64()),
                        ("min", pa.float64()),
                        ("max", pa.float64()),
                        ("mean", pa.float64()),
                        ("last_step", pa.int64()),
                        ("last_text", pa.string()),
                    ]
                )
            ),
            nullable=False,
        ),
    ]
)

SCHEMAS = {
    "metrics": METRICS,
    "tables": TABLES,
    "histograms": HISTOGRAMS,
    "media": MEDIA,
    "system": SYSTEM,
    "former": FORMER,
    "runs": RUNS,
}
"""Schema of each kind of file in the manifest."""

NO_EXPERIMENT = "__HIVE_DEFAULT_PARTITION__"
"""Partition of runs whose experiment is not known; DuckDB, Polars and Spark read it as NULL."""


def parquet_writer(sink: Any, schema: pa.Schema, level: int = 3) -> pq.ParquetWriter:
    """A writer of `schema` with the encodings that were measured best (docs/decisions/0008).

    Args:
        sink: a path or a file open for writing.
        schema: `METRICS`, `TABLES` or one of typed values.
        level: the level of zstd; 3 costs what 1 does here, and saves 3 % of float32-born values.
    """
    names = [name for name in ("run_id", "name", "column") if name in schema.names]
    integers = [name for name in ("cls", "step", "row", "time", "int_value") if name in schema.names]
    floats = [name for name in ("value",) if name in schema.names]
    return pq.ParquetWriter(
        sink,
        with_field_ids(schema),
        compression="zstd",
        compression_level=level,
        use_dictionary=[*names, "text"],
        column_encoding={
            **dict.fromkeys(integers, "DELTA_BINARY_PACKED"),
            **dict.fromkeys(floats, "BYTE_STREAM_SPLIT"),
        },
        write_statistics=[name for name in schema.names if name != "text"],
        write_page_index=True,
        write_page_checksum=True,
        write_batch_size=16
        << 10,  # statistics of names are made batch by batch; 1,024 rows cost a sixth more in all
        version="2.6",
    )


def partition(experiment: str | None) -> str:
    """Folder of an experiment's files, `experiment=<name>`; anything but [A-Za-z0-9_.~-] is percent-encoded."""
    return f"experiment={NO_EXPERIMENT if experiment is None else quote(experiment, safe='')}"


def plain(values: NDArray[Any], type_: pa.DataType, valid: NDArray[np.bool_] | None = None) -> pa.Array:
    """An Arrow array over numpy's own memory. `pa.array` would import pandas first, if it is there: a second of CPU.

    Args:
        values: numbers whose bytes are those of `type_`.
        valid: False where a value is null; None: nowhere.
    """
    validity = None if valid is None or valid.all() else pa.py_buffer(np.packbits(valid, bitorder="little"))
    return pa.Array.from_buffers(type_, len(values), [validity, pa.py_buffer(np.ascontiguousarray(values))])


def numbers(column: pa.Array | pa.ChunkedArray, dtype: Any, null: float | None = None) -> NDArray[Any]:
    """A column's numbers as numpy's, the way back of `plain`: without a copy where it lies in one piece. `to_numpy` would
    import pandas first.

    Args:
        column: numbers or times of 8, 4, 2 or 1 bytes.
        dtype: numpy's name for their bytes.
        null: what a null becomes; None: there are none.
    """
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    parts = [_piece(chunk, np.dtype(dtype), null) for chunk in chunks if len(chunk)]
    return parts[0] if len(parts) == 1 else np.concatenate([np.zeros(0, dtype=dtype), *parts])


def _piece(array: pa.Array, dtype: np.dtype[Any], null: float | None) -> NDArray[Any]:
    validity, values = array.buffers()
    column = np.frombuffer(values, dtype=dtype, count=len(array), offset=array.offset * dtype.itemsize)
    if not array.null_count:
        return column
    if null is None:
        raise ValueError(f"{array.null_count} nulls among numbers that need have none")
    bits = np.unpackbits(np.frombuffer(validity, dtype=np.uint8), bitorder="little")
    return np.where(bits[array.offset : array.offset + len(array)], column, dtype.type(null))


def strings(texts: Sequence[str], type_: pa.DataType | None = None) -> pa.Array:
    """An Arrow array of `texts`, as `plain` makes one of numbers.

    Args:
        type_: `pa.string()`, which is the default, or `pa.large_string()`.
    """
    type_ = type_ or pa.string()
    encoded = [text.encode() for text in texts]
    offsets = np.zeros(len(encoded) + 1, dtype=np.int64 if type_ == pa.large_string() else np.int32)
    np.cumsum([len(text) for text in encoded], out=offsets[1:])
    return pa.Array.from_buffers(
        type_, len(encoded), [None, pa.py_buffer(offsets), pa.py_buffer(b"".join(encoded))]
    )


def constant(text: str, rows: int) -> pa.DictionaryArray:
    """A name column that holds the same `text` in every row."""
    return pa.DictionaryArray.from_arrays(plain(np.zeros(rows, dtype=np.int32), pa.int32()), strings([text]))


def repeated(names: Sequence[str], counts: NDArray[np.int64]) -> pa.DictionaryArray:
    """A name column that holds names[i] in counts[i] rows. `names` may repeat: the dictionary will not."""
    index: dict[str, int] = {}
    codes = np.array([index.setdefault(name, len(index)) for name in names], dtype=np.int32)
    return pa.DictionaryArray.from_arrays(plain(np.repeat(codes, counts), pa.int32()), strings(list(index)))


def time_column(times: NDArray[np.int64]) -> pa.Array:
    """Times in microseconds since the epoch as the column `time`, without a copy."""
    return plain(times, TIME)


def value_columns(
    bits: NDArray[np.uint64], kinds: NDArray[np.uint8] | Kind, texts: Sequence[str]
) -> tuple[pa.Array, pa.Array, pa.Array]:
    """The columns value, int_value and text.

    Args:
        bits: 64 raw bits a value, as in `runstream_schemas.wire.points.Points`; TEXT: index into `texts`.
        kinds: `Kind` of each value, or the one that all have.
        texts: the texts that TEXT values point at.
    """
    n = len(bits)
    if isinstance(kinds, Kind):
        if kinds == Kind.FLOAT:
            return plain(bits, pa.float64()), pa.nulls(n, pa.int64()), pa.nulls(n, _TEXT)
        if kinds == Kind.INT:
            floats = bits.view(np.int64).astype(np.float64)
            return plain(floats, pa.float64()), plain(bits, pa.int64()), pa.nulls(n, _TEXT)
        if kinds == Kind.NULL:
            return pa.nulls(n, pa.float64()), pa.nulls(n, pa.int64()), pa.nulls(n, _TEXT)
        kinds = np.full(n, kinds, dtype=np.uint8)
    signed = bits.view(np.int64)
    integral = (kinds == Kind.INT) | (kinds == Kind.BOOL)
    # Text bits and the like would be read as floats here; the mask hides them.
    value = np.where(integral, signed.astype(np.float64), bits.view(np.float64))
    is_text, is_bool = kinds == Kind.TEXT, kinds == Kind.BOOL
    text = pa.nulls(n, _TEXT)
    if is_text.any() or is_bool.any():
        known = strings([*texts, "false", "true"], _TEXT)
        at = np.where(is_bool, signed + len(texts), signed)
        has_text = is_text | is_bool
        text = known.take(plain(np.where(has_text, at, 0), pa.int64(), has_text))
    return plain(value, pa.float64(), kinds < Kind.TEXT), plain(signed, pa.int64(), integral), text


def restore_kinds(table: pa.Table | pa.RecordBatch) -> NDArray[np.uint8]:
    """`Kind` of the value in each row of a table that has the columns value, int_value and text."""

    def present(name: str) -> NDArray[np.bool_]:
        column = table.column(name)
        if column.null_count == 0:
            return np.ones(len(column), dtype=bool)
        if column.null_count == len(column):
            return np.zeros(len(column), dtype=bool)
        return numbers(column.is_valid().cast(pa.uint8()), np.uint8).astype(bool)

    value, integer, text = present("value"), present("int_value"), present("text")
    kinds = np.where(value, np.uint8(Kind.FLOAT), np.uint8(Kind.NULL))
    kinds[integer] = Kind.INT
    kinds[text] = Kind.TEXT
    kinds[integer & text] = Kind.BOOL
    return kinds
