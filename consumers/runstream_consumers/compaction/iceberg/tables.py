"""What the Iceberg tables consist of: their columns, and the files of the manifest as they show them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.io.pyarrow import (
    compute_statistics_plan,
    data_file_statistics_from_parquet_metadata,
    parquet_path_to_id_mapping,
    pyarrow_to_schema,
)
from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table.metadata import TableMetadataV2
from pyiceberg.table.name_mapping import create_mapping_from_schema
from pyiceberg.table.sorting import UNSORTED_SORT_ORDER
from pyiceberg.transforms import IdentityTransform
from pyiceberg.typedef import Record
from pyiceberg.types import NestedField, StringType

from runstream_schemas.errors import StoreError, lacks_memory
from runstream_schemas.parquet.arrow import SCHEMAS
from runstream_schemas.parquet.field_ids import EXPERIMENT_ID, with_field_ids
from runstream_schemas.store import Store

RUNS: Final = "runs"
"""The table of a workspace's runs: one file, which has the experiment as a column, so it has no partitions."""

_PARTITION_ID: Final = 1000  # where Iceberg's numbers of partition fields begin


@dataclass(frozen=True, slots=True)
class Shown:
    """A file of the manifest as a table shows it.

    Attributes:
        path: in the store.
        experiment: the partition.
    """

    path: str
    bytes: int
    experiment: str


@cache
def schema_of(kind: str) -> Schema:
    """The columns of a table, with those of its files numbered as they are there."""
    plain = [
        field.with_type(field.type.value_type) if pa.types.is_dictionary(field.type) else field
        for field in with_field_ids(SCHEMAS[kind])
    ]
    of_files = pyarrow_to_schema(pa.schema(plain))
    if kind == RUNS:
        return of_files
    return Schema(*of_files.fields, NestedField(EXPERIMENT_ID, "experiment", StringType(), required=False))


def describe(store: Store, kind: str, file: Shown) -> DataFile:
    """What the metadata says of a file, by which engines leave out files; one of points has its lasting address from now on.

    Raises:
        StoreError: the file is gone, or not readable.
    """
    if kind == RUNS:
        address = store.address(file.path)
    else:
        store.pin(file.path)
        address = store.pinned_address(file.path)
    schema = schema_of(kind)
    try:
        with store.open_input(file.path) as source:
            footer = pq.read_metadata(source)
    except (pa.ArrowException, OSError) as error:
        if lacks_memory(error):
            raise
        raise StoreError(
            f"{file.path}: damaged or not Parquet ({error}); restore it in {store.root} from a backup"
        ) from None
    statistics = data_file_statistics_from_parquet_metadata(
        footer, compute_statistics_plan(schema, _properties(kind)), parquet_path_to_id_mapping(schema)
    )
    return DataFile.from_args(
        content=DataFileContent.DATA,
        file_path=address,
        file_format=FileFormat.PARQUET,
        partition=Record() if kind == RUNS else Record(file.experiment),
        file_size_in_bytes=file.bytes,
        sort_order_id=None,
        spec_id=0,
        equality_ids=None,
        key_metadata=None,
        **statistics.to_serialized_dict(),
    )


@cache
def _properties(kind: str) -> dict[str, str]:
    schema = schema_of(kind)
    # Of texts and of what is nested, files say nothing that would leave them out.
    without = [name for name in schema.column_names if "." in name or name == "text"]
    return {
        "schema.name-mapping.default": create_mapping_from_schema(schema).model_dump_json(),
        "write.metadata.metrics.column.run_id": "full",
        **{f"write.metadata.metrics.column.{name}": "none" for name in without},
        "write.metadata.previous-versions-max": "20",
    }


def new_table(kind: str, location: str) -> TableMetadataV2:
    """The metadata of a table that shows nothing yet.

    Args:
        location: the address of its folder.
    """
    schema = schema_of(kind)
    by_experiment = PartitionField(EXPERIMENT_ID, _PARTITION_ID, IdentityTransform(), "experiment")
    document: dict[str, Any] = {
        "location": location,
        "last-column-id": schema.highest_field_id,
        "schemas": [schema],
        "partition-specs": [PartitionSpec(*([] if kind == RUNS else [by_experiment]), spec_id=0)],
        "last-partition-id": _PARTITION_ID,
        "sort-orders": [UNSORTED_SORT_ORDER],
        "properties": _properties(kind),
    }
    return TableMetadataV2(**document)
