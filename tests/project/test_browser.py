"""The browser of the page tests: found, and never left out in silence where nobody looks."""

from __future__ import annotations

from pathlib import Path

import pytest
from bench import dashboard
from tests import browser
from tests.dashboard.conftest import leave_out


def test_one_that_was_fetched_is_found_and_an_installed_one_goes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "a cache"))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("RUNSTREAM_TEST_CHROMIUM", raising=False)
    monkeypatch.setattr(browser, "_playwrights", lambda: None)
    assert browser.find() is None
    kept = browser._kept() / "chrome"
    assert kept.is_relative_to(tmp_path)
    kept.parent.mkdir(parents=True)
    kept.touch()
    assert browser.find() == browser.fetch() == str(kept)
    installed = tmp_path / "chromium"
    installed.touch(0o755)
    assert browser.find() == str(installed)
    monkeypatch.setenv("RUNSTREAM_TEST_CHROMIUM", "/opt/mine")
    assert browser.find() == "/opt/mine"


def test_the_benchmark_of_the_pages_runs_in_the_same_one() -> None:
    assert dashboard.fetch_browser is browser.fetch


def test_in_ci_a_page_test_that_is_left_out_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match=r"no browser \(CI is set\)"):
        leave_out("no browser")
    monkeypatch.delenv("CI")
    with pytest.raises(pytest.skip.Exception, match="no browser"):
        leave_out("no browser")


def test_where_none_can_be_had_one_line_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def nothing() -> str:
        raise OSError("no network")

    monkeypatch.setattr(browser, "fetch", nothing)
    assert browser.main() == 1
    assert capsys.readouterr().err == "note: no browser (no network): the tests of the pages are left out\n"
