"""Datasets of rows, read with pandas from CSV, Parquet or JSON lines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from ..cloud import CloudCall
from ..exceptions import UserErrorException
from ..spool.values import check_text
from .abstract_dataset import AbstractDataset, files_of
from .file_dataset import FileDataset

if TYPE_CHECKING:
    import pandas as pd

_IN_PANDAS = "call to_pandas_dataframe() and do it there"

__all__ = ["TabularDataset"]


class TabularDataset(AbstractDataset):
    """Rows of files; made by `Dataset.Tabular.from_delimited_files` and its like.

    Source: `azureml.data.TabularDataset`.
    """

    _KIND: ClassVar[str] = "rows"

    def to_pandas_dataframe(
        self, on_error: str = "null", out_of_range_datetime: str = "null"
    ) -> pd.DataFrame:
        """All rows, one file after the other.

        Args:
            on_error: kept for scripts that pass it; what cannot be converted becomes null.
            out_of_range_datetime: the same.

        Raises:
            ImportError: there is no pandas; says how to get it.
            UserErrorException: there are no files, a file cannot be read, or a column that is asked for does not exist.
        """
        del on_error, out_of_range_datetime
        frame = _read(self.definition)
        for name, *arguments in self.definition.get("operations", []):
            frame = _OPERATIONS[name](frame, *arguments)
        return frame.reset_index(drop=True)

    def take(self, count: int) -> TabularDataset:
        """The first rows."""
        return self._then("take", count)

    def skip(self, count: int) -> TabularDataset:
        """All but the first rows."""
        return self._then("skip", count)

    def take_sample(self, probability: float, seed: int | None = None) -> TabularDataset:
        """Some of the rows, each with a probability."""
        return self._split(probability, seed)[0]

    def random_split(
        self, percentage: float, seed: int | None = None
    ) -> tuple[TabularDataset, TabularDataset]:
        """Some of the rows, each with a probability of `percentage` (0 to 1), and the others."""
        return self._split(percentage, seed)

    def keep_columns(self, columns: str | Sequence[str], validate: bool = False) -> TabularDataset:
        """Only these columns."""
        return self._columns("keep", columns, validate)

    def drop_columns(self, columns: str | Sequence[str]) -> TabularDataset:
        """All but these columns."""
        return self._columns("drop", columns, False)

    def to_csv_files(self, separator: str = ",") -> FileDataset:
        """The rows as a CSV file in a new temporary directory."""
        import tempfile
        from pathlib import Path

        check_text("separator", separator)
        path = Path(tempfile.mkdtemp(prefix="dataset-")) / "part-00000.csv"
        self.to_pandas_dataframe().to_csv(path, sep=separator, index=False)
        return FileDataset({"kind": FileDataset._KIND, "paths": [str(path)]})

    to_dask_dataframe = CloudCall("dask.dataframe reads the same files")
    to_spark_dataframe = CloudCall("spark.read reads the same files")
    to_parquet_files = CloudCall("to_pandas_dataframe().to_parquet() writes a Parquet file")
    partition_by = CloudCall(_IN_PANDAS)
    filter = CloudCall(_IN_PANDAS)
    time_before = CloudCall(_IN_PANDAS)
    time_after = CloudCall(_IN_PANDAS)
    time_recent = CloudCall(_IN_PANDAS)
    time_between = CloudCall(_IN_PANDAS)
    with_timestamp_columns = CloudCall(_IN_PANDAS)
    submit_profile_run = CloudCall(_IN_PANDAS)
    get_profile = CloudCall(_IN_PANDAS)
    get_profile_runs = CloudCall(_IN_PANDAS)
    download = CloudCall("Dataset.File names files")
    mount = CloudCall("Dataset.File names files")

    def _columns(self, what: str, columns: str | Sequence[str], validate: bool) -> TabularDataset:
        chosen = self._then(what, [columns] if isinstance(columns, str) else list(columns))
        if validate:
            chosen.take(1).to_pandas_dataframe()
        return chosen


def _chosen(frame: pd.DataFrame, columns: list[str]) -> list[str]:
    if unknown := [column for column in columns if column not in frame.columns]:
        raise UserErrorException(
            f"the dataset has no column {', '.join(map(repr, unknown))}; it has {', '.join(map(repr, frame.columns))}"
        )
    return columns


def _split(frame: pd.DataFrame, probability: float, seed: int, inside: bool) -> pd.DataFrame:
    import numpy as np

    return frame[(np.random.default_rng(seed).random(len(frame)) < probability) == inside]


_OPERATIONS: dict[str, Callable[..., Any]] = {
    "take": lambda frame, count: frame.head(count),
    "skip": lambda frame, count: frame.iloc[count:],
    "keep": lambda frame, columns: frame[_chosen(frame, columns)],
    "drop": lambda frame, columns: frame.drop(columns=_chosen(frame, columns)),
    "split": _split,
}


def _read(definition: dict[str, Any]) -> pd.DataFrame:
    try:
        import pandas as pd
    except ImportError as error:
        raise ImportError("tabular datasets need pandas: pip install pandas") from error
    files = [path for path, _ in files_of(definition["paths"])]
    if not files:
        raise UserErrorException(
            f"the dataset has no files: {', '.join(definition['paths'])} names none"
            "; give paths that are there"
        )
    options, form = definition["options"], definition["format"]
    frames = []
    for path in files:
        try:
            if form == "csv":
                frame = pd.read_csv(path, **options)
            elif form == "parquet":
                frame = pd.read_parquet(path)
            else:
                frame = pd.read_json(path, lines=True, **options)
        except (OSError, ValueError, UnicodeError) as error:
            raise UserErrorException(f"{path} cannot be read as {form}: {error}") from error
        if form == "csv" and options["header"] is None:
            frame.columns = [f"Column{number}" for number in range(1, len(frame.columns) + 1)]
        if definition.get("include_path"):
            frame.insert(0, "Path", str(path))
        frames.append(frame)
    table = pd.concat(frames, ignore_index=True)
    for column, kind in (definition.get("types") or {}).items():
        _chosen(table, [column])
        table[column] = _converted(table[column], kind)
    return table


def _converted(column: pd.Series[Any], kind: str) -> pd.Series[Any]:
    import pandas as pd

    if kind == "datetime":
        return pd.to_datetime(column, errors="coerce")
    if kind == "float":
        return pd.to_numeric(column, errors="coerce").astype(float)
    if kind == "long":
        return pd.to_numeric(column, errors="coerce").astype("Int64")
    if kind == "bool":
        return column.map(lambda value: str(value).strip().lower() in ("true", "1", "1.0"))
    return column.astype(str)
