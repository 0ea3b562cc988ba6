"""Lists over 10,000 runs, of 20 metrics and 50 parameters each, one in a hundred live: what the page of runs asks."""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path
from typing import Any

from .result import Result

FILL = """
insert into experiments (name) select 'e' || n from generate_series(1, 10) n;
insert into runs (run_id, experiment_id, number, status, start_time, type, settled_at)
select 'r' || n, 1 + n % 10, n,
    case when n % 100 = 0 then 'Running' else (array['Completed', 'Failed', 'Canceled'])[1 + n % 3] end,
    timestamptz '2026-01-01' + n * interval '1 minute', 'train', case when n % 100 > 0 then now() end
from generate_series(1, {runs}) n;
insert into series (cls, name) select 0, 'metric/' || n from generate_series(1, 20) n;
insert into live_summaries (run_key, series_id, kind, count, finite, first, last, min, max, sum, last_step, last_time)
select r.key, s.id, 0, 100, 100, random(), random(), random(), random(), random(), 99, 0 from runs r, series s;
insert into chunks (run_key, source_key, first, count, points, payload)
select key, key, n, 1, 1, 'x' from runs, generate_series(1, 5) n where settled_at is null;
insert into tags (run_key, key, value, time_us, source, seq)
select key, 'group', 'g' || key % 50, 0, gen_random_uuid(), 0 from runs;
insert into tags (run_key, key, value, time_us, source, seq) select key, 'note', 'n', 0, gen_random_uuid(), 1 from runs;
insert into properties (run_key, key, value, time_us, source, seq)
select key, 'commit', md5(key::text), 0, gen_random_uuid(), 2 from runs;
insert into params (run_key, name, kind, text, number, origin, time_us, source, seq)
select r.key, 'layer.' || n, 0, x.value::text, x.value, 2, 0, gen_random_uuid(), n
from runs r, generate_series(1, 49) n, lateral (select random() + r.key * 0 as value) x;
insert into params (run_key, name, kind, text, origin, time_us, source, seq)
select key, 'opt', 3, (array['adam', 'sgd', 'lion'])[1 + key % 3], 2, 0, gen_random_uuid(), 0 from runs;
"""


def run(quick: bool) -> list[Result]:
    """Pages of 50 runs out of 10,000 (quick: 2,000), on a Postgres of its own."""
    from runstream_service.servers.postgres import PostgresServer

    runs = 2_000 if quick else 10_000
    with tempfile.TemporaryDirectory(prefix="rsb", ignore_cleanup_errors=True) as place:
        server = PostgresServer(Path(place) / "pg")
        server.start()
        try:
            return asyncio.run(_measure(server.dsn, runs, 10 if quick else 40))
        finally:
            server.stop()


async def _measure(dsn: str, runs: int, rounds: int) -> list[Result]:
    from runstream_consumers.compaction.packing import pack_runs
    from runstream_query.runs.run_filter import MetricFilter, RunFilter
    from runstream_query.runs.run_order import Order
    from runstream_query.runs.runs import attach_params, count_runs, list_runs
    from runstream_query.runs.search import search
    from runstream_schemas.database import create_pool, migrate
    from runstream_schemas.settings import Settings

    pool = await create_pool(Settings(database=dsn))
    results = []
    async with pool.acquire() as connection:
        await migrate(connection)
        await connection.execute(FILL.format(runs=runs))
        started = time.perf_counter()
        packed = await pack_runs(pool)  # as the compactor does after a run settled
        packing = (time.perf_counter() - started) / packed * 1e3
        await connection.execute("vacuum analyze")
        middle: str | None = None
        for _ in range(max(runs // 1000 - 2, 1)):
            middle = (await list_runs(connection, limit=1000, after=middle)).next
        by_metric = Order.parse("metric:metric/7:min")
        mean = Order.parse("-metric:metric/7:mean")
        group = RunFilter(tags=[("group", "g7")], metrics=[MetricFilter("metric/3", "last", "<", 0.5)])
        of = f"of {runs:,} runs".replace(",", " ")
        for name, options in (
            (f"newest 50 {of}", {}),
            (f"newest 50 {of}, with 20 summaries each", {"summaries": True}),
            (f"50 {of} by a metric's min", {"order": by_metric}),
            (f"50 {of} by a metric's min, with summaries", {"order": by_metric, "summaries": True}),
            (
                f"50 {of} by a metric's mean, of one experiment",
                {"order": mean, "filters": RunFilter(experiment="e3")},
            ),
            (f"50 {of} by metric and tag", {"filters": group}),
            (f"50 {of} by status and experiment", {"filters": RunFilter(status=["Failed"], experiment="e3")}),
            (f"50 {of} deep in the list", {"after": middle}),
            (f"50 {of} by a parameter", {"order": Order.parse("param:layer.7")}),
            (f"50 {of} by a parameter, a text", {"order": Order.parse("-param:opt")}),
            (
                f"50 {of} by a parameter, of one experiment",
                {"order": Order.parse("param:layer.7"), "filters": RunFilter(experiment="e3")},
            ),
            (f"50 {of} with param:layer.7<=0.01", {"filters": search("param:layer.7<=0.01")}),
            (
                f"50 {of} with param:layer.7<=0.5 param:opt=adam",
                {"filters": search("param:layer.7<=0.5 param:opt=adam")},
            ),
        ):
            results.append(Result(name, await _time(connection, list_runs, rounds, options), "ms", 10, 2))

        async def with_params(connection: Any) -> None:
            await attach_params(connection, (await list_runs(connection)).runs, None, 500)

        results.append(
            Result(
                f"newest 50 {of}, with 50 parameters each",
                await _time(connection, with_params, rounds, {}),
                "ms",
            )
        )
        results.append(Result(f"count {of} by status", await _time(connection, count_runs, rounds, {}), "ms"))
        results.append(Result("compactor's packing of a run with 20 metrics", [packing], "ms"))
    await pool.close()
    return results


async def _time(connection: Any, ask: Any, rounds: int, options: dict[str, Any]) -> list[float]:
    times = []
    for number in range(rounds + 3):
        start = time.perf_counter()
        await ask(connection, **options)
        if number >= 3:
            times.append((time.perf_counter() - start) * 1e3)
    return times
