"""SQL over both tiers, and what a statement may not do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from runstream_query.sql import check_statement, run_sql
from runstream_schemas.errors import QueryError, StoreError
from runstream_schemas.series import Kind, SeriesClass, SeriesKey

LOSS = SeriesKey(SeriesClass.METRIC, "loss")


async def ask(database: Any, statement: str, **settings: Any) -> list[dict[str, Any]]:
    table: pa.Table = await run_sql(
        database.pool, database.store, replace(database.settings, **settings), statement
    )
    return table.to_pylist()


@pytest.fixture
async def filled(database: Any) -> Any:
    """Run `cold` in a file, run `hot` in the hot tier, each with a metric, a text and a table."""
    for number, name in enumerate(("cold", "hot")):
        run = await database.add_run(name, f"exp {name}'s", type="t")
        await database.add_summary(run, "loss", min=1.0, sum=3.0, finite=2, count=2)
        rows = [(LOSS, Kind.FLOAT, i, i, 10 + i, i + 0.5) for i in range(3)]
        rows.append((SeriesKey(0, "note"), Kind.TEXT, 3, 0, 20, "hi"))
        rows += [
            (SeriesKey(SeriesClass.TABLE, "t", "x"), Kind.INT, 4 + i, i, 30 + i, i * 10) for i in range(2)
        ]
        await database.add_chunk(run, bytes([number + 1]) * 16, rows)
        await database.pool.execute(
            "insert into tags (run_key, key, value, time_us, source, seq) values ($1, 'k', $2, 0, gen_random_uuid(), 0)",
            run,
            name,
        )
        if name == "cold":
            await database.compact()
    return database


async def test_views_show_both_tiers(filled: Any) -> None:
    assert await ask(
        filled, "SELECT run_id, name, step, value, text FROM metrics WHERE name = 'loss' ORDER BY 1, 3"
    ) == [
        {"run_id": run, "name": "loss", "step": i, "value": i + 0.5, "text": None}
        for run in ("cold", "hot")
        for i in range(3)
    ]
    assert await ask(filled, "SELECT experiment, text FROM metrics WHERE text IS NOT NULL ORDER BY 1") == [
        {"experiment": "exp cold's", "text": "hi"}, {"experiment": "exp hot's", "text": "hi"},
    ]  # fmt: skip
    assert await ask(
        filled, 'SELECT run_id, "column", row, int_value FROM rows WHERE int_value > 0 ORDER BY 1'
    ) == [{"run_id": run, "column": "x", "row": 1, "int_value": 10} for run in ("cold", "hot")]
    joined = (
        "SELECT r.run_id, r.tags['k'] AS k, s.mean FROM runs r JOIN summaries s USING (run_id) ORDER BY 1"
    )
    assert await ask(filled, joined) == [{"run_id": run, "k": run, "mean": 1.5} for run in ("cold", "hot")]


async def test_a_view_may_be_read_twice_and_is_empty_when_nothing_is_stored(database: Any) -> None:
    statement = "SELECT count(*) AS n FROM metrics a JOIN METRICS b USING (run_id) WHERE run_id IN (FROM rows SELECT run_id)"
    assert await ask(database, statement) == [{"n": 0}]
    assert await ask(database, "SELECT count(*) AS n FROM runs, summaries") == [{"n": 0}]


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO metrics VALUES (1)",
        "CREATE TABLE t AS SELECT 1",
        "DROP VIEW metrics",
        "COPY (SELECT 1) TO '/tmp/x.csv'",
        "ATTACH '/tmp/x.db'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "PRAGMA database_list",
        "PRAGMA version",
        "SET memory_limit = '100GB'",
        "RESET memory_limit",
        "CALL pragma_version()",
        "EXPORT DATABASE '/tmp/x'",
        "SELECT 1; SELECT 2",
        "USE memory",
        "CHECKPOINT",
        "BEGIN",
        "",
        "-- nothing",
        "SELEC 1",
    ],
)
def test_only_one_reading_statement_is_accepted(statement: str) -> None:
    with pytest.raises(QueryError):
        check_statement(statement)


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT 1",
        "/* why */ -- so\n (SELECT 1)",
        "WITH a AS (SELECT 1) FROM a",
        "FROM metrics",
        "VALUES (1)",
        "DESCRIBE metrics",
        "SUMMARIZE metrics",
        "EXPLAIN SELECT * FROM metrics",
        "SELECT ';';",
    ],
)
async def test_ways_to_read(database: Any, statement: str) -> None:
    await ask(database, statement)


async def test_nothing_else_can_be_read(filled: Any, tmp_path: Path) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("a\n1\n")
    inside = tmp_path / "store" / "artifacts" / "r" / "data.csv"
    inside.parent.mkdir(parents=True)
    inside.write_text("a\n1\n")
    local = pa.table({"x": [1]})  # noqa: F841 - a Python variable DuckDB would find
    for statement in (
        f"SELECT * FROM '{secret}'",
        f"SELECT * FROM read_csv('{secret}')",
        f"SELECT * FROM read_text('{inside}')",
        f"SELECT * FROM glob('{tmp_path}/*')",
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM read_csv('http://127.0.0.1:1/x')",
        "SELECT getenv('HOME')",
        "SELECT * FROM local",
        "SELECT * FROM no_such_table",
    ):
        with pytest.raises((QueryError, StoreError)):
            await ask(filled, statement)


async def test_time_is_bounded(database: Any) -> None:
    with pytest.raises(QueryError, match="RUNSTREAM_QUERY_TIMEOUT"):
        await ask(
            database,
            "SELECT sum(a.range * b.range) FROM range(10000000) a, range(10000000) b",
            query_timeout=0.3,
        )


async def test_memory_is_bounded(database: Any) -> None:
    with pytest.raises(QueryError, match="RUNSTREAM_SQL_MEMORY"):
        await ask(database, "SELECT list(range) FROM range(100000000)", sql_memory="50MB")
    with pytest.raises(QueryError, match="RUNSTREAM_SQL_MEMORY"):
        await ask(database, "SELECT * FROM range(100000000)", sql_memory="50MB")


async def test_a_missing_file_is_named(filled: Any) -> None:
    path = await filled.pool.fetchval("select path from files where kind = 'metrics' and state = 'live'")
    filled.store.delete(path)
    with pytest.raises(StoreError, match="parquet"):
        await ask(filled, "SELECT count(*) FROM metrics")
