"""The pages in a real browser, over a real service."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

import pytest

from .conftest import REPOSITORY, Site, builder

Open = Callable[..., Any]
Picture = Callable[[Any, str], None]

# What is painted on a chart's canvas: pixels that are neither transparent nor grey.
COLOURED = """() => [...document.querySelectorAll('.chart canvas')].map(canvas => {
  const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
  let n = 0;
  for (let i = 0; i < data.length; i += 4) {
    const [red, green, blue, alpha] = data.subarray(i, i + 4);
    if (alpha > 0 && Math.max(red, green, blue) - Math.min(red, green, blue) > 40) n++;
  }
  return n;
})"""


def until(page: Any, expression: str) -> None:
    """Wait until an expression holds. Playwright's own `wait_for_function` needs `eval`, which our pages forbid."""
    deadline = time.monotonic() + 60
    while not page.evaluate(expression):
        assert time.monotonic() < deadline, expression
        page.wait_for_timeout(50)


def drawn(page: Any, charts: int = 1) -> list[int]:
    until(page, f"({COLOURED})().filter(n => n > 100).length >= {charts}")
    return page.evaluate(COLOURED)  # type: ignore[no-any-return]


def test_the_runs_newest_first(open_page: Open, picture: Picture) -> None:
    page = open_page("/")
    rows = page.locator("[role=row] a")
    rows.first.wait_for()
    assert [text for text in rows.all_inner_texts() if text.startswith("run-")] == [
        "run-3",
        "run-2",
        "run-1",
        "run-0",
    ]
    assert page.get_by_role("grid").get_attribute("aria-rowcount") == "5"
    assert "✕ failed" in page.get_by_role("grid").inner_text().replace("\u00a0", " ")
    picture(page, "runs-wide-light")


def test_search_narrows_and_the_address_holds_it(open_page: Open, site: Site) -> None:
    page = open_page("/")
    page.keyboard.press("/")
    page.keyboard.type("tag:optimizer=adam val/loss.mean<0.45")
    until(page, "document.querySelectorAll('[role=gridcell] a').length === 1")
    page.wait_for_url(re.compile("q=tag"))  # it is written when the typing rests
    page.reload()
    until(page, "document.querySelectorAll('[role=gridcell] a').length === 1")
    page.goto("/?q=loss%3Cabc")
    page.get_by_text("'abc' is no number").wait_for()
    page.get_by_role("button", name="Clear the search").click()
    page.get_by_role("link", name="run-0").wait_for()


def test_columns_sort_and_the_best_run(open_page: Open, picture: Picture) -> None:
    page = open_page("/?cols=status,val/loss.min,tag:lr&q=experiment:sweep")
    header = page.get_by_role("columnheader", name="val/loss min")
    header.get_by_role("button").click()
    until(page, "document.querySelector('[aria-sort=ascending]')?.innerText.includes('val/loss')")
    until(page, "document.querySelector('[role=gridcell] a')?.innerText === 'run-0'")
    row = page.get_by_role("row").filter(has=page.get_by_role("link", name="run-0"))
    assert "★" in row.inner_text()
    page.get_by_role("button", name="Columns").click()
    page.get_by_label("train/loss max").check()
    page.keyboard.press("Escape")
    page.get_by_role("columnheader", name="train/loss max").wait_for()
    page.get_by_role("gridcell", name="50", exact=True).first.wait_for()  # the one-step spike
    page.get_by_role("button", name="Sweep charts").click()
    page.get_by_label("Parallel coordinates of").wait_for()
    picture(page, "runs-sweep-wide-light")


SWEEP = """
from runstream import sweep
from runstream.core import Experiment, Workspace
found = sweep.run(
    Experiment(Workspace.from_config(), "swept"), lambda run, x: x, {"x": [1, 3, 2]}, metric="y", goal="maximize",
    method="grid", concurrency=1,
)
print(found.run.id)
"""


def test_the_page_of_a_sweep_shows_its_best_trial(open_page: Open, site: Site) -> None:
    sweep = site.shell.python(SWEEP).stdout.split()[-1]
    page = open_page(f"/runs/{sweep}")
    page.get_by_role("tab", name="Child runs").click()
    best = page.get_by_role("row").filter(has=page.get_by_role("img", name="best"))
    best.get_by_role("cell", name=re.compile("best ?3$")).wait_for()
    assert best.count() == 1
    page.get_by_text("Best child:").get_by_role("link", name=f"{sweep}_1").click()
    page.wait_for_url(f"**/runs/{sweep}_1")
    # Other tests take the first rows of the list.
    site.shell.run("run", "delete", "--yes", sweep)


def test_keys_select_and_compare(open_page: Open, picture: Picture) -> None:
    page = open_page("/")
    page.get_by_role("link", name="run-0").wait_for()
    for key in ("j", "x", "j", "j", "Shift+X", "c"):
        page.keyboard.press(key)
    page.wait_for_url(re.compile("/compare"))
    assert page.get_by_role("heading", level=1).inner_text() == "Compare 3 runs"
    drawn(page, 2)
    picture(page, "compare-wide-light")
    page.get_by_role("button", name="Differences").click()
    table = page.get_by_role("table")
    assert "optimizer" in table.inner_text()
    assert "experiment" not in table.inner_text()
    picture(page, "compare-differences-wide-light")


def test_legend_hides_a_run(open_page: Open, site: Site) -> None:
    page = open_page(f"/compare?runs={','.join(site.runs)}")
    before = sum(drawn(page, 2))
    page.get_by_role("button", name="run-3").first.click(modifiers=["Alt"])
    until(page, f"({COLOURED})().reduce((a, b) => a + b, 0) < {before}")
    assert "hide=" in page.url


def test_hover_is_shown_in_all_charts(open_page: Open, site: Site) -> None:
    page = open_page(f"/compare?runs={','.join(site.runs[:2])}")
    drawn(page, 2)
    chart = page.get_by_label(re.compile("^Chart of train/loss"))
    box = chart.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    chart.locator(".tip").wait_for()
    assert re.search(r"step 2,\d\d\d", chart.locator(".tip").inner_text())
    page.get_by_label(re.compile("^Chart of val/loss")).locator(".value").wait_for()


def test_a_run_and_its_charts(open_page: Open, site: Site, picture: Picture) -> None:
    page = open_page(f"/runs/{site.runs[0]}?wsid=anything")
    drawn(page, 2)
    assert page.get_by_role("heading", level=1).inner_text() == "run-0"
    assert "25,557,032" in page.inner_text("main")  # an int stays one
    page.get_by_label(
        re.compile("^curve: (precision over recall|recall over precision), 20 points")
    ).wait_for()
    picture(page, "run-wide-light")
    for tab in ("Overview", "Tables", "Images", "Outputs", "Snapshot", "Child runs"):
        page.get_by_role("tab", name=re.compile(tab)).click()
        page.wait_for_timeout(150)
    page.get_by_role("tab", name=re.compile("Tables")).click()
    page.get_by_label(
        re.compile("^curve: (precision over recall|recall over precision), 20 points")
    ).wait_for()
    picture(page, "run-tables-wide-light")


def test_zoom_by_dragging_fetches_what_lies_there(open_page: Open, site: Site) -> None:
    page = open_page(f"/runs/{site.runs[0]}?m=train")
    drawn(page)
    box = page.locator(".chart .u-over").bounding_box()
    with page.expect_response(re.compile("/api/v1/charts.*from=")) as answer:
        page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + 60)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] * 0.7, box["y"] + 62, steps=5)
        page.mouse.up()
    assert answer.value.ok
    low, high = (int(re.search(rf"{name}=(\d+)", page.url)[1]) for name in ("from", "to"))  # type: ignore[index]
    assert 2800 < low < 3200 < high < 3700
    page.locator(".chart").focus()
    page.keyboard.press("0")
    until(page, "!location.search.includes('from=')")


def test_a_chart_is_read_with_the_keyboard(open_page: Open, site: Site) -> None:
    page = open_page(f"/runs/{site.runs[0]}?m=val")
    drawn(page)
    page.locator(".chart").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    until(page, "document.querySelector('.chart [aria-live]').textContent.includes('step 1')")


def test_a_failed_run_says_why_and_a_missing_one_that_it_is_missing(open_page: Open, site: Site) -> None:
    page = open_page(f"/runs/{site.runs[3]}")
    assert "CUDA out of memory" in page.get_by_role("alert").first.inner_text()
    page.goto("/runs/nosuchrun")
    page.get_by_text("No such run").wait_for()


def test_points_are_drawn_within_half_a_second(open_page: Open, site: Site) -> None:
    process = site.train(
        "import time\n"
        "from runstream.core import Experiment, Workspace\n"
        "run = Experiment(Workspace.from_config(), 'live').start_logging(outputs=None, snapshot_directory=None)\n"
        "print(run.id, flush=True)\n"
        "for step in range(24):\n"
        "    run.log('loss', 1 / (step + 1))\n"
        "    print(time.time(), flush=True)\n"
        "    time.sleep(0.5)\n"
        "run.complete()\n"
    )
    assert process.stdout is not None
    run_id = process.stdout.readline().strip()
    page = open_page("/")
    page.add_init_script("""
      window.seen = [];
      const ask = window.fetch;
      window.fetch = async (...given) => {
        const answer = await ask(...given);
        if (String(given[0]).includes('/charts')) {
          const bytes = await answer.clone().arrayBuffer();
          const size = new DataView(bytes).getUint32(0, true);
          const head = JSON.parse(new TextDecoder().decode(new Uint8Array(bytes, 4, size)));
          const total = head.charts[0]?.lines[0]?.total ?? 0;
          requestAnimationFrame(() => window.seen.push([total, Date.now() / 1000]));
        }
        return answer;
      };""")
    page.goto(f"/runs/{run_id}")
    opened = time.time()
    logged = [float(process.stdout.readline()) for _ in range(24)]
    process.wait(30)
    process.stdout.close()
    page.get_by_text("completed").first.wait_for()
    until(page, "window.seen.some(([total]) => total === 24)")
    seen = page.evaluate("window.seen")
    late = [
        min(at for total, at in seen if total > step) - moment
        for step, moment in enumerate(logged)
        if moment > opened + 2
    ]
    assert len(late) > 5
    assert sorted(late)[len(late) // 2] < 0.5, late


def test_a_new_run_appears_by_itself(open_page: Open, site: Site) -> None:
    page = open_page("/")
    page.get_by_role("link", name="run-0").wait_for()
    site.shell.python(
        "from runstream.core import Experiment, Workspace\n"
        "experiment = Experiment(Workspace.from_config(), 'appears')\n"
        "run = experiment.start_logging(display_name='just came', snapshot_directory=None)\n"
        "run.complete()\n"
    )
    page.get_by_role("link", name="just came").wait_for()


def test_the_owners_browser_gets_straight_in(open_page: Open, site: Site) -> None:
    page = open_page("/", login=False)
    page.get_by_role("link", name="run-0").wait_for()
    assert page.context.cookies() == []


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_nothing_sticks_out_at_any_width(
    open_page: Open, site: Site, picture: Picture, width: int, dark: bool
) -> None:
    pages = {
        "runs": "/",
        "nothing-found": "/?q=nosuchthing",
        "run": f"/runs/{site.runs[0]}",
        "failed": f"/runs/{site.runs[3]}?tab=overview",
        "compare": f"/compare?runs={','.join(site.runs)}",
        "differences": f"/compare?runs={','.join(site.runs)}&tab=diff",
        "experiments": "/experiments",
        "targets": "/compute",
        "compute": "/compute/local",
        "no-alerts": "/alerts",
    }
    page = open_page("/", width=width, height=740, dark=dark)
    for name, path in pages.items():
        page.goto(path)
        page.wait_for_timeout(600)  # the event stream never lets the network be idle
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name
        picture(page, f"{name}-{'narrow' if width < 720 else 'wide'}-{'dark' if dark else 'light'}")


def test_axe_finds_nothing_serious(open_page: Open, site: Site) -> None:
    build = builder()
    build.install(build.EVERYTHING)
    axe = (REPOSITORY / "dashboard" / "node_modules" / "axe-core" / "axe.min.js").read_text()
    violations = {}
    for dark in (False, True):
        page = open_page("/", dark=dark)
        for path in (
            "/?plot=parallel",
            "/?plot=scatter&tree=1",
            "/experiments",
            f"/runs/{site.runs[0]}",
            f"/runs/{site.runs[3]}?tab=overview",
            f"/runs/{site.runs[0]}?tab=tables",
            f"/compare?runs={','.join(site.runs)}",
            f"/compare?runs={','.join(site.runs)}&tab=diff",
            "/compute/local",
            "/?open=columns",
            "/?open=menu",
        ):
            page.goto(path)
            page.wait_for_timeout(600)
            if path == "/?open=columns":
                page.get_by_role("button", name="Columns").click()
            elif path == "/?open=menu":
                page.get_by_role("button", name="Actions of run-1").click()
            page.evaluate(axe)
            answer = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
            for violation in answer["violations"]:
                if violation["impact"] in ("serious", "critical"):
                    key = f"{path[:16]} {dark} {violation['id']}"
                    violations[key] = [node["html"][:200] for node in violation["nodes"][:3]]
    assert not violations
