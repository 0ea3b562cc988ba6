"""What commands print."""

from __future__ import annotations

import io
import json
import re
import sys
import unicodedata
from typing import Any

import pytest
import yaml

from runstream_schemas.errors import QueryError
from runstream_service.cli.output import FORMATS, as_json, as_table, as_tsv, as_yaml, emit

RECORDS: list[dict[str, Any]] = [
    {"run_id": "a", "status": "Failed", "tags": {"k": "v"}, "n": 1, "x": 0.25, "none": None},
    {"run_id": "b\tc", "status": "Completed", "tags": {}, "n": 2, "x": float("nan"), "none": None},
]


def printed(value: Any, form: str, query: str | None = None) -> str:
    stream = io.StringIO()
    emit(value, form, query, stream)
    return stream.getvalue()


def test_jmespath_picks_a_part() -> None:
    assert printed(RECORDS, "json", "[?status=='Failed'].run_id") == '[\n  "a"\n]\n'
    assert printed(RECORDS, "tsv", "[].[run_id, n]") == "a\t1\nb\\tc\t2\n"
    assert printed(RECORDS, "table", "length(@)") == "2\n"


def test_wrong_expression_says_where() -> None:
    with pytest.raises(QueryError, match="--query"):
        printed(RECORDS, "json", "[?")


def test_table_has_headings_and_cuts_long_cells() -> None:
    lines = as_table([{"name": "x" * 100, "n": 1}, {"name": "y", "n": 22, "more": True}]).splitlines()
    assert lines[0].split() == ["name", "n", "more"]
    assert lines[2].startswith("x" * 59 + "…")
    assert lines[3].split() == ["y", "22", "true"]
    assert as_table([]) == ""


HOSTILE = "a\x1b]0;title\x07\x1b[2J\x9b31m\x7f\u202eb\u2028"


@pytest.mark.attack
@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("terminal", [False, True])
def test_names_do_not_steer_the_terminal(form: str, terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr(out, "isatty", lambda: terminal)
    monkeypatch.setattr(sys, "stdout", out)
    for value in ([{HOSTILE: HOSTILE}], {HOSTILE: HOSTILE}, [HOSTILE], [[HOSTILE, {HOSTILE: [HOSTILE]}]]):
        emit(value, form)
    text = re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue()) if terminal else out.getvalue()  # our own colours
    assert text
    assert not [
        c for c in text if c != "\n" and c != "\t" and unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp")
    ]
    if form == "json":
        assert json.loads(as_json({HOSTILE: HOSTILE})) == {HOSTILE: HOSTILE}


def test_one_record_stands_upright() -> None:
    assert as_table({"status": "up", "pid": 7}) == "status  up\npid     7"


@pytest.mark.attack
def test_tsv_holds_no_formulas() -> None:
    """As the server's CSV: a spreadsheet takes what others wrote for text."""
    texts = ["=1+1", "+x", "-cmd", "@sum", "-1.5e3", "-inf", "a=1", ""]
    assert as_tsv([texts]).split("\t") == ["'=1+1", "'+x", "'-cmd", "'@sum", "-1.5e3", "-inf", "a=1", ""]
    assert as_tsv([[-1, -2.5, None, True]]) == as_tsv([[-1, -2.5, None, True]], raw=True)
    assert printed([{"a": "=1"}], "tsv") == "'=1\n"
    assert printed([{"a": "=1"}], "tsv-raw") == "=1\n"


def test_tsv_keeps_one_line_a_row() -> None:
    assert as_tsv([{"a": "x\ny", "b": "back\\slash"}]) == "x\\ny\tback\\\\slash"


@pytest.mark.parametrize(
    "value",
    [
        {},
        [],
        None,
        "yes",
        "123",
        "1e5",
        "null",
        "- dash",
        "a: b",
        "~",
        "2026-11-21",
        "grün",
        "",
        " lead",
        "trail ",
        "#no",
        [1, "two", {"three": [3, [4]], "four": {}}],
        {"a": {"b": [1, 2], "c": {"d": None}}, "on": True, "x y": 0.5},
        [[1, 2], [3]],
        [{"a": 1, "b": [{"c": "d"}]}],
    ],
)
def test_yaml_reads_back_as_it_was(value: Any) -> None:
    assert yaml.safe_load(as_yaml(value)) == value
