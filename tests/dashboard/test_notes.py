"""The note of a run in a real browser: written, shown as Markdown that can do nothing, changed by two at once."""

from __future__ import annotations

import re
from typing import Any

import pytest

from .conftest import Site
from .test_browser import Open, Picture

TEXT = """# Learning rates

Lower is *better*, see [the paper](https://example.org/x "title") and `loss`.

- [x] 0.1
- [ ] 0.01

| lr | loss |
|---|---|
| 0.1 | 3 |
"""
HOSTILE = """
<script>document.title = "owned"</script>
<img src=x onerror="document.title = 'owned'">
<iframe srcdoc="<script>parent.document.title = 'owned'</script>"></iframe>
<a href="javascript:document.title = 'owned'">click</a>
<form action="https://example.org"><input name="password"></form>
<style>body { display: none }</style>
<div id="panel" class="top" style="position: fixed; inset: 0">over everything</div>
<math><mtext><table><mglyph><style><img src=x onerror="document.title = 'owned'"></style></mglyph></table></mtext></math>
[click](javascript:alert(1)) ![x](x" onerror="document.title='owned')
"""


@pytest.fixture(scope="module")
def run_id(site: Site) -> str:
    code = (
        "from runstream.core import Experiment, Workspace\n"
        "run = Experiment(Workspace.from_config(), 'notes').start_logging(outputs=None, display_name='noted')\n"
        "run.log('loss', 1)\nrun.complete()\nprint(run.id)"
    )
    run_id = site.shell.python(code).stdout.split()[-1]
    site.shell.wait_until(lambda: site.is_settled(run_id), 60, "the run")
    return run_id


def write(page: Any, text: str) -> None:
    page.get_by_role("textbox", name="Note of the run noted, in Markdown").fill(text)
    page.get_by_role("button", name="Save").click()


def test_a_note_is_written_shown_and_looked_back_at(open_page: Open, run_id: str, picture: Picture) -> None:
    page = open_page(f"/runs/{run_id}")
    page.get_by_role("tab", name="Notes").click()
    page.get_by_text("No note yet").wait_for()
    page.get_by_role("button", name="Write one").click()
    page.get_by_role("textbox", name="Note of the run noted, in Markdown").fill(TEXT)
    page.get_by_role("button", name="Preview").click()
    page.get_by_role("heading", name="Learning rates").wait_for()
    page.get_by_role("button", name="Save").click()
    page.get_by_role("button", name="Edit", exact=True).last.wait_for()
    link = page.get_by_role("link", name="the paper")
    assert (link.get_attribute("target"), link.get_attribute("rel")) == ("_blank", "noopener noreferrer")
    assert page.get_by_role("cell", name="0.1").is_visible()
    assert "☑ 0.1" in page.inner_text("#panel")
    picture(page, "run-notes-wide-light")
    page.locator("#panel").get_by_role("button", name="Edit").click()
    write(page, "second")
    page.get_by_text("second").wait_for()
    versions = page.get_by_role("combobox", name="Version")
    versions.focus()
    page.get_by_role("option", name=re.compile("^version 1,")).wait_for(state="attached")
    versions.select_option("1")
    page.get_by_role("heading", name="Learning rates").wait_for()
    page.get_by_role("button", name="Edit this version").click()
    write(page, TEXT + "\nand more")
    page.get_by_text("and more").wait_for()


def test_of_two_who_write_at_once_the_second_sees_what_the_first_wrote(
    open_page: Open, site: Site, run_id: str
) -> None:
    page = open_page(f"/runs/{run_id}?tab=notes")
    page.locator("#panel").get_by_role("button", name=re.compile("^(Edit|Write one)$")).click()
    site.shell.python(
        f"from runstream.core import Workspace\nWorkspace.from_config().get_run({run_id!r}).set_note('theirs')"
    )
    write(page, "mine")
    assert "changed meanwhile" in page.get_by_role("alert").inner_text()
    page.get_by_text("theirs").wait_for()
    assert page.get_by_role("textbox", name="Note of the run noted, in Markdown").input_value() == "mine"
    page.get_by_role("button", name="Save").click()
    page.locator("#panel").get_by_text("mine").wait_for()


def test_a_hostile_note_does_nothing(open_page: Open, site: Site, run_id: str) -> None:
    site.shell.python(
        f"from runstream.core import Workspace\nWorkspace.from_config().get_run({run_id!r}).set_note({HOSTILE!r})"
    )
    page = open_page(f"/runs/{run_id}?tab=notes")
    page.get_by_text("over everything").wait_for()
    note = page.locator(".markdown")
    for wrong in (
        "script",
        "iframe",
        "form",
        "input",
        "style",
        "[style]",
        "[id]",
        "[onerror]",
        "a[href^=javascript]",
    ):
        assert note.locator(wrong).count() == 0, wrong
    for link in note.get_by_text("click", exact=True).all():
        link.click()
    assert page.title() == "noted · runstream"
    assert len(page.context.pages) == 1
