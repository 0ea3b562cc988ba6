"""Where datasets are made: `Dataset.File` and `Dataset.Tabular`."""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..cloud import CloudCall
from ..exceptions import UserErrorException
from ._datastore import Datastore
from .abstract_dataset import files_of, paths_of
from .data_reference import DataReference
from .file_dataset import FileDataset
from .tabular_dataset import TabularDataset

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["DataType", "FileDatasetFactory", "TabularDatasetFactory"]


_PARTITIONS = (
    "partition_format: columns are not made of paths here; pass include_path=True and split them in pandas"
)


@dataclass(frozen=True, slots=True)
class DataType:
    """What a column is read as.

    Source: `azureml.data.DataType`.
    """

    kind: str

    @staticmethod
    def to_string() -> DataType:
        """Texts."""
        return DataType("string")

    @staticmethod
    def to_long() -> DataType:
        """Integers of 64 bits; what is none becomes null."""
        return DataType("long")

    @staticmethod
    def to_float(decimal_mark: str = ".") -> DataType:
        """Floats; what is none becomes null."""
        if decimal_mark != ".":
            raise UserErrorException(
                f"decimal_mark {decimal_mark!r}: read the column as text and convert it in pandas"
            )
        return DataType("float")

    @staticmethod
    def to_bool() -> DataType:
        """True for `true` and 1 in any case, else False."""
        return DataType("bool")

    @staticmethod
    def to_datetime(formats: Any = None) -> DataType:
        """Times, as pandas reads them; what is none becomes null."""
        del formats
        return DataType("datetime")


class FileDatasetFactory:
    """`Dataset.File`."""

    @staticmethod
    def from_files(
        path: Any, validate: bool = True, partition_format: str | None = None, is_file: bool = False
    ) -> FileDataset:
        """A dataset of files.

        Args:
            path: a file, a directory, or a pattern with `*` and `**`; a pair (datastore, path); or a list of these.
            validate: there has to be a file now.
            partition_format: must be None.
            is_file: accepted.

        Raises:
            UserErrorException: no such file, or a path of another type.
        """
        del is_file
        _no_partitions(partition_format)
        return FileDataset({"kind": FileDataset._KIND, "paths": _checked(path, validate)})

    @staticmethod
    def upload_directory(
        src_dir: str | os.PathLike[str],
        target: Any,
        pattern: str | None = None,
        overwrite: bool = False,
        show_progress: bool = True,
    ) -> FileDataset:
        """Copy a directory into a datastore, and make a dataset of it.

        Args:
            src_dir: the directory.
            target: a reference or path in a datastore, or a pair (datastore, path).
            pattern: must be None.
            overwrite: replace files that are there.
            show_progress: print a line a file.

        Raises:
            UserErrorException: there is no such directory, or `target` is none.
        """
        if pattern is not None:
            raise UserErrorException(
                "upload_directory: pattern must be None; copy the files you want into a directory"
            )
        datastore, place = _target(target)
        datastore.upload(src_dir, place, overwrite, show_progress)
        return FileDatasetFactory.from_files((datastore, place or ""))


class TabularDatasetFactory:
    """`Dataset.Tabular`. The files are read with pandas when they are needed."""

    @staticmethod
    def from_delimited_files(
        path: Any,
        validate: bool = True,
        include_path: bool = False,
        infer_column_types: bool = True,
        set_column_types: Mapping[str, DataType] | None = None,
        separator: str = ",",
        header: Any = True,
        partition_format: str | None = None,
        support_multi_line: bool = False,
        empty_as_string: bool = False,
        encoding: str = "utf8",
    ) -> TabularDataset:
        """Rows of CSV files and the like.

        Args:
            path: as `Dataset.File.from_files` takes it.
            validate: there has to be a file now.
            include_path: a first column `Path` with the row's file.
            infer_column_types: False: all columns are texts.
            set_column_types: the types of some columns, by name.
            separator: between fields.
            header: False: the files have none, and columns are called Column1, Column2 ...
            partition_format: must be None.
            support_multi_line: accepted; fields in quotes may hold line ends.
            empty_as_string: empty fields are texts, not nulls.
            encoding: the encoding of the files.

        Raises:
            UserErrorException: no such file, or a path of another type.
        """
        del support_multi_line
        _no_partitions(partition_format)
        named = header not in (False, "NO_HEADERS")
        options = {
            "sep": separator,
            "encoding": encoding,
            "header": 0 if named else None,
            "keep_default_na": not empty_as_string,
            **({} if infer_column_types else {"dtype": "str"}),
        }
        return _table("csv", path, validate, include_path, set_column_types, options)

    @staticmethod
    def from_parquet_files(
        path: Any,
        validate: bool = True,
        include_path: bool = False,
        set_column_types: Mapping[str, DataType] | None = None,
        partition_format: str | None = None,
    ) -> TabularDataset:
        """Rows of Parquet files; as `from_delimited_files`. Needs pyarrow."""
        _no_partitions(partition_format)
        return _table("parquet", path, validate, include_path, set_column_types, {})

    @staticmethod
    def from_json_lines_files(
        path: Any,
        validate: bool = True,
        include_path: bool = False,
        set_column_types: Mapping[str, DataType] | None = None,
        partition_format: str | None = None,
        invalid_lines: str = "error",
        encoding: str = "utf8",
    ) -> TabularDataset:
        """Rows of files with a JSON object a line; as `from_delimited_files`. A line that is none is an error."""
        del invalid_lines
        _no_partitions(partition_format)
        return _table("jsonl", path, validate, include_path, set_column_types, {"encoding": encoding})

    @staticmethod
    def register_pandas_dataframe(
        dataframe: pd.DataFrame,
        target: Any,
        name: str,
        description: str | None = None,
        tags: Mapping[str, Any] | None = None,
        show_progress: bool = True,
        row_group_size: int | None = None,
        make_target_path_unique: bool = True,
    ) -> TabularDataset:
        """Write a data frame into a datastore, and register it as a dataset.

        Args:
            dataframe: the rows. Needs pyarrow.
            target: a reference or path in a datastore, a pair (datastore, path), or a datastore.
            name: the dataset's.
            description: free text.
            tags: name to value.
            show_progress: accepted.
            row_group_size: rows a row group of the Parquet file.
            make_target_path_unique: write below a directory of its own.

        Raises:
            UserErrorException: `target` is none.
        """
        del show_progress
        datastore, place = _target(target)
        parts = [place or "", str(uuid.uuid4()) if make_target_path_unique else "", "part-00000.parquet"]
        file = datastore.path("/".join(part for part in parts if part)).local_path()
        file.parent.mkdir(parents=True, exist_ok=True)
        dataframe.to_parquet(file, index=False, row_group_size=row_group_size)
        dataset = TabularDatasetFactory.from_parquet_files(file)
        return dataset.register(datastore.workspace, name, description, tags, create_new_version=True)

    from_sql_query = CloudCall("pandas.read_sql reads a query, and register_pandas_dataframe keeps it")
    register_spark_dataframe = CloudCall("register_pandas_dataframe takes what toPandas() returns")
    register_dask_dataframe = CloudCall("register_pandas_dataframe takes what compute() returns")


def _table(
    form: str,
    path: Any,
    validate: bool,
    include_path: bool,
    types: Mapping[str, DataType] | None,
    options: Mapping[str, Any],
) -> TabularDataset:
    return TabularDataset(
        {
            "kind": TabularDataset._KIND,
            "format": form,
            "paths": _checked(path, validate),
            "include_path": include_path,
            "types": {column: kind.kind for column, kind in (types or {}).items()},
            "options": dict(options),
        }
    )


def _checked(path: Any, validate: bool) -> list[str]:
    paths = paths_of(path)
    if validate and not files_of(paths):
        raise UserErrorException(
            f"DatasetValidationError: there is no file at {', '.join(paths)}; "
            "pass validate=False if there will be one later"
        )
    return paths


def _no_partitions(partition_format: str | None) -> None:
    if partition_format is not None:
        raise UserErrorException(_PARTITIONS)


def _target(target: Any) -> tuple[Datastore, str | None]:
    if isinstance(target, Datastore):
        return target, None
    if isinstance(target, DataReference):
        target = (target.datastore, target.path_on_datastore)
    if isinstance(target, tuple) and len(target) == 2 and isinstance(target[0], Datastore):
        return target
    raise UserErrorException(
        f"target: expected a datastore, a path in one, or (datastore, path), got {type(target).__name__}"
    )
