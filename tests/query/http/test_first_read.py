"""What the first read of a process does not pay for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

READ = """
import sys
import numpy as np
import pyarrow as pa
from runstream_query.points.parquet import METRICS, ParquetFiles
from runstream_schemas.parquet import arrow
from runstream_schemas.series import Kind, SeriesKey
from runstream_schemas.store import LocalStore

n = 6
kinds = np.array([Kind.FLOAT, Kind.INT, Kind.BOOL, Kind.TEXT, Kind.NULL, Kind.FLOAT], dtype=np.uint8)
bits = np.array([0, 7, 1, 0, 0, 0], dtype=np.uint64)
bits[[0, 5]] = np.array([0.5, np.nan]).view(np.uint64)
value, whole, text = arrow.value_columns(bits, kinds, ["a text"])
columns = [arrow.constant("r", n), arrow.constant("m", n), arrow.plain(np.zeros(n, dtype=np.int8), pa.int8()),
           arrow.plain(np.arange(n), pa.int64()), arrow.time_column(np.arange(n)), value, whole, text]
with arrow.parquet_writer(sys.argv[1] + "/a.parquet", arrow.METRICS) as writer:
    writer.write_table(pa.Table.from_arrays(columns, schema=arrow.METRICS))
found = ParquetFiles(LocalStore(sys.argv[1])).read("a.parquet", METRICS, {0: {"r"}})
[segment] = found["r"][SeriesKey(0, "m")]
assert segment.kinds.tolist() == kinds.tolist()
assert segment.values[:3].tolist() == bits[:3].tolist()
assert segment.texts == ["a text"]
assert segment.steps.tolist() == list(range(n))
assert "pandas" not in sys.modules
"""


def test_a_read_imports_no_pandas(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", READ, str(tmp_path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
