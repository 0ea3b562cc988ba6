"""Charts of every kind copied, and saved as PNG, as SVG and as CSV, in a real browser."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from .conftest import Site
from .test_browser import Open, drawn
from .test_run_page import written
from .test_system_and_console import written as machines

__all__ = ["machines", "written"]  # the fixtures

HISTOGRAMS = """
from runstream.core import Experiment, Workspace

run = Experiment(Workspace.from_config(), "counted").start_logging(outputs=None, snapshot_directory=None)
for step in range(3):
    run.log_histogram("weights", ([1, 2, 3], [0.0, 0.5, 1.0, 1.5]), step=step)
run.complete()
print(run.id)
"""


@pytest.fixture(scope="module")
def counted(site: Site) -> str:
    run_id: str = site.shell.python(HISTOGRAMS).stdout.strip()
    stored = "/api/v1/runs?q=experiment:counted%20status:completed"
    site.shell.wait_until(lambda: len(site.api(stored)["runs"]) == 1, 60, "the run")
    return run_id


def saved(page: Any, title: str, folder: Path) -> dict[str, Path]:
    """A chart by what its menu is called, in all three forms."""
    files = {}
    for kind in ("PNG", "SVG", "CSV"):
        page.get_by_role("button", name=f"Copy or save {title}", exact=True).first.click()
        with page.expect_download() as download:
            page.get_by_role("button", name=f"Save {title} as {kind}", exact=True).first.click()
        files[kind] = folder / f"chart.{kind.lower()}"
        download.value.save_as(files[kind])
    assert files["PNG"].read_bytes().startswith(b"\x89PNG")
    return files


def shapes(files: dict[str, Path]) -> list[str]:
    """The elements of the SVG, which needs nothing of the page."""
    drawing = files["SVG"].read_text()
    assert not re.search(r"var\(|oklab|class=|style=", drawing)
    return [node.tag.split("}")[1] for node in ElementTree.fromstring(drawing).iter()]


def cells(files: dict[str, Path]) -> list[list[str]]:
    return list(csv.reader(files["CSV"].read_text().splitlines()))


@pytest.mark.parametrize(
    ("plot", "title", "shape", "head"),
    [
        ("plot=parallel", "Parallel coordinates", "path", ["run", "run_id", "lr", "optimizer", "val/loss last"]),
        ("plot=scatter&by=tag:lr", "val/loss last over lr", "circle", ["run", "run_id", "lr", "val/loss last"]),
        ("plot=aggregates", "Aggregates", "text", ["runs", "runs", "metric", "n", "mean", "sd", "min", "max"]),
        ("plot=slice", "val/loss last by parameter", "path",
         ["run", "run_id", "status", "lr", "optimizer", "val/loss last"]),
    ],
)  # fmt: skip
def test_sweep_charts(
    open_page: Open, tmp_path: Path, plot: str, title: str, shape: str, head: list[str]
) -> None:
    page = open_page(f"/?q=experiment:sweep&cols=val/loss.last&pane=left&{plot}")
    files = saved(page, title, tmp_path)
    assert shapes(files).count(shape) >= 3
    rows = cells(files)
    assert rows[0] == head
    assert len(rows) == (2 if plot == "plot=aggregates" else 5)


def test_bars_points_and_metrics_over_the_runs(open_page: Open, tmp_path: Path) -> None:
    page = open_page("/?q=experiment:sweep&pane=right&m=parameters")
    files = saved(page, "parameters", tmp_path)
    assert shapes(files).count("rect") == 5  # the ground, and four bars
    rows = cells(files)
    assert rows[0] == ["run", "run_id", "parameters"]
    assert [row[2] for row in rows[1:]] == ["25557032"] * 4
    page.get_by_role("button", name="parameters as points").click()
    page.get_by_label("x of parameters").select_option(label="lr")
    assert cells(saved(page, "parameters over lr", tmp_path))[0] == ["run", "run_id", "lr", "parameters"]
    files = saved(page, "parameters over the runs", tmp_path)
    assert "path" in shapes(files)
    assert cells(files)[0] == ["run", "run_id", "run number", "last", "min", "max", "mean"]


def test_tables_curves_and_matrices_of_a_run(
    open_page: Open, site: Site, written: str, tmp_path: Path
) -> None:
    page = open_page(f"/runs/{site.runs[0]}?m=curve")
    files = saved(page, "curve", tmp_path)
    assert "path" in shapes(files)
    assert cells(files)[:2] == [["recall", "precision"], ["0", "1"]]
    page.goto(f"/runs/{written}?tab=tables")
    page.get_by_role("table", name=re.compile("^Confusion matrix")).wait_for()
    name = (
        page.get_by_role("table", name=re.compile("^Confusion matrix"))
        .get_attribute("aria-label")
        .split()[-1]
    )
    files = saved(page, name, tmp_path)
    assert shapes(files).count("rect") > 4
    assert len({len(row) for row in cells(files)}) == 1


def test_histograms(open_page: Open, counted: str, tmp_path: Path) -> None:
    page = open_page(f"/runs/{counted}?tab=histograms")
    files = saved(page, "weights", tmp_path)
    assert "image" in shapes(files)
    assert cells(files)[:2] == [["step", "low", "high", "count"], ["0", "0", "0.5", "1"]]
    assert len(cells(files)) == 10


def test_what_a_runs_machines_used(open_page: Open, machines: str, tmp_path: Path) -> None:
    page = open_page(f"/runs/{machines}?tab=system")
    drawn(page, 2)
    title = page.get_by_role("button", name=re.compile("^Copy or save ")).first.get_attribute("aria-label")
    files = saved(page, title.removeprefix("Copy or save "), tmp_path)
    assert "path" in shapes(files)
    assert cells(files)[0][:4] == ["run", "run_id", "metric", "time"]


def test_a_picture_is_copied_where_that_is_allowed(open_page: Open) -> None:
    page = open_page("/?q=experiment:sweep&cols=val/loss.last&pane=left&plot=slice")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    for kind in ("CSV", "PNG"):
        page.get_by_role("button", name="Copy or save val/loss last by parameter").click()
        page.get_by_role("button", name=f"Copy val/loss last by parameter as {kind}").click()
        page.get_by_text(f"Copied val/loss last by parameter as {kind}.").wait_for()
