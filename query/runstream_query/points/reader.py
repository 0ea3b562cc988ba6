"""The query layer's front: vectors, tables and downsampled series of runs, whichever tier they lie in."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any

import asyncpg

from runstream_schemas.series import SeriesClass
from runstream_schemas.settings import Settings
from runstream_schemas.store import Store

from .. import queries
from ..runs.runs import Connection
from .parquet import ParquetFiles, layouts_of
from .tables import NamedTable, build_table
from .tiers import read_points, view_tiers
from .vectors import Series, Vectors, assemble

_TABLE = (int(SeriesClass.TABLE),)


class Query:
    """Reads runs' points. Holds the footers of Parquet files; make one per process.

    Args:
        pool: connections to Postgres.
        store: where the Parquet files lie.
        settings: `query_timeout` bounds every statement.
    """

    def __init__(self, pool: asyncpg.Pool[Any], store: Store, settings: Settings) -> None:
        self.pool = pool
        self.store = store
        self.settings = settings
        self.files = ParquetFiles(store)

    async def vectors(
        self,
        run_ids: Sequence[str],
        *,
        names: Collection[str] | None = None,
        cls: Collection[int] | None = None,
        look: Callable[[Connection], Awaitable[None]] | None = None,
    ) -> Vectors:
        """Series of runs, runs in the order given, series in the order first logged; unknown runs have none.

        Args:
            run_ids: which runs.
            names: only series (or tables) of these names.
            cls: only these classes of series, see `SeriesClass`; None: all.
            look: called with the connection on which the snapshot is taken, to see more of the same moment.

        Raises:
            StoreError: a Parquet file is missing or damaged.
        """

        async def find(connection: Connection) -> dict[int, str]:
            if look is not None:
                await look(connection)
            return {
                row["key"]: row["run_id"] for row in await connection.fetch(queries.RUN_KEYS, list(run_ids))
            }

        only = None if names is None else frozenset(names)
        view = await view_tiers(self.pool, find, names=only, layouts=layouts_of(cls))
        parts = await read_points(view, self.files, names=only, cls=cls)
        return await asyncio.to_thread(assemble, run_ids, parts)

    async def series(self, run_id: str, name: str, *, cls: int = SeriesClass.METRIC) -> Series | None:
        """One series of one run; None: the run is unknown, or has no such series.

        Raises:
            StoreError: a Parquet file is missing or damaged.
        """
        vectors = await self.vectors([run_id], names=(name,), cls=(cls,))
        return vectors.series[0] if vectors.series else None

    async def tables(self, run_id: str, name: str | None = None) -> dict[str, NamedTable]:
        """The tables of a run by name, or just the one called `name`.

        Raises:
            StoreError: a Parquet file is missing or damaged.
        """
        cells = await self.vectors([run_id], names=None if name is None else (name,), cls=_TABLE)
        columns: dict[str, list[Series]] = {}
        for series in cells:
            columns.setdefault(series.name, []).append(series)
        return {table: build_table(run_id, table, parts) for table, parts in columns.items()}
