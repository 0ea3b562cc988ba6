"""Arrow arrays over numpy's memory: the same as pyarrow makes, without the import of pandas."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from runstream_schemas.parquet.arrow import plain, strings

INTEGERS = st.integers(-(2**63), 2**63 - 1)


@settings(deadline=None)
@given(st.lists(st.tuples(INTEGERS, st.booleans())))
def test_numbers_are_those_of_pyarrow(pairs: list[tuple[int, bool]]) -> None:
    values = np.array([value for value, _ in pairs], dtype=np.int64)
    valid = np.array([there for _, there in pairs], dtype=bool)
    array = plain(values, pa.int64(), valid)
    array.validate(full=True)
    assert array.to_pylist() == [value if there else None for value, there in pairs]
    assert plain(values, pa.int64()).to_pylist() == values.tolist()


@settings(deadline=None)
@given(st.lists(st.text()))
def test_texts_are_those_of_pyarrow(texts: list[str]) -> None:
    texts = [text.encode(errors="replace").decode() for text in texts]
    for type_ in (pa.string(), pa.large_string()):
        array = strings(texts, type_)
        array.validate(full=True)
        assert array.equals(pa.array(texts, type_))


def test_pandas_is_not_imported() -> None:
    program = """
import sys, numpy as np
from runstream_schemas.parquet.arrow import constant, repeated, time_column, value_columns
from runstream_schemas.series import Kind
constant("run", 3), repeated(["a", "b"], np.array([1, 2])), time_column(np.arange(3))
value_columns(np.array([0, 1, 1], dtype=np.uint64), np.array([Kind.FLOAT, Kind.TEXT, Kind.BOOL], dtype=np.uint8), ["x", "y"])
assert "pandas" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
