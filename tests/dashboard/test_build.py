"""The dashboard's own tests and types, and what its build may weigh."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from types import ModuleType

import pytest

from .conftest import REPOSITORY, builder

DASHBOARD = REPOSITORY / "dashboard"
MOST_BYTES = 130_000
"""Of what the first page loads, compressed."""


@pytest.fixture(scope="module")
def built() -> ModuleType:
    build = builder()
    try:
        build.build()
    except build.BuildError as error:
        pytest.skip(f"the dashboard cannot be built here: {error}")
    return build


def test_the_first_page_is_small_and_nothing_is_loaded_from_elsewhere(built: ModuleType) -> None:
    web = Path(built.WEB)
    files = [path for path in web.rglob("*") if path.suffix in (".js", ".css", ".html", ".svg")]
    page = (web / "index.html").read_text()
    first = [web / name for name in re.findall(r'(?:src|href)="/([^"]+)"', page)]
    assert len(first) < len(files) - 1  # other pages come when they are looked at
    assert (
        sum(len(gzip.compress(path.read_bytes(), 9)) for path in [web / "index.html", *first]) <= MOST_BYTES
    )
    # Names of XML, and links within error messages.
    known = {"http://www.w3.org", "https://svelte.dev", "https://github.com"}
    for path in files:
        assert set(re.findall(r"https?://[\w.-]+", path.read_text())) <= known, path


def test_a_build_of_the_present_sources_is_not_repeated(built: ModuleType) -> None:
    assert built.build() is False


@pytest.mark.parametrize("script", ["test", "check"])  # their style is held by `make lint`
def test_typescript_and_svelte(built: ModuleType, script: str) -> None:
    built.run(script)


def test_what_a_script_finds_is_said(built: ModuleType) -> None:
    with pytest.raises(built.BuildError, match="no-such-script"):
        built.run("no-such-script")


def test_every_package_is_pinned() -> None:
    """The formatters and linters by package.json: another version finds, or writes, something else."""
    package = json.loads((DASHBOARD / "package.json").read_text())
    tools = [name for name in package["devDependencies"] if "eslint" in name or "prettier" in name]
    assert len(tools) >= 5
    assert all(package["devDependencies"][name][0].isdigit() for name in tools)
    lock = json.loads((DASHBOARD / "package-lock.json").read_text())
    assert lock["packages"][""]["devDependencies"] == package["devDependencies"]


def test_the_lock_file_names_no_host() -> None:
    assert "://" not in (DASHBOARD / "package-lock.json").read_text()
