"""What readers return: an Arrow table with fronts for the usual libraries, and the columns of points."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from .exceptions import UserErrorException
from .printable import text_table

if TYPE_CHECKING:
    import numpy
    import pandas
    import polars
    import pyarrow

ARROW = "application/vnd.apache.arrow.stream"


class Result:
    """An Arrow table, with fronts for the usual libraries; anything that takes Arrow data takes it as it is.

    Attributes:
        table: the `pyarrow.Table`.
    """

    __slots__ = ("table",)

    def __init__(self, table: pyarrow.Table) -> None:
        self.table = table

    @property
    def column_names(self) -> list[str]:
        """Names of the columns."""
        return list(self.table.column_names)

    def to_pandas(self) -> pandas.DataFrame:
        """As a pandas data frame.

        Raises:
            UserErrorException: pandas is not installed.
        """
        need("pandas", "pandas")
        return self.table.to_pandas()

    def to_polars(self) -> polars.DataFrame:
        """As a Polars data frame.

        Raises:
            UserErrorException: Polars is not installed.
        """
        frame: polars.DataFrame = need("polars", "polars").from_arrow(self.table)
        return frame

    def to_numpy(self, column: str) -> numpy.ndarray[Any, Any]:
        """One column as a numpy array; numbers that are missing are NaN.

        Raises:
            KeyError: no such column.
        """
        values: numpy.ndarray[Any, Any] = self.table.column(column).to_numpy()
        return values

    def to_pylist(self) -> list[dict[str, Any]]:
        """As one dictionary a row."""
        rows: list[dict[str, Any]] = self.table.to_pylist()
        return rows

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        return self.table.__arrow_c_stream__(requested_schema)

    def __len__(self) -> int:
        rows: int = self.table.num_rows
        return rows

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        """Rows as tuples."""
        return zip(*(column.to_pylist() for column in self.table.columns), strict=True)

    def __repr__(self) -> str:
        return text_table(self.column_names, list(_first_rows(self)), more=max(len(self) - 20, 0))


def need(module: str, package: str) -> Any:
    """A library that an extra brings.

    Raises:
        UserErrorException: it is not installed.
    """
    from importlib import import_module

    try:
        if module == "pyarrow":
            import_module("pyarrow.ipc")
        return import_module(module)
    except ImportError as error:
        raise UserErrorException(f"this needs {module} ({error}); run `pip install '{package}'`") from None


def points_schema() -> pyarrow.Schema:
    """The columns of points."""
    import pyarrow as pa

    return pa.schema(
        [
            ("run_id", pa.dictionary(pa.int32(), pa.string())),
            ("name", pa.dictionary(pa.int32(), pa.string())),
            ("step", pa.int64()),
            ("time", pa.timestamp("us", tz="UTC")),
            ("value", pa.float64()),
            ("integer", pa.int64()),
            ("text", pa.string()),
        ]
    )


def points_table(answer: pyarrow.Table) -> pyarrow.Table:
    """Of the service's columns those of `metrics`: it gives booleans a text as well."""
    import pyarrow as pa
    import pyarrow.compute as pc

    integers, texts = answer.column("int_value"), answer.column("text")
    columns = [answer.column(name) for name in ("run_id", "name", "step", "time", "value")]
    texts = pc.if_else(integers.is_null(), texts, None)
    return pa.table([*columns, integers, texts], schema=points_schema())


def _first_rows(result: Result) -> Iterator[tuple[Any, ...]]:
    return iter(Result(result.table.slice(0, 20)))
