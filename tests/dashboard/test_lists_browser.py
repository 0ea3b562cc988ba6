"""The pages of runs, experiments and compute targets in a real browser: searching, editing, grouping, saved views."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.service.conftest import Shell

from .conftest import Site

Open = Callable[..., Any]
Picture = Callable[[Any, str], None]

SWEEP = """
from runstream.core import Experiment, Workspace

experiment = Experiment(Workspace.from_config(), "grouped")
parent = experiment.start_logging(outputs=None, snapshot_directory=None, display_name="the sweep")
parent.add_properties({"primary_metric_config": '{"name": "score", "goal": "MAXIMIZE"}'})
for k in range(3):
    child = parent.child_run()
    child.display_name = f"trial-{k}"
    child.tag("depth", str(k))
    child.log("score", [0.5, 0.9, 0.7][k])
    child.complete()
parent.complete()
print(parent.id, flush=True)
"""


@pytest.fixture(scope="module")
def sweep(site: Site) -> str:
    """The id of a parent of three runs, all stored."""
    parent = site.shell.python(SWEEP).stdout.split()[0]
    children = f"/api/v1/runs?parent={parent}&q=status:completed"
    site.shell.wait_until(lambda: len(site.api(children)["runs"]) == 3, 60, "the children")
    return parent


def names(page: Any) -> list[str]:
    return page.get_by_role("row").get_by_role("link").all_inner_texts()  # type: ignore[no-any-return]


def test_children_stand_below_their_parent_and_the_best_is_marked(
    open_page: Open, sweep: str, picture: Picture
) -> None:
    page = open_page("/?tree=1&q=experiment:grouped&cols=status,score.last,tag:depth,tags&sort=display_name")
    page.get_by_role("treegrid", name="Runs").wait_for()
    page.get_by_role("button", name="Show the children of the sweep").click()
    page.get_by_role("link", name="trial-2", exact=True).wait_for()
    assert names(page) == ["the sweep", "trial-0", "trial-1", "trial-2"]
    best = page.get_by_role("row").filter(has=page.get_by_title("best child"))
    assert "trial-1" in best.inner_text()
    assert best.get_attribute("aria-level") == "2"
    picture(page, "runs-tree-wide-light")
    page.keyboard.press("Escape")
    page.get_by_role("treegrid", name="Runs").focus()
    for key in ("j", "ArrowLeft"):
        page.keyboard.press(key)
    page.get_by_role("link", name="trial-2", exact=True).wait_for(state="detached")


def test_columns_fit_the_runs_found_and_tags_are_sorted_by(open_page: Open, sweep: str) -> None:
    page = open_page("/?q=experiment:grouped%20tag:depth")
    page.get_by_role("columnheader", name="score max").wait_for()  # what their sweep is after
    assert page.get_by_role("columnheader", name="loss").count() == 0  # other runs have it
    page.goto("/?q=experiment:grouped%20tag:depth%3E0&cols=status,tag:depth")
    header = page.get_by_role("columnheader", name="depth tag")
    header.get_by_role("button").click()
    page.get_by_role("columnheader", name="depth tag ↑").wait_for()
    header.get_by_role("button").click()
    page.get_by_role("columnheader", name="depth tag ↓").wait_for()
    page.get_by_role("row").nth(1).get_by_role("link", name="trial-2").wait_for()
    assert names(page) == ["trial-2", "trial-1"]
    edge = page.get_by_role("separator", name="Width of Name")
    edge.press("ArrowRight")
    wide = edge.get_attribute("aria-valuetext")
    assert wide.endswith("pixels")
    page.reload()
    assert edge.get_attribute("aria-valuetext") == wide
    edge.dblclick()
    assert not edge.get_attribute("aria-valuetext").endswith("pixels")


@pytest.fixture
def signed_in_site(site: Site, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """A service that wants its visitors to sign in, with the sweep: its address, and a token that may only read."""
    shell = Shell(tmp_path / "home")
    shell.variables["RUNSTREAM_OWNER_ACCESS"] = "0"
    try:
        shell.run("up")
        url = json.loads((shell.root / "service.json").read_text())["url"]
        other = Site(shell, url, [])
        shell.python(SWEEP)
        finished = "/api/v1/runs?q=experiment:grouped%20status:completed"
        shell.wait_until(lambda: len(other.api(finished)["runs"]) == 4, 60, "the runs")
        yield url, shell.run("token", "create", "reader", "--role", "read").stdout.split()[-1]
    finally:
        shell.close()


def test_who_may_only_read_is_offered_no_change(browser: Any, signed_in_site: tuple[str, str]) -> None:
    url, token = signed_in_site
    context = browser.new_context(base_url=url)
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.goto("/?q=experiment:grouped%20trial-2")
    page.get_by_label("Token").fill(token)
    page.get_by_role("button", name="Open").click()
    page.get_by_text("read-only").wait_for()
    page.get_by_role("button", name="Actions of trial-2").click()
    menu = page.get_by_role("menu", name="Actions")
    assert menu.get_by_role("menuitem").all_inner_texts()[0].startswith("Open")
    assert menu.get_by_role("menuitem", name=re.compile("Edit|Archive|Delete")).count() == 0
    page.keyboard.press("Escape")
    page.get_by_role("checkbox", name="Select trial-2").check()
    bar = page.get_by_role("toolbar", name="Selected runs")
    assert bar.get_by_role("button").all_inner_texts() == ["Compare", "Clear"]
    page.goto("/experiments?q=grouped")
    page.get_by_role("link", name="grouped", exact=True).wait_for()
    assert page.get_by_role("button", name=re.compile("Edit|Archive")).count() == 0
    context.close()


def test_names_and_tags_are_edited_in_place(open_page: Open, site: Site, sweep: str) -> None:
    page = open_page("/?q=experiment:grouped%20tag:depth=0&cols=status,tag:depth,description")
    page.get_by_role("gridcell", name=re.compile("^trial-0")).dblclick()
    field = page.get_by_role("textbox", name="Name of trial-0")
    field.fill("renamed")
    field.press("Enter")
    page.get_by_role("link", name="renamed").wait_for()
    page.get_by_role("button", name="Actions of renamed").click()
    page.get_by_role("menuitem", name="Edit name").click()
    dialog = page.get_by_role("dialog", name="Edit renamed")
    dialog.get_by_label("Description").fill("what *was* tried")
    dialog.get_by_role("button", name="Add a tag").click()
    dialog.get_by_label("Tag 2", exact=True).fill("kept")
    dialog.get_by_label("Value of tag 2").fill("yes")
    dialog.get_by_role("button", name="Save").click()
    page.get_by_role("gridcell", name="what *was* tried").wait_for()
    [run] = site.api(f"/api/v1/runs?parent={sweep}&tag=kept=yes")["runs"]
    assert (run["display_name"], run["description"]) == ("renamed", "what *was* tried")
    assert run["tags"] == {"depth": "0", "kept": "yes"}


def test_many_runs_are_tagged_and_archived_and_brought_back(open_page: Open, site: Site, sweep: str) -> None:
    page = open_page("/?q=experiment:grouped%20tag:depth&sort=number")
    page.get_by_role("checkbox", name="Select trial-2").wait_for()
    page.get_by_role("checkbox", name="Select all loaded runs").check()
    bar = page.get_by_role("toolbar", name="Selected runs")
    bar.get_by_role("button", name="Tags").click()
    dialog = page.get_by_role("dialog", name="Tags of 3 runs")
    dialog.get_by_label("Tag 1", exact=True).fill("round")
    dialog.get_by_label("Value of tag 1").fill("first")
    dialog.get_by_role("button", name="Save").click()
    page.get_by_role("status", name="Messages").get_by_text("Tags of 3 runs changed").wait_for()
    assert len(site.api(f"/api/v1/runs?parent={sweep}&tag=round=first")["runs"]) == 3
    bar.get_by_role("button", name="Archive").click()
    page.get_by_text("No run matches").wait_for()
    assert len(site.api(f"/api/v1/runs?parent={sweep}&archived=1")["runs"]) == 3
    page.get_by_role("button", name="Undo").click()
    page.get_by_role("link", name="trial-2", exact=True).wait_for()


def test_what_is_shown_is_exported_and_a_run_is_deleted(open_page: Open, site: Site) -> None:
    code = SWEEP.replace('"grouped"', '"deleted"').replace("the sweep", "doomed")
    parent = site.shell.python(code).stdout.split()[0]
    ended = "/api/v1/runs?experiment=deleted&status=Completed"
    site.shell.wait_until(lambda: len(site.api(ended)["runs"]) == 4, 60, "the runs")
    page = open_page("/?q=experiment:deleted&cols=status,score.max,tag:depth&sort=number")
    page.get_by_role("link", name="doomed").wait_for()
    page.get_by_role("button", name="Export").click()
    with page.expect_download() as kept:
        page.get_by_role("link", name="CSV").click()
    rows = list(csv.reader(kept.value.path().read_text().splitlines()))
    assert rows[0] == ["run_id", "display_name", "status", "metric:score:max", "tag:depth"]
    assert rows[1][:3] == [parent, "doomed", "Completed"]
    assert [row[3] for row in rows[2:]] == ["0.5", "0.9", "0.7"]
    page.get_by_role("button", name="Actions of doomed").click()
    page.get_by_role("menuitem", name="Delete").click()
    dialog = page.get_by_role("dialog", name="Delete 1 run?")
    dialog.get_by_text("their 3 child runs").wait_for()
    dialog.get_by_role("button", name="Delete 4 runs").click()
    page.get_by_text("No run matches").wait_for()
    assert site.api(ended)["runs"] == []


def test_runs_are_added_to_a_comparison(open_page: Open, site: Site, picture: Picture) -> None:
    page = open_page(f"/compare?runs={site.runs[0]}&tab=diff")
    page.get_by_role("heading", name="Compare 1 run", exact=True).wait_for()
    page.get_by_role("button", name="Add runs").click()
    page.get_by_role("searchbox", name="Add runs: search").fill("run-2")
    page.get_by_role("checkbox", name="run-2").check()
    page.get_by_role("heading", name="Compare 2 runs").wait_for()
    page.get_by_role("row", name=re.compile("^lr tag")).get_by_role("cell", name="0.001").wait_for()
    picture(page, "compare-added-wide-light")


def test_going_back_shows_the_list_as_it_was_left(open_page: Open, sweep: str) -> None:
    page = open_page("/", height=300)
    page.get_by_role("checkbox", name="Select run-3").check()
    table = page.get_by_role("grid", name="Runs")
    table.evaluate("table => table.scrollTop = 60")
    page.get_by_role("link", name="run-2", exact=True).hover()  # scrolls it into sight
    top = table.evaluate("table => table.scrollTop")
    assert top > 0
    page.get_by_role("link", name="run-2", exact=True).click()
    page.get_by_role("heading", name="run-2").wait_for()
    page.go_back()
    page.get_by_role("link", name="run-2", exact=True).wait_for()
    assert table.evaluate("table => table.scrollTop") == top
    assert page.get_by_role("checkbox", name="Select run-3").is_checked()


def test_views_are_saved_applied_renamed_and_deleted(open_page: Open, sweep: str) -> None:
    page = open_page("/?q=experiment:grouped&cols=status,score.max")
    page.get_by_role("link", name="the sweep").wait_for()
    page.get_by_role("button", name="Views").click()
    page.get_by_label("Name of the new view").fill("scores")
    page.get_by_role("button", name="Save this view").click()
    page.get_by_role("button", name="scores ▾").wait_for()
    page.get_by_role("link", name="Runs", exact=True).click()
    page.get_by_role("columnheader", name="Experiment").wait_for()
    page.get_by_role("button", name="scores * ▾").click()
    page.get_by_role("button", name="scores", exact=True).click()
    page.wait_for_url(re.compile("q=experiment%3Agrouped"))
    page.get_by_role("columnheader", name="score max").wait_for()
    page.get_by_role("button", name="scores ▾").click()
    page.get_by_role("button", name="Rename scores").click()
    page.get_by_label("New name of scores").fill("best scores")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Delete best scores").click()
    page.get_by_role("dialog", name="Delete the view best scores?").get_by_role(
        "button", name="Delete"
    ).click()
    page.get_by_text("View best scores deleted").wait_for()


def test_the_search_box_completes_and_marks_mistakes(open_page: Open, sweep: str, picture: Picture) -> None:
    page = open_page("/")
    box = page.get_by_role("combobox", name="Search runs")
    box.press_sequentially("sco")
    page.get_by_role("option", name="score<").wait_for()
    picture(page, "runs-completion-wide-light")
    box.press("ArrowDown")
    box.press("Enter")
    assert box.input_value() == "score<"
    box.press_sequentially("x status:comp")
    page.get_by_role("option", name="status:completed").click()
    page.get_by_role("alert").get_by_text("'x' is no number").wait_for()
    assert box.get_attribute("aria-invalid") == "true"
    assert box.input_value() == "score<x status:completed "
    box.fill("score>0.8 parent:" + sweep)
    page.get_by_role("link", name="trial-1", exact=True).wait_for()
    assert names(page) == ["trial-1"]
    page.get_by_role("button", name="How to search").click()
    page.get_by_role("button", name="since:7d").click()
    assert box.input_value().endswith("since:7d")


def test_what_is_typed_after_a_suggestion_stands_behind_it(open_page: Open, sweep: str) -> None:
    """Also where the next frame is late: the cursor is set before the next key."""
    page = open_page("/")
    box = page.get_by_role("combobox", name="Search runs")
    box.press_sequentially("sco")
    page.get_by_role("option", name="score<").wait_for()
    page.evaluate("() => void (window.requestAnimationFrame = (frame) => setTimeout(frame, 500, 0))")
    box.press("ArrowDown")
    box.press("Enter")
    box.press("x")
    page.wait_for_timeout(600)
    box.press_sequentially(" status:comp")
    page.get_by_role("option", name="status:completed").click()
    assert box.input_value() == "score<x status:completed "
    page.get_by_role("alert").get_by_text("'x' is no number").wait_for()


def test_a_late_answer_does_not_replace_the_suggestions_for_what_was_typed_since(
    open_page: Open, sweep: str
) -> None:
    page = open_page("/")
    late: list[Any] = []

    def answer(route: Any) -> None:
        if "q=s&" in route.request.url:
            late.append(route)
        else:
            route.continue_()

    page.route("**/api/v1/metric-names?*", answer)
    box = page.get_by_role("combobox", name="Search runs")
    with page.expect_request("**/api/v1/metric-names?q=s&*"):
        box.press("s")
    box.press_sequentially("co")
    page.get_by_role("option", name="score<").wait_for()
    late[0].fulfill(json={"names": [{"name": "scorn", "runs": 1, "text": False, "points": 1}]})
    page.wait_for_timeout(300)
    assert page.get_by_role("option", name="score<").is_visible()
    assert not page.get_by_role("option", name="scorn<").is_visible()


def test_the_palette_opens_pages_runs_and_commands(open_page: Open, sweep: str) -> None:
    page = open_page("/")
    page.get_by_role("grid", name="Runs").wait_for()
    page.keyboard.press("Control+k")
    page.get_by_role("combobox", name="Command").press_sequentially("group child")
    page.keyboard.press("Enter")
    page.get_by_role("treegrid", name="Runs").wait_for()
    page.keyboard.press("Control+k")
    page.get_by_role("combobox", name="Command").press_sequentially("the sweep")
    page.get_by_role("option", name=re.compile("the sweep.*run, completed")).click()
    page.get_by_role("heading", name="the sweep").wait_for()


def test_experiments_are_described_and_archived(
    open_page: Open, site: Site, sweep: str, picture: Picture
) -> None:
    page = open_page("/experiments?q=grouped")
    row = page.get_by_role("row").filter(has=page.get_by_role("link", name="grouped"))
    row.get_by_role("link", name="4 completed").wait_for()
    page.get_by_role("button", name="Edit grouped").click()
    dialog = page.get_by_role("dialog", name="Edit grouped")
    dialog.get_by_label("Description").fill("a sweep by hand")
    dialog.get_by_role("button", name="Save").click()
    row.get_by_text("a sweep by hand").wait_for()
    picture(page, "experiments-wide-light")
    page.get_by_role("button", name="Archive grouped").click()
    page.get_by_text("No experiment matches").wait_for()
    page.get_by_role("button", name="Undo").click()
    row.wait_for()


def test_a_run_on_a_target_is_canceled_and_goes_away(open_page: Open, site: Site, picture: Picture) -> None:
    process = site.train(
        "import sys, time\n"
        "from runstream.core import Experiment, Workspace\n"
        "experiment = Experiment(Workspace.from_config(), 'waits')\n"
        "run = experiment.start_logging(outputs=None, snapshot_directory=None, display_name='waiting')\n"
        "run.log('loss', 1.0)\n"
        "print(run.id, flush=True)\n"
        "time.sleep(120)\n"
    )
    assert process.stdout is not None
    try:
        process.stdout.readline()
        page = open_page("/compute")
        row = page.get_by_role("row").filter(has=page.get_by_role("link", name="local"))
        row.get_by_role("link", name="1 running").wait_for()
        row.get_by_role("link", name="local").click()
        page.get_by_role("link", name="waiting").wait_for()
        assert page.get_by_role("link", name="waits").get_attribute("href").startswith("/experiments/id/")
        picture(page, "compute-active-wide-light")
        page.get_by_role("button", name="Cancel waiting").click()
        page.get_by_text("Nothing queued or running on local").wait_for()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
