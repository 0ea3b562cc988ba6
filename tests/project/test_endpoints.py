"""Whoever asks the server, the SDK, the command line or the pages, asks for endpoints that are declared."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from runstream_query.http.openapi import ENDPOINTS

ROOT = Path(__file__).parents[2]
FILLED = "\0"
"""In place of what is put into a path."""


def python_paths(file: Path) -> Iterator[str]:
    inside = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.JoinedStr):
            inside |= {id(part) for part in node.values}
            yield "".join(
                str(part.value) if isinstance(part, ast.Constant) else FILLED for part in node.values
            )
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside:
            yield node.value


def page_paths(file: Path) -> Iterator[str]:
    for quoted in re.findall(r"`([^`]*)`|\"([^\"\n]*)\"", file.read_text(encoding="utf-8")):
        yield re.sub(
            r"\$?\{[^}]*\}", FILLED, quoted[0] or quoted[1]
        )  # `${id}`, and `{id}` of a typed request


def asked_for() -> list[tuple[str, str]]:
    texts = [
        *(
            (file, python_paths(file))
            for folder in ("producers", "service")
            for file in (ROOT / folder).rglob("*.py")
        ),
        *(
            (file, page_paths(file))
            for file in (ROOT / "dashboard" / "src").rglob("*")
            if file.suffix in (".ts", ".svelte")
        ),
    ]
    pattern = re.compile(rf"/api/v1/[a-z-]+(?:/(?:{FILLED}|[\w.-]+))*")
    return sorted(
        {(match[0], file.name) for file, paths in texts for path in paths if (match := pattern.match(path))}
    )


def test_every_path_that_is_asked_for_is_declared() -> None:
    asked = asked_for()
    undeclared = [
        (path, file)
        for path, file in asked
        if not any(
            endpoint.path_regex.match(path.replace(FILLED, "x"))
            for endpoint in ENDPOINTS
            if endpoint.path.startswith("/api/")
        )
    ]
    assert undeclared == []
    # The search finds them.
    files = {file for _, file in asked}
    assert len(asked) > 60
    assert {"reading.py", "files.py", "tokens.py", "RunPage.svelte", "live.svelte.ts"} <= files
