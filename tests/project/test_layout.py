"""The folders of tests mirror the packages: whoever changes a module guesses where its tests are."""

from __future__ import annotations

from pathlib import Path

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
