"""The folders of tests mirror the packages, and inside each package a contract says which module may import which."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = {
    "producers": "runstream",
    "consumers": "runstream_consumers",
    "query": "runstream_query",
    "service": "runstream_service",
}


@pytest.mark.parametrize("part", PACKAGES)
def test_a_folder_of_tests_is_named_after_a_package(part: str) -> None:
    packages = {path.parent.name for path in (ROOT / part / PACKAGES[part]).glob("*/__init__.py")}
    assert packages
    tests = ROOT / "tests" / part
    assert {path.parent.relative_to(tests).parts[0] for path in tests.glob("*/**/test_*.py")} <= packages


def test_every_test_of_the_query_layer_lies_in_a_folder() -> None:
    assert [path.name for path in (ROOT / "tests" / "query").glob("test_*.py")] == []


MOST_LINES = {
    "schemas": 400, "producers": 400, "consumers": 400, "query": 400, "service": 400, "bench": 400, "examples": 400,
    "tests": 500,
}  # fmt: skip
"""Past that a module holds two concepts, and a test file two subjects."""


@pytest.mark.parametrize("folder", MOST_LINES)
def test_a_file_is_of_one_concept(folder: str) -> None:
    lengths = {
        path.relative_to(ROOT).as_posix(): len(path.read_text(encoding="utf-8").splitlines())
        for path in (ROOT / folder).rglob("*.py")
    }
    assert lengths
    assert {path: n for path, n in lengths.items() if n > MOST_LINES[folder]} == {}


def test_statements_that_several_modules_use_are_in_queries() -> None:
    """Others stand beside their reader; there is no third place."""
    files = [file.name for part in PACKAGES for file in (ROOT / part).rglob("*quer*.py")]
    assert set(files) == {"queries.py", "query.py"}


def contracts() -> list[dict[str, Any]]:
    document = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    listed: list[dict[str, Any]] = document["tool"]["importlinter"]["contracts"]
    return listed


def test_every_package_has_its_layers() -> None:
    layered = {
        container
        for contract in contracts()
        if contract["type"] == "layers"
        for container in contract.get("containers", ())
        if contract["exhaustive"]
    }
    packages = {
        ".".join(path.parent.relative_to(ROOT / part).parts)
        for part in ("schemas", "producers", "consumers", "query", "service")
        for path in (ROOT / part).rglob("__init__.py")
        if len([*path.parent.glob("*.py")]) > 2
    }
    assert packages - layered == set()


def test_circles_are_looked_for_in_every_package() -> None:
    (circles,) = (contract for contract in contracts() if contract["type"] == "acyclic_siblings")
    assert circles["ancestors"] == ["runstream_schemas", *PACKAGES.values()]


def test_an_exception_from_a_contract_is_one_import_and_fails_when_it_is_gone() -> None:
    for contract in contracts():
        if "ignore_imports" in contract:
            assert contract["unmatched_ignore_imports_alerting"] == "error", contract["name"]
            assert not [knot for knot in contract["ignore_imports"] if "*" in knot], contract["name"]


def test_an_exception_from_a_contract_has_its_reason() -> None:
    lines = (ROOT / "pyproject.toml").read_text(encoding="utf-8").splitlines()
    starts = [number for number, line in enumerate(lines) if line.startswith("ignore_imports = [")]
    assert len(starts) == sum("ignore_imports" in contract for contract in contracts())
    assert [lines[number + 1] for number in starts if not lines[number + 1].startswith("    # ")] == []
