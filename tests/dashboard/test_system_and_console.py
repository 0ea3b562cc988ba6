"""System metrics and the console on the run page, in a real browser."""

from __future__ import annotations

import pytest

from .conftest import REPOSITORY, Site, builder
from .test_browser import Open, Picture

WRITING = """
import sys, time
from runstream.core import Experiment, Workspace
from runstream.spool.writing.system_writer import SystemWriter

run = Experiment(Workspace.from_config(), "machines").start_logging(outputs=None, snapshot_directory=None)
run.log("loss", 1.0)
run.log_params({"lr": 0.1})
for node, less in (("gpu-1", 0), ("gpu-2", 8)):
    writer = SystemWriter(run._settings, run.id, node)
    for number in range(120):
        writer.sample({
            "system/cpu_utilization_percentage": 50.0 + number % 20 - less,
            "system/gpu_0_utilization_percentage": 90.0 - number % 7 - less,
            "system/process_memory_rss_megabytes": 1000.0 + number - less,
        }, time.time() - 1200 + 10 * number)
    writer.close()
print("begin")
print("\\x1b[31ma red word\\x1b[0m and a plain one")
for percent in range(101):
    sys.stdout.write(f"\\r{percent}% of it")
print()
for number in range(300):
    print(f"line {number}")
run.complete()
print(f"\\n{run.id}")
"""


@pytest.fixture(scope="module")
def written(site: Site) -> str:
    run_id = site.shell.python(WRITING).stdout.split()[-1]

    def there() -> bool:
        if not site.api(f"/api/v1/runs?run={run_id}")["runs"]:
            return False
        files = site.api(f"/api/v1/runs/{run_id}/files")["files"]
        names = {series["name"] for series in site.api(f"/api/v1/runs/{run_id}/series")["series"]}
        return bool(files) and len(names) == 4

    site.shell.wait_until(there, 60, "the run")
    return run_id


def test_system_metrics_are_drawn_by_machine(open_page: Open, written: str, picture: Picture) -> None:
    page = open_page(f"/runs/{written}")
    page.get_by_role("tab", name="System (3)").click()
    assert page.get_by_role("heading", level=2).all_text_contents() == ["GPU", "CPU", "Memory"]
    page.get_by_role("list", name="Machines").get_by_text("gpu-2").wait_for()
    chart = page.get_by_role("group", name="Chart of system/cpu_utilization_percentage")
    chart.locator("canvas").wait_for()
    ink = "c => new Set(c.getContext('2d').getImageData(0, 0, c.width, c.height).data).size"
    page.wait_for_function(
        "() => [...document.querySelectorAll('canvas')].every(c => "
        "new Set(c.getContext('2d').getImageData(0, 0, c.width, c.height).data).size > 5)"
    )
    assert chart.locator("canvas").first.evaluate(ink) > 5
    chart.focus()
    page.keyboard.press("ArrowRight")
    chart.get_by_text("gpu-1").first.wait_for()
    picture(page, "run-system-wide-light")


def test_metrics_and_charts_have_nothing_of_them(open_page: Open, written: str) -> None:
    page = open_page(f"/runs/{written}")
    page.get_by_role("tab", name="Charts (1)").wait_for()
    assert page.get_by_text("system/").count() == 0


def test_the_console_is_shown_as_a_terminal_shows_it_and_searched(
    open_page: Open, written: str, picture: Picture
) -> None:
    page = open_page(f"/runs/{written}?tab=console")
    console = page.get_by_label("Console of the run")
    console.get_by_text("line 299").wait_for()
    text = console.text_content() or ""
    assert text.startswith("begin\na red word and a plain one\n100% of it\nline 0\n")
    red = console.get_by_text("a red word", exact=True)
    assert red.evaluate("e => getComputedStyle(e).color") == "rgb(179, 38, 30)"
    search = page.get_by_role("searchbox", name="Search in the console")
    search.fill("LINE 29")
    page.get_by_text("1 of 11 lines").wait_for()
    search.press("Enter")
    page.get_by_text("2 of 11 lines").wait_for()
    page.get_by_label("only these").check()
    assert (console.text_content() or "").split("\n")[:2] == ["line 29", "line 290"]
    picture(page, "run-console-wide-light")
    search.fill("nowhere")
    page.get_by_text("not found").wait_for()


def test_a_run_that_printed_nothing_says_so(open_page: Open, site: Site) -> None:
    run_id = site.shell.python(
        "from runstream.core import Experiment, Workspace\n"
        "run = Experiment(Workspace.from_config(), 'machines').start_logging(outputs=None, snapshot_directory=None)\n"
        "run.complete()\nassert not run.get_metrics()\nprint(run.id)"  # a read waits until the run is there
    ).stdout.split()[-1]
    site.shell.wait_until(lambda: site.is_settled(run_id), 60, "the run")
    page = open_page(f"/runs/{run_id}?tab=console")
    page.get_by_text("Nothing was printed").wait_for()


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_axe_finds_nothing_serious_in_these_tabs(open_page: Open, written: str, dark: bool) -> None:
    build = builder()
    build.install(build.EVERYTHING)
    axe = (REPOSITORY / "dashboard" / "node_modules" / "axe-core" / "axe.min.js").read_text()
    page = open_page(f"/runs/{written}?tab=system", dark=dark)
    page.locator(".chart canvas").first.wait_for()
    violations = []
    for part, there in (
        ("System (3)", ".chart canvas"),
        ("Console", "[role=log], pre, .console"),
        ("Parameters", "h2"),
    ):
        page.get_by_role("tab", name=part).click()
        page.locator(there).first.wait_for()
        page.evaluate(axe)
        answer = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
        violations += [
            (part, violation["id"], [node["html"][:200] for node in violation["nodes"][:3]])
            for violation in answer["violations"]
            if violation["impact"] in ("serious", "critical")
        ]
    assert violations == []
