"""SQL reads of the hot tier, of runs and of summaries only what a statement needs, and answers as if it had read all."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pytest

from runstream_consumers.compaction.packing import pack_runs
from runstream_query.sql import sql, sql_hot, sql_tables
from runstream_query.sql.sql import run_sql
from runstream_query.sql.sql_hot import HotRows
from runstream_query.sql.sql_needs import Needs, find_needs
from runstream_query.sql.sql_statement import check_statement
from runstream_schemas.errors import QueryError
from runstream_schemas.series import Kind, SeriesClass, SeriesKey

STATEMENTS = [
    "SELECT run_id, sum(value), count(*) FROM metrics WHERE name = 'loss' GROUP BY 1",
    "SELECT * FROM metrics",
    "SELECT * FROM metrics WHERE name = 'it''s' OR step > 3",
    "SELECT * FROM metrics WHERE 'loss' = name AND run_id = 'run 3'",
    "SELECT count(*) FROM metrics",
    "SELECT count(text), count(int_value), max(time) FROM metrics WHERE experiment = 'e1'",
    "SELECT a.value, b.value FROM metrics a LEFT JOIN metrics b ON a.run_id = b.run_id AND b.name = 'it''s' "
    "WHERE a.name = 'loss'",
    "SELECT value FROM metrics WHERE name IN ('loss', 'n') AND run_id IN "
    "(SELECT run_id FROM runs WHERE status = 'Completed')",
    "WITH a AS (SELECT * FROM metrics WHERE name = 'n'), b AS (SELECT * FROM metrics WHERE name = 'loss') "
    "SELECT count(*), sum(b.value) FROM a JOIN b USING (run_id)",
    "SELECT m FROM metrics m WHERE name = 'loss'",
    "SELECT COLUMNS('v.*') FROM metrics",
    "PIVOT metrics ON name IN ('loss', 'n') USING sum(value) GROUP BY run_id",
    "SELECT column_name, min, max, count, null_percentage FROM (SUMMARIZE metrics)",
    "DESCRIBE summaries",
    "SELECT * FROM metrics WHERE name IS NULL",
    "SELECT value FROM metrics ORDER BY value DESC, run_id LIMIT 3",
    "SELECT value FROM metrics WHERE name = 'loss' AND 1 = 0",
    "SELECT * FROM metrics WHERE name = (SELECT max(name) FROM summaries)",
    "SELECT * FROM metrics EXCEPT SELECT * FROM metrics WHERE name = 'loss'",
    'SELECT run_id, "column", "row", int_value FROM rows',
    "SELECT count(*) FROM rows WHERE name = 't' AND run_id = 'run 5'",
    "SELECT * FROM rows, (SELECT count(*) FROM metrics WHERE name = 'n')",
    "SELECT * FROM runs",
    "SELECT run_id, tags['k'] FROM runs WHERE experiment = 'e1'",
    "SELECT count(*) FROM runs",
    "SELECT * FROM summaries",
    "SELECT last FROM summaries WHERE name = 'loss' ORDER BY last LIMIT 2",
    "SELECT count(*), count(min), count(mean), count(last_text) FROM summaries",
    "SELECT run_id, last_text FROM summaries WHERE last_text IS NOT NULL",
    "SELECT r.status, avg(s.last), max(s.last_step) FROM summaries s JOIN runs r USING (run_id) "
    "WHERE s.name = 'loss' GROUP BY 1",
    "SELECT s.name FROM summaries s WHERE run_id = 'run 2' AND name = 'it''s'",
    "SELECT run_id, name, min, mean, count, last_step FROM summaries WHERE name IN ('n', 'it''s')",
    "SELECT run_id, last FROM summaries WHERE name IN ('n', 'it''s', 'loss', 'x', 'y', 'z')",
    "SELECT name, count(*) FROM summaries GROUP BY 1",
    "SELECT avg(last_step), max(last_text) FROM summaries",
    "SELECT count(*) FROM summaries",
]


async def ask(database: Any, statement: str) -> list[str]:
    table: pa.Table = await run_sql(database.pool, database.store, database.settings, statement)
    return sorted(repr(sorted(row.items())) for row in table.to_pylist())


@pytest.fixture
async def filled(database: Any) -> Any:
    """Eight runs with numbers, texts, tables and a large chunk, half of them in a file."""
    random = Random(1)
    for number in range(8):
        status = "Completed" if number % 2 else "Failed"
        run = await database.add_run(f"run {number}", f"e{number % 3}", type="t", status=status)
        for name in ("loss", "it's", "n"):
            await database.add_summary(
                run,
                name,
                min=None if name == "n" else 0.5,
                last=float("nan") if number == 4 else number / 4,
                sum=3.0,
                finite=0 if name == "n" else 2,
                count=number,
                last_step=None if number == 1 else 7,
                last_text="a text" if name == "n" and number > 5 else None,
            )
        rows = []
        for slot in range(4000 if number == 6 else 12):
            name = ("loss", "it's", "n")[slot % 3]
            kind, value = Kind.FLOAT, random.randrange(64) / 64
            if name == "n" and number == 2:
                kind, value = Kind.TEXT, "a text"  # type: ignore[assignment]
            elif name == "n":
                kind, value = random.choice([Kind.INT, Kind.BOOL]), random.randrange(2)
            rows.append((SeriesKey(0, name), kind, slot, slot // 3, 1000 + slot, value))
        await database.add_chunk(run, bytes([number + 1]) * 16, rows)
        if number % 3 == 2:
            cells = [
                (SeriesKey(SeriesClass.TABLE, "t", "x"), Kind.INT, 5000 + i, i, 30 + i, i) for i in range(3)
            ]
            await database.add_chunk(run, bytes([number + 1]) * 16, cells)
        await database.pool.execute(
            "insert into tags (run_key, key, value, time_us, source, seq) values ($1, 'k', 'v', 0, gen_random_uuid(), 0)",
            run,
        )
        if number == 3:
            await database.compact()
    return database


@pytest.mark.parametrize("statement", STATEMENTS)
async def test_the_answer_is_that_of_all_rows_and_columns(
    filled: Any, statement: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = await ask(filled, statement)
    monkeypatch.setattr(sql, "Needs", lambda **_: Needs())
    assert answer == await ask(filled, statement)


async def test_answers_do_not_depend_on_which_runs_are_packed(filled: Any) -> None:
    statements = [statement for statement in STATEMENTS if "summaries" in statement]
    answers = [await ask(filled, statement) for statement in statements]
    for some in ("key % 2 = 0", "true"):
        await filled.pool.execute(f"update runs set settled_at = now() where {some}")
        assert await pack_runs(filled.pool) == 4
        assert [await ask(filled, statement) for statement in statements] == answers


def test_names_in_a_list_and_behind_a_limit_restrict_what_is_read() -> None:
    for statement in (
        "SELECT avg(value) FROM metrics WHERE name IN ('a', 'it''s')",
        "SELECT run_id, last FROM summaries WHERE name IN ('a', 'it''s')",
    ):
        (needs,) = needs_of(statement).values()
        assert needs.only == {"name": ["a", "it's"]}
    needs = needs_of("SELECT run_id, last FROM summaries WHERE name = 'a' ORDER BY last LIMIT 10")[
        "summaries"
    ]
    assert needs.only == {"name": ["a"]}
    assert needs_of("SELECT * FROM metrics WHERE name NOT IN ('a', 'b')")["metrics"].only == {}


async def test_answers_do_not_depend_on_how_much_is_read_at_once(
    filled: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    statements = [STATEMENTS[n] for n in (1, 19, 22, 25)]
    answers = [await ask(filled, statement) for statement in statements]
    monkeypatch.setattr(sql_hot, "CHUNKS_AT_ONCE", 1)
    monkeypatch.setattr(sql_tables, "ROWS_AT_ONCE", 3)
    monkeypatch.setattr(sql_tables, "COPY_BYTES", 1)
    assert answers == [await ask(filled, statement) for statement in statements]


def needs_of(statement: str) -> dict[str, Needs]:
    return find_needs(statement, check_statement(statement).views)


async def read(database: Any, folder: Path, statement: str) -> HotRows:
    needs = needs_of(statement)
    hot = HotRows(folder, {view: needs[view] for view in ("metrics", "rows") if view in needs})
    async with database.pool.acquire() as connection, connection.transaction(isolation="repeatable_read"):
        await hot.spill(connection, None)
    return hot


async def test_only_the_points_that_are_named_are_written(filled: Any, tmp_path: Path) -> None:
    """Hot are runs 4 to 7: 12 points each, 4,000 of run 6, three series."""
    statements = {
        "SELECT * FROM metrics": 3 * 12 + 4000,
        "SELECT * FROM metrics WHERE name = 'loss'": 3 * 4 + 1334,
        "SELECT * FROM metrics WHERE run_id = 'run 7'": 12,
        "SELECT * FROM metrics WHERE run_id = 'run 7' AND name = 'loss'": 4,
        "SELECT * FROM metrics WHERE run_id = 'run 0'": 0,
        "SELECT * FROM metrics WHERE experiment = 'e1'": 24,
    }
    for statement, points in statements.items():
        assert (await read(filled, tmp_path, statement)).points == points, statement
    assert (await read(filled, tmp_path, "SELECT * FROM metrics WHERE run_id = 'run 7'")).chunks == 1


async def test_columns_that_nobody_reads_are_empty(filled: Any, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    await read(filled, tmp_path, "SELECT avg(value) FROM metrics WHERE name = 'loss' AND run_id = 'run 7'")
    table = pq.read_table(tmp_path / "hot-metrics.parquet")
    full = [name for name in table.column_names if table.column(name).null_count == 0]
    assert full == ["run_id", "name", "value"] or full == ["experiment", "run_id", "name", "value"]


async def test_only_the_runs_and_summaries_that_are_named_are_read(filled: Any, tmp_path: Path) -> None:
    async with filled.pool.acquire() as connection, connection.transaction(isolation="repeatable_read"):
        for statement, rows in {
            "SELECT * FROM summaries": 24,
            "SELECT last FROM summaries WHERE name = 'loss'": 8,
            "SELECT last FROM summaries WHERE name = 'loss' AND run_id = 'run 4'": 1,
        }.items():
            needs = needs_of(statement)["summaries"]
            written = await sql_tables.write_summaries(connection, tmp_path / "s", needs, None)
            assert written == rows, statement
        needs = needs_of("SELECT run_id FROM runs WHERE experiment = 'e1'")["runs"]
        assert needs.columns == ["experiment", "run_id"]
        assert await sql_tables.write_runs(connection, tmp_path / "r", needs, None) == 3


async def test_too_much_in_the_hot_tier_is_said_to_be_that(
    filled: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def late(*_: Any) -> Any:
        raise TimeoutError

    monkeypatch.setattr(HotRows, "spill", late)
    with pytest.raises(QueryError, match=r"not in files yet .*WHERE run_id"):
        await ask(filled, "SELECT count(*) FROM metrics")
