"""The workspace in a real browser: an experiment's runs beside their charts, which are shown and hidden at once."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .conftest import REPOSITORY, Site, builder
from .test_browser import COLOURED, Open, Picture, drawn, until

TRAINING = """
import math
from runstream.core import Experiment, Workspace

experiment = Experiment(Workspace.from_config(), "workspace")
for k in range(6):
    run = experiment.start_logging(outputs=None, snapshot_directory=None, display_name=f"trial-{k}", tags={"team": "a"})
    run.log_params({"lr": 0.1 / 2**k, "batch": 128, "optimizer": "adam" if k % 2 else "sgd"})
    run.log("parameters", 11689512 + k)
    for step in range(200):
        value = math.exp(-step / 50) + 0.1 * k
        run.log("train/loss", value)
        run.log("val/loss", value + 0.01)
        run.log("val/accuracy", 1 / (1 + value))
        run.log("train/constant", 3.0)
        run.log("system/memory", 100.0 + step)
    run.complete()
    print(run.id, flush=True)
"""


@pytest.fixture(scope="module")
def trials(site: Site) -> list[str]:
    """The ids of six runs of an experiment, all stored."""
    ids = site.shell.python(TRAINING).stdout.split()
    stored = "/api/v1/runs?experiment=workspace&status=Completed"
    site.shell.wait_until(lambda: len(site.api(stored)["runs"]) == len(ids), 60, "the runs")
    return ids


@pytest.fixture
def address(site: Site, trials: list[str]) -> str:
    """The page a link to the experiment opens."""
    [experiment] = [
        listed for listed in site.api("/api/v1/experiments")["experiments"] if listed["name"] == "workspace"
    ]
    return f"/experiments/id/{experiment['id']}"


@pytest.fixture
def workspace(open_page: Open, address: str) -> Callable[..., Any]:
    """Opens the experiment's page, and waits for its rows and the first charts."""

    def open_(query: str = "", charts: int = 2, **kwargs: Any) -> Any:
        page = open_page(address + query, **kwargs)
        if "pane=right" not in query:
            page.get_by_role("link", name="trial-0").wait_for()
        if charts:
            drawn(page, charts)
        return page

    return open_


def eye(page: Any, name: str) -> Any:
    return page.get_by_role("button", name=f"Show {name} in the charts")


def pane(page: Any) -> Any:
    return page.get_by_role("region", name="Charts", exact=True)


def test_a_link_to_an_experiment_opens_its_runs_beside_their_charts(
    open_page: Open, trials: list[str], picture: Picture
) -> None:
    page = open_page("/experiments?q=workspace")
    page.get_by_role("link", name="workspace", exact=True).click()
    page.get_by_role("link", name="trial-0").wait_for()
    drawn(page, 2)
    table, charts = page.get_by_role("grid", name="Runs").bounding_box(), pane(page).bounding_box()
    assert table["x"] + table["width"] <= charts["x"]
    assert abs(table["y"] - charts["y"]) < 8
    assert table["x"] + table["width"] + 9 + charts["width"] == pytest.approx(1280, abs=2)
    picture(page, "workspace-wide-light")


def test_both_panes_scroll_for_themselves(workspace: Callable[..., Any]) -> None:
    page = workspace(height=500)
    top = pane(page).evaluate("pane => (pane.scrollTop = 600, pane.scrollTop)")
    assert top > 100
    table = page.get_by_role("grid", name="Runs")
    assert table.evaluate("table => table.scrollTop") == 0
    assert page.evaluate("document.scrollingElement.scrollTop") == 0
    box = table.bounding_box()
    page.mouse.move(box["x"] + 50, box["y"] + 60)
    page.mouse.wheel(0, 40)
    page.wait_for_timeout(100)
    assert pane(page).evaluate("pane => pane.scrollTop") == top


def test_every_run_is_shown_until_it_is_hidden_and_the_address_holds_it(
    workspace: Callable[..., Any], trials: list[str]
) -> None:
    page = workspace("?m=val")
    all_shown = sum(page.evaluate(COLOURED))
    eye(page, "trial-3").click()
    assert eye(page, "trial-3").get_attribute("aria-pressed") == "false"
    until(page, f"({COLOURED})().reduce((a, b) => a + b, 0) < {all_shown}")
    assert f"hide={trials[3]}" in page.url
    page.reload()
    assert eye(page, "trial-3").get_attribute("aria-pressed") == "false"
    assert eye(page, "trial-2").get_attribute("aria-pressed") == "true"
    eye(page, "trial-2").click(modifiers=["Alt"])
    assert [eye(page, f"trial-{k}").get_attribute("aria-pressed") for k in range(6)] == [
        "true" if k == 2 else "false" for k in range(6)
    ]
    page.get_by_role("button", name="Show all", exact=True).click()
    until(page, f"({COLOURED})().reduce((a, b) => a + b, 0) >= {all_shown * 0.98}")
    assert "hide=" not in page.url
    assert "only=" not in page.url


def test_what_is_hidden_needs_no_request_and_no_other_colour(workspace: Callable[..., Any]) -> None:
    page = workspace("?m=val")
    colours = page.locator(".eye path").evaluate_all(
        "paths => paths.map(path => path.getAttribute('stroke'))"
    )
    assert len(set(colours)) == len(colours) == 7  # six runs, and the head's own eye that has no colour
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "/charts?" in request.url else None)
    eye(page, "trial-1").click()
    page.wait_for_timeout(400)
    assert not asked
    eye(page, "trial-1").click()
    assert (
        page.locator(".eye path").evaluate_all("paths => paths.map(path => path.getAttribute('stroke'))")
        == colours
    )


MANY = """
import math
from runstream.core import Experiment, Workspace
experiment = Experiment(Workspace.from_config(), "many")
for k in range(40):
    run = experiment.start_logging(outputs=None, snapshot_directory=None, display_name=f"one-{k}")
    for step in range(100):
        run.log("loss", math.sin(step / 9 + k) + k / 20)
    run.complete()
"""


def test_many_lines_are_drawn_after_a_click_as_a_fresh_page_draws_them(open_page: Open, site: Site) -> None:
    """Of many lines only the layer of the one that is shown or hidden is drawn again."""
    site.shell.python(MANY)
    stored = "/api/v1/runs?experiment=many&status=Completed&limit=100"
    site.shell.wait_until(lambda: len(site.api(stored)["runs"]) == 40, 60, "the runs")
    page = open_page("/?q=experiment:many&sort=number")
    page.get_by_role("link", name="one-0", exact=True).wait_for()
    drawn(page, 1)
    picture_of = "document.querySelector('.chart canvas').toDataURL()"
    whole = page.evaluate(picture_of)
    for name in ("one-3", "one-7"):
        eye(page, name).click()
    until(page, f"{picture_of} !== {whole!r}")
    page.wait_for_timeout(300)
    clicked = page.evaluate(picture_of)
    page.reload()
    drawn(page, 1)
    until(page, f"{picture_of} === {clicked!r}")
    for name in ("one-3", "one-7"):
        eye(page, name).click()
    until(page, f"{picture_of} === {whole!r}")


def test_runs_are_drawn_in_groups_by_what_differs(
    workspace: Callable[..., Any], trials: list[str], picture: Picture
) -> None:
    page = workspace("?m=val")
    by = pane(page).get_by_label("group by")
    by.focus()
    by.get_by_role("option", name="optimizer").wait_for(state="attached", timeout=5000)
    assert by.locator("option").all_inner_texts() == ["nothing", "optimizer"]  # each has a lr of its own
    by.select_option("param:optimizer")
    groups = pane(page).get_by_role("list", name="Groups").get_by_role("button")
    assert [text.strip() for text in groups.all_inner_texts()] == ["optimizer adam (3)", "optimizer sgd (3)"]
    drawn(page, 2)
    strokes = page.locator("[role=row] .eye path").evaluate_all(
        "paths => paths.map(path => path.getAttribute('stroke'))"
    )
    assert len(set(strokes[-6:])) == 2
    picture(page, "workspace-groups-light")
    groups.first.click()
    assert [eye(page, f"trial-{k}").get_attribute("aria-pressed") for k in range(6)] == ["true", "false"] * 3
    groups.first.click()
    assert "only=" not in page.url
    assert "by=param%3Aoptimizer" in page.url


def test_groups_stand_in_the_list_and_are_folded(
    workspace: Callable[..., Any], trials: list[str], picture: Picture
) -> None:
    page = workspace("?m=val&by=param%3Aoptimizer&sort=number")
    table = page.get_by_role("grid", name="Runs")
    heading = table.locator("[aria-expanded]").first
    assert heading.inner_text() == "▾ optimizer adam (3)"
    assert heading.get_attribute("aria-expanded") == "true"
    names = [text for text in table.get_by_role("link").all_inner_texts() if text.startswith("trial")]
    assert names == ["trial-1", "trial-3", "trial-5", "trial-0", "trial-2", "trial-4"]
    picture(page, "workspace-grouped-list-light")
    heading.click()
    page.get_by_role("link", name="trial-1").wait_for(state="detached")
    assert table.get_by_role("link").count() == 3
    page.reload()
    page.get_by_role("link", name="trial-0").wait_for()
    assert heading.get_attribute("aria-expanded") == "false"
    page.keyboard.press("j")  # the heading
    page.keyboard.press("ArrowRight")
    page.get_by_role("link", name="trial-1").wait_for()
    for key in ("j", "x", "j", "Shift+x"):
        page.keyboard.press(key)
    page.get_by_text("2 selected").wait_for()
    eye(page, "optimizer sgd (3)").click(modifiers=["Alt"])
    assert [eye(page, f"trial-{k}").get_attribute("aria-pressed") for k in range(6)] == ["true", "false"] * 3


def test_keys_give_table_and_charts_the_whole_width(workspace: Callable[..., Any]) -> None:
    page = workspace()
    page.keyboard.press("t")
    pane(page).wait_for(state="detached")
    assert page.get_by_role("grid", name="Runs").bounding_box()["width"] == 1280
    page.get_by_role("columnheader", name="Status").wait_for()  # there is room for words
    page.keyboard.press("g")
    page.get_by_role("grid", name="Runs").wait_for(state="detached")
    assert pane(page).bounding_box()["width"] == 1280
    page.keyboard.press("g")
    page.get_by_role("grid", name="Runs").wait_for()
    pane(page).wait_for()
    assert "pane=" not in page.url


def test_the_edge_between_them_is_drawn_and_stays(workspace: Callable[..., Any]) -> None:
    page = workspace()
    edge = page.get_by_role("separator", name="Width of the table")
    before = int(edge.get_attribute("aria-valuenow"))
    box = edge.bounding_box()
    page.mouse.move(box["x"] + 4, box["y"] + 200)
    page.mouse.down()
    page.mouse.move(box["x"] - 96, box["y"] + 200, steps=5)
    page.mouse.up()
    assert int(edge.get_attribute("aria-valuenow")) == pytest.approx(before - 100, abs=2)
    edge.press("ArrowRight")
    now = int(edge.get_attribute("aria-valuenow"))
    assert now == pytest.approx(before - 68, abs=2)
    page.reload()
    page.get_by_role("link", name="trial-0").wait_for()
    assert int(edge.get_attribute("aria-valuenow")) == now
    edge.dblclick()
    assert int(edge.get_attribute("aria-valuenow")) == before


def test_a_key_shows_the_run_at_the_cursor_or_only_what_is_selected(workspace: Callable[..., Any]) -> None:
    page = workspace("?m=val&sort=number")
    for key in ("j", "v"):
        page.keyboard.press(key)
    assert eye(page, "trial-0").get_attribute("aria-pressed") == "false"
    for key in ("j", "x", "j", "x", "h"):
        page.keyboard.press(key)
    assert [eye(page, f"trial-{k}").get_attribute("aria-pressed") for k in range(4)] == [
        "false",
        "true",
        "true",
        "false",
    ]


def test_columns_chosen_by_themselves_tell_the_runs_apart(workspace: Callable[..., Any]) -> None:
    page = workspace("?pane=left&sort=number", charts=0)
    heads = [text.split("\n")[0] for text in page.get_by_role("columnheader").all_inner_texts()]
    shown = [head.strip() for head in heads if head.strip()]
    names = [re.sub(r"(last|min|max|param|tag)?\s*[↑↓]?$", "", head).strip() for head in shown]
    assert names[:1] == ["Name"]
    for first, then in [("val/accuracy", "train/loss"), ("val/loss", "train/loss"), ("train/loss", "lr")]:
        assert names.index(first) < names.index(then)
    assert {"lr", "optimizer"} <= set(names)
    assert not {"batch", "team", "train/constant", "Experiment"} & set(names)


def test_charts_fill_the_width_there_is(workspace: Callable[..., Any], picture: Picture) -> None:
    for width in (1440, 1920):
        page = workspace("?pane=right", width=width, height=900)
        rows = page.evaluate("""() => [...document.querySelectorAll('[data-scroll] .grid')].map(grid => {
          const rows = new Map();
          for (const card of grid.children) {
            const { top, left, right } = card.getBoundingClientRect();
            const row = rows.get(Math.round(top)) ?? { left, right };
            rows.set(Math.round(top), { left: Math.min(row.left, left), right: Math.max(row.right, right) });
          }
          const { left, right } = grid.getBoundingClientRect();
          return [...rows.values()].map(row => (row.right - row.left) / (right - left));
        }).flat()""")
        assert len(rows) >= 3
        assert min(rows) > 0.99
        picture(page, f"workspace-charts-{width}-light")


def test_sections_remember_their_order_and_size(workspace: Callable[..., Any]) -> None:
    page = workspace("?pane=right")
    sections = pane(page).locator("section.group h2")

    def order() -> list[str]:
        return [text.split(" ")[1] for text in sections.all_inner_texts()]

    assert order()[:2] == ["val", "train"]
    assert order()[-1] == "system"
    page.get_by_role("button", name="Settings of section train").click()
    page.get_by_role("button", name="Move section train up").click()
    page.get_by_label("Size of section train").select_option("large")
    page.keyboard.press("Escape")
    page.reload()
    drawn(page, 2)
    assert order()[:2] == ["train", "val"]
    charts = page.get_by_role("group", name=re.compile("^Chart of (train|val).loss"))
    train, val = (charts.nth(n).bounding_box()["height"] for n in (0, 1))
    assert train > val


def test_the_experiments_dashboard_is_a_section(
    workspace: Callable[..., Any], trials: list[str], picture: Picture
) -> None:
    page = workspace("?pane=right&m=val/loss", 1)
    over = page.get_by_role("region", name="Over the runs", exact=True)
    over.scroll_into_view_if_needed()
    chart = over.get_by_role(
        "group", name=re.compile("^val.loss over run number, 6 runs; best lowest .* of trial-0")
    )
    chart.wait_for()
    chart.focus()
    for _ in range(2):
        page.keyboard.press("ArrowRight")
    said = over.get_by_role("region", name="val/loss over the runs").locator("footer").inner_text()
    assert re.search(r"trial-1.*last 0\.\d+.*min 0\.\d+.*max 1\.\d+.*mean 0\.\d+", said.replace("\n", " "))
    over.get_by_label("x over the runs").select_option("param:lr")
    over.get_by_role("group", name=re.compile("^val.loss over lr, 6 runs")).wait_for()
    over.get_by_role("button", name="mean").click()
    assert "stats=last%2Cmin%2Cmax" in page.url
    picture(page, "workspace-over-runs-wide-light")
    chart = over.get_by_role("group", name=re.compile("^val.loss over lr"))
    chart.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/runs/{trials[5]}")  # the one with the least lr


def test_a_chart_is_taken_along_as_picture_and_as_numbers(workspace: Callable[..., Any]) -> None:
    page = workspace("?pane=right&m=val/loss", 1)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    settings = page.get_by_role("button", name="Settings of val/loss")
    settings.click()
    page.get_by_role("button", name="Copy val/loss as CSV").click()
    page.get_by_text("Copied val/loss as CSV").wait_for()
    rows = page.evaluate("navigator.clipboard.readText()").splitlines()
    assert rows[0] == "run,run_id,metric,step,value,low,high"
    assert sum(row.startswith("trial-0,") for row in rows) > 50
    for kind, begins in (("PNG", b"\x89PNG"), ("SVG", b"<svg ")):
        settings.click()
        with page.expect_download() as kept:
            page.get_by_role("button", name=f"Save val/loss as {kind}").click()
        assert kept.value.suggested_filename == f"val-loss.{kind.lower()}"
        content = Path(kept.value.path()).read_bytes()
        assert content.startswith(begins)
        assert len(content) > 3000


def test_single_values_are_bars_and_no_number_is_broken(
    workspace: Callable[..., Any], open_page: Open, trials: list[str]
) -> None:
    page = workspace("?pane=right&m=parameters", charts=0)
    bars = page.get_by_role("region", name="parameters", exact=True)
    bars.get_by_text("11,689,517").wait_for()
    page = open_page(f"/runs/{trials[0]}", width=360)
    value = page.get_by_role("region", name=re.compile("^Values of")).get_by_text("11,689,512")
    assert value.bounding_box()["height"] <= 26  # one line


def test_single_values_are_points_over_a_parameter_or_another_metric(
    workspace: Callable[..., Any], trials: list[str], picture: Picture
) -> None:
    page = workspace("?pane=right&m=parameters", charts=0)
    card = page.get_by_role("region", name="parameters", exact=True)
    card.get_by_role("button", name="parameters as points").click()
    card.get_by_role("img", name="parameters over lr: 6 points").wait_for()
    colours = card.locator("circle").evaluate_all("dots => dots.map(dot => getComputedStyle(dot).fill)")
    assert len(set(colours)) == 6
    picture(page, "workspace-points-wide-light")
    x = card.get_by_label("x of parameters")
    x.select_option("metric:val/loss")
    card.get_by_role("img", name="parameters over val/loss: 6 points").wait_for()
    page.reload()
    card.get_by_role("img", name="parameters over val/loss: 6 points").wait_for()
    x.select_option("param:optimizer")
    card.locator("svg").get_by_text("sgd").wait_for()  # categories have their names
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    card.get_by_role("button", name="parameters as points").click()
    card.get_by_text("11,689,517").wait_for()
    card.get_by_role("button", name="parameters as points").click()
    card.locator("circle").first.click()
    page.wait_for_url(re.compile("/runs/(" + "|".join(trials) + ")$"))


def test_a_run_that_logs_is_drawn_by_itself(workspace: Callable[..., Any], site: Site) -> None:
    page = workspace("?m=train/loss&sort=-start_time", charts=1)
    site.shell.python(
        "from runstream.core import Experiment, Workspace\n"
        "run = Experiment(Workspace.from_config(), 'workspace').start_logging(\n"
        "    display_name='just came', snapshot_directory=None, outputs=None)\n"
        "for step in range(200): run.log('train/loss', 5.0)\n"
        "run.complete()\n"
        "print(run.id)\n"
    )
    eye(page, "just came").wait_for()
    chart = page.get_by_role("group", name=re.compile("^Chart of train.loss"))
    chart.focus()
    until(page, "document.querySelector('.chart .over') === null")
    page.get_by_role("link", name="just came").wait_for()
    for _ in range(100):
        page.keyboard.press("ArrowUp")
        if "just came" in (chart.locator("[aria-live]").text_content() or ""):
            break
        page.wait_for_timeout(100)
    assert "just came" in chart.locator("[aria-live]").text_content()
    [run] = site.api("/api/v1/runs?experiment=workspace&q=%22just%20came%22")["runs"]
    site.shell.run("run", "delete", "--yes", run["run_id"])


def test_a_search_over_all_runs_is_a_workspace_too_and_all_runs_open_as_a_table(
    open_page: Open, trials: list[str]
) -> None:
    page = open_page("/")
    page.get_by_role("link", name=re.compile("^(trial|one)-")).first.wait_for()
    assert pane(page).count() == 0
    page.get_by_role("combobox", name="Search runs").fill("experiment:workspace")
    drawn(page, 2)
    page.get_by_role("button", name="Table", exact=True).click()
    pane(page).wait_for(state="detached")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_on_a_phone_one_pane_at_a_time(workspace: Callable[..., Any], picture: Picture, dark: bool) -> None:
    page = workspace("", charts=0, width=360, height=740, dark=dark)
    look = "dark" if dark else "light"
    page.get_by_role("link", name="trial-0").wait_for()
    picture(page, f"workspace-narrow-{look}")
    eye(page, "trial-1").click()
    page.get_by_role("button", name="Charts", exact=True).click()
    drawn(page, 1)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.get_by_text("5 of 6 runs in the charts").wait_for()
    picture(page, f"workspace-charts-narrow-{look}")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_axe_finds_nothing_serious_in_a_workspace(
    workspace: Callable[..., Any], trials: list[str], picture: Picture, dark: bool
) -> None:
    build = builder()
    build.install(build.EVERYTHING)
    axe = (REPOSITORY / "dashboard" / "node_modules" / "axe-core" / "axe.min.js").read_text()
    page = workspace(f"?hide={trials[1]}&plot=parallel&by=param%3Aoptimizer", charts=0, dark=dark)
    page.get_by_label("Parallel coordinates of").wait_for()
    pane(page).evaluate("pane => pane.scrollTop = 1e6")
    page.get_by_role("group", name=re.compile("over run number")).first.wait_for()
    page.evaluate(axe)
    answer = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
    assert not [
        (violation["id"], [node["html"][:200] for node in violation["nodes"][:3]])
        for violation in answer["violations"]
        if violation["impact"] in ("serious", "critical")
    ]
    picture(page, f"workspace-bottom-{'dark' if dark else 'light'}")
