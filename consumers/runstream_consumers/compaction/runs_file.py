"""`store/runs/runs.parquet`: all runs with parameters, tags, status and summaries, so that a join needs no Postgres.

One file, replaced by a rename (an object: by a put), so that a reader sees the old one or the new one. It is a copy for
others; our own readers ask Postgres.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import asyncpg
import pyarrow as pa
import pyarrow.parquet as pq

from runstream_schemas.parquet.arrow import RUNS
from runstream_schemas.parquet.field_ids import with_field_ids
from runstream_schemas.store import Store

from .worker import Worker

PATH = "runs/runs.parquet"

RUNS_SHARE = 0.05
"""Share of the time that writing such a file may take."""

_PAGE = 2000

# Counters of the server: they rise with every change, whoever made it, and cost nothing to read.
CHANGES = """
select coalesce(sum(n_tup_ins + n_tup_upd + n_tup_del), 0)::bigint from pg_stat_user_tables
where schemaname = current_schema() and relname in
    ('runs', 'tags', 'properties', 'experiments', 'live_summaries', 'params')"""

RUNS_PAGE = """
select r.key, r.run_id, e.name as experiment, e.workspace, r.number, r.parent_run_id, r.root_run_id, r.display_name,
    r.type, r.target, r.status, r.created_at as created_time, r.start_time, r.end_time, r.settled_at as settled_time,
    r.dropped
from runs r left join experiments e on e.id = r.experiment_id
where r.key > $1 and ($3::text is null or e.workspace = $3) order by r.key limit $2"""
TAGS_PAGE = "select run_key, key, value from tags where run_key = any($1::bigint[]) and not removed order by run_key, key"
PROPERTIES_PAGE = (
    "select run_key, key, value from properties where run_key = any($1::bigint[]) order by run_key, key"
)
# float8 reads NaN and Infinity as they are stored.
PARAMS_PAGE = """
select run_key, name, (array['float', 'int', 'bool', 'text', 'null', 'json'])[kind + 1] as kind,
    case when kind in (0, 1) then text::float8 end as value, case when kind = 1 then text::int8 end as int_value,
    case when kind = 2 then text::bool end as bool_value, case when kind <> 4 then text end as text
from params where run_key = any($1::bigint[]) order by run_key, name"""
SUMMARIES_PAGE = """
select s.run_key, n.name, s.count, s.first, s.last, s.min, s.max, s.sum / nullif(s.finite, 0) as mean, s.last_step,
    s.last_text
from summaries s join series n on n.id = s.series_id
where s.run_key = any($1::bigint[]) and n.cls not in (1, 9, 10) order by s.run_key, n.name"""

_NESTED = ("tags", "properties", "params", "summaries")
_PLAIN = [name for name in RUNS.names if name not in _NESTED]


async def runs_changed(pool: asyncpg.Pool[Any]) -> int:
    """A number that rises whenever something changed that the snapshot shows (about a second later)."""
    return int(await pool.fetchval(CHANGES))


async def write_runs(
    pool: asyncpg.Pool[Any], store: Store, worker: Worker, *, path: str = PATH, workspace: str | None = None
) -> int:
    """Replace the snapshot of the runs; returns how many it holds.

    Args:
        path: where the file goes.
        workspace: whose runs; None: all.

    Raises:
        StoreError: the file cannot be written; the old one stays.
    """
    new = await worker.run(store.create, path)
    try:
        writer = await worker.run(_open, new.stream)
        total = 0
        async with (
            pool.acquire() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            last = 0
            while True:
                rows = await connection.fetch(RUNS_PAGE, last, _PAGE, workspace)
                if not rows:
                    break
                keys = [row["key"] for row in rows]
                last = keys[-1]
                total += len(rows)
                tags = await connection.fetch(TAGS_PAGE, keys)
                properties = await connection.fetch(PROPERTIES_PAGE, keys)
                params = await connection.fetch(PARAMS_PAGE, keys)
                summaries = await connection.fetch(SUMMARIES_PAGE, keys)
                await worker.run(_write_page, writer, rows, tags, properties, params, summaries)
        await worker.run(writer.close)
        await worker.run(new.commit)
    except BaseException:
        worker.submit(new.abort)
        raise
    return total


def _open(stream: Any) -> pq.ParquetWriter:
    return pq.ParquetWriter(stream, with_field_ids(RUNS), compression="zstd")


def _write_page(
    writer: pq.ParquetWriter,
    rows: Sequence[asyncpg.Record],
    tags: Sequence[asyncpg.Record],
    properties: Sequence[asyncpg.Record],
    params: Sequence[asyncpg.Record],
    summaries: Sequence[asyncpg.Record],
) -> None:
    by_run: dict[str, dict[int, list[Any]]] = {name: {} for name in _NESTED}
    for name, pairs in (("tags", tags), ("properties", properties)):
        for row in pairs:
            by_run[name].setdefault(row["run_key"], []).append((row["key"], row["value"]))
    for name, structs in (("params", params), ("summaries", summaries)):
        names = [field.name for field in RUNS.field(name).type.value_type]
        for row in structs:
            by_run[name].setdefault(row["run_key"], []).append({field: row[field] for field in names})
    columns = [pa.array([row[name] for row in rows], RUNS.field(name).type) for name in _PLAIN]
    for name in _NESTED:
        columns.append(pa.array([by_run[name].get(row["key"], []) for row in rows], RUNS.field(name).type))
    writer.write_table(pa.Table.from_arrays(columns, schema=RUNS))
