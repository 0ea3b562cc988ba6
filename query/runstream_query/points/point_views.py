"""The views of points: which columns they have, and in which kind of file their rows lie."""

from __future__ import annotations

from typing import Final

import pyarrow as pa

from runstream_schemas.parquet.arrow import SCHEMAS

METRICS = pa.schema(
    [
        ("experiment", pa.string()),
        ("run_id", pa.string()),
        ("name", pa.string()),
        ("step", pa.int64()),
        ("time", pa.timestamp("us", tz="UTC")),
        ("value", pa.float64()),
        ("int_value", pa.int64()),
        ("text", pa.string()),
    ]
)
_ROW = [("row", pa.int64()), ("column", pa.string())]


def _typed_view(kind: str) -> pa.Schema:
    """The columns of a view of typed values: those of its files, but for the class and what could not be read."""
    fields = [SCHEMAS[kind].field(name) for name in SCHEMAS[kind].names if name not in ("cls", "text")]
    plain = [pa.field(f.name, pa.string()) if f.name in ("run_id", "name") else f for f in fields]
    return pa.schema([pa.field("experiment", pa.string()), *(f.with_nullable(True) for f in plain)])


POINT_VIEWS: Final = {
    "metrics": METRICS,
    "rows": pa.schema([*list(METRICS)[:3], *_ROW, *list(METRICS)[4:]]),
    "histograms": _typed_view("histograms"),
    "media": _typed_view("media"),
    "system_metrics": pa.schema([*list(METRICS)[:3], ("node", pa.string()), *list(METRICS)[3:6]]),
    "former_metrics": pa.schema([*list(METRICS)[:3], ("branch", pa.string()), *list(METRICS)[3:]]),
}
"""The columns of each view."""

_CALLED: Final = {"rows": "tables", "system_metrics": "system", "former_metrics": "former"}
KINDS: Final = {view: _CALLED.get(view, view) for view in POINT_VIEWS}
"""The kind of file each view is made of."""
