"""All points of many runs, in parts that are read one by one or side by side: for data frames larger than one answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

from runstream_schemas.settings import Settings

from .client.addresses import portions
from .client.http import ServiceClient, client_for
from .client.reading import RUNS_A_REQUEST
from .exceptions import UserErrorException
from .result import need, points_schema, points_table

if TYPE_CHECKING:
    import dask.dataframe
    import pandas
    import polars
    import pyarrow
    import ray.data

PART_POINTS = 1 << 20
"""Points of one part, where one series has no more of them."""


@dataclass(frozen=True, slots=True)
class Part:
    """Some of the points: of some runs, or of some series of one run. It can be pickled, and read in another process.

    Attributes:
        run_ids: the runs.
        names: the series; none: all metrics.
        points: how many there are, by the summaries.
        settings: which service to ask.
    """

    run_ids: tuple[str, ...]
    names: tuple[str, ...]
    points: int
    settings: Settings

    def read(self) -> pyarrow.Table:
        """The points, with the columns of `runstream.query.metrics`, each series in order of logging.

        Raises:
            ServiceException: the service is away.
            UserErrorException: pyarrow is not installed.
        """
        arrow = need("pyarrow", "runstream[server]")
        tables: list[pyarrow.Table] = []
        names = list(portions(self.names, len(self.names))) or [[]]
        for some, of_these in product(portions(self.run_ids, RUNS_A_REQUEST), names):
            params = [*(("run", run_id) for run_id in some), *(("name", name) for name in of_these)]
            answer = client_for(self.settings).request(
                "GET", "/api/v1/export/points", [*params, ("format", "arrow")]
            )
            with arrow.ipc.open_stream(arrow.BufferReader(answer.body)) as reader:
                tables += [points_table(arrow.Table.from_batches([batch])) for batch in reader]
        return arrow.concat_tables(tables or [points_schema().empty_table()]).unify_dictionaries()


@dataclass(frozen=True, slots=True)
class PointsScan:
    """What is to be read. Nothing is until it is asked for.

    Attributes:
        parts: about `PART_POINTS` points each, by run.
    """

    parts: Sequence[Part]

    @property
    def points(self) -> int:
        """How many points there are, by the summaries."""
        return sum(part.points for part in self.parts)

    @property
    def schema(self) -> pyarrow.Schema:
        """Of the tables, as of `runstream.query.metrics`."""
        need("pyarrow", "runstream[server]")
        return points_schema()

    def tables(self, at_once: int = 4) -> Iterator[pyarrow.Table]:
        """One table a part, in order; at most so many are held or being read at a time.

        Args:
            at_once: parts that are read side by side.

        Raises:
            ServiceException: the service is away.
        """
        if at_once < 1:
            raise UserErrorException(f"at_once={at_once}: expected 1 or more")
        parts = iter(self.parts)
        with ThreadPoolExecutor(at_once) as pool:
            under_way = [
                pool.submit(_read_aside, part) for _, part in zip(range(at_once), parts, strict=False)
            ]
            try:
                while under_way:
                    table = under_way.pop(0).result()
                    under_way += [pool.submit(_read_aside, part) for part in _next(parts)]
                    yield table
            finally:
                for reading in under_way:
                    reading.cancel()

    def to_polars(self, at_once: int = 4) -> polars.DataFrame:
        """All of it as one Polars data frame.

        Raises:
            UserErrorException: Polars is not installed.
        """
        import pyarrow as pa

        frames = need("polars", "polars")
        tables = [self.schema.empty_table(), *self.tables(at_once)]
        # With one dictionary for all, names are numbers: texts would take three times the memory.
        frame: polars.DataFrame = frames.from_arrow(pa.concat_tables(tables).unify_dictionaries())
        return frame

    def to_dask(self) -> dask.dataframe.DataFrame:
        """A Dask data frame of a partition a part, which its workers read.

        Raises:
            UserErrorException: Dask's data frames or pandas are not installed.
        """
        frames = need("dask.dataframe", "dask[dataframe]")
        empty = _plain(self.schema.empty_table()).to_pandas()
        if not self.parts:
            frame: dask.dataframe.DataFrame = frames.from_pandas(empty, npartitions=1)
            return frame
        frame = frames.from_map(_to_pandas, list(self.parts), meta=empty)
        return frame

    def to_ray(self) -> ray.data.Dataset:
        """A dataset of Ray Data of a block a part, which its tasks read.

        Raises:
            UserErrorException: Ray Data is not installed.
        """
        data = need("ray.data", "ray[data]")
        if not self.parts:
            dataset: ray.data.Dataset = data.from_arrow(_plain(self.schema.empty_table()))
            return dataset
        blocks = data.range(len(self.parts), override_num_blocks=len(self.parts))
        dataset = blocks.map_batches(_Reading(tuple(self.parts)), batch_size=1, batch_format="pyarrow")
        return dataset


@dataclass(frozen=True, slots=True)
class _Reading:
    """Reads the part of a number, in a task of Ray."""

    parts: tuple[Part, ...]

    def __call__(self, numbers: pyarrow.Table) -> pyarrow.Table:
        import pyarrow as pa

        return pa.concat_tables([_plain(self.parts[number].read()) for number in numbers["id"].to_pylist()])


def find_parts(
    client: ServiceClient, ask: Callable[[str], pyarrow.Table], where: str, names: Sequence[str]
) -> list[Part]:
    """Cut what a condition on `summaries` takes into parts.

    Args:
        ask: runs a statement of SQL.
        where: the condition.
        names: the series it names; none: all.
    """
    counts = ask(f"select run_id, sum(count)::bigint as n from summaries where {where} group by 1 order by 1")
    parts: list[Part] = []
    held: list[str] = []
    points = 0

    def end() -> None:
        nonlocal held, points
        if held:
            parts.append(Part(tuple(held), tuple(names), points, client.settings))
        held, points = [], 0

    for run_id, count in zip(counts["run_id"].to_pylist(), counts["n"].to_pylist(), strict=True):
        if points + count > PART_POINTS:
            end()
        if count > PART_POINTS:
            parts += _parts_of_run(client, ask, run_id, where)
        else:
            held.append(run_id)
            points += count
    end()
    return parts


def _parts_of_run(
    client: ServiceClient, ask: Callable[[str], pyarrow.Table], run_id: str, where: str
) -> Iterator[Part]:
    """A run with many points, cut by series."""
    counts = ask(f"select name, count from summaries where {where} and run_id = {quoted(run_id)} order by 1")
    held: list[str] = []
    points = 0
    for name, count in zip(counts["name"].to_pylist(), counts["count"].to_pylist(), strict=True):
        if held and points + count > PART_POINTS:
            yield Part((run_id,), tuple(held), points, client.settings)
            held, points = [], 0
        held.append(name)
        points += count
    if held:
        yield Part((run_id,), tuple(held), points, client.settings)


def quoted(text: str) -> str:
    """A text as SQL writes it."""
    return "'" + text.replace("'", "''") + "'"


def _read_aside(part: Part) -> pyarrow.Table:
    """Read a part in a thread that may end behind it, and with it its connection."""
    try:
        return part.read()
    finally:
        client_for(part.settings).close()


def _next(parts: Iterator[Part]) -> list[Part]:
    part = next(parts, None)
    return [] if part is None else [part]


def _plain(table: pyarrow.Table) -> pyarrow.Table:
    """Names as plain texts: dictionaries differ from part to part."""
    import pyarrow as pa

    fields = [
        pa.field(field.name, pa.string()) if pa.types.is_dictionary(field.type) else field
        for field in table.schema
    ]
    return table.cast(pa.schema(fields))


def _to_pandas(part: Part) -> pandas.DataFrame:
    return _plain(part.read()).to_pandas()
