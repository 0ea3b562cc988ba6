"""Parameters in a real browser: a column of the list, the search, the compare page, and a run's page."""

from __future__ import annotations

import re
from typing import Any

import pytest

from .conftest import Site
from .test_browser import Open

WRITING = """
from runstream.core import Experiment, Workspace

experiment = Experiment(Workspace.from_config(), "with parameters".replace(" ", "-"))
for k, lr in enumerate((0.5, 0.05, 10.0)):
    run = experiment.start_logging(outputs=None, snapshot_directory=None, display_name=f"given-{k}")
    run.log_params({"opt": {"lr": lr, "name": "adam"}, "big": 9007199254740993, "hostile": "<img src=x onerror=alert(1)>"})
    if not k:
        run.log_params({"opt.lr": 0.25}, overwrite=True)
    run.log("score", k)
    run.complete()
    print(run.id, flush=True)
"""


@pytest.fixture(scope="module")
def written(site: Site) -> list[str]:
    """The ids of three runs with parameters, all stored."""
    ids: list[str] = site.shell.python(WRITING).stdout.split()
    stored = "/api/v1/runs?q=experiment:with-parameters%20status:completed"
    site.shell.wait_until(lambda: len(site.api(stored)["runs"]) == 3, 60, "the runs")
    return ids


def names(page: Any) -> list[str]:
    return page.get_by_role("row").get_by_role("link", name=re.compile("^given-")).all_inner_texts()  # type: ignore[no-any-return]


def test_a_column_shows_and_sorts_by_a_parameter(open_page: Open, written: list[str]) -> None:
    page = open_page(
        "/?q=experiment:with-parameters%20param:opt.lr%3C5&cols=status,param:opt.lr,param:big&sort=param:opt.lr"
    )
    page.get_by_role("row").nth(1).get_by_role("link", name="given-1").wait_for()
    assert names(page) == ["given-1", "given-0"]  # by the number
    row = page.get_by_role("row").nth(2)
    row.get_by_text("0.25").wait_for()
    row.get_by_text("9007199254740993").wait_for()


def test_compared_runs_show_the_parameters_that_differ(open_page: Open, written: list[str]) -> None:
    page = open_page(f"/compare?runs={written[0]},{written[1]}&tab=diff")
    page.get_by_role("row", name=re.compile(r"^opt\.lr parameter")).get_by_role(
        "cell", name="0.05"
    ).wait_for()
    assert page.get_by_role("row", name=re.compile(r"^opt\.name")).count() == 0
    page.goto(f"/compare?runs={','.join(written)}&tab=sweep")
    page.locator("option[value='param:opt.lr']").first.wait_for(state="attached")  # an axis to choose


def test_the_run_page_says_what_a_parameter_was(open_page: Open, written: list[str]) -> None:
    page = open_page(f"/runs/{written[0]}?tab=parameters")
    parameters = page.get_by_role("region", name="Parameters", exact=True)
    parameters.get_by_text("9007199254740993").wait_for()
    parameters.get_by_text("<img src=x onerror=alert(1)>").wait_for()
    parameters.get_by_text("before: 0.5, written").wait_for()
    parameters.get_by_role("row", name=re.compile(r"^opt\.lr 0\.25")).get_by_text("overwritten").wait_for()
    page.get_by_label("Search parameters").fill("/^opt/")
    parameters.get_by_role("heading", name="Parameters (2)").wait_for()
    page.get_by_role("tab", name="Parameters (4)").wait_for()


def test_on_a_phone_no_word_of_the_table_is_broken(open_page: Open, written: list[str]) -> None:
    page = open_page(f"/runs/{written[0]}?tab=parameters", width=390)
    heads = page.get_by_role("region", name="Table of parameters").get_by_role("columnheader")
    heads.first.wait_for()
    heights = [
        heads.nth(number).evaluate("head => head.getBoundingClientRect().height") for number in range(5)
    ]
    assert max(heights) < 40, heights  # one line each
