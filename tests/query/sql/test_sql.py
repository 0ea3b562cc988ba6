"""SQL over both tiers, and what a statement may not do."""

from __future__ import annotations

import asyncio
import resource
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from runstream_query.sql import sql_processes, sql_worker
from runstream_query.sql.sql import run_sql
from runstream_query.sql.sql_processes import MOST_AT_ONCE, SqlProcess
from runstream_query.sql.sql_statement import check_statement
from runstream_schemas.errors import QueryError, StoreError
from runstream_schemas.series import Kind, SeriesClass, SeriesKey

pytestmark = pytest.mark.attack

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
        {"experiment": "exp cold's", "text": "hi"},
        {"experiment": "exp hot's", "text": "hi"},
    ]
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
        "WITH a AS MATERIALIZED (COPY (SELECT 1) TO '/tmp/x' (FORMAT csv, USE_TMP_FILE false)) FROM a",
        "SELECT * FROM (WITH a AS (INSERT INTO t VALUES (1) RETURNING *) FROM a)",
        "WITH a AS (DELETE FROM runs RETURNING *) SELECT 1",
        "WITH a AS (UPDATE runs SET name = 'x' RETURNING *) SELECT 1",
        "EXPLAIN ANALYZE COPY (SELECT 1) TO '/tmp/x'",
        "EXPLAIN COPY (SELECT 1) TO '/tmp/x'",
        "/* /* */ explain select 1 /* */ */ EXPLAIN ANALYZE COPY (SELECT 1) TO '/tmp/x'",
        "EXPLAIN /* /* */ SELECT 1 /* */ */ COPY (SELECT 1) TO '/tmp/x'",
        "EXPLAIN (ANALYZE) WITH a AS (COPY (SELECT 1) TO '/tmp/x') FROM a",
        "FROM query('SELECT 1')",
        "FROM query_table('runs')",
        "FROM json_execute_serialized_sql(json_serialize_sql('SELECT 1'))",
        "SELECT (SELECT content FROM read_text('/etc/passwd'))",
        "SELECT * FROM system.main.read_blob('/etc/passwd')",
        "FROM \"READ_CSV\"('/etc/passwd')",
        "FROM sniff_csv('/etc/passwd')",
        "FROM glob('/*')",
        "FROM parquet_metadata('/etc/passwd')",
        "FROM duckdb_secrets()",
        "FROM duckdb_settings()",
        "FROM histogram('/etc/passwd', x)",
        "FROM arrow_scan(1, 2, 3)",
        "FROM '/etc/passwd'",
        "FROM 'x.parquet'",
        "DESCRIBE 'x.parquet'",
        "SUMMARIZE 'x.csv'",
        'WITH "x.parquet" AS (FROM runs) FROM "x.parquet"',
        "FROM runs WHERE name IN (FROM 's3://a/b.parquet')",
        "SELECT " + "[" * 5000 + "1" + "]" * 5000,
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
        "EXPLAIN ANALYZE SELECT 1",
        "-- why\nEXPLAIN (FORMAT json) WITH a AS (SELECT 1) FROM a",
        "PIVOT summaries ON name IN ('loss') USING max(last)",
        "TABLE runs",
        'SELECT * FROM "Summaries", range(2), unnest([1])',
        "WITH RECURSIVE a AS (SELECT 1 AS x UNION ALL SELECT x + 1 FROM a WHERE x < 5) FROM a",
        "SELECT * FROM information_schema.columns",
    ],
)
async def test_ways_to_read(database: Any, statement: str) -> None:
    await ask(database, statement)


async def test_nothing_else_can_be_read(filled: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """By what the process was told and given, whatever passes the look at the statement."""
    local = pa.table({"x": [1]})  # noqa: F841 - a Python variable DuckDB would find
    for statement in ("SELECT getenv('HOME')", "SELECT * FROM local", "SELECT * FROM no_such_table"):
        with pytest.raises(QueryError):
            await ask(filled, statement)
    monkeypatch.setenv("RUNSTREAM_TOKEN", "a secret of the server")
    for remote in (False, True):
        process = SqlProcess(remote)
        try:
            environment = await asyncio.to_thread(Path(f"/proc/{process.pid}/environ").read_bytes)
        finally:
            process.close()
        assert b"a secret of the server" not in environment
    request = {
        "do": "run",
        "seconds": 9.0,
        "memory": "1GB",
        "views": {},
        "tables": {},
        "deleted": [],
        "store": None,
    }
    with tempfile.TemporaryDirectory() as folder:
        opened = sql_worker._open(request, Path(folder))
        try:
            for statement in (
                "SELECT * FROM read_text('/etc/passwd')",
                "SELECT * FROM read_csv('http://127.0.0.1:1/x')",
                "COPY (SELECT 1) TO '/tmp/x'",
                "ATTACH '/tmp/x.db'",
                "INSTALL httpfs",
                "LOAD httpfs",
                "SET enable_external_access = true",
                "SET memory_limit = '100GB'",
            ):
                with pytest.raises(duckdb.Error):
                    opened.execute(statement)
        finally:
            opened.close()


async def _with_a_deleted_run(database: Any) -> Path:
    """A file that holds the runs `kept` and `deleted`."""
    for number, name in enumerate(("kept", "deleted")):
        run = await database.add_run(name, "e")
        rows = [(LOSS, Kind.FLOAT, i, i, 10 + i, 42.5 + number) for i in range(3)]
        await database.add_chunk(run, bytes([number + 1]) * 16, rows)
    await database.compact()
    await database.pool.execute(
        "with gone as (delete from runs where run_id = 'deleted' returning run_id, key) "
        "insert into deleted_runs (run_id, key) select run_id, key from gone"
    )
    path = await database.pool.fetchval("select path from files where kind = 'metrics' and state = 'live'")
    return Path(database.store.locate(path))


async def test_points_of_a_deleted_run_are_in_no_table_a_statement_can_name(database: Any) -> None:
    file = await _with_a_deleted_run(database)
    for table in ("metrics", "metrics_files_0"):
        rows = await ask(
            database, f"SELECT run_id, value FROM {table} WHERE 'metrics' IN (SELECT 'metrics' FROM metrics)"
        )
        assert {row["run_id"] for row in rows} == {"kept"}
    assert await ask(database, "SELECT count(*) AS n FROM metrics WHERE run_id <> 'kept' OR value > 43") == [
        {"n": 0}
    ]
    allowed = await ask(database, "SELECT current_setting('allowed_paths') AS p FROM metrics LIMIT 1")
    assert file.name not in str(allowed)
    stem, _, suffix = str(file).rpartition(".")
    for name in (
        f"'{file}'",
        f'"{file}"',
        f'"{stem}"."{suffix}"',
        f'"{stem}".main."{suffix}"',
        f'main."{file}"',
    ):
        with pytest.raises(QueryError, match="looks like a file"):
            await ask(database, f"SELECT m.* FROM {name} AS m, metrics")


@pytest.mark.parametrize("holds", [False, True])
async def test_a_file_that_holds_a_deleted_run_cannot_be_opened_by_what_passes_the_first_look(
    database: Any, tmp_path: Path, holds: bool
) -> None:
    file = await _with_a_deleted_run(database)
    columns = "run_id, name, step, time, value, int_value, text"
    metrics = {"columns": columns, "files": [(str(file), "e", holds)], "hot": None}
    request = {
        "memory": "1GB",
        "views": {"metrics": metrics},
        "tables": {},
        "deleted": ["deleted"],
        "store": None,
    }
    opened = sql_worker._open(request, tmp_path)
    try:
        runs = opened.execute("SELECT DISTINCT run_id FROM metrics ORDER BY 1").fetchall()
        assert runs == (
            [("kept",)] if holds else [("deleted",), ("kept",)]
        )  # False: what the fence is there for
        reading = f"SELECT count(*) FROM read_parquet('{file}')"
        if holds:
            with pytest.raises(duckdb.PermissionException):
                opened.execute(reading)
        else:
            assert opened.execute(reading).fetchall() == [(6,)]
    finally:
        opened.close()


async def test_files_of_the_store_cannot_be_written(filled: Any) -> None:
    """DuckDB lets whatever may read a file write it."""
    path = await filled.pool.fetchval("select path from files where kind = 'metrics' and state = 'live'")
    file = Path(filled.store.locate(path))
    before = await asyncio.to_thread(file.read_bytes)
    for statement in (
        f"WITH a AS MATERIALIZED (COPY (SELECT 1) TO '{file}' (FORMAT csv, USE_TMP_FILE false)) FROM a, metrics",
        f"EXPLAIN ANALYZE COPY (FROM metrics) TO '{file}' (FORMAT csv, USE_TMP_FILE false)",
    ):
        with pytest.raises(QueryError, match=r"COPY|EXPLAIN"):
            await ask(filled, statement)
    assert await asyncio.to_thread(file.read_bytes) == before


async def test_what_cannot_be_interrupted_is_killed(database: Any) -> None:
    endless = (
        "SELECT max(levenshtein(repeat('x', 20000) || range, repeat('y', 20000) || range)) FROM range(2048)"
    )
    with pytest.raises(QueryError, match="RUNSTREAM_QUERY_TIMEOUT"):
        await ask(database, endless, query_timeout=1.0)
    assert await ask(database, "SELECT 1 AS x") == [{"x": 1}]


async def test_only_so_many_at_once(database: Any) -> None:
    many = [ask(database, "SELECT 1 AS x") for _ in range(2 * MOST_AT_ONCE)]
    assert await asyncio.gather(*many) == [[{"x": 1}]] * len(many)
    assert len(sql_processes._idle) <= MOST_AT_ONCE


async def test_time_is_bounded(database: Any) -> None:
    with pytest.raises(QueryError, match="RUNSTREAM_QUERY_TIMEOUT"):
        await ask(
            database,
            "SELECT sum(a.range * b.range) FROM range(10000000) a, range(10000000) b",
            query_timeout=1.0,
        )


async def test_memory_is_bounded(database: Any) -> None:
    with pytest.raises(QueryError, match="RUNSTREAM_SQL_MEMORY"):
        await ask(database, "SELECT list(range) FROM range(100000000)", sql_memory="50MB")
    for statement in ("SELECT * FROM range(100000000)", "SELECT length(repeat('x', 4000000000)) AS n"):
        with pytest.raises(QueryError, match="RUNSTREAM_SQL_MEMORY"):
            await ask(database, statement, sql_memory="50MB")


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="sets the limit of another process")
async def test_what_the_server_may_take_is_not_what_a_statement_may(database: Any) -> None:
    """A process inherits the limit of the server, which may be all but full; then it is no fault of the statement."""
    process = SqlProcess(False)
    try:
        status = (await asyncio.to_thread(Path(f"/proc/{process.pid}/status").read_text)).splitlines()
        taken = next(int(line.split()[1]) for line in status if line.startswith("VmSize:")) << 10
        _, hard = resource.prlimit(process.pid, resource.RLIMIT_AS)
        resource.prlimit(process.pid, resource.RLIMIT_AS, (taken, hard))
        checked = await process.ask("check", database.settings, statement="SELECT count(*) FROM metrics")
        assert list(checked) == ["metrics"]
    finally:
        process.close()


async def test_a_missing_file_is_named(filled: Any) -> None:
    path = await filled.pool.fetchval("select path from files where kind = 'metrics' and state = 'live'")
    filled.store.delete(path)
    with pytest.raises(StoreError, match="parquet"):
        await ask(filled, "SELECT count(*) FROM metrics")
