"""The branches of a run on its page, in a real browser."""

from __future__ import annotations

import pytest

from .conftest import REPOSITORY, Site, builder
from .test_browser import Open, Picture

WRITING = """
from runstream.core import Experiment, Workspace

experiment = Experiment(Workspace.from_config(), "branches")
def start(name, **more):
    return experiment.start_logging(outputs=None, snapshot_directory=None, display_name=name, **more)
run = start("the <b>trunk</b>")
for step in range(40):
    run.log("loss", 1.0 / (step + 1), step=step)
run.rewind(20)
for step in range(21, 30):
    run.log("loss", 2.0 / (step + 1), step=step)
run.rewind(29)
fork = start("the fork", fork_from=(run, 10))
fork.log("loss", 3.0)
gone = start("gone")
gone.log("loss", 1.0, step=0)
again = start("again", fork_from=(gone, 0))
for one in (run, fork, gone, again):
    one.complete()
    one.flush()
gone.wait_for_completion()
gone._client.request("DELETE", f"/api/v1/runs/{gone.id}")
print(run.id, again.id)
"""


@pytest.fixture(scope="module")
def written(site: Site) -> list[str]:
    return site.shell.python(WRITING).stdout.split()[-2:]


def test_the_overview_has_a_picture_and_the_words_for_it(
    open_page: Open, written: list[str], picture: Picture
) -> None:
    run, again = written
    page = open_page(f"/runs/{run}")
    page.get_by_role("link", name="rewound").click()
    branches = page.get_by_role("region", name="Branches")
    branches.get_by_text("rewound to step 20").wait_for()
    items = branches.get_by_role("listitem").all_inner_texts()
    assert "19 points of 1 metric, to step 39, are former branch 1" in items[0]
    assert "no points lay beyond it" in " ".join(items[1].split())
    assert branches.locator("path").count() == 3
    assert branches.locator("b").count() == 0
    picture(page, "run-branches-wide-light")
    build = builder()
    build.install(build.EVERYTHING)
    axe = (REPOSITORY / "dashboard" / "node_modules" / "axe-core" / "axe.min.js").read_text()
    page.evaluate(axe)
    answer = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
    serious = [rule for rule in answer["violations"] if rule["impact"] in ("serious", "critical")]
    assert [(rule["id"], [node["html"][:200] for node in rule["nodes"][:3]]) for rule in serious] == []
    branches.get_by_role("link", name="the fork").click()
    page.get_by_role("link", name="a fork").click()
    origin = page.get_by_role("region", name="Branches")
    origin.get_by_role("link", name="the <b>trunk</b>").wait_for()
    assert "forked at step 10 from" in " ".join(origin.inner_text().split())
    page = open_page(f"/runs/{again}?tab=overview")
    page.get_by_text("which was deleted").wait_for()
