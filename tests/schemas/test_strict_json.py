"""Bodies of requests: what no part of us can hold is refused where they are parsed."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runstream_schemas.limits import INT_MAX, INT_MIN
from runstream_schemas.strict_json import loads


@pytest.mark.parametrize(
    "body",
    [
        b'{"size": 1e999}', b'{"size": -1e999}', b'{"size": NaN}', b'{"size": Infinity}', b'{"size": -Infinity}',
        b'{"size": 9223372036854775808}', b'{"size": -9223372036854775809}', b'{"size": ' + b"9" * 5000 + b"}",
        b'{"a": 1, "a": 2}', b'{"b": [{"a": 1, "c": 2, "a": 1}]}', b'{"a": "\\ud83d"}', b'{"\\udc00": 1}',
        b'{"a": "\xed\xa0\xbd"}', b'{"a": "\xff"}', "{}".encode("utf-16"), b"[" * 100_000, b'{"a":' * 100_000, b"", b"{",
        b"{} {}",
    ],
)  # fmt: skip
def test_what_cannot_be_held_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError):
        loads(body)


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(INT_MIN, INT_MAX)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
)


@given(VALUES, st.booleans())
def test_everything_else_is_read_as_it_is(value: Any, ascii: bool) -> None:
    assert loads(json.dumps(value, ensure_ascii=ascii).encode()) == value


@given(st.binary(max_size=60) | st.text(alphabet='{}[]:,"\\ud8e+-.0123NaIfity ', max_size=60).map(str.encode))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    try:
        value = loads(body)
    except ValueError:
        return
    json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    if isinstance(value, float):
        assert math.isfinite(value)
