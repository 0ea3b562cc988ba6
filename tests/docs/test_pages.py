"""The pages themselves: links and anchors lead somewhere, examples compile, and nothing lies outside of the index."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import pytest

from runstream_query.sql.sql_statement import check_statement

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def without_code(text: str) -> str:
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """Anchors of a page's headings, as forges make them."""
    headings = re.findall(r"^#+ (.+)$", without_code(page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def blocks(language: str) -> list[tuple[str, str]]:
    numbered = []
    for page in PAGES:
        for number, block in enumerate(
            re.findall(
                rf"^```{language}\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
            )
        ):
            numbered.append((f"{name(page)}-{number}", block))
    return numbered


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_to_files_and_headings(page: Path) -> None:
    wrong = []
    for target in re.findall(r"\]\((?!\w+:)([^)\s]+)\)", without_code(page.read_text(encoding="utf-8"))):
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            wrong.append(target)
    assert not wrong


@pytest.mark.parametrize(("place", "code"), blocks("python"))
def test_python_examples_compile(place: str, code: str) -> None:
    ast.parse(code, filename=place)


@pytest.mark.parametrize(("place", "code"), blocks("json"))
def test_json_examples_are_json(place: str, code: str) -> None:
    json.loads(code)


@pytest.mark.parametrize(("place", "code"), blocks("sql"))
def test_sql_examples_are_single_reading_statements(place: str, code: str) -> None:
    for statement in filter(None, (part.strip() for part in code.split(";"))):
        check_statement(statement)


def test_every_page_is_in_the_index() -> None:
    linked = set()
    for index in (DOCS / "README.md", DOCS / "decisions" / "README.md"):
        text = index.read_text(encoding="utf-8")
        linked |= {(index.parent / target).resolve() for target in re.findall(r"\]\(([^)#\s]+\.md)\)", text)}
    pages = {page.resolve() for page in DOCS.rglob("*.md") if page.name != "README.md"}
    assert {name(page) for page in pages - linked} == set()


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_code_blocks_say_their_language(page: Path) -> None:
    fences = re.findall(r"^```(.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert all(fences[::2]), "give every block a language; text for none"
    assert not any(fences[1::2])


def test_the_measured_table_has_its_place() -> None:
    text = (DOCS / "performance.md").read_text(encoding="utf-8")
    assert text.index("<!-- begin measured -->") < text.index("<!-- end measured -->")


def test_what_is_said_of_security_names_tests_that_exist() -> None:
    """Each defence in the table has one, and every test that is named is there."""
    text = (DOCS / "explanation" / "security.md").read_text(encoding="utf-8")
    table = text.partition("## Threats")[2].partition("\n### ")[0]
    rows = re.findall(r"^\| (.+) \| (.+) \| (.+) \|$", table, re.MULTILINE)[1:]
    assert len(rows) > 30
    for threat, _, tests in rows:
        assert re.search(r"`(tests/\w+|[\w/]*test_\w+\.py)`", tests), threat
    for named in re.findall(r"`((?:tests/)?[\w/]*test_\w+\.py|tests/[\w/]+)`", text):
        path = named if named.startswith("tests/") else f"tests/query/http/{named}"
        assert (ROOT / path).exists(), named
        # `make attack` carries it out, or the part of it that is meant.
        files = [ROOT / path] if path.endswith(".py") else list((ROOT / path).glob("test_*.py"))
        assert any("pytest.mark.attack" in file.read_text(encoding="utf-8") for file in files), named
