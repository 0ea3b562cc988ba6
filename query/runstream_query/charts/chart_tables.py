"""Charts for people's own tools: as an Arrow stream, or as JSON."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from ..json_values import json_value
from .charts import Chart, Line

_MICROSECONDS = {"time": pa.timestamp("us", tz="UTC"), "relative": pa.duration("us")}


def charts_arrow(charts: Sequence[Chart]) -> bytes:
    """One row a bucket: `run_id`, `name`, `x`, `last`, `low`, `high`, `smooth`, `marks`; of each chart the name, axis,
    bucket and ends as JSON in the metadata's `charts`."""
    axis = charts[0].x if charts else "step"
    lines = [(chart.name, line) for chart in charts for line in chart.lines]
    counts = [len(line.x) for _, line in lines]

    def labels(values: Sequence[str]) -> pa.Array:
        places = np.repeat(np.arange(len(values), dtype=np.int32), counts)
        return pa.DictionaryArray.from_arrays(places, pa.array(values, pa.string()))

    def joined(values: Sequence[Any], kind: str) -> pa.Array:
        return pa.array(np.concatenate([np.zeros(0, kind), *values]))

    x = joined([line.x for _, line in lines], "f8" if axis.startswith("metric:") else "i8")
    table = pa.table(
        {
            "run_id": labels([line.run_id for _, line in lines]),
            "name": labels([name for name, _ in lines]),
            "x": x.cast(pa.int64()).view(_MICROSECONDS[axis]) if axis in _MICROSECONDS else x,
            **{
                column: joined([getattr(line, column) for _, line in lines], "f8")
                for column in ("last", "low", "high")
            },
            "smooth": joined([_smooth(line) for _, line in lines], "f8"),
            "marks": joined([line.marks for _, line in lines], "u1"),
        }
    ).replace_schema_metadata({"charts": json.dumps([_head(chart) for chart in charts])})
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def charts_json(charts: Sequence[Chart]) -> bytes:
    """`{"charts": [{name, x, bucket, first, last, "lines": [{run_id, points, total, origin, x, last, ...}]}]}`."""
    document = {
        "charts": [{**_head(chart), "lines": [_line(line) for line in chart.lines]} for chart in charts]
    }
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def _head(chart: Chart) -> dict[str, Any]:
    fields = ("name", "x", "bucket", "first", "last")
    return {field: json_value(getattr(chart, field)) for field in fields}


def _line(line: Line) -> dict[str, Any]:
    columns: dict[str, Any] = {"x": line.x, "last": line.last, "low": line.low, "high": line.high}
    if line.smooth is not None:
        columns["smooth"] = line.smooth
    columns["marks"] = line.marks
    return {
        **{field: getattr(line, field) for field in ("run_id", "points", "total", "origin")},
        **{name: [json_value(value) for value in column.tolist()] for name, column in columns.items()},
    }


def _smooth(line: Line) -> Any:
    return np.full(len(line.x), np.nan) if line.smooth is None else line.smooth
