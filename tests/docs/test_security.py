"""docs/explanation/security.md: every sentence has tests that exist and that `make attack` runs; its figures are the
code's."""

from __future__ import annotations

import ast
import re
import tomllib
from functools import cache
from pathlib import Path

import pytest

from runstream_query.http import app, browser_access, connections, shares, tokens
from runstream_query.http.endpoints import live
from runstream_query.sql import sql_processes

pytestmark = pytest.mark.attack

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "explanation" / "security.md").read_text(encoding="utf-8")
TABLE = tomllib.loads((Path(__file__).parent / "security_claims.toml").read_text(encoding="utf-8"))
CLAIMS: dict[str, list[str]] = TABLE["tests"]
"""Tests by a piece of the sentence they hold."""
PARTS = ("schemas", "producers", "consumers", "query", "service")


def claims() -> list[str]:
    """Each sentence of the page, and each row of its tables."""
    blocks: list[str] = [""]
    for line in (line.strip() for line in PAGE.splitlines()):
        if not line or line.startswith("#") or re.fullmatch(r"[|\- ]+", line):
            blocks.append("")
        elif line.startswith("|"):
            blocks += [line, ""]
        elif re.match(r"- |\d\. ", line):
            blocks.append(re.sub(r"^(- |\d\. )", "", line))
        else:
            blocks[-1] = f"{blocks[-1]} {line}".strip()
    headings = ("| threat |", "| library |")
    return [
        sentence
        for block in blocks
        if not block.startswith(headings)
        for sentence in (
            [block] if block.startswith("|") else re.split(r"(?<=[.;!?])(?<!\.\.)\s+(?=[A-Z`*])", block)
        )
        if re.search(r"\w", sentence)
    ]


def nodes(tests: list[str]) -> list[tuple[Path, str]]:
    """File and function of each test."""
    parts = [name.split("::") for name in tests]
    return [
        (ROOT / (file if "/" in file else f"tests/query/http/{file}"), function) for file, function in parts
    ]


@cache
def functions(file: Path) -> dict[str, bool]:
    """The tests of a file, and whether `make attack` carries each out."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    marked = any(
        isinstance(node, ast.Assign) and "pytestmark" in ast.unparse(node) and "attack" in ast.unparse(node)
        for node in tree.body
    )
    return {
        node.name: marked or any("mark.attack" in ast.unparse(decorator) for decorator in node.decorator_list)
        for node in tree.body
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    }


def test_every_sentence_has_its_tests() -> None:
    pieces = [*CLAIMS, *TABLE["no_claim"]]
    wrong = [
        (claim[:80], quoted)
        for claim in claims()
        if len(quoted := [piece for piece in pieces if piece in claim]) != 1
    ]
    assert wrong == []
    assert [piece for piece in pieces if sum(piece in claim for claim in claims()) != 1] == []
    assert [
        (piece, function)
        for piece, tests in CLAIMS.items()
        for file, function in nodes(tests)
        if function not in functions(file)
    ] == []


def test_files_beside_a_sentence_are_those_of_its_tests() -> None:
    wrong = []
    for claim in claims():
        held = {file for piece, tests in CLAIMS.items() if piece in claim for file, _ in nodes(tests)}
        for name in re.findall(r"`((?:tests/[\w/]*)?test_\w+\.py|tests/[\w/]+)`", claim):
            named = ROOT / name if "/" in name else ROOT / "tests/query/http" / name
            if "Tests without a folder" not in claim and "try damaged events" not in claim:
                wrong += [] if any(named in (file, *file.parents) for file in held) else [(claim[:60], name)]
    assert wrong == []


def test_make_attack_carries_them_out() -> None:
    left_out = {
        (file.name, function)
        for tests in CLAIMS.values()
        for file, function in nodes(tests)
        if not functions(file)[function]
    }
    assert left_out == set()
    for folder in (ROOT / "tests" / "fuzz").glob("test_*.py"):
        assert all(functions(folder).values()), folder


def test_make_attack_takes_times() -> None:
    [line] = re.findall(r"^\t(.*-m attack.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert "RUNSTREAM_TEST_API_TIMES=$(or $(TIMES),1)" in line
    assert "RUNSTREAM_TEST_FUZZ_TIMES=$(or $(TIMES),1)" in line


def test_figures_are_those_of_the_code() -> None:
    figures = {
        f"it has {app.MIN_TOKEN} characters at least": 1,
        f"a server's own has {app.MIN_TOKEN} characters at least": 1,
        f"believe what they looked up for {tokens.BELIEVED:.0f} seconds": 1,
        f"A session ends after {browser_access.SESSION_SECONDS // 86_400} days": 1,
        f"after {tokens.FAILURES} wrong ones within a minute": tokens.FAILURES_SECONDS / 60,
        f"{shares.MOST_REQUESTS} under way, {shares.MOST_BODIES} of them with a body": 1,
        f"given up after {connections.HEAD_SECONDS:.0f} and {shares.STALLED_SECONDS:.0f} seconds": 1,
        f"of {connections.MOST_WAITING} connections without a whole head": 1,
        f"{live.MOST_STREAMS:,} a server, then 503": 1,
        "for ten minutes": browser_access.TICKET_SECONDS / 600,
        "killed when it is late; four at once": sql_processes.MOST_AT_ONCE / 4,
        "half of the places for SQL": 2 * 2 / sql_processes.MOST_AT_ONCE,
    }
    text = " ".join(PAGE.split())
    assert [(figure, right) for figure, right in figures.items() if figure not in text or right != 1] == []


def sources() -> list[Path]:
    return [file for part in PARTS for file in (ROOT / part).rglob("*.py")]


def test_parts_of_starlette_that_are_not_used() -> None:
    used = re.compile(
        r"starlette\.(websockets|staticfiles|formparsers|middleware|templating)|request\.form\(|python_multipart"
    )
    assert [str(file) for file in sources() if used.search(file.read_text(encoding="utf-8"))] == []


def test_yaml_is_loaded_safely() -> None:
    calls = [
        (file.name, call)
        for file in sources()
        for call in re.findall(r"yaml\.(\w*load\w*)\(", file.read_text(encoding="utf-8"))
    ]
    assert len(calls) > 0
    assert [call for call in calls if call[1] != "safe_load"] == []


def test_pickles_are_between_a_driver_and_its_workers() -> None:
    # Or, in train, between who submits and the driver, by a file in the run's directory, which is its owner's alone.
    using = {
        str(file.relative_to(ROOT).parent)
        for file in sources()
        if re.search(r"\b(cloud)?pickle\.\w+\(", file.read_text(encoding="utf-8"))
    }
    assert using == {"producers/runstream/sweep", "producers/runstream/train/hyperdrive"}


def test_exceptions_of_the_linter_have_their_reason() -> None:
    lines = [
        (file.name, line)
        for file in sources()
        for line in file.read_text(encoding="utf-8").splitlines()
        if re.search(r"# noqa: S\d", line)
    ]
    assert [line for line in lines if not re.search(r"# noqa: S\d+ - \w", line[1])] == []
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["ruff"]["lint"]
    assert "S" in settings["select"]
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    bare = [line for line in text.splitlines() if re.match(r'\s*"S\d{3}"', line) and "#" not in line]
    assert bare == []
