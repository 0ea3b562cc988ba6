"""The pictures of docs/tour.md. They go to artefacts/tour, or where TOUR_PICTURES says:

TOUR_PICTURES=docs/tour python -m pytest tests/dashboard/test_tour.py tests/producers/widgets/test_jupyterlab.py
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .conftest import REPOSITORY, Site
from .test_branches_page import written as branched
from .test_browser import Open, drawn
from .test_reports import put, report
from .test_run_page import written
from .test_sweep_plots import address, swept
from .test_system_and_console import written as machines

__all__ = ["branched", "machines", "swept", "written"]  # the fixtures

PLACE = REPOSITORY / os.environ.get("TOUR_PICTURES", "artefacts/tour")
MOST_BYTES = 150_000
SIZE = {"width": 960, "height": 640}
REPORT = """The **highest** rate is the best: its loss falls first, and furthest.

```runstream chart
title: Loss of the sweep
metric: val/loss
runs: experiment:sweep
smooth: 0.3
```

```runstream table
columns: status, val/loss.min, tag:lr, tag:optimizer
runs: experiment:sweep
sort: val/loss.min
```
"""
NOTE = """## What these runs are

Four rates, each a tenth of the one before.

- [x] all of them ran for 5,000 steps
- [ ] the same with another seed

```runstream chart
metric: val/loss
group: tag:optimizer
```
"""


def keep(page: Any, name: str) -> None:
    """Take the picture `name` of a page, or of a part; large ones are refused: they are under version control."""
    PLACE.mkdir(parents=True, exist_ok=True)
    path = PLACE / f"{name}.png"
    page.screenshot(path=str(path))
    assert path.stat().st_size < MOST_BYTES


@pytest.fixture
def show(open_page: Open) -> Callable[..., Any]:
    return lambda path, **kwargs: open_page(path, **SIZE, **kwargs)


def test_pictures_of_the_pages(show: Callable[..., Any], site: Site, written: str, machines: str) -> None:
    page = show(
        "/?pane=left&q=experiment:sweep&cols=status,val/loss.min,train/loss.last,tag:lr,tag:optimizer,duration"
    )
    page.get_by_role("link", name="run-0").wait_for()
    keep(page, "runs")
    [experiment] = [
        listed for listed in site.api("/api/v1/experiments")["experiments"] if listed["name"] == "sweep"
    ]
    page.goto(f"/experiments/id/{experiment['id']}?hide={site.runs[1]}")
    drawn(page, 2)
    keep(page, "workspace")
    page.goto(f"/runs/{site.runs[0]}?m=loss")
    drawn(page, 2)
    chart = page.get_by_role("group", name=re.compile("^Chart of train"))
    box = chart.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + box["height"] / 2)
    chart.locator(".tip").wait_for()
    keep(page, "run")
    page.goto(f"/compare?runs={','.join(site.runs)}")
    drawn(page, 2)
    keep(page, "compare")
    page.goto(f"/runs/{written}?tab=snapshot")
    page.get_by_role("region", name="File").get_by_text("trained").wait_for()
    page.get_by_role("region", name="Changes against the commit").get_by_text("train.py").wait_for()
    keep(page, "snapshot")
    page.goto(f"/runs/{written}?tab=tables")
    page.get_by_role("img", name=re.compile("^predictions: ")).wait_for()
    keep(page, "curves")
    page.goto(f"/runs/{machines}?tab=system")
    page.get_by_role("list", name="Machines").get_by_text("gpu-2").wait_for()
    drawn(page, 2)
    keep(page, "system")
    page.goto(f"/runs/{machines}?tab=console")
    page.get_by_label("Console of the run").get_by_text("line 299").wait_for()
    page.get_by_role("searchbox", name="Search in the console").fill("line 29")
    page.get_by_text("1 of 11 lines").wait_for()
    keep(page, "console")
    dark = show(f"/runs/{site.runs[1]}?smooth=0.6&m=loss&outliers=0", dark=True)
    drawn(dark, 2)
    keep(dark, "dark")


def test_pictures_of_sweep_charts(show: Callable[..., Any], swept: list[str]) -> None:
    page = show(address(swept[-1], "slice"))
    charts = page.get_by_role("region", name="Sweep charts")
    charts.get_by_role("group", name=re.compile("over lr, log scale, 30 runs")).wait_for()
    keep(page, "slices")
    page.goto(address(swept[-1], "contour") + "&px=param:lr")
    plot = charts.get_by_role("group", name=re.compile("over lr and dropout, 30 runs"))
    plot.wait_for()
    plot.evaluate("plot => plot.scrollIntoView({ block: 'end' })")
    keep(page, "contour")
    page.goto(address(swept[-1], "importance"))
    charts.get_by_role("table").get_by_role("rowheader", name="lr").wait_for()
    keep(page, "importance")


def test_pictures_of_what_was_written(show: Callable[..., Any], site: Site, branched: list[str]) -> None:
    page = show(report(site, "rates", REPORT, "Learning rates"))
    drawn(page, 1)
    page.get_by_role("figure").get_by_role("link", name="run-0").first.wait_for()
    keep(page, "report")
    [sweep] = [item for item in site.api("/api/v1/experiments")["experiments"] if item["name"] == "sweep"]
    put(site, "/api/v1/experiment-notes/sweep", {"text": NOTE, "version": 0})
    page.goto(f"/experiments/id/{sweep['id']}/notes")
    page.get_by_role("figure").get_by_role("listitem").first.wait_for()
    drawn(page, 1)
    keep(page, "notes")
    page.goto(f"/runs/{branched[0]}?tab=overview")
    branches = page.get_by_role("region", name="Branches")
    branches.get_by_text("rewound to step 20").wait_for()
    keep(branches, "branches")


def test_the_tour_names_every_picture_and_no_other() -> None:
    named = set(re.findall(r"\(tour/([\w-]+\.png)\)", (REPOSITORY / "docs" / "tour.md").read_text()))
    assert named == {path.name for path in Path(REPOSITORY / "docs" / "tour").glob("*.png")}
    assert all(path.stat().st_size < MOST_BYTES for path in Path(REPOSITORY / "docs" / "tour").glob("*.png"))
