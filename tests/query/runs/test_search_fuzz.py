"""What people type into the search box is understood, or refused by name; the database takes what is understood."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fuzz import TIMES
from tests.seeds import new_random

from runstream_query.runs.run_order import Order
from runstream_query.runs.runs import list_runs
from runstream_query.runs.search import search
from runstream_query.sql.sql_statement import VIEWS, check_statement
from runstream_schemas.errors import QueryError

pytestmark = pytest.mark.attack

PIECES = [
    "status:", "tag:", "property:", "experiment:", "parent:", "run:", "since:", "before:", "is:", "type:", "target:",
    "loss", "val/loss", ".min", ".max", ".first", ".count", "<", "<=", ">", ">=", "==", "!=", "=", "0.1", "-1e300", "nan",
    "inf", "7d", "99999999999d", "2026-01-31", "0001-01-01", "none", "archived", "any", '"', '"a b"', "\\", "'", ";", "--",
    "%", "_", "\0", "ü", "\ud800", " ", "\n", ",", "running", "failed", "select", "$1"]  # fmt: skip
_QUERIES = st.one_of(st.text(max_size=60), st.lists(st.sampled_from(PIECES), max_size=12).map("".join))


@given(_QUERIES)
@settings(max_examples=1500 * TIMES, deadline=None)
def test_any_text_is_understood_or_refused(text: str) -> None:
    with contextlib.suppress(QueryError):
        search(text)


async def test_what_is_understood_can_be_asked(database: Any) -> None:
    chance = new_random(9)
    asked = 0
    async with database.pool.acquire() as connection:
        for _ in range(400 * TIMES):
            text = "".join(chance.choice(PIECES) for _ in range(chance.randint(1, 8)))
            try:
                filter_ = search(text)
            except QueryError:
                continue
            await list_runs(connection, filter_, order=Order.parse("-start_time"), limit=5)
            asked += 1
    assert asked > 50


SQL = [
    "select", "from", "with", "a as", "(", ")", "copy", "to", "'x.csv'", "metrics", "runs", "explain", "analyze", "/*",
    "*/", "--", "\n", ";", "insert into", "values (1)", "read_text", "('/etc/passwd')", "query", "union all", "recursive",
    "*", ",", "1", "pivot", "on", "using", "describe", "summarize", "'", '"', "$$", "\0", "ü", "materialized", "lateral",
    "set", "=", "[", "{", "::",
]  # fmt: skip


@given(st.one_of(st.text(max_size=60), st.lists(st.sampled_from(SQL), max_size=14).map(" ".join)))
@settings(max_examples=300 * TIMES, deadline=None)
def test_any_statement_is_a_reading_one_or_refused(text: str) -> None:
    with contextlib.suppress(QueryError):
        assert check_statement(text).views <= set(VIEWS)
