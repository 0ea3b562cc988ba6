"""Reports and the notes of experiments in a real browser: written, shown with live charts, tables and runs, taken along."""

from __future__ import annotations

import json
import re
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from .conftest import REPOSITORY, Site, builder
from .test_browser import Open, Picture, until
from .test_hostile_names import HOSTILE

TEXT = """# What was found

The **lowest** rate wins, see the curves.

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

```runstream runs
runs: experiment:sweep status:completed
title: Those that ended well
```

```runstream chart
metric: train/loss
runs: experiment:sweep
group: tag:optimizer
log: yes
```
"""
WRONG = """```runstream chart
metric: val/loss
colour: red
```

```runstream table
view: no such view
```

```runstream runs
```

- ```runstream runs
  runs: ridge
  ```

```runstream runs
runs: experiment:nowhere
```

The end.
"""


def put(site: Site, path: str, body: dict[str, Any], method: str = "PUT") -> Any:
    token = (site.shell.root / "token").read_text().strip()
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    request = urllib.request.Request(site.url + path, json.dumps(body).encode(), headers, method=method)
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.load(answer)


def report(site: Site, name: str, text: str, title: str) -> str:
    """A report in place of what there is; its page's address."""
    before = [item for item in site.api("/api/v1/reports")["reports"] if item["id"] == name]
    version = before[0]["version"] if before else 0
    put(site, f"/api/v1/reports/{name}", {"text": text, "title": title, "version": version})
    return f"/reports/id/{name}"


def lines(page: Any, figure: str) -> Any:
    return page.get_by_role("figure", name=figure).get_by_role("listitem")


def test_a_report_is_begun_written_and_changed(open_page: Open, site: Site) -> None:
    page = open_page("/reports")
    page.get_by_role("link", name="New report").click()
    page.get_by_label("Title").fill("Learning rates")
    page.get_by_role("button", name="chart", exact=True).click()
    field = page.get_by_role("textbox", name="Note of the report, in Markdown")
    assert field.input_value().startswith("```runstream chart\nmetric: loss")
    field.fill(TEXT)
    page.get_by_role("button", name="Preview").click()
    page.get_by_role("figure", name="chart: Loss of the sweep").wait_for()
    page.get_by_role("button", name="Save").click()
    page.wait_for_url(re.compile("/reports/id/"))
    page.get_by_role("heading", name="Learning rates").wait_for()
    assert page.title() == "Learning rates · runstream"
    page.get_by_role("button", name="Edit", exact=True).click()
    page.get_by_label("Title").fill("Rates")
    page.get_by_role("button", name="Save").click()
    page.get_by_role("heading", name="Rates", exact=True).wait_for()
    versions = page.get_by_role("combobox", name="Version")
    versions.focus()
    page.get_by_role("option", name=re.compile("^version 1,")).wait_for(state="attached")
    page.get_by_role("link", name="reports", exact=True).click()
    page.get_by_role("link", name="Rates", exact=True).click()
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="Delete the report").click()
    page.get_by_text("No report yet").wait_for()


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (1280, True), (390, False)])
def test_what_is_embedded_is_shown(
    open_page: Open, site: Site, picture: Picture, width: int, dark: bool
) -> None:
    page = open_page(report(site, "shown", TEXT, "Learning rates"), width=width, dark=dark, height=1600)
    for k in range(4):
        lines(page, "chart: Loss of the sweep").get_by_text(f"run-{k}").wait_for()
    table = page.get_by_role("region", name="Runs")
    table.get_by_role("img", name="the best").wait_for()
    assert [row.split("\t")[0] for row in table.inner_text().splitlines() if row.startswith("run-")] == [
        "run-0",
        "run-1",
        "run-2",
        "run-3",
    ]
    page.get_by_role("figure", name="runs: Those that ended well").scroll_into_view_if_needed()
    assert lines(page, "runs: Those that ended well").count() == 3
    page.get_by_role("figure", name="chart: train/loss").scroll_into_view_if_needed()
    lines(page, "chart: train/loss").get_by_text("adam").wait_for()
    until(page, "document.querySelectorAll('figure canvas').length === 2")
    page.evaluate("scrollTo(0, 0)")
    page.wait_for_timeout(500)  # drawn
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    picture(page, f"report-{'narrow' if width < 720 else 'wide'}-{'dark' if dark else 'light'}")


def test_a_new_run_comes_by_itself(open_page: Open, site: Site) -> None:
    text = "```runstream table\nruns: experiment:later\ncolumns: loss.last\n```"
    page = open_page(report(site, "later", text, "Later"))
    page.get_by_text("No run passes.").wait_for()
    site.shell.python(
        "from runstream.core import Experiment, Workspace\n"
        "run = Experiment(Workspace.from_config(), 'later').start_logging(outputs=None, display_name='late')\n"
        "run.log('loss', 12345)\nrun.complete()"
    )
    page.get_by_role("row", name="late 12,345").wait_for()


def test_what_is_wrong_is_said_in_its_place(open_page: Open, site: Site, picture: Picture) -> None:
    page = open_page(report(site, "wrong", WRONG, "Mistakes"))
    for text in (
        'Line 2: a chart has no "colour"; it takes metric,',
        'There is no saved view "no such view"',
        "It does not say which runs",
        "a block of runstream stands by itself",
        "No run passes.",
        "The end.",
    ):
        page.get_by_text(text).wait_for()
    picture(page, "report-mistakes-wide-light")
    page.route("**/api/v1/runs?**", lambda route: route.abort())
    page.goto(report(site, "away", "```runstream runs\nruns: experiment:sweep\n```", "Away"))
    page.get_by_text("The server does not answer").wait_for()
    page.unroute("**/api/v1/runs?**")
    page.get_by_role("button", name="Retry").click()
    page.get_by_role("link", name="run-2").wait_for()


def test_a_saved_view_says_which_runs_and_columns(open_page: Open, site: Site) -> None:
    [sweep] = [item for item in site.api("/api/v1/experiments")["experiments"] if item["name"] == "sweep"]
    address = f"/experiments/id/{sweep['id']}?cols=tag:lr,status&sort=start_time&hide={site.runs[1]}"
    put(site, "/api/v1/views", {"page": "runs", "name": HOSTILE, "state": {"address": address}}, "POST")
    text = f"```runstream table\nview: {HOSTILE}\n```\n\n```runstream chart\nmetric: val/loss\nview: {HOSTILE}\n```"
    page = open_page(report(site, "viewed", text, HOSTILE))
    page.get_by_role("cell", name="0.0001").wait_for()
    assert page.get_by_role("columnheader").all_inner_texts() == ["Run", "lr tag", "Status"]
    assert page.get_by_role("table").get_by_role("link").all_inner_texts() == ["run-0", "run-2", "run-3"]
    assert lines(page, "chart: val/loss").all_inner_texts() == ["run-0", "run-2", "run-3"]
    assert page.evaluate("window.hit") is None
    page.goto("/reports")
    page.get_by_role("link", name="onerror").wait_for()
    assert page.evaluate("window.hit") is None


def test_the_note_of_an_experiment_is_of_its_runs(open_page: Open, site: Site) -> None:
    [sweep] = [item for item in site.api("/api/v1/experiments")["experiments"] if item["name"] == "sweep"]
    page = open_page(f"/experiments/id/{sweep['id']}?pane=left")
    page.get_by_role("link", name="Notes", exact=True).click()
    page.get_by_role("button", name="Write one").click()
    page.get_by_role("textbox", name="Note of the experiment sweep, in Markdown").fill(
        "Of all of it:\n\n```runstream runs\n```"
    )
    page.get_by_role("button", name="Save").click()
    page.get_by_role("link", name="4 runs").wait_for()
    assert page.get_by_role("heading", name="Notes of sweep").is_visible()
    page.goto(f"/runs/{site.runs[2]}?tab=notes")
    page.get_by_role("button", name="Write one").click()
    page.get_by_role("textbox", name="Note of the run run-2, in Markdown").fill(
        "```runstream chart\nmetric: val/loss\n```"
    )
    page.get_by_role("button", name="Save").click()
    lines(page, "chart: val/loss").get_by_text("run-2").wait_for()


def test_a_report_as_a_file_needs_no_network_and_runs_nothing(
    open_page: Open, browser: Any, site: Site, tmp_path: Path, picture: Picture
) -> None:
    picture_of_ours = f"/api/v1/runs/{urllib.parse.quote(site.runs[0])}/files/outputs/none.png"
    hostile = (
        f"\n<script>window.hit=1</script><img src=x onerror='window.hit=1'>\n\n![elsewhere](https://example.org/x.png)"
        f"\n\n![ours]({picture_of_ours})\n\n[run](/runs/{site.runs[0]}) <svg onload='window.hit=1'></svg>\n\n"
        f"<img srcset='https://example.org/y.png 1x'><video src='https://example.org/z.mp4' autoplay></video>\n"
    )
    page = open_page(report(site, "taken", TEXT + WRONG + hostile, HOSTILE))
    page.get_by_role("figure", name="chart: Loss of the sweep").wait_for()
    with page.expect_download() as download:
        page.get_by_role("button", name="Export").click()
    file = tmp_path / "report.html"
    download.value.save_as(file)
    assert download.value.suggested_filename.endswith(".html")
    text = file.read_text()
    assert text.count("data:image/svg+xml;base64,") == 2

    context = browser.new_context(viewport={"width": 900, "height": 1200})
    requests: list[str] = []
    errors: list[str] = []
    taken = context.new_page()
    taken.on("request", lambda request: requests.append(request.url))
    taken.on("console", lambda message: errors.append(message.text))
    taken.goto(file.as_uri())
    taken.get_by_text("The end.").wait_for()
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []
    assert [url for url in requests if url.startswith("file:")] == [file.as_uri()]
    assert errors == []  # the policy had nothing to refuse
    assert taken.evaluate("window.hit") is None
    chart = taken.get_by_role("img", name=re.compile("^Loss of the sweep: run-"))
    assert chart.evaluate("image => image.naturalWidth") == 800
    assert taken.get_by_role("cell", name="0.001").is_visible()
    assert taken.get_by_text("a picture elsewhere, not loaded: https://example.org/x.png").is_visible()
    assert taken.get_by_text("[ours: ").is_visible()
    link = taken.get_by_role("link", name="run", exact=True)
    assert link.get_attribute("href") == f"{site.url}/runs/{site.runs[0]}"
    picture(taken, "report-file-light")
    context.close()


def test_axe_finds_nothing_serious(open_page: Open, site: Site) -> None:
    build = builder()
    build.install(build.EVERYTHING)
    axe = (REPOSITORY / "dashboard" / "node_modules" / "axe-core" / "axe.min.js").read_text()
    report(site, "shown", TEXT, "Learning rates")
    report(site, "wrong", WRONG, "Mistakes")
    for dark in (False, True):
        page = open_page("/", dark=dark)
        for path, there in (
            ("/reports", "Mistakes"),
            ("/reports/id/shown", "adam"),
            ("/reports/id/wrong", "The end."),
            ("/reports/new", "Title"),
        ):
            page.goto(path)
            page.get_by_text(there).first.wait_for()
            page.wait_for_timeout(300)
            page.evaluate(axe)
            answer = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
            assert {
                violation["id"]: [node["html"][:200] for node in violation["nodes"][:3]]
                for violation in answer["violations"]
                if violation["impact"] in ("serious", "critical")
            } == {}, (path, dark)
