"""One list of statuses, `runstream_schemas.runs.status.STATUSES`, wherever one is named."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from runstream.client import records
from runstream_query.runs.search import search
from runstream_schemas.runs import status
from runstream_schemas.runs.status import STATUSES, Step, fold
from runstream_service.cli.main import build_parser

ROOT = Path(__file__).parents[2]


def test_every_status_a_run_can_come_to_is_on_the_list() -> None:
    assert set(status._STATUSES.values()) | set(status.ENDINGS.values()) | {"NotStarted"} == set(STATUSES)
    assert set(status.ACTIVE) | status.TERMINAL == set(STATUSES)


@pytest.mark.parametrize("name", STATUSES)
def test_every_status_is_taken_everywhere(name: str) -> None:
    assert build_parser().parse_args(["run", "list", "--status", name]).status == [name]
    assert search(f"status:{name.lower()}").status == [name]
    records.check_filters(None, None, name)
    assert re.search(
        rf"\b{name}\b", (ROOT / "docs" / "reference" / "statuses.md").read_text(encoding="utf-8")
    )


def test_the_dashboard_has_a_look_for_each_and_no_others() -> None:
    text = (ROOT / "dashboard" / "src" / "lib" / "status.ts").read_text(encoding="utf-8")
    looks = text.split("const LOOKS")[1].split("\n};")[0]
    assert set(re.findall(r"^  (\w+): \{", looks, re.MULTILINE)) == set(STATUSES)
    for source in (ROOT / "dashboard" / "src").rglob("*.ts"):
        if source.name != "status.ts":
            assert "NotResponding" not in source.read_text(encoding="utf-8"), source


@pytest.mark.parametrize("kind", sorted({**status._STATUSES, **status.ENDINGS}))
def test_every_step_leads_to_one_of_them(kind: str) -> None:
    assert fold([Step(1, "a", 0, kind)]).status in STATUSES


THE_LIST = {"record.py", "status.py"}
RELEASED = "migrations"
"""A released migration stays as it is."""
MANY = 7
"""Statuses that make a list of all of them; a handful is a choice of its own, such as those that wait."""


def is_second_list(names: set[str]) -> bool:
    named = names & set(STATUSES)
    return len(named) >= MANY or (named == names and named == set(status.TERMINAL))


@pytest.mark.parametrize("package", ["schemas", "producers", "consumers", "query", "service"])
def test_no_package_has_a_list_of_its_own(package: str) -> None:
    for file in (ROOT / package).rglob("*.py"):
        if file.name in THE_LIST and package == "schemas":
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            parts: list[ast.expr | None] = []
            if isinstance(node, (ast.Tuple, ast.List, ast.Set)):
                parts = [*node.elts]
            elif isinstance(node, ast.Dict):
                parts = node.keys if set(map(type, node.keys)) == {ast.Constant} else []
                assert not is_second_list({str(getattr(value, "value", "")) for value in node.values}), file
            assert not is_second_list({str(getattr(part, "value", "")) for part in parts}), (
                file,
                node.lineno,
            )


def test_no_statement_has_a_list_of_its_own() -> None:
    for package in ("schemas", "producers", "consumers", "query", "service"):
        for file in [*(ROOT / package).rglob("*.py"), *(ROOT / package).rglob("*.sql")]:
            if RELEASED in file.parts:
                continue
            for listed in re.findall(r"\(\s*'\w+'(?:\s*,\s*'\w+')+\s*\)", file.read_text(encoding="utf-8")):
                assert not is_second_list(set(re.findall(r"\w+", listed))), (file, listed)


def test_the_pages_know_which_end_a_run() -> None:
    """A type carries no values into the browser, so they are written there, once."""
    sources = {
        file: file.read_text(encoding="utf-8")
        for file in (ROOT / "dashboard" / "src").rglob("*")
        if file.suffix in (".ts", ".svelte")
    }
    lists = {
        (file.name, listed)
        for file, text in sources.items()
        for listed in re.findall(r"\[\s*\"\w+\"(?:,\s*\"\w+\")*,?\s*\]", text)
        if is_second_list(set(re.findall(r"\w+", listed)))
    }
    ((name, ended),) = lists
    assert (name, set(re.findall(r"\w+", ended))) == ("status.ts", set(status.TERMINAL))


def test_no_page_of_the_docs_has_a_list_of_its_own() -> None:
    held = {"statuses.md", "http.md"}  # the one is compared above, the other is generated
    for page in (ROOT / "docs").rglob("*.md"):
        for part in page.read_text(encoding="utf-8").split("\n\n"):
            named = {name for name in STATUSES if re.search(rf"\b{name}\b", part)}
            assert page.name in held or len(named) < MANY, (page, part)
