"""Rows in the format of COPY BINARY, made by numpy for all of them together: encoding them value by value, as asyncpg does,
takes longer than Postgres takes to store them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

_HEADER, _TRAILER = b"PGCOPY\n\xff\r\n\0" + bytes(8), b"\xff\xff"
_OIDS = {"i2": 21, "i4": 23, "i8": 20, "f8": 701}
_ARRAY_HEAD = 20  # bytes: dimensions, nulls, type, length, first index


def copy_rows(*columns: NDArray[Any]) -> bytes:
    """Rows without a null.

    Args:
        columns: as long as one another. One dimension holds numbers, or (type S) ASCII texts of one width; two hold arrays.
    """
    parts: list[Any] = [("fields", ">i2")]
    for i, column in enumerate(columns):
        value = column.dtype.newbyteorder(">")
        if column.ndim == 1:
            parts += [(f"size{i}", ">i4"), (f"value{i}", value)]
        else:
            element = np.dtype([("size", ">i4"), ("value", value)])
            parts += [(f"head{i}", ">i4", (6,)), (f"value{i}", element, (column.shape[1],))]
    rows = np.empty(len(columns[0]), dtype=parts)
    rows["fields"] = len(columns)
    for i, column in enumerate(columns):
        size = column.dtype.itemsize
        if column.ndim == 1:
            rows[f"size{i}"] = size
            rows[f"value{i}"] = column
        else:
            n = column.shape[1]
            rows[f"head{i}"] = (_ARRAY_HEAD + n * (4 + size), 1, 0, _OIDS[column.dtype.str[1:]], n, 1)
            rows[f"value{i}"]["size"] = size
            rows[f"value{i}"]["value"] = column
    return rows.tobytes()


def copy_data(rows: Iterable[bytes]) -> bytes:
    """What COPY BINARY takes."""
    return b"".join((_HEADER, *rows, _TRAILER))
