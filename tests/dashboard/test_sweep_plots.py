"""A metric over the parameters of a sweep, in a real browser: slices, contours, and what can be taken along of them."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from .conftest import REPOSITORY, Site, builder
from .test_browser import Open, Picture
from .test_hostile_names import HOSTILE

SWEEP = """
import json, random
from runstream.core import Experiment, Workspace

experiment, dice = Experiment(Workspace.from_config(), "sliced"), random.Random(2)
parent = experiment.start_logging(outputs=None, snapshot_directory=None)
space = {"lr": {"kind": "LogUniform", "low": 0.001, "high": 0.05}, "dropout": {"kind": "Uniform", "low": 0, "high": 0.5}}
parent.add_properties({"sweep": json.dumps({"space": space, "metric": "val/loss", "goal": "minimize"})})
parent.add_properties({"primary_metric_config": json.dumps({"name": "val/loss", "goal": "minimize"})})
for number in range(30):
    run = parent.child_run(f"trial-{number:02}")
    rate, dropout = 0.001 * 50 ** dice.random(), round(dice.uniform(0, 0.5), 3)
    run.log_params({"lr": rate, "dropout": dropout, "optimizer": dice.choice(["adam", "sgd"]), "batch": 32})
    run.log("val/loss", 900.0 if number == 7 else 0.3 + abs(rate - 0.01) * 20 + dropout * 0.2)
    run.fail("lost") if number == 7 else run.complete()
    print(run.id, flush=True)
parent.complete()
print(parent.id, flush=True)
"""
TRIAL = """
from runstream.core import Experiment, Workspace
from runstream.core.run import Run

run = Run.get(Workspace.from_config(), "PARENT").child_run("late")
run.log_params({"lr": 0.02, "dropout": 0.25, "optimizer": "adam"})
run.log("val/loss", 0.31)
print(run.id, flush=True)
run.complete()
"""


@pytest.fixture(scope="module")
def swept(site: Site) -> list[str]:
    ids: list[str] = site.shell.python(SWEEP).stdout.split()
    stored = "/api/v1/runs?q=experiment:sliced&limit=100"
    site.shell.wait_until(
        lambda: sum(run["settled"] for run in site.api(stored)["runs"]) == len(ids), 60, "the runs"
    )
    return ids


def plots(page: Any) -> Any:
    return page.get_by_role("region", name="Sweep charts")


def address(parent: str, plot: str) -> str:
    return f"/?q=parent:{parent}&cols=val/loss.last&pane=right&plot={plot}"


def test_a_slice_for_each_parameter_and_each_point_is_read(
    open_page: Open, swept: list[str], picture: Picture
) -> None:
    page = open_page(address(swept[-1], "slice"))
    panels = plots(page).get_by_role("group", name=re.compile("^val.loss last over "))
    panels.first.wait_for()
    assert panels.count() == 3  # batch is the same in all
    # Drawn from a range by its logarithm, though its values span less than two decades.
    rate = plots(page).get_by_role(
        "group", name=re.compile(r"^val.loss last over lr, log scale, 30 runs; best ")
    )
    assert "(log)" in rate.inner_text()
    assert {"adam", "sgd"} <= set(panels.nth(2).locator("text").all_text_contents())
    plots(page).get_by_text("1 value lies far off").wait_for()
    rate.focus()
    page.keyboard.press("ArrowRight")
    first = plots(page).get_by_text(re.compile(r"^trial-\d\d 0\.00\d+: "))
    first.wait_for()
    page.keyboard.press("ArrowRight")
    said = plots(page).get_by_text(re.compile(r"^trial-\d\d 0\.00\d+: ")).inner_text()
    plots(page).get_by_label("colour").select_option("status")
    marks = plots(page).get_by_role("list", name="Points")
    assert marks.get_by_role("listitem").all_inner_texts() == ["completed", "failed"]
    plots(page).get_by_role("button", name="Table").click()
    table = plots(page).get_by_role("region", name="val/loss last by parameter, as a table")
    assert table.get_by_role("row").count() == 31
    assert re.search(
        r"trial-07.*failed.*900", table.get_by_role("row", name=re.compile("trial-07")).inner_text(), re.S
    )
    assert said.split()[0] in table.inner_text()
    picture(page, "slice-wide-light")
    rate.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("/runs/"))


def test_a_contour_of_two_parameters_says_how_it_is_interpolated(
    open_page: Open, swept: list[str], picture: Picture
) -> None:
    page = open_page(address(swept[-1], "contour"))
    field = plots(page).get_by_role(
        "group", name=re.compile("^val.loss last over dropout and lr, 30 runs; best ")
    )
    field.wait_for()
    plots(page).get_by_text("weighted by a Gaussian of the distance").wait_for()
    assert field.locator("path.band").count() > 4
    page.get_by_role("button", name="Swap x and y").click()
    swapped = plots(page).get_by_role("group", name=re.compile("^val.loss last over lr and dropout, 30 runs"))
    swapped.wait_for()
    assert "px=param%3Alr" in page.url
    swapped.focus()
    page.keyboard.press("ArrowLeft")
    plots(page).get_by_text(re.compile(r"^trial-\d\d lr 0\.0\d+, dropout 0\.?\d*: ")).wait_for()
    picture(page, "contour-wide-light")


def test_of_few_runs_there_is_no_field_and_it_says_so(open_page: Open, swept: list[str]) -> None:
    page = open_page(f"/compare?runs={','.join(swept[:5])}&tab=sweep&plot=contour")
    page.get_by_text("5 runs have both parameters and a finite value: too few for a field").wait_for()
    assert page.locator("path.band").count() == 0
    page.goto(f"/compare?runs={swept[0]}&tab=sweep&plot=contour")
    page.get_by_text("No parameter varies").wait_for()


@pytest.mark.parametrize("plot", ["slice", "contour"])
def test_it_is_taken_along_as_picture_and_as_numbers(
    open_page: Open, swept: list[str], plot: str, tmp_path: Path
) -> None:
    page = open_page(address(swept[-1], plot))
    plots(page).get_by_role("group", name=re.compile("^val.loss last over ")).first.wait_for()
    saved = {}
    for kind in ("PNG", "SVG", "CSV"):
        plots(page).get_by_role("button", name=re.compile("^Copy or save val.loss last")).click()
        with page.expect_download() as download:
            page.get_by_role("button", name=re.compile(f"^Save val.loss last .* as {kind}$")).click()
        saved[kind] = tmp_path / download.value.suggested_filename
        download.value.save_as(saved[kind])
    assert saved["PNG"].read_bytes().startswith(b"\x89PNG")
    assert saved["PNG"].stat().st_size > 5000
    drawing = saved["SVG"].read_text()
    assert not re.search(r"var\(|oklab|class=|style=", drawing)
    shapes = [node.tag.split("}")[1] for node in ElementTree.fromstring(drawing).iter()]
    assert shapes.count("path") > 4
    assert "lr (log)" in drawing
    rows = list(csv.DictReader(saved["CSV"].read_text().splitlines()))
    assert len(rows) == 30
    assert rows[0].keys() == {"run", "run_id", "status", "dropout", "lr", "optimizer", "val/loss last"}


@pytest.mark.parametrize("plot", ["slice", "contour"])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_on_a_phone_nothing_sticks_out_and_axe_finds_nothing(
    open_page: Open, swept: list[str], picture: Picture, plot: str, dark: bool
) -> None:
    page = open_page(address(swept[-1], plot), width=360, height=780, dark=dark)
    plots(page).get_by_role("group", name=re.compile("^val.loss last over ")).first.wait_for()
    plots(page).get_by_role("button", name="Table").click()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    build = builder()
    build.install(build.EVERYTHING)
    axe = (REPOSITORY / "dashboard" / "node_modules" / "axe-core" / "axe.min.js").read_text()
    page.evaluate(axe)
    answer = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
    serious = [item for item in answer["violations"] if item["impact"] in ("serious", "critical")]
    assert not serious, [(item["id"], [node["html"] for node in item["nodes"]]) for item in serious]
    picture(page, f"{plot}-phone-{'dark' if dark else 'light'}")


def test_a_trial_that_comes_later_is_drawn_by_itself(open_page: Open, site: Site, swept: list[str]) -> None:
    page = open_page(address(swept[-1], "slice"))
    plots(page).get_by_role("group", name=re.compile("over lr, log scale, 30 runs")).wait_for()
    site.shell.python(TRIAL.replace("PARENT", swept[-1]))
    plots(page).get_by_role("group", name=re.compile("over lr, log scale, 31 runs")).wait_for()


NAMED = f"""
from runstream.core import Experiment, Workspace

experiment = Experiment(Workspace.from_config(), "named")
for number in range(9):
    run = experiment.start_logging(outputs=None, snapshot_directory=None, display_name={HOSTILE!r})
    run.log_params({{{HOSTILE!r}: 2.0**number, "other": number * 7 % 9, "which": {HOSTILE!r} + str(number % 2)}})
    run.log({HOSTILE!r}, number)
    run.complete()
"""


def test_whatever_parameters_metrics_and_runs_are_called_is_text_in_the_page_and_in_the_picture(
    open_page: Open, site: Site, tmp_path: Path
) -> None:
    site.shell.python(NAMED)
    stored = "/api/v1/runs?q=experiment:named%20status:completed"
    site.shell.wait_until(lambda: len(site.api(stored)["runs"]) == 9, 60, "the runs")
    for plot in ("slice", "contour", "importance", "parallel", "scatter", "aggregates"):
        page = open_page(f"/?q=experiment:named&pane=left&plot={plot}")
        menu = plots(page).get_by_role("button", name=re.compile("^Copy or save "))
        menu.first.wait_for(timeout=90_000)
        menu.first.click()
        with page.expect_download() as download:
            page.get_by_role("button", name=re.compile("^Save .* as SVG$", re.S)).click()
        drawing = tmp_path / f"{plot}.svg"
        download.value.save_as(drawing)
        tags = {node.tag.split("}")[1] for node in ElementTree.fromstring(drawing.read_text()).iter()}
        assert tags <= {"svg", "rect", "text", "path", "line", "circle", "g"}, plot
        assert page.evaluate("window.hit") is None
