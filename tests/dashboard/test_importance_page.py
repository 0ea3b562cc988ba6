"""Which parameters matter, in a real browser: bars, too few runs, and a server without the library."""

from __future__ import annotations

import json
import re

import pytest

from .conftest import Site
from .test_browser import Open, Picture

SWEEP = """
import random
from runstream.core import Experiment, Workspace

experiment, dice = Experiment(Workspace.from_config(), "weighed"), random.Random(1)
for number in range(24):
    run = experiment.start_logging(outputs=None, snapshot_directory=None)
    rate = dice.random()
    run.log_params({"lr": rate, "seed": dice.randrange(1000), "optimizer": dice.choice(["adam", "sgd"]), "batch": 32})
    run.log("val/loss", -rate)
    run.complete()
    print(run.id, flush=True)
"""
ADDRESS = "q=experiment:weighed&cols=val/loss.last&plot=importance"


@pytest.fixture(scope="module")
def swept(site: Site) -> list[str]:
    ids: list[str] = site.shell.python(SWEEP).stdout.split()
    stored = "/api/v1/runs?q=experiment:weighed%20status:completed"
    site.shell.wait_until(lambda: len(site.api(stored)["runs"]) == 24, 60, "the runs")
    return ids


def test_the_parameter_that_makes_the_metric_has_the_longest_bar(
    open_page: Open, swept: list[str], picture: Picture
) -> None:
    page = open_page(f"/?{ADDRESS}")
    table = page.get_by_role("table", name="Importance of parameters for val/loss last")
    table.wait_for(timeout=90_000)
    first = table.get_by_role("row").nth(1)
    first.get_by_role("rowheader", name="lr").wait_for()
    assert "−1.00" in first.inner_text()
    assert "2 categories" in table.inner_text()
    page.get_by_text(re.compile(r"R² 0\.\d+")).wait_for()
    page.get_by_role("region", name="Sweep charts").get_by_text("24 runs", exact=True).wait_for()
    page.get_by_text("Alike in all runs: batch").wait_for()
    picture(page, "importance-wide-light")


def test_of_few_runs_it_says_that_they_are_few(open_page: Open, swept: list[str]) -> None:
    page = open_page(f"/compare?runs={','.join(swept[:2])}&tab=sweep&plot=importance")
    page.get_by_text("Too little to go by").wait_for(timeout=60_000)
    page.get_by_text("2 of 2 runs have a finite number").wait_for()


def test_a_server_without_the_library_says_which_command_brings_it(open_page: Open, swept: list[str]) -> None:
    detail = "importance needs scikit-learn; run `pip install 'runstream[importance]'` there"
    page = open_page("/")
    body = json.dumps({"title": "Not Implemented", "status": 501, "detail": detail})
    page.route(
        "**/api/v1/param-importance**",
        lambda route: route.fulfill(status=501, body=body, content_type="application/problem+json"),
    )
    page.goto(f"/?{ADDRESS}")
    page.get_by_text("The server cannot weigh parameters yet").wait_for()
    page.get_by_text("pip install 'runstream[importance]'").wait_for()
