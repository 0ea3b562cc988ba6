"""The formatters are the only definition of style: what is laid out by hand is a table."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BY_HAND = "# fmt: " + "skip"
FOLDERS = (
    "schemas",
    "producers",
    "consumers",
    "query",
    "service",
    "tests",
    "bench",
    "docs",
    "examples",
    "dashboard",
)
TABLES = (ast.List, ast.Tuple, ast.Set, ast.Dict)


def laid_out_by_hand() -> Iterator[tuple[Path, int]]:
    """Files, and the lines that say so of the statement they end."""
    for folder in FOLDERS:
        for file in sorted((ROOT / folder).rglob("*.py")):
            if "node_modules" not in file.parts:
                for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
                    if BY_HAND in line:
                        yield file.relative_to(ROOT), number


def statements_that_end(tree: ast.Module, line: int) -> Iterator[ast.AST]:
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield from (decorator for decorator in node.decorator_list if decorator.end_lineno == line)
        elif isinstance(node, ast.stmt) and node.end_lineno == line:
            yield node


@pytest.mark.parametrize(("file", "line"), [*laid_out_by_hand()], ids=str)
def test_what_is_laid_out_by_hand_is_a_table(file: Path, line: int) -> None:
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    assert any(
        isinstance(part, TABLES) and part.end_lineno is not None and part.end_lineno > part.lineno
        for statement in statements_that_end(tree, line)
        for part in ast.walk(statement)
    ), f"{file}:{line}: no list, tuple, set or dictionary of several lines; leave it to the formatter"


def test_nothing_else_is_kept_from_the_formatters() -> None:
    other = ["# fmt: " + "off", "# ruff: " + "noqa", "prettier-" + "ignore", "eslint-" + "disable"]
    files = [
        file
        for folder in FOLDERS
        for kind in ("py", "ts", "svelte", "js")
        for file in (ROOT / folder).rglob(f"*.{kind}")
        if "node_modules" not in file.parts
    ]
    assert len(files) > 500
    assert [file for file in files for word in other if word in file.read_text(encoding="utf-8")] == []
