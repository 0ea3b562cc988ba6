"""Publishing: what the manifest says becomes the current snapshot of each Iceberg table, one snapshot a table and round.

The manifest stays the truth. `iceberg_files` says which of its files each table shows; a round looks for what differs,
writes a snapshot where nobody looks, and makes it the table's in ONE transaction, together with those rows. Broken off
before that it leaves files that the cleaning removes, and the next round begins anew. Several compactors may publish: the
second one of two that began from one snapshot finds the table's version risen, and has written in vain.

A file that a snapshot shows is not deleted: its row in `files` cannot go. Once a later snapshot has not shown it for
`trash_grace` seconds, the one that did is removed.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import asyncpg

from runstream_schemas.errors import SettingsError
from runstream_schemas.parquet.arrow import SCHEMAS
from runstream_schemas.settings import Settings
from runstream_schemas.store import Store

from ..worker import Worker

if TYPE_CHECKING:
    from pyiceberg.manifest import DataFile

    from .snapshots import Change, Written
    from .tables import Shown

log = logging.getLogger("runstream.iceberg")

KINDS = tuple(kind for kind in SCHEMAS if kind != "runs")
MOST_DESCRIBED = 1000
"""Files whose footers are read in one round. A snapshot waits until all of its files are described: none shows a part."""
_TOGETHER = 50  # files that are described in one go of the worker

TABLES = "select key, workspace, name, folder, metadata, version, expire_up from iceberg_tables"
# What is live and not shown, or shown as of another experiment; what is shown and not live.
DIFFERENCE = """
with live as (
    select f.id, f.kind, f.path, f.bytes, e.workspace, e.name as experiment
    from files f join experiments e on e.id = f.experiment_id where f.state = 'live' and f.kind = any($1::text[])
), shown as (
    select i.file_id, t.name as kind, t.workspace, i.experiment
    from iceberg_files i join iceberg_tables t on t.key = i.table_key where i.hidden_up is null
)
select coalesce(l.workspace, s.workspace) as workspace, coalesce(l.kind, s.kind) as kind, l.id, l.path, l.bytes,
    l.experiment, s.file_id as gone_id, (select f.path from files f where f.id = s.file_id) as gone_path
from live l full join shown s on s.file_id = l.id and s.workspace = l.workspace and s.experiment = l.experiment
where l.id is null or s.file_id is null"""
# Points that no snapshot shows: of live runs, and of such as have just ended.
HOT = """
select e.workspace, sum(c.points)::bigint as points, count(distinct c.run_key) as runs, min(c.created_at) as since
from chunks c join runs r on r.key = c.run_key join experiments e on e.id = r.experiment_id group by e.workspace"""

NEW_TABLE = """
insert into iceberg_tables (workspace, name, folder, metadata, expire_up) values ($1, $2, $3, $4, $5)
on conflict do nothing returning key"""
NEXT = """
update iceberg_tables set metadata = $3, expire_up = $4, version = version + 1 where key = $1 and version = $2
returning key"""
HIDE = "update iceberg_files set hidden_up = $3 where table_key = $1 and file_id = any($2::bigint[])"
SHOW = """
insert into iceberg_files (table_key, file_id, experiment) select $1, * from unnest($2::bigint[], $3::text[])
on conflict (table_key, file_id) do update set experiment = excluded.experiment, hidden_up = null"""
EXPIRE = "delete from iceberg_files where table_key = $1 and hidden_up <= $2"
FORGET = "delete from iceberg_tables where key = $1 and version = $2"


class Overtaken(Exception):
    """Another compactor was faster. Nothing was published."""


@dataclass(slots=True)
class PublishReport:
    """What a round published."""

    snapshots: int = 0
    added: int = 0
    removed: int = 0


@dataclass(slots=True)
class _Table:
    """A table, or one to come, and how the manifest differs from what it shows."""

    workspace: str
    kind: str
    row: Any = None
    added: dict[int, Shown] = field(default_factory=dict)
    removed: dict[int, str] = field(default_factory=dict)


@dataclass(slots=True)
class Publisher:
    """Publishes; remembers what was read of files for a snapshot to come."""

    pool: asyncpg.Pool[Any]
    store: Store
    settings: Settings
    worker: Worker
    _described: dict[tuple[int, str], DataFile] = field(default_factory=dict)

    async def publish(self) -> PublishReport:
        """Bring every table to what the manifest says.

        Raises:
            SettingsError: the library that writes Iceberg is not installed.
            StoreError: a file is missing or damaged, or nothing can be written; the tables stay as they are.
        """
        try:
            from .snapshots import Change, OutOfStep, new_folder, write_snapshot
        except ImportError as error:
            raise SettingsError(
                f"RUNSTREAM_ICEBERG_INTERVAL is set, and pyiceberg cannot be loaded ({error}); "
                "pip install 'runstream[iceberg]' where the compactor runs, or set it to 0"
            ) from None
        report = PublishReport()
        tables, up, ahead = await self._look()
        if not await self._describe(tables):
            return report
        grace = int(self.settings.trash_grace)
        for table in tables:
            change = Change(
                [self._described[file_id, shown.experiment] for file_id, shown in table.added.items()],
                {self.store.pinned_address(path) for path in table.removed.values()},
                up,
                up - grace,
                ahead.get(table.workspace, _ahead()),
            )
            folder, path = (table.row["folder"], table.row["metadata"]) if table.row else (new_folder(), None)
            try:
                written = await self.worker.run(write_snapshot, self.store, table.kind, folder, path, change)
                await self._commit(table, change, written)
            except OutOfStep as error:
                await forget(self.pool, table.row, error)
            except (Overtaken, asyncpg.ForeignKeyViolationError) as lost:
                log.info(
                    "iceberg: %s of %s: %s; the next round sees to it", table.kind, table.workspace, lost
                )
            else:
                report.snapshots += bool(table.added or table.removed)
                report.added += len(table.added)
                report.removed += len(table.removed.keys() - table.added.keys())
        self._described.clear()
        return report

    async def _look(self) -> tuple[list[_Table], int, dict[str, dict[str, str]]]:
        """Tables that need a snapshot, or to lose one; the uptime; and how far the hot tier is ahead, by workspace."""
        async with (
            self.pool.acquire() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            up: int = await connection.fetchval("select uptime()")
            rows = await connection.fetch(TABLES)
            tables = {
                (row["workspace"], row["name"]): _Table(row["workspace"], row["name"], row) for row in rows
            }
            different = await connection.fetch(DIFFERENCE, KINDS)
            hot = await connection.fetch(HOT) if different else []
        _note(tables, different)
        before = up - int(self.settings.trash_grace)
        due = [
            table for table in tables.values() if table.added or table.removed or _has_old(table.row, before)
        ]
        ahead = {
            row["workspace"]: _ahead(row["points"], row["runs"], row["since"].isoformat()) for row in hot
        }
        return due, up, ahead

    async def _describe(self, tables: Iterable[_Table]) -> bool:
        """Read the footers of new files, as many as one round may; says whether all are read."""
        from .tables import describe

        undescribed = [
            (table.kind, (file_id, shown.experiment), shown)
            for table in tables
            for file_id, shown in table.added.items()
            if (file_id, shown.experiment) not in self._described
        ]

        def read(part: Sequence[tuple[str, tuple[int, str], Shown]]) -> None:
            for kind, key, shown in part:
                self._described[key] = describe(self.store, kind, shown)

        for at in range(0, min(len(undescribed), MOST_DESCRIBED), _TOGETHER):
            await self.worker.run(read, undescribed[at : min(at + _TOGETHER, MOST_DESCRIBED)])
        return len(undescribed) <= MOST_DESCRIBED

    async def _commit(self, table: _Table, change: Change, written: Written) -> None:
        """Make a snapshot the current one.

        Raises:
            Overtaken: another compactor published in the meantime.
        """
        async with self.pool.acquire() as connection, connection.transaction():
            key = await make_current(connection, table.workspace, table.kind, table.row, written)
            await connection.execute(HIDE, key, list(table.removed), change.up)
            experiments = [shown.experiment for shown in table.added.values()]
            await connection.execute(SHOW, key, list(table.added), experiments)
            await connection.execute(EXPIRE, key, change.expire_before)


async def make_current(
    connection: asyncpg.Connection[Any], workspace: str, kind: str, row: Any, written: Written
) -> int:
    """Make metadata a table's; returns the table's key. Call it in a transaction.

    Args:
        row: the table's, as it was when the metadata was begun; None: there was none.

    Raises:
        Overtaken: another compactor published in the meantime.
    """
    path, expire_up = written.path, written.expire_up
    if row is None:
        key = await connection.fetchval(NEW_TABLE, workspace, kind, written.folder, path, expire_up)
    else:
        key = await connection.fetchval(NEXT, row["key"], row["version"], path, expire_up)
    if key is None:
        raise Overtaken("another compactor published")
    return int(key)


async def forget(pool: asyncpg.Pool[Any], row: Any, reason: Exception) -> None:
    """Give up a table; the next round makes a new one of the same name."""
    log.warning("iceberg: %s of %s is made anew: %s", row["name"], row["workspace"], reason)
    await pool.execute(FORGET, row["key"], row["version"])


def _has_old(row: Any, before: int) -> bool:
    """Whether a snapshot of a table has had a successor since then."""
    return row["expire_up"] is not None and row["expire_up"] <= before


def _note(tables: dict[tuple[str, str], _Table], different: Iterable[Any]) -> None:
    from .tables import Shown

    for row in different:
        table = tables.setdefault((row["workspace"], row["kind"]), _Table(row["workspace"], row["kind"]))
        if row["id"] is not None:
            table.added[row["id"]] = Shown(row["path"], row["bytes"], row["experiment"])
        if row["gone_id"] is not None:
            table.removed[row["gone_id"]] = row["gone_path"]


def _ahead(points: int = 0, runs: int = 0, since: str = "") -> dict[str, str]:
    """How far the hot tier is ahead, as properties of a snapshot."""
    said = {"runstream.hot-points": str(points), "runstream.hot-runs": str(runs)}
    return said | ({"runstream.hot-since": since} if since else {})
