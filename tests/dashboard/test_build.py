"""The dashboard's own tests and types, and what its build may weigh."""

from __future__ import annotations

import gzip
import re
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

from .conftest import REPOSITORY, builder

DASHBOARD = REPOSITORY / "dashboard"
MOST_BYTES = 120_000
"""Of the whole bundle, compressed."""


@pytest.fixture(scope="module")
def built() -> ModuleType:
    build = builder()
    try:
        build.build()
    except build.BuildError as error:
        pytest.skip(f"the dashboard cannot be built here: {error}")
    return build


def test_the_bundle_is_small_and_loads_nothing_from_elsewhere(built: ModuleType) -> None:
    files = [path for path in Path(built.WEB).rglob("*") if path.suffix in (".js", ".css", ".html", ".svg")]
    assert sum(len(gzip.compress(path.read_bytes(), 9)) for path in files) <= MOST_BYTES
    known = {"http://www.w3.org", "https://svelte.dev"}  # names of XML, and links within error messages
    for path in files:
        assert set(re.findall(r"https?://[\w.-]+", path.read_text())) <= known, path


def test_a_build_of_the_present_sources_is_not_repeated(built: ModuleType) -> None:
    assert built.build() is False


@pytest.mark.timeout(300)
@pytest.mark.parametrize("script", ["test", "check"])
def test_typescript(built: ModuleType, script: str) -> None:
    npm, environment = built._npm()
    done = subprocess.run(
        [*npm, "run", "--silent", script], cwd=DASHBOARD, env=environment,
        capture_output=True, text=True, check=False, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_lock_file_names_no_host() -> None:
    assert '"resolved"' not in (DASHBOARD / "package-lock.json").read_text()
