"""Nothing is kept that nobody uses."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("schemas", "producers", "consumers", "query", "service")
USERS = (*PACKAGES, "docs", "bench", "examples")


def sources(*folders: str) -> list[Path]:
    return [file for folder in folders for file in sorted((ROOT / folder).rglob("*.py"))]


def defined(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Functions and constants of a module; an endpoint is used by being declared."""
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            if not node.decorator_list:
                yield node.lineno, node.name
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from ((node.lineno, target.id) for target in targets if isinstance(target, ast.Name))


def test_what_a_module_defines_is_named_a_second_time() -> None:
    named = Counter[str]()
    for file in sources(*USERS):
        named.update(re.findall(r"\w+", file.read_text(encoding="utf-8")))
    for page in [*(ROOT / "docs").rglob("*.md"), ROOT / "pyproject.toml"]:  # what is public, and entry points
        named.update(re.findall(r"\w+", page.read_text(encoding="utf-8")))
    unused = [
        f"{file.relative_to(ROOT)}:{line}: {name}"
        for file in sources(*PACKAGES)
        for line, name in defined(ast.parse(file.read_text(encoding="utf-8")))
        if named[name] == 1 and not name.startswith("__")
    ]
    assert unused == []
