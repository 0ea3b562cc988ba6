"""Arrow arrays over numpy's memory: the same as pyarrow makes, without the import of pandas."""

from __future__ import annotations

import gc
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runstream_schemas.parquet.arrow import parquet_writer, plain, strings
from runstream_schemas.parquet.footer_seal import SealingSink

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


def test_a_file_that_is_given_up_says_nothing_when_its_writer_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A compactor that lost its claim left a traceback of every such writer in its log."""
    said: list[object] = []
    monkeypatch.setattr("sys.unraisablehook", said.append)
    with (tmp_path / "file").open("wb") as stream:
        sink = SealingSink(stream)
        writer = parquet_writer(sink, pa.schema([("step", pa.int64())]))
        writer.write_table(pa.table({"step": [1]}, writer.schema))
    del writer
    gc.collect()
    assert not said
    with pytest.raises(AssertionError):
        sink.seal()  # it cannot be taken for whole
