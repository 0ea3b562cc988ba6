"""What a module of the pages exports, another one imports: the rest is its own affair, or dead."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

DASHBOARD = Path(__file__).parents[2] / "dashboard"
EXPORT = re.compile(
    r"^export (?:default )?(?:async )?(?:const|let|function\*?|class|interface|type|enum) (\w+)", re.MULTILINE
)
IMPORT = re.compile(
    r"^\s*(?:import|export)\s+(?:type\s+)?(\{[^}]*\}|\*\s+as\s+\w+)\s+from\s+\"([^\"]+)\"", re.MULTILINE
)


def sources(*folders: str) -> list[Path]:
    return [
        file
        for folder in folders
        for file in sorted((DASHBOARD / folder).rglob("*"))
        if file.suffix in (".ts", ".svelte")
    ]


def imported() -> Iterator[tuple[Path, str]]:
    """Files, and the names others take from them; `*` for all."""
    for file in sources("src", "tests"):
        text = file.read_text(encoding="utf-8")
        whole = [("* as loaded", place) for place in re.findall(r"import\(\"([^\"]+)\"\)", text)]
        for names, place in [*IMPORT.findall(text), *whole]:
            if place.startswith("."):
                home = (file.parent / place).resolve()
                home = home if home.exists() else home.with_name(home.name + ".ts")
                if names.startswith("*"):
                    yield home, "*"
                for name in re.findall(r"(?:type\s+)?(\w+)(?:\s+as\s+\w+)?\s*[,}]", names):
                    yield home, name


def test_every_export_is_imported_elsewhere() -> None:
    taken = set(imported())
    exported = [
        (file, name)
        for file in sources("src")
        for name in EXPORT.findall(file.read_text(encoding="utf-8"))
        if file.suffix == ".ts"
    ]
    assert len(exported) > 200
    assert {home.name for home, _ in taken if not home.exists()} <= {"openapi.ts"}  # made by the build
    unused = [
        f"{file.relative_to(DASHBOARD)}: {name}"
        for file, name in exported
        if (file, name) not in taken and (file, "*") not in taken
    ]
    assert unused == []
