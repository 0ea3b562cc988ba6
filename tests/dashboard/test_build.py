"""The dashboard's own tests and types, and what its build may weigh."""

from __future__ import annotations

import gzip
import json
import re
import time
from concurrent.futures import ThreadPoolExecutor
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
    pages = reached(web, "index.html")
    for name in pages:
        assert set(re.findall(r"https?://[\w.-]+", (web / name).read_text())) <= known, name
    # Libraries that draw figures know addresses, too: they are loaded in the viewer's frame only, which reaches nothing.
    apart = reached(web, "viewer.html") - pages
    assert {path.relative_to(web).as_posix() for path in files} == pages | apart | {"favicon.svg"}
    assert [name for name in apart if re.search(r"/plotly-", name)]


def reached(web: Path, page: str) -> set[str]:
    """The files that a page loads, or may load later."""
    names = {path.name: path.relative_to(web).as_posix() for path in web.rglob("*") if path.is_file()}
    known: set[str] = set()
    left = {page}
    while left:
        name = left.pop()
        known.add(name)
        text = (web / name).read_text()
        left |= {names[part] for part in re.findall(r"[\w.-]+\.(?:js|css)\b", text) if part in names} - known
    return known


def test_two_that_install_at_once_do_it_once(
    built: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two workers of a fresh clone ran `npm ci` into one folder: rmdir of the one found files of the other."""
    monkeypatch.setattr(built, "INSTALLED", tmp_path / "installed-from")
    under_way: list[str] = []

    def run(command: list[str], environment: dict[str, str]) -> None:
        under_way.append("begun")
        time.sleep(0.2)
        under_way.append("ended")

    monkeypatch.setattr(built, "_run", run)
    with ThreadPoolExecutor() as pool:
        list(pool.map(built.install, [built.BUILD, built.EVERYTHING, built.EVERYTHING, built.BUILD]))
    assert under_way in (["begun", "ended"], ["begun", "ended"] * 2), "everything, or first what builds"
    assert (tmp_path / "installed-from").read_text().startswith(built.EVERYTHING)


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
