"""The way of a point: the files that architecture.md lists are the ones that say their numbers, ten in all."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "explanation" / "architecture.md"


def listed() -> dict[int, Path]:
    """Files by number, as the page's table has them."""
    rows = re.findall(r"^\| (\d+) \| \[([^]]+)\]\(([^)]+)\)", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert all((PAGE.parent / link).resolve() == ROOT / name for _, name, link in rows)
    return {int(number): ROOT / name for number, name, _ in rows}


def numbered() -> dict[int, Path]:
    """Files by number, as their first lines say."""
    folders = ("schemas", "producers", "consumers", "query", "service", "dashboard/src")
    sources = [
        path
        for folder in folders
        for kind in ("py", "ts", "svelte")
        for path in (ROOT / folder).rglob(f"*.{kind}")
    ]
    steps: dict[int, Path] = {}
    for path in sources:
        first = path.read_text(encoding="utf-8").partition("\n")[0]
        if said := re.search(r"The way of a point, step (\d+) of 10: ", first):
            assert int(said[1]) not in steps, f"{path} and {steps[int(said[1])]} are both step {said[1]}"
            steps[int(said[1])] = path
    return steps


def test_ten_files_say_their_place_and_the_page_lists_them() -> None:
    assert listed() == numbered()
    assert list(listed()) == list(range(1, 11))


def test_the_way_begins_at_run_log_and_ends_in_the_page() -> None:
    way = listed()
    assert "def log(" in way[1].read_text(encoding="utf-8")
    assert "dashboard" in way[10].parts
