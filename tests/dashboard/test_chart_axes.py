"""Axes of charts in a real browser: as metrics are defined, as a reader chooses, and as this browser keeps them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from .conftest import Site
from .test_browser import Open, Picture, drawn, until

TRAINING = """
import math
from runstream.core import Experiment, Workspace

experiment = Experiment(Workspace.from_config(), "defined")
for k in range(3):
    run = experiment.start_logging(outputs=None, snapshot_directory=None, display_name=f"trial-{k}")
    run.define_metric("*", step_metric="epoch")
    run.define_metric("val/*", step_metric="epoch", summary="best", goal="maximize")
    run.define_metric("size", goal="minimize")
    run.log("size", 5 + k)
    for step in range(1, 401):
        run.log_metrics({"epoch": step / 100, "val/odd": math.sin(step / 80) + k, "train/loss": 1 / step}, step)
    run.complete()
    print(run.id, flush=True)
"""


@pytest.fixture(scope="module")
def defining(site: Site) -> list[str]:
    """The ids of three runs that say how their metrics are looked at, all stored."""
    ids = site.shell.python(TRAINING).stdout.split()
    stored = "/api/v1/runs?experiment=defined&status=Completed"
    site.shell.wait_until(lambda: len(site.api(stored)["runs"]) == len(ids), 60, "the runs")
    return ids


@pytest.fixture
def workspace(open_page: Open, defining: list[str]) -> Callable[..., Any]:
    """Opens the workspace of those runs, and waits for its first charts."""

    def open_(more: str = "", **kwargs: Any) -> Any:
        page = open_page(f"/?q=experiment:defined{more}", **kwargs)
        drawn(page, 2)
        return page

    return open_


def asked_axes(page: Any) -> Callable[[], set[str]]:
    """What the charts of a page are asked for as x from now on."""
    asked: list[str] = []
    page.on(
        "request", lambda request: asked.append(request.url) if "/api/v1/charts?" in request.url else None
    )
    return lambda: {
        part[2:] for url in asked for part in url.split("?")[1].split("&") if part.startswith("x=")
    }


def test_charts_lists_and_bars_go_by_what_was_defined(
    workspace: Callable[..., Any], defining: list[str], picture: Picture
) -> None:
    page = workspace()
    axes = asked_axes(page)
    page.reload()
    drawn(page, 2)
    assert page.get_by_label("x axis").input_value() == ""  # as defined
    assert axes() == {"metric%3Aepoch", "step"}  # the step is x of the epoch itself
    heads = " ".join(page.get_by_role("columnheader").all_inner_texts())
    assert "val/odd\nmax" in heads.replace("val/odd max", "val/odd\nmax")
    best = page.get_by_role("row").filter(has=page.locator(".star"))
    assert "trial-2" in best.first.inner_text()
    bars = page.get_by_role("region", name="size", exact=True).locator(".bars > div")
    assert [bool(bar.locator(".star").count()) for bar in bars.all()] == [
        "trial-0" in bar.inner_text() for bar in bars.all()
    ]
    picture(page, "defined-metrics-light")
    page.get_by_label("x axis").select_option("step")
    until(page, "location.search.includes('x=step')")
    drawn(page, 2)
    assert "step" in axes()


def test_of_a_run_x_is_what_it_defined_and_all_charts_zoom_together(
    open_page: Open, defining: list[str]
) -> None:
    page = open_page(f"/runs/{defining[0]}")
    drawn(page, 2)
    chart = page.get_by_role("region", name="val/odd", exact=True).locator(".chart")
    chart.focus()
    page.keyboard.press("ArrowLeft")
    until(page, "document.querySelector('.tip')?.innerText.includes('epoch 4')")
    page.keyboard.press("Escape")
    page.keyboard.press("+")
    until(page, "location.search.includes('from=')")
    assert "own=" not in page.url


def test_what_is_kept_of_a_metric_holds_for_other_runs_too(open_page: Open, defining: list[str]) -> None:
    page = open_page(f"/runs/{defining[0]}")
    drawn(page, 2)
    settings = page.get_by_role("button", name="Settings of train/loss", exact=True)
    page.get_by_role("button", name="Log scale of train/loss").click()
    settings.click()
    page.get_by_label("x of train/loss", exact=True).select_option("metric:epoch")
    page.get_by_role("button", name="Keep for this metric").click()
    assert "own=" not in page.url
    page.goto(f"/runs/{defining[1]}?x=step")
    drawn(page, 2)
    log = page.get_by_role("button", name="Log scale of train/loss")
    assert log.get_attribute("aria-pressed") == "true"
    log.click()  # the address counts before what is kept
    assert log.get_attribute("aria-pressed") == "false"
    assert "own=" in page.url
    settings.click()
    page.get_by_role("button", name="Forget what is kept").click()
    page.get_by_role("button", name="Everything as the section has it").click()
    assert log.get_attribute("aria-pressed") == "false"
    page.reload()
    assert log.get_attribute("aria-pressed") == "false"


def test_a_log_axis_of_x_shows_every_point_of_the_beginning(
    open_page: Open, site: Site, picture: Picture
) -> None:
    page = open_page(f"/runs/{site.runs[0]}")
    drawn(page, 2)
    page.keyboard.press("L")
    until(page, "location.search.includes('logx=1')")
    chart = page.get_by_role("region", name="train/loss", exact=True).locator(".chart")
    until(page, "document.querySelector('[aria-label=\"train/loss\"] footer').innerText.includes('steps')")
    chart.focus()
    deadline = time.monotonic() + 60
    while (
        True
    ):  # until the beginning has come, which is asked for in pieces, there are fewer points to go through
        before = ""
        while (tip := page.evaluate("document.querySelector('.tip')?.innerText")) != before:
            before = tip
            for _ in range(25):
                page.keyboard.press("ArrowLeft")
        for _ in range(5):
            page.keyboard.press("ArrowRight")
        if page.evaluate("document.querySelector('.tip')?.innerText.includes('step 5\\n')"):
            break
        assert time.monotonic() < deadline, page.locator(".tip").inner_text()
    picture(page, "log-x-light")


def test_ranges_of_x_and_y_are_typed_end_by_end(open_page: Open, site: Site) -> None:
    page = open_page(f"/runs/{site.runs[0]}")
    drawn(page, 2)
    page.get_by_role("button", name="Settings of train/loss").click()
    low, high = page.get_by_label("Lowest x of train/loss"), page.get_by_label("Highest x of train/loss")
    low.fill("1000")
    low.press("Tab")
    until(page, "decodeURIComponent(location.search).includes('\"from\":1000')")
    high.fill("900")
    high.press("Tab")
    assert high.input_value() == ""  # no range
    top = page.get_by_label("Highest y of train/loss")
    top.fill("x")
    top.press("Tab")
    assert top.input_value() == ""  # no number
    top.fill("3")
    top.press("Tab")
    until(page, 'decodeURIComponent(location.search).includes(\'"y":{"max":3}\')')
