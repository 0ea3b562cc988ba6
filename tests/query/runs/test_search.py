"""The search box's language."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from runstream_query.runs.run_filter import ANY, LabelFilter, MetricFilter, RunFilter
from runstream_query.runs.runs import list_runs
from runstream_query.runs.search import _FIELDS, search
from runstream_schemas.errors import QueryError

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ridge 'two", {"words": ["ridge", "'two"]}),
        ('"two words" x', {"words": ["two words", "x"]}),
        ("status:running,FAILED", {"status": ["Running", "Failed"]}),
        ('experiment:"my sweep"', {"experiment": "my sweep"}),
        ("tag:a tag:b=c=d", {"tags": [("a", ANY), ("b", "c=d")]}),
        ("property:p=1", {"properties": [("p", "1")]}),
        ("loss<0.1", {"metrics": [MetricFilter("loss", "last", "<", 0.1)]}),
        ("val/loss.min<=2e-3", {"metrics": [MetricFilter("val/loss", "min", "<=", 0.002)]}),
        ('"epoch time".max>5', {"metrics": [MetricFilter("epoch time", "max", ">", 5.0)]}),
        ("a.b==1", {"metrics": [MetricFilter("a.b", "last", "=", 1.0)]}),
        ("since:12h", {"started_from": datetime(2026, 11, 21, tzinfo=UTC)}),
        ("before:2026-01-31", {"started_to": datetime(2026, 1, 31, tzinfo=UTC)}),
        ("is:archived", {"archived": True}),
        ("https://host", {"words": ["https://host"]}),
        ("epoch=5", {"metrics": [MetricFilter("epoch", "last", "=", 5.0)]}),
        (
            "-epoch.max=5",
            {"without": [RunFilter(metrics=[MetricFilter("epoch", "max", "=", 5.0)], archived=None)]},
        ),
        ('"a=b" "c:d"', {"words": ["a=b", "c:d"]}),
        ("wow! 5:1", {"words": ["wow!", "5:1"]}),
        ("tag:lr<=1e-2", {"labels": [LabelFilter("tag", "lr", "<=", 0.01)]}),
        ("tag:model!=a<b", {"labels": [LabelFilter("tag", "model", "!=", "a<b")]}),
        ("param:lr", {"labels": [LabelFilter("param", "lr", "", ANY)]}),
        ('param:"batch size"=8', {"labels": [LabelFilter("param", "batch size", "=", "8")]}),
        ("longer:1.5h shorter:90s", {"longer": 5400.0, "shorter": 90.0}),
        ("-ridge", {"without": [RunFilter(words=["ridge"], archived=None)]}),
        ("-status:failed", {"without": [RunFilter(status=["Failed"], archived=None)]}),
        ('- "-x"', {"words": ["-", "-x"]}),
        ("", {}),
    ],
)
def test_language(text: str, expected: dict[str, Any]) -> None:
    filter_ = search(text, now=NOW)
    assert {name: getattr(filter_, name) for name in expected} == expected


@pytest.mark.parametrize(
    "text",
    [
        "status:odd",
        "loss<abc",
        "since:yesterday",
        "is:odd",
        "tag:",
        "since:999999999w",
        "tag:lr<x",
        "longer:soon",
        "epoch=five",
        "-epoch=five",
        "loss<nan",
        "loss<",
        "<5",
        "a<b<5",
        "stauts:failed",
        "-stauts:failed",
        'an "open quote',
        'x"',
    ],
)
def test_what_cannot_be_understood_says_what_was_expected(text: str) -> None:
    with pytest.raises(QueryError, match=r"use|no number|missing|long ago|not closed"):
        search(text)


def test_every_term_of_its_page_is_understood_and_every_field_is_on_it() -> None:
    page = (Path(__file__).parents[3] / "docs" / "reference" / "search.md").read_text()
    terms = re.findall(r"`([^`]+)`", page.split("## Terms")[1].split("## Order")[0])
    assert len(terms) > 30
    terms = [term for term in terms if not re.fullmatch(r"""[<>=!"\\]+""", term)]
    for term in [*terms, page.split("```text")[1].split("```")[0]]:
        search(term)
    assert {field for field in _FIELDS if not re.search(rf"`-?{field}:", page)} == set()


async def test_words_are_found_in_names_experiments_and_tags(database: Any) -> None:
    key = await database.add_run("id-1", "Sweep", display_name="Red River")
    await database.add_run("id-2", "Other")
    await database.pool.execute(
        "insert into tags (run_key, key, value, time_us, source, seq) values ($1, 'm', 'Ridge_x', 0, gen_random_uuid(), 0)",
        key,
    )
    async with database.pool.acquire() as connection:
        for text, expected in (
            ("red", ["id-1"]),
            ("sweep ridge_X", ["id-1"]),
            ("sweep nothing", []),
            ("-red", ["id-2"]),
            ("%", []),
            ("id-", ["id-2", "id-1"]),
        ):
            page = await list_runs(connection, search(text))
            assert [run.run_id for run in page.runs] == expected, text
