"""The head of every page at a phone's width: all of it is to be seen, and nothing lies on something else."""

from __future__ import annotations

import pytest

from .conftest import Site
from .test_browser import Open, Picture

PAGES = (
    "/", "/experiments", "/reports", "/reports/new", "/compute", "/alerts", "/runs/RUN", "/compare?runs=RUN",
    "/compute/local",
)  # fmt: skip

# What is cut off, beyond the screen, or under something else, of the links, buttons, fields and texts up to 300 px.
FAULTS = """() => {
  const seen = [...document.querySelectorAll('header *, main a, main button, main input, main select, main h1')]
    .filter(part => part.matches('a, button, input, select, h1, .state, .access') && part.checkVisibility())
    .map(part => ({ part, box: part.getBoundingClientRect() }))
    .filter(({ part, box }) => box.width > 1 && box.top < 300 &&
      !part.closest('.sr, [role=tablist], [role=grid], .split, table, .chart'));
  const name = part => part.getAttribute('aria-label') || part.textContent.trim() || part.placeholder || part.className;
  const faults = [];
  for (const { part, box } of seen) {
    if (box.left < 0 || box.right > innerWidth + 0.5) faults.push(`${name(part)} is beyond the screen`);
    for (let around = part.parentElement; around; around = around.parentElement) {
      const outer = around.getBoundingClientRect();
      if (getComputedStyle(around).overflowX !== 'visible' && box.right > outer.right + 0.5)
        faults.push(`${name(part)} is cut off`);
    }
    for (const other of seen)
      if (part !== other.part && !part.contains(other.part) && !other.part.contains(part)) {
        const wide = Math.min(box.right, other.box.right) - Math.max(box.left, other.box.left);
        const high = Math.min(box.bottom, other.box.bottom) - Math.max(box.top, other.box.top);
        if (wide > 1.5 && high > 1.5) faults.push(`${name(part)} and ${name(other.part)} overlap`);
      }
  }
  return faults;
}"""


@pytest.mark.parametrize("path", PAGES)
def test_nothing_of_a_head_is_cut_off_on_a_phone(
    open_page: Open, site: Site, picture: Picture, path: str
) -> None:
    page = open_page(path.replace("RUN", site.runs[0]), width=390, height=844)
    if not path.startswith("/reports"):  # nothing in a list of reports, or in a new one, is followed
        page.get_by_role("banner").get_by_text("live").wait_for(state="attached")
    page.locator("main :is(h1, h2, [role=grid], .panel)").first.wait_for()
    picture(page, f"head{path.partition('?')[0].replace('/', '-').replace('RUN', 'run')}-narrow-light")
    for width in (390, 320):
        page.set_viewport_size({"width": width, "height": 844})
        assert page.evaluate(FAULTS) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_broken_connection_is_told_in_a_phones_head(open_page: Open, picture: Picture) -> None:
    page = open_page("/alerts", width=390, height=844)
    page.route("**/api/v1/events**", lambda route: route.abort())
    page.reload()
    page.get_by_text("Live paused since").wait_for()
    page.get_by_role("heading", name="Alerts").wait_for()
    picture(page, "head-lost-narrow-light")
    assert page.evaluate(FAULTS) == []
    assert page.get_by_role("banner").bounding_box()["height"] < 80  # two rows
