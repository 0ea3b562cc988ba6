"""Media of several runs side by side, in a real browser: one slider for all, and where two pictures differ."""

from __future__ import annotations

import pytest

from .conftest import REPOSITORY, Site, builder
from .test_browser import Open, Picture

WRITING = """
import numpy as np
from runstream import media
from runstream.core import Experiment, Workspace

experiment = Experiment(Workspace.from_config(), "compared-media")
for number in range(3):
    run = experiment.start_logging(outputs=None, snapshot_directory=None, display_name=f"shown-{number}")
    for step in range(4 - number):
        pixels = np.full((40, 60, 3), 90, dtype=np.uint8)
        pixels[:10, : 6 * number] = 200
        run.log_media("samples", media.Image(pixels, caption=f"run {number}, step {step}"), step=step * 10)
    if number == 0:
        bar = {"mark": "bar", "data": {"values": [{"a": 1}]}, "encoding": {"y": {"field": "a"}}}
        run.log_media("figure", media.Vega(bar))
    for series in run.get_media().values():
        for medium in series:
            medium.read()
    run.complete()
    print(run.id)
"""


@pytest.fixture(scope="module")
def written(site: Site) -> list[str]:
    runs = site.shell.python(WRITING).stdout.split()
    for run_id in runs:
        site.shell.wait_until(lambda run_id=run_id: site.is_settled(run_id), 60, "the run")
    return runs


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, True)])
def test_media_of_runs_follow_one_slider_and_two_are_compared(
    open_page: Open, written: list[str], picture: Picture, width: int, dark: bool
) -> None:
    page = open_page(f"/compare?runs={','.join(written)}", width=width, dark=dark)
    page.get_by_role("button", name="Media", exact=True).click()
    for number, step in ((0, 30), (1, 20), (2, 10)):  # each as it was by the last step of all
        page.get_by_role("img", name=f"samples of shown-{number}, step {step}").wait_for()
    slider = page.get_by_role("slider", name="Step of samples in all runs")
    assert slider.get_attribute("aria-valuetext") == "step 30"
    slider.focus()
    page.keyboard.press("Home")
    for number in range(3):
        page.get_by_role("img", name=f"samples of shown-{number}, step 0: run {number}, step 0").wait_for()
    page.get_by_role("button", name="Difference of two").first.click()
    page.get_by_text("2.50 % of the pixels differ, by 2.75 of 255 on average").wait_for()
    page.get_by_role("img", name="Where samples of shown-0 and of shown-1 differ").wait_for()
    picture(page, f"compare-media-{'wide' if width > 720 else 'narrow'}-{'dark' if dark else 'light'}")
    page.locator(".choice select").nth(1).select_option("shown-2")
    page.get_by_text("5.00 % of the pixels differ, by 5.50 of 255 on average").wait_for()
    page.locator(".choice select").first.select_option("shown-2")
    page.get_by_text("The pictures are the same").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_axe_finds_nothing_serious_beside_compared_media(open_page: Open, written: list[str]) -> None:
    build = builder()
    build.install(build.EVERYTHING)
    axe = (REPOSITORY / "dashboard" / "node_modules" / "axe-core" / "axe.min.js").read_text()
    violations = {}
    for dark in (False, True):
        page = open_page(f"/compare?runs={','.join(written)}&tab=media", dark=dark)
        page.get_by_role("button", name="Difference of two").first.click()
        page.get_by_text("of the pixels differ").wait_for()
        page.evaluate(axe)
        answer = page.evaluate("axe.run(document, { resultTypes: ['violations'], iframes: false })")
        for violation in answer["violations"]:
            if violation["impact"] in ("serious", "critical"):
                violations[f"{dark} {violation['id']}"] = [
                    node["html"][:200] for node in violation["nodes"][:3]
                ]
    assert not violations
