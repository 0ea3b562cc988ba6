"""Numbers of the columns, by which readers of Iceberg tables find them: a number stays with its column for ever.

The files of all kinds share them. Files that were written without are found by name (`schema.name-mapping.default`).
"""

from __future__ import annotations

import pyarrow as pa

EXPERIMENT_ID = 31
"""Of the column `experiment`, which is in no file of points: it is the partition."""

_KEY = b"PARQUET:field_id"

_IDS = {
    "run_id": 1, "name": 2, "cls": 3, "step": 4, "time": 5, "value": 6, "int_value": 7, "text": 8,
    "column": 9, "row": 10, "node": 11,
    "counts": 12, "counts.item": 13, "edges": 14, "edges.item": 15, "count": 16, "min": 17, "max": 18, "sum": 19, "nan": 20,
    "positive_infinite": 21, "negative_infinite": 22,
    "type": 23, "content_type": 24, "size": 25, "sha256": 26, "place": 27, "caption": 28, "file_name": 29, "path": 30,
    "experiment": EXPERIMENT_ID, "workspace": 32, "number": 33, "parent_run_id": 34, "root_run_id": 35, "display_name": 36,
    "target": 37, "status": 38, "created_time": 39, "start_time": 40, "end_time": 41, "settled_time": 42, "dropped": 43,
    "tags": 44, "tags.key": 45, "tags.value": 46, "properties": 47, "properties.key": 48, "properties.value": 49,
    "params": 50, "params.item": 51, "params.item.name": 52, "params.item.kind": 53, "params.item.value": 54,
    "params.item.int_value": 55, "params.item.bool_value": 56, "params.item.text": 57,
    "summaries": 58, "summaries.item": 59, "summaries.item.name": 60, "summaries.item.count": 61, "summaries.item.first": 62,
    "summaries.item.last": 63, "summaries.item.min": 64, "summaries.item.max": 65, "summaries.item.mean": 66,
    "summaries.item.last_step": 67, "summaries.item.last_text": 68, "branch": 69,
}  # fmt: skip
"""By the path of the column. The next free one: 70."""


def with_field_ids(schema: pa.Schema) -> pa.Schema:
    """The schema of a kind of file with the number of each column, as Parquet's writer notes it."""
    return pa.schema([_numbered(field, field.name) for field in schema])


def _numbered(field: pa.Field, path: str) -> pa.Field:
    def inner(part: pa.Field) -> pa.Field:
        return _numbered(part, f"{path}.{part.name}")

    if pa.types.is_map(field.type):
        field = field.with_type(pa.map_(inner(field.type.key_field), inner(field.type.item_field)))
    elif pa.types.is_list(field.type):
        field = field.with_type(pa.list_(inner(field.type.value_field)))
    elif pa.types.is_struct(field.type):
        field = field.with_type(pa.struct([inner(part) for part in field.type]))
    return field.with_metadata({_KEY: str(_IDS[path])})
