"""What COPY sends is read as what was stored, whatever its sizes, its nulls and the pieces it comes in."""

from __future__ import annotations

import struct
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runstream_query.sql import copied
from runstream_query.sql.copied import CopiedRows, Rows

NUMBERS = st.integers(-(2**63), 2**63 - 1)
ELEMENTS = st.lists(st.none() | st.integers(-1000, 1000), max_size=12)


def array(elements: list[Any], code: str) -> bytes:
    """As Postgres sends one of int8 or float8."""
    if not elements:
        return struct.pack(">iii", 0, 0, 20)
    head = struct.pack(">iiiii", 1, int(None in elements), 20, len(elements), 1)
    each = [struct.pack(">i", -1) if e is None else struct.pack(">i" + code, 8, e) for e in elements]
    return head + b"".join(each)


def sent(rows: list[tuple[int, str, list[Any]]]) -> bytes:
    data = b"PGCOPY\n\xff\r\n\0" + struct.pack(">ii", 0, 0)
    for key, text, elements in rows:
        numbers: list[Any] = list(range(len(elements)))
        arrays = (array(numbers, "q"), array(elements, "q"), array(elements, "d"))
        fields = (struct.pack(">q", key), text.encode(), *arrays)
        data += struct.pack(">h", len(fields)) + b"".join(struct.pack(">i", len(f)) + f for f in fields)
    return data + struct.pack(">h", -1)


def received(data: bytes, sizes: list[int]) -> list[tuple[int, str, list[Any]]]:
    """The rows, in some order."""
    reader = CopiedRows()
    lines: list[tuple[int, str, list[Any]]] = []
    at = 0
    for size in [*sizes, len(data)]:
        reader.add(data[at : at + size])
        at += size
        for rows in reader.take():
            texts = rows.texts(1).to_pylist()
            length = max((rows.fields[2][1] - 20) // 12, 0)
            lists: list[list[Any]] = [[] for _ in range(len(rows))]
            if length:
                as_integers, as_floats = (listed(rows, 3, length, "i8"), listed(rows, 4, length, "f8"))
                assert listed(rows, 2, length, "i8") == [list(range(length))] * len(rows)
                assert as_integers == as_floats
                lists = as_integers
            lines += zip(rows.integers(0).tolist(), texts, lists, strict=True)
    return sorted(lines, key=repr)


def listed(rows: Rows, field: int, length: int, dtype: str) -> list[list[Any]]:
    """The arrays of a field as lists."""
    values, valid = rows.arrays(field, length, dtype)
    if valid is None:
        return list(values.tolist())
    both = zip(values.tolist(), valid.tolist(), strict=True)
    return [[v if b else None for v, b in zip(row, bits, strict=True)] for row, bits in both]


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(NUMBERS, st.text(max_size=3), ELEMENTS, st.integers(1, 40)), max_size=8), st.data())
def test_rows_come_back(groups: list[tuple[int, str, list[Any], int]], data: st.DataObject) -> None:
    rows = [(key // 41 + i, text, elements) for key, text, elements, n in groups for i in range(n)]
    rows = [(key, text, elements) for key, text, elements in rows if "\0" not in text]
    whole = sent(rows)
    sizes = data.draw(st.lists(st.integers(0, max(len(whole) // 3, 1)), max_size=5))
    assert received(whole, sizes) == sorted(rows, key=repr)


@pytest.mark.parametrize("sizes", [1, 3, 400])
def test_rows_of_many_sizes_are_grouped_by_them(sizes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copied, "_ONE_BY_ONE", 300)
    rows = [(key, "x" * (key % sizes), [key, None, 1][: key % 4]) for key in range(1000)]
    assert received(sent(rows), [1000, 7]) == sorted(rows, key=repr)
    reader = CopiedRows()
    reader.add(sent(rows))
    assert pa.concat_arrays([group.texts(1) for group in reader.take()]).type == pa.string()
