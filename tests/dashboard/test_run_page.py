"""The run page's parts in a real browser: source, parameters, snapshot, files, curves, images, child runs, another x."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from .conftest import REPOSITORY, Site, builder
from .test_browser import Open, Picture, drawn, until

WRITING = """
import math
from pathlib import Path
from runstream.core import Experiment, Workspace

experiment = Experiment(Workspace.from_config(), "pages")
run = experiment.start_logging(outputs=None, snapshot_directory=SOURCE, display_name="everything")
for step in range(300):
    run.log("epoch", step / 100)
    run.log("loss", math.exp(-step / 50))
labels = ["cat", "dog"]
run.log_confusion_matrix("confusion", {"schema_type": "confusion_matrix", "schema_version": "v1", "data": {
    "class_labels": labels, "matrix": [[40, 3], [5, 52]]}})
run.log_residuals("residuals", {"schema_type": "residuals", "schema_version": "v1", "data": {
    "bin_edges": [-2, -1, 0, 1, 2], "bin_counts": [3, 20, 25, 2], "mean": 0, "stddev": 1, "res_count": 50}})
run.log_predictions("predictions", {"schema_type": "predictions", "schema_version": "v1", "data": {
    "bin_averages": [0.1, 1.2, 1.9], "bin_errors": [0.1, 0.1, 0.2], "bin_counts": [5, 9, 4], "bin_edges": [0, 1, 2, 3]}})
log = "first line\\n" + "step\\n" * 20 + "the needle\\n" + "step\\n" * 20 + "another needle\\n"
for name, text in {"logs/train.txt": log, "outputs/model/weights.bin": "0" * 2000}.items():
    Path("made").write_text(text)
    run.upload_file(name, "made")
for k, lr in enumerate((0.1, 0.01)):
    child = run.child_run()
    child.display_name = f"lr {lr}"
    child.log("loss", k + 0.5)
    child.complete()
run.complete()
print(run.id)
"""


@pytest.fixture(scope="module")
def written(site: Site, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A run with everything its page can show; its id."""
    source = tmp_path_factory.mktemp("source") / "project"
    (source / "data").mkdir(parents=True)
    (source / "train.py").write_text("print('trained')\n")
    (source / "data" / "classes.txt").write_text("cat\ndog\n")
    for command in (
        ["git", "init", "-q", "-b", "main"],
        ["git", "remote", "add", "origin", "git@github.com:somebody/project.git"],
        ["git", "add", "."],
        ["git", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "-m", "first"],
    ):
        subprocess.run(command, cwd=source, check=True, timeout=30)
    (source / "train.py").write_text("print('trained anew')\nprint('<b>done</b>')\n")
    code = f"import os; os.chdir({str(source.parent)!r}); SOURCE = {str(source)!r}\n{WRITING}"
    run_id = site.shell.python(code).stdout.split()[-1]
    site.shell.wait_until(lambda: site.is_settled(run_id), 60, "the run")
    return run_id


def test_where_it_comes_from_and_its_snapshot(open_page: Open, written: str, picture: Picture) -> None:
    page = open_page(f"/runs/{written}?tab=overview")
    source = page.get_by_role("region", name="Source")
    link = source.get_by_role("link", name=re.compile("^[0-9a-f]{40}$"))
    assert link.get_attribute("href").startswith("https://github.com/somebody/project/commit/")
    assert "main" in source.inner_text()
    picture(page, "run-overview-wide-light")
    page.get_by_role("tab", name="Snapshot").click()
    tree = page.get_by_role("navigation", name="Files of the snapshot")
    tree.get_by_role("button", name="classes.txt").click()
    page.get_by_role("region", name="File").get_by_text("dog").wait_for()
    picture(page, "run-snapshot-wide-light")
    with page.expect_download() as download:
        tree.get_by_role("link", name="Download all").click()
    assert Path(download.value.path()).read_bytes()[:2] == b"PK"


SUBMITTED = """
from pathlib import Path
from runstream.core import Environment, Experiment, ScriptRunConfig, Workspace
from runstream.core.conda_dependencies import CondaDependencies

experiment = Experiment(Workspace.from_config(), "environments")
Path("project").mkdir(exist_ok=True)
Path("project/train.py").write_text("pass\\n")

def submit(version, *others):
    environment = Environment("training")
    environment.python.user_managed_dependencies = True
    environment.python.conda_dependencies = CondaDependencies.create(pip_packages=[f"numpy=={version}", *others])
    run = experiment.submit(ScriptRunConfig("project", "train.py", environment=environment))
    run.display_name = f"numpy {version}"
    run.wait_for_completion()
    print(run.id)

plain = experiment.start_logging(outputs=None, snapshot_directory=None, display_name="plain")
plain.complete()
print(plain.id)
submit("2.1", "torch==2.4")
submit("2.2", "rich==13.9")
"""


def test_the_environment_beside_that_of_another_run(
    open_page: Open, site: Site, picture: Picture, tmp_path: Path
) -> None:
    ids = site.shell.python(f"import os; os.chdir({str(tmp_path)!r})\n{SUBMITTED}").stdout.split()[-3:]
    site.shell.wait_until(lambda: all(site.is_settled(run_id) for run_id in ids), 60, "the runs")
    plain, before, now = ids
    page = open_page(f"/runs/{now}?tab=overview")
    panel = page.get_by_role("region", name="Environment", exact=True)
    panel.get_by_text("Compared with numpy 2.1, the run before it in the experiment").wait_for()

    def rows() -> list[list[str]]:
        table = panel.get_by_role("table", name="What differs in the environment")
        cells = [row.locator("th .what, td").all_inner_texts() for row in table.get_by_role("row").all()[1:]]
        return [[text.strip() for text in row] for row in cells]

    assert rows() == [["numpy", "==2.2", "==2.1"], ["rich", "==13.9", "–"], ["torch", "–", "==2.4"]]
    panel.scroll_into_view_if_needed()
    picture(page, "run-environment-wide-light")
    panel.get_by_role("button", name="Compare with").click()
    panel.get_by_role("searchbox", name="Compare with another…: search").fill(plain)
    panel.get_by_label("plain").click()
    panel.get_by_text("That run has no environment of its own.").wait_for()
    assert f"with={plain}" in page.url
    assert ["numpy", "==2.2", "–"] in rows()
    page.goto(f"/runs/{now}?tab=overview&with={now}")
    panel.get_by_text("No difference").wait_for()
    page.goto(f"/runs/{plain}?tab=overview")
    panel.get_by_text("This run has no environment of its own").wait_for()
    panel.get_by_text("No run before this one to compare with").wait_for()
    page.goto(f"/runs/{before}?tab=overview&with=no-such-run")
    panel.get_by_role("alert").get_by_text("no-such-run").wait_for()
    page.set_viewport_size({"width": 390, "height": 844})
    panel.get_by_role("button", name="The usual run").click()
    panel.get_by_text("Compared with plain").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    panel.scroll_into_view_if_needed()
    picture(page, "run-environment-narrow-light")


def test_the_changes_against_the_commit(open_page: Open, written: str, picture: Picture) -> None:
    page = open_page(f"/runs/{written}?tab=snapshot")
    changes = page.get_by_role("region", name="Changes against the commit")
    changes.get_by_text("train.py").wait_for()
    assert changes.locator("pre .added").all_inner_texts() == [
        "+print('trained anew')",
        "+print('<b>done</b>')",
    ]
    assert changes.locator("pre .removed").all_inner_texts() == ["-print('trained')"]
    assert "+2" in changes.locator("summary").inner_text()
    picture(page, "run-diff-wide-light")
    changes.locator("summary").click()
    changes.locator("pre").wait_for(state="hidden")
    page.set_viewport_size({"width": 390, "height": 844})
    changes.locator("summary").click()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    picture(page, "run-diff-narrow-light")


def test_files_with_the_log_first_and_a_search_in_it(open_page: Open, written: str, picture: Picture) -> None:
    page = open_page(f"/runs/{written}?tab=files")
    view = page.get_by_role("region", name="File")
    view.get_by_role("heading", name="logs/train.txt").wait_for()
    view.get_by_label("Search in the file").fill("NEEDLE")
    view.get_by_role("status").get_by_text("1 of 2").wait_for()
    view.get_by_role("button", name="Next").click()
    view.get_by_role("status").get_by_text("2 of 2").wait_for()
    picture(page, "run-files-wide-light")
    tree = page.get_by_role("navigation", name="Files")
    with page.expect_download() as download:
        tree.get_by_role("link", name="Download outputs as zip").click()
    assert b"outputs/model/weights.bin" in Path(download.value.path()).read_bytes()
    page.set_viewport_size({"width": 360, "height": 740})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    picture(page, "run-files-narrow-light")


def test_curves_and_the_best_child(open_page: Open, written: str, picture: Picture) -> None:
    page = open_page(f"/runs/{written}?tab=tables")
    page.get_by_role("columnheader", name="dog").wait_for()
    page.get_by_role("img", name=re.compile("^residuals: count over residual, 4 points")).wait_for()
    page.get_by_role("img", name=re.compile("^predictions: mean prediction over true value, 3")).wait_for()
    picture(page, "run-curves-wide-light")
    page.get_by_role("tab", name="Charts").click()
    page.get_by_role("img", name=re.compile("^residuals: count over residual, 4 points")).wait_for()
    page.get_by_role("tab", name="Child runs").click()
    best = page.get_by_role("row").filter(has=page.get_by_role("img", name="best"))
    best.get_by_role("link", name="lr 0.1").wait_for()
    assert best.count() == 1


def test_another_metric_as_x(open_page: Open, written: str) -> None:
    page = open_page(f"/runs/{written}?m=loss")
    drawn(page)
    with page.expect_response(re.compile("/api/v1/charts.*x=metric")) as answer:
        page.get_by_label("x axis").select_option("metric:epoch")
    assert answer.value.ok
    chart = page.get_by_role("group", name=re.compile("^Chart of loss"))
    chart.focus()
    page.keyboard.press("ArrowRight")
    until(page, "document.querySelector('.chart [aria-live]').textContent.includes('epoch 0')")
    page.reload()
    drawn(page)
    assert page.get_by_label("x axis").input_value() == "metric:epoch"


def test_a_run_is_canceled_and_renamed_from_its_page(open_page: Open, site: Site) -> None:
    process: Any = site.train(
        "import time\n"
        "from runstream.core import Experiment, Workspace\n"
        "run = Experiment(Workspace.from_config(), 'pages').start_logging(outputs=None, snapshot_directory=None)\n"
        "print(run.id, flush=True)\n"
        "time.sleep(60)\n"
    )
    try:
        page = open_page(f"/runs/{process.stdout.readline().strip()}")
        page.get_by_role("button", name="Edit").click()
        page.get_by_role("dialog").get_by_label("Display name").fill("renamed here")
        page.get_by_role("dialog").get_by_role("button", name="Save").click()
        page.get_by_role("heading", name="renamed here", level=1).wait_for()
        page.get_by_role("button", name="Cancel", exact=True).click()
        page.get_by_text(re.compile("cancel(ed|ing)$")).first.wait_for()
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_axe_finds_nothing_serious_in_the_other_tabs(open_page: Open, written: str, dark: bool) -> None:
    build = builder()
    build.install(build.EVERYTHING)
    axe = (REPOSITORY / "dashboard" / "node_modules" / "axe-core" / "axe.min.js").read_text()
    page = open_page("/", dark=dark)
    serious = {}
    for tab in ("overview", "parameters", "tables", "files", "snapshot", "children", "notes"):
        page.goto(f"/runs/{written}?tab={tab}")
        page.get_by_role("tabpanel").locator(":scope > *").first.wait_for()
        page.wait_for_timeout(600)
        page.evaluate(axe)
        answer = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
        for violation in answer["violations"]:
            if violation["impact"] in ("serious", "critical"):
                serious[f"{tab} {violation['id']}"] = [node["html"][:200] for node in violation["nodes"][:3]]
    assert not serious
