"""Numbers of the columns, by which readers of Iceberg tables find them: a number stays with its column for ever.

The files of all kinds share them. Files that were written without are found by name (`schema.name-mapping.default`).
"""

from __future__ import annotations

import pyarrow as pa

EXPERIMENT_ID = 31
"""Of the column `experiment`, which is in no file: it is the partition."""

_KEY = b"PARQUET:field_id"

_IDS = {
    "run_id": 1, "name": 2, "cls": 3, "step": 4, "time": 5, "value": 6, "int_value": 7, "text": 8,
    "column": 9, "row": 10, "node": 11,
    "counts": 12, "counts.item": 13, "edges": 14, "edges.item": 15, "count": 16, "min": 17, "max": 18, "sum": 19, "nan": 20,
    "positive_infinite": 21, "negative_infinite": 22,
    "type": 23, "content_type": 24, "size": 25, "sha256": 26, "place": 27, "caption": 28, "file_name": 29, "path": 30,
}  # fmt: skip
"""By the path of the column. The next free one: 32."""


def with_field_ids(schema: pa.Schema) -> pa.Schema:
    """The schema with the number of each column, as Parquet's writer notes it.

    Args:
        schema: of any kind of file but `runs`.
    """
    return pa.schema([_numbered(field, field.name) for field in schema])


def _numbered(field: pa.Field, path: str) -> pa.Field:
    if pa.types.is_list(field.type):
        item = field.type.value_field
        field = field.with_type(pa.list_(_numbered(item, f"{path}.{item.name}")))
    return field.with_metadata({_KEY: str(_IDS[path])})
