"""The documentation held to the code: generated pages are current, links lead somewhere, named commands exist."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]


def test_generated_pages_are_current() -> None:
    spec = importlib.util.spec_from_file_location("generate_docs", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    for path, page in generate.PAGES.items():
        assert path.read_text() == page(), f"{path.relative_to(ROOT)} is out of date: run `make docs`"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files(page: Path) -> None:
    targets = re.findall(r"\]\((?!\w+:)([^)#\s]+)", page.read_text())
    missing = [target for target in targets if not (page.parent / target).exists()]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_named_targets_are_in_the_makefile(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text()
    named = set(re.findall(r"(?:`|^    )make ([a-z]+)", page.read_text(), re.MULTILINE))
    assert {target for target in named if not re.search(rf"^{target}:", makefile, re.MULTILINE)} == set()


def test_where_a_change_goes_names_what_is_there() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    guide = text.split("\n## Where a change goes\n")[1].split("\n## ")[0]
    for change in (
        "field of an event",
        "endpoint",
        "page",
        "command",
        "setting",
        "kind of compute target",
        "importer",
    ):
        assert re.search(rf"^\*\*An? {change}", guide, re.MULTILINE), change
    paths = set(re.findall(r"`([\w./-]+/[\w./-]+)`", guide))
    assert len(paths) > 25
    assert {path for path in paths if not (ROOT / path).exists()} == set()


def test_readme_opens_with_the_two_commands() -> None:
    readme = (ROOT / "README.md").read_text()
    assert "make demo" in readme
    assert "make test" in readme
