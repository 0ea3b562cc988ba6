"""Named tables of a run: the cells of `log_row` and `log_table` put together as rows with typed columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from runstream_schemas.series import Kind

from .vectors import Series

if TYPE_CHECKING:
    import pandas
    import polars


@dataclass(slots=True)
class NamedTable:
    """One table of one run: columns `row` and `time`, then the user's in the order first logged; a missing cell is null.

    A column named `row` or `time` by the user keeps its name and comes second; `data` then has both.
    """

    run_id: str
    name: str
    data: pa.Table

    def to_pandas(self) -> pandas.DataFrame:
        """The table as pandas, without `row` and `time`; needs pandas."""
        return self.data.select(list(range(2, self.data.num_columns))).to_pandas()

    def to_polars(self) -> polars.DataFrame:
        """The table as Polars, without `row` and `time`; needs polars."""
        import polars

        frame = polars.from_arrow(self.data.select(list(range(2, self.data.num_columns))))
        assert isinstance(frame, polars.DataFrame)
        return frame


def build_table(run_id: str, name: str, columns: Sequence[Series]) -> NamedTable:
    """Put the columns of one table together, rows ordered by (writer, row).

    A column of one kind of value has its type; ints and floats together are doubles; anything mixed with texts is text.
    """
    rows, first = np.unique(np.concatenate([column.steps for column in columns]), return_index=True)
    times = np.concatenate([column.times for column in columns])[first]
    fields = [("row", pa.array(rows)), ("time", pa.array(times).view(pa.timestamp("us", tz="UTC")))]
    for column in columns:
        place = np.full(len(rows), -1, dtype=np.int64)
        place[np.searchsorted(rows, column.steps)] = np.arange(len(column))
        fields.append((column.key.column, _typed(column).take(pa.array(place, mask=place < 0))))
    return NamedTable(
        run_id, name, pa.Table.from_arrays([a for _, a in fields], names=[n for n, _ in fields])
    )


def _typed(column: Series) -> pa.Array:
    kinds = set(column.points.kind_array().tolist()) - {int(Kind.NULL)}
    values = column.python_values()
    if kinds <= {Kind.FLOAT}:
        return pa.array(values, pa.float64(), from_pandas=False)
    if kinds == {Kind.INT}:
        return pa.array(values, pa.int64())
    if kinds == {Kind.BOOL}:
        return pa.array(values, pa.bool_())
    if Kind.TEXT not in kinds:
        return pa.array([None if value is None else float(value) for value in values], pa.float64())
    return pa.array([None if value is None else str(value) for value in values], pa.string())
