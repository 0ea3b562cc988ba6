"""The page of alerts in a real browser: rules made, changed and removed, what they raised; and a run's own alerts."""

from __future__ import annotations

import json
import urllib.request

import pytest

from .conftest import REPOSITORY, Site, builder
from .test_browser import Open, Picture

GIVING = """
from runstream.core import Experiment, Workspace

run = Experiment(Workspace.from_config(), "alerts").start_logging(outputs=None, display_name="gives alerts")
run.alert("<b>disk</b> nearly full", "5 GB are left\\non /data", "WARN")
run.fail("out of memory")
print(run.id)
"""


def put(site: Site, name: str, **rule: object) -> None:
    """A rule, as an SDK would make it."""
    token = (site.shell.root / "token").read_text().strip()
    request = urllib.request.Request(
        f"{site.url}/api/v1/alert-rules/{name}",
        json.dumps(rule).encode(),
        {"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        method="PUT",
    )
    urllib.request.urlopen(request, timeout=20).close()


@pytest.fixture(scope="module")
def given(site: Site) -> str:
    put(site, "failed", kind="failed", receivers=["hook"])
    put(site, "said", kind="alert", receivers=["hook"])
    run_id = site.shell.python(GIVING).stdout.split()[-1]
    site.shell.wait_until(lambda: len(site.api("/api/v1/alerts")["alerts"]) == 2, 60, "what is raised")
    return run_id


def test_a_rule_is_made_changed_turned_off_and_removed(open_page: Open, given: str, picture: Picture) -> None:
    page = open_page("/alerts")
    rules = page.get_by_role("region", name="Rules")
    rules.get_by_text("the run failed").wait_for()
    page.get_by_role("button", name="New rule").click()
    page.get_by_role("textbox", name="Name").fill("diverged")
    page.get_by_label("Tell when").select_option("metric")
    page.get_by_role("textbox", name="Metric").fill("loss")
    page.get_by_role("textbox", name="Value").fill("much")
    page.get_by_role("checkbox", name="hook").check()
    page.get_by_role("button", name="Save").click()
    page.get_by_role("alert").get_by_text("Value: type a number.").wait_for()
    page.get_by_role("textbox", name="Value").fill("100")
    picture(page, "alert-rule-wide-light")
    page.get_by_role("button", name="Save").click()
    rules.get_by_text("loss > 100").wait_for()
    page.get_by_role("button", name="Edit diverged").click()
    assert page.get_by_role("textbox", name="Value").input_value() == "100"
    page.get_by_role("textbox", name="Value").fill("200")
    page.keyboard.press("Enter")
    rules.get_by_text("loss > 200").wait_for()
    page.get_by_role("button", name="Turn off diverged").click()
    page.get_by_role("button", name="Turn on diverged").wait_for()
    page.get_by_role("button", name="Remove diverged").click()
    page.get_by_role("button", name="Remove the rule").click()
    rules.get_by_text("loss > 200").wait_for(state="detached")


def test_what_was_raised_is_shown_with_what_became_of_it(
    open_page: Open, given: str, picture: Picture
) -> None:
    for dark, width in ((False, 1280), (True, 360)):
        page = open_page("/alerts", dark=dark, width=width, height=740)
        raised = page.get_by_role("region", name="Raised alerts")
        raised.get_by_text("failed: run failed").wait_for()
        raised.get_by_text("<b>disk</b> nearly full").wait_for()
        assert raised.get_by_text("hook:").count() == 2
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        picture(page, f"alerts-{'narrow-dark' if dark else 'wide-light'}")
    raised.get_by_role("link", name="gives alerts").first.click()
    page.get_by_role("tab", name="Alerts (2)").click()
    page.get_by_role("heading", name="<b>disk</b> nearly full").wait_for()
    page.get_by_text("given by the run").wait_for()
    page.get_by_text("by the rule failed").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    picture(page, "run-alerts-narrow-dark")


def test_a_test_is_sent_and_its_failure_is_said(open_page: Open, given: str) -> None:
    page = open_page("/alerts")
    page.get_by_role("button", name="Send a test to hook").click()
    raised = page.get_by_role("region", name="Raised alerts")
    raised.get_by_text("Test of runstream").first.wait_for()


def test_axe_finds_nothing_serious(open_page: Open, given: str) -> None:
    build = builder()
    build.install(build.EVERYTHING)
    axe = (REPOSITORY / "dashboard" / "node_modules" / "axe-core" / "axe.min.js").read_text()
    for dark in (False, True):
        page = open_page("/alerts", dark=dark)
        page.get_by_role("region", name="Raised alerts").wait_for()
        for form in (False, True):
            if form:
                page.get_by_role("button", name="New rule").click()
            page.evaluate(axe)
            answer = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
            serious = [v for v in answer["violations"] if v["impact"] in ("serious", "critical")]
            assert [(v["id"], [node["html"][:200] for node in v["nodes"][:3]]) for v in serious] == []


def test_a_server_that_is_away_is_said_and_asked_again(open_page: Open, given: str) -> None:
    page = open_page("/")
    page.route("**/api/v1/alert-rules*", lambda route: route.fulfill(status=503, json={"detail": "away"}))
    page.get_by_role("link", name="Alerts", exact=True).click()
    page.get_by_role("alert").get_by_text("away").wait_for()
    page.unroute("**/api/v1/alert-rules*")
    page.get_by_role("button", name="Retry").click()
    page.get_by_role("region", name="Rules").get_by_text("the run failed").wait_for()
