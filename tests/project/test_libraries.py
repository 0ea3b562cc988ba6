"""What a library or one module of ours does, nothing else does again (docs/decisions/0011)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("schemas", "producers", "consumers", "query", "service")
THE_PLACE = {
    "flock": "schemas/runstream_schemas/locks.py",
    "generate_latest": "query/runstream_query/http/endpoints/health.py",
    "start_http_server": "service/runstream_service/exposition.py",
    "GitIgnoreSpec": "producers/runstream/client/source_folder.py",
}
"""Of what is called in one module only."""


@cache
def names() -> dict[str, set[str]]:
    """The files each name is used in."""
    files: dict[str, set[str]] = {}
    for file, node in nodes():
        name = getattr(node, "attr", getattr(node, "id", getattr(node, "name", None)))
        if isinstance(name, str):
            files.setdefault(name, set()).add(file)
    return files


def nodes() -> Iterator[tuple[str, ast.AST]]:
    for package in PACKAGES:
        for file in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                yield file.relative_to(ROOT).as_posix(), node


@pytest.mark.parametrize("name", THE_PLACE)
def test_it_has_one_place(name: str) -> None:
    assert names()[name] == {THE_PLACE[name]}


def test_pauses_grow_in_one_place() -> None:
    """`Backoff` has the limit too."""
    grown = {
        file
        for file, node in nodes()
        if isinstance(node, ast.BinOp)
        and isinstance(node.op, ast.Mult)
        and isinstance(node.left, ast.Name)
        and any(word in node.left.id.lower() for word in ("pause", "delay"))
        and not ast.unparse(node.right).startswith("len(")
    }
    assert grown == {"schemas/runstream_schemas/backoff.py"}
