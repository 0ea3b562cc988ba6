"""One meaning a word, the field's terms, and local names that say what they hold (docs/reference/glossary.md)."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PARTS = ("schemas", "producers", "consumers", "query", "service")
BESIDE = ("tests", "bench", "examples")
"""What is not shipped; held to names as the packages are."""
VAGUE = frozenset({"found", "one", "wanted"})
"""Of whatever was looked for, gone through or asked for: the name of a thing says which."""
TURNS = {
    r"carr(?:y|ies|ied|ying) out": "run, execute",
    r"go(?:es|ing)? on": "continue, resume",
    r"(?:spoken|speaks?) for": "report",
    r"buried": "drop",
    r"(?:the|every) half of": "part",
}
"""Turns of phrase, and the field's terms for them."""
TAKEN = {
    "CodeSnapshot": "client/code_snapshots.py",
    "EventSource": "sources/source.py",
    "RunChanges": "storing/run_states.py",
    "Sweep": "sweep/trial.py",
    "Summaries": "runstream_schemas/wire/events.py",
    "Lifecycle": "core/_run/lifecycle.py",
    "Chart": "charts/charts.py",
    "Summary": "runs/runs.py",
    "RunEdit": "runs/edits.py",
}
"""Classes whose name is a word of the glossary, and where it has its one meaning."""
SECOND_MEANINGS = frozenset({"Changes", "Counters", "Segment", "Snapshot", "Source"})
"""Words that meant several things: a class says which, as `RunChanges` and `CodeSnapshot` do."""


def sources(parts: Iterable[str] = PARTS) -> Iterator[tuple[Path, str]]:
    for part in parts:
        for file in sorted((ROOT / part).rglob("*.py")):
            yield file.relative_to(ROOT), file.read_text(encoding="utf-8")


def local_names(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Of variables and arguments; attributes, methods and functions of modules are read with what they belong to."""
    fields = {
        id(statement.target)
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        for statement in node.body
        if isinstance(statement, ast.AnnAssign)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and id(node) not in fields:
            yield node.lineno, node.id
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield from (
                (inner.lineno, inner.name) for inner in node.body if isinstance(inner, ast.FunctionDef)
            )


def test_a_local_name_says_what_it_holds() -> None:
    vague = [
        f"{file}:{line}: {name}"
        for file, text in sources((*PARTS, *BESIDE))
        for line, name in local_names(ast.parse(text))
        if name in VAGUE
    ]
    assert not vague


def pages() -> Iterator[tuple[Path, str]]:
    """What is written for people: docs, and the pages of the dashboard."""
    for pattern in ("*.md", "docs/**/*.md", "dashboard/src/**/*.ts", "dashboard/src/**/*.svelte"):
        for file in sorted(ROOT.glob(pattern)):
            if file.name != "CHANGELOG.md":
                yield file.relative_to(ROOT), file.read_text(encoding="utf-8")


def test_the_terms_are_those_of_the_field() -> None:
    used = [
        f"{file}:{number}: {match[0]!r}: say {term}"
        for file, text in (*sources(), *pages())
        for number, line in enumerate(text.splitlines(), 1)
        for turn, term in TURNS.items()
        for match in re.finditer(rf"\b{turn}\b", line, re.IGNORECASE)
    ]
    assert not used


def test_what_is_said_of_a_field_reads_without_its_name() -> None:
    """`client: the client of the run's service`, not `client: of the run's service`."""
    halves = [
        f"{file}:{number}: {line.strip()}"
        for file, text in sources()
        for number, line in enumerate(text.splitlines(), 1)
        if re.match(r" {4,}[a-z_]+(, [a-z_]+)*: of ", line)
    ]
    assert not halves


def test_a_word_names_one_thing() -> None:
    defined: dict[str, list[str]] = {}
    for file, text in sources():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ClassDef):
                defined.setdefault(node.name, []).append(file.as_posix())
    for name, place in TAKEN.items():
        assert [file.endswith(place) for file in defined[name]] == [True], defined[name]
    assert not SECOND_MEANINGS & set(defined)


def test_the_glossary_has_each_word_once() -> None:
    page = (ROOT / "docs/reference/glossary.md").read_text(encoding="utf-8")
    words = [
        word.strip()
        for row in re.findall(r"^\| ([^|]+) \|", page, re.MULTILINE)
        for word in row.split(",")
        if word.strip() not in ("word", "---")
    ]
    assert len(words) > 20
    assert len(words) == len(set(words))
