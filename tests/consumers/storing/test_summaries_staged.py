"""Many summaries in one commit: what it costs must not depend on what the planner last heard of the table."""

from __future__ import annotations

import asyncpg

from runstream_consumers.storing import queries


async def test_each_is_looked_up_by_index_though_the_table_was_empty_when_last_counted(
    pool: asyncpg.Pool,
) -> None:
    async with pool.acquire() as connection:
        await connection.execute("insert into runs (run_id) select 'r' || n from generate_series(1, 400) n")
        await connection.execute("insert into series (cls, name, \"column\") values (0, 'loss', '')")
        await connection.execute(
            "insert into live_summaries (run_key, series_id, kind, count, finite, first, last, min, max, sum, first_time, "
            "last_step, last_time, first_position, last_position) "
            "select r.key, s.id, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 from runs r, series s"
        )
        await connection.execute("delete from live_summaries")  # as packing does, all the time
        await connection.execute("vacuum (analyze, truncate off) live_summaries")
        assert (
            await connection.fetchval("select reltuples from pg_class where relname = 'live_summaries'") == 0
        )
        async with connection.transaction():
            await connection.execute(queries.STAGE_SUMMARIES)
            plan = "\n".join(
                row[0] for row in await connection.fetch(f"explain (costs off) {queries.MERGE_STAGED}")
            )
            await connection.execute(queries.UNSTAGE_SUMMARIES)
    (looked_up,) = [line for line in plan.splitlines() if "Index Cond" in line]
    assert "run_key = n.run_key" in looked_up, plan
    assert "series_id = n.series_id" in looked_up, plan
    assert "Materialize" not in plan, plan
