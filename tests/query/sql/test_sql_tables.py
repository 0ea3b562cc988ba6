"""The views `runs` and `params` hold what the database holds, whatever texts and numbers that are."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest

from runstream_query.sql.sql import run_sql

TEXTS = [
    "",
    None,
    'say "hi", she said',
    "two\nlines\r\nand\rmore",
    "\\N",
    "\\.",
    " padded ",
    "NULL",
    "t",
    "ünïcode ☃ \U0001f600",
    "a,b;c\td",
    "x" * 3_000_000,  # more than is taken from a connection, or turned into columns, at once
]


async def ask(database: Any, statement: str) -> list[dict[str, Any]]:
    table: pa.Table = await run_sql(database.pool, database.store, database.settings, statement)
    return table.to_pylist()


@pytest.mark.parametrize("columns", ["description", "run_id, description, number, settled, tags"])
async def test_texts_of_runs_are_what_was_stored(database: Any, columns: str) -> None:
    for number, text in enumerate(TEXTS):
        key = await database.add_run(f"r{number:02}", type="t")
        await database.pool.execute("update runs set description = $2 where key = $1", key, text)
    rows = await ask(database, f"select {columns} from runs order by run_id")
    assert [row["description"] for row in rows] == TEXTS


async def test_times_are_kept_to_the_microsecond_and_are_null_where_none_is_set(database: Any) -> None:
    times = [
        datetime(2026, 1, 2, 3, 4, 5, 678901, UTC),
        datetime(1969, 12, 31, 23, 59, 59, 999999, UTC),
        None,
    ]
    for number, time in enumerate(times):
        key = await database.add_run(f"r{number}", type="t")
        await database.pool.execute("update runs set end_time = $2 where key = $1", key, time)
    rows = await ask(database, "select end_time, settled from runs order by run_id")
    assert [row["end_time"] for row in rows] == times
    assert {row["settled"] for row in rows} == {False}


async def test_tags_hold_any_text(database: Any) -> None:
    key = await database.add_run("r", type="t")
    tags = {f"k{number}": text for number, text in enumerate(TEXTS[:-1])}
    await database.pool.executemany(
        "insert into tags (run_key, key, value, time_us, source, seq) values ($1, $2, $3, 0, gen_random_uuid(), 0)",
        [(key, name, text) for name, text in tags.items()],
    )
    await database.add_run("without", type="t")
    rows = await ask(database, "select tags from runs order by run_id")
    assert [dict(row["tags"]) for row in rows] == [tags, {}]


async def test_parameters_keep_their_kinds_and_every_float(database: Any) -> None:
    run = await database.add_run("r", type="t")
    stored = [
        ("a", 0, "1e-05", 1e-05),
        ("b", 0, "Infinity", float("inf")),
        ("c", 0, "5e-324", 5e-324),
        ("d", 0, "0.1", 0.1),
        ("e", 1, "9007199254740993", 9007199254740993),
        ("f", 2, "true", True),
        ("g", 2, "false", False),
        ("h", 3, "", ""),
        ("i", 4, "", None),
    ]
    await database.pool.executemany(
        "insert into params (run_key, name, kind, text, origin, time_us, source, seq) "
        "values ($1, $2, $3, $4, 0, 0, gen_random_uuid(), 0)",
        [(run, *row[:3]) for row in stored],
    )
    rows = await ask(database, "select name, value, int_value, bool_value, text from params order by name")
    places = {0: "value", 1: "int_value", 2: "bool_value", 3: "text", 4: "text"}
    assert [row[places[kind]] for row, (_, kind, *_) in zip(rows, stored, strict=True)] == [
        value for *_, value in stored
    ]
