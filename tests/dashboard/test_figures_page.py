"""Figures on the run page, in a real browser: drawn live in a frame that reaches nothing, whatever is in them."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

import pytest

from .conftest import REPOSITORY, Site, builder
from .test_browser import Open, Picture

WRITING = """
import json
from runstream import media
from runstream.core import Experiment, Workspace

run = Experiment(Workspace.from_config(), "figures").start_logging(outputs=None, snapshot_directory=None)
bars = {"data": [{"type": "bar", "x": ["a", "b", "c"], "y": [1, 3, 2]}], "layout": {"title": {"text": "three bars"}}}
run.log_media("bars", media.Plotly(bars, caption="of Plotly"))
LITE = "https://vega.github.io/schema/vega-lite/v6.json"
values = [{"x": x, "y": x * x % 7} for x in range(20)]
lite = {"$schema": LITE, "width": "container", "height": 200, "data": {"values": values}, "mark": "line",
        "transform": [{"calculate": "datum.y * 2", "as": "twice"}],
        "encoding": {"x": {"field": "x", "type": "quantitative"}, "y": {"field": "twice", "type": "quantitative"}}}
run.log_media("line", media.Vega(lite))
surface = [{"type": "surface", "z": [[1, 2, 1], [2, 4, 2], [1, 2, 1]]}]
run.log_media("surface", media.Plotly({"data": surface}))
whole = {"$schema": "https://vega.github.io/schema/vega/v6.json", "width": 200, "height": 100,
         "data": [{"name": "t", "values": "a,b\\n1,2\\n3,4", "format": {"type": "csv", "parse": "auto"}}],
         "marks": [{"type": "rect", "from": {"data": "t"}, "encode": {"enter": {
             "x": {"signal": "datum.a * 20"}, "width": {"value": 30}, "y": {"value": 0},
             "height": {"signal": "datum.b * 20"},
             "fill": {"value": "#1f5fd0"}}}}]}
run.log_media("whole", media.Vega(whole))
print(run.id)

OUT = "http://elsewhere.invalid/"
evil = run.experiment.start_logging(outputs=None, snapshot_directory=None)
texts = [f"<img src={OUT}a onerror='top.pwned=1'>"]
texts += ["<a href='javascript:top.pwned=1'>press</a>", "<script>top.pwned=1</script>"]
evil.log_media("labels", media.Plotly({
    "data": [{"type": "bar", "x": texts, "y": [1, 2, 3], "text": texts, "hovertemplate": texts[0]}],
    "layout": {"title": {"text": texts[1]}, "images": [{"source": OUT + "b.png", "x": 0, "y": 1, "sizex": 1, "sizey": 1}]},
}))
evil.log_media("map", media.Plotly({"data": [{"type": "scattergeo", "lon": [1], "lat": [2]}]}))
evil.log_media("loads", media.Vega({**lite, "data": {"url": OUT + "c.json"}}))
evil.log_media("shows", media.Vega({
    "$schema": LITE, "data": {"values": [{"u": OUT + "d.png"}]}, "mark": {"type": "image", "width": 20, "height": 20},
    "encoding": {"url": {"field": "u"}, "href": {"field": "u"}},
}))
evil.log_media("computes", media.Vega({**lite, "transform": [{"calculate": "top.pwned = 1", "as": "twice"}]}))
evil.log_media("reaches", media.Vega({
    **lite, "transform": [{"calculate": "datum.constructor.constructor('top.pwned=1')()", "as": "twice"}]}))
evil.log_media("huge", media.Plotly({"data": [{"y": "7" * (50 << 20)}]}))
evil.log_media("vast", media.Vega({**lite, "width": 1e9}))
evil.log_media("no traces", media.Plotly({"data": {"y": [1]}}))
evil.log_media("no mark", media.Vega({"$schema": LITE, "mark": "nothing"}))
evil.log_media("breaks off", media.Plotly({"data": [], "layout": {"title": {"text": "broken by the test"}}}))
print(evil.id)
for each in (run, evil):
    for media in each.get_media().values():
        for medium in media:
            medium.read()
    each.complete()
"""


@pytest.fixture(scope="module")
def written(site: Site) -> list[str]:
    runs = site.shell.python(WRITING).stdout.split()
    for run_id in runs:
        site.shell.wait_until(lambda run_id=run_id: site.is_settled(run_id), 60, "the run")
    return runs


def panel(page: Any, name: str) -> Any:
    """The part of the page that shows a series, in sight: what is out of sight is not drawn."""
    shown = page.locator("section.panel").filter(has=page.get_by_role("heading", name=name, exact=True))
    shown.scroll_into_view_if_needed()
    return shown


def seen(page: Any, name: str, what: Callable[[Any], Any]) -> Any:
    """Something in a panel, once it is there. What grows above it moves it out of sight, so it is looked for again."""
    deadline = time.monotonic() + 60
    while not (part := what(panel(page, name)).first).is_visible():
        assert time.monotonic() < deadline, (name, panel(page, name).inner_text())
        page.wait_for_timeout(100)
    return part


def drawn(page: Any, name: str) -> Any:
    """The frame of a figure, once it is drawn."""
    frame = seen(page, name, lambda shown: shown.locator("iframe[data-drawn=true]"))
    return frame.element_handle().content_frame()


def ended(shown: Any) -> Any:
    """A figure that is drawn, or the reason why it is not."""
    return shown.locator("iframe[data-drawn=true]").or_(shown.get_by_role("alert"))


def inked(frame: Any) -> int:
    """Colours in the largest canvas of a frame."""
    return frame.evaluate(
        """() => Math.max(0, ...[...document.querySelectorAll('canvas')].map(canvas => {
          const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext('2d');
          copy.drawImage(canvas, 0, 0);
          return new Set(new Uint32Array(copy.getImageData(0, 0, canvas.width, canvas.height).data.buffer)).size;
        }))"""
    )


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (1280, True), (390, False), (390, True)])
def test_figures_are_drawn_live(
    open_page: Open, written: list[str], picture: Picture, width: int, dark: bool
) -> None:
    page = open_page(f"/runs/{written[0]}?tab=media", width=width, dark=dark)
    frame = drawn(page, "bars")
    assert frame.locator(".bars .point").count() == 3
    frame.get_by_text("three bars").wait_for()
    assert inked(drawn(page, "line")) > 5
    assert drawn(page, "surface").locator(".gl-container canvas").count() >= 1
    assert inked(drawn(page, "whole")) > 1
    page.get_by_role("button", name="Download plotly").first.wait_for()
    assert page.get_by_role("status").filter(has_text="loaded").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    panel(page, "bars")
    drawn(page, "bars")
    picture(page, f"run-figures-{'wide' if width > 720 else 'narrow'}-{'dark' if dark else 'light'}")


def test_viewers_are_loaded_when_they_are_looked_at(open_page: Open, site: Site, written: list[str]) -> None:
    loaded: list[str] = []
    page = open_page(f"/runs/{site.runs[0]}")
    page.on("request", lambda request: loaded.append(request.url))
    page.goto(f"/runs/{written[0]}")
    page.get_by_role("tab", name=re.compile("^Media")).wait_for()
    assert not [url for url in loaded if re.search("viewer.html|plotly|vega", url)]
    page.get_by_role("tab", name=re.compile("^Media")).click()
    drawn(page, "bars")
    assert [url for url in loaded if re.search(r"/plotly-[\w-]+\.js$", url)]


@pytest.mark.attack
def test_a_hostile_figure_reaches_nothing(open_page: Open, written: list[str]) -> None:
    page = open_page(f"/runs/{written[1]}?tab=media", refused=True)
    frame = drawn(page, "labels")
    seen(page, "labels", lambda shown: shown.get_by_text("elsewhere.invalid/b.png was not loaded"))
    assert frame.locator("img, script:not([type=module]), a[href^=javascript]").count() == 0
    assert frame.evaluate("window.pwned") is None
    seen(page, "map", lambda shown: shown.get_by_text("Maps are not drawn here"))
    for name, address in (("loads", "c.json"), ("shows", "d.png")):
        seen(
            page, name, lambda shown, to=address: shown.get_by_text(f"elsewhere.invalid/{to} was not loaded")
        )
    for name in ("computes", "reaches"):
        seen(page, name, ended)
    assert page.evaluate("window.pwned") is None


@pytest.mark.attack
def test_not_even_a_script_in_the_frame_would_get_out(open_page: Open, written: list[str]) -> None:
    """As if a library had a hole, and the figure were a script."""
    page = open_page(f"/runs/{written[0]}?tab=media", refused=True)
    frame = drawn(page, "bars")
    attempts = {
        "read the page": "parent.document.title",
        "read what the page keeps": "localStorage.length",
        "ask the API": "fetch('/api/v1/runs').then(answer => answer.text())",
        "ask elsewhere": "fetch('http://elsewhere.invalid/')",
        "steer the page": "(parent.location.href = 'about:blank', new Promise(() => 0))",
        "open a window": "open('/').document.title",
    }
    for what, script in attempts.items():
        answer = frame.evaluate(
            """script => new Promise(done => {
              setTimeout(() => done('nothing came'), 3000);
              try { Promise.resolve((0, eval)(script)).then(v => done('got ' + v), e => done('refused ' + e.name)); }
              catch (error) { done('refused ' + error.name); }
            })""",
            script,
        )
        assert answer.startswith(("refused", "nothing came")), (what, answer)
    assert f"/runs/{written[0]}" in page.url


def test_what_cannot_be_drawn_says_why(open_page: Open, written: list[str], picture: Picture) -> None:
    page = open_page("/", refused=True)
    page.route("**/files/media/**.plotly.json", cut_off)
    page.goto(f"/runs/{written[1]}?tab=media")
    for name, why in (
        ("huge", r"too large to be drawn here \(5\d(\.\d)? MB; the most is 16"),
        ("vast", "wants 1000000000 x 200 pixels; the most is 8000 a side"),
        ("no traces", 'its "data" is no list of traces'),
        ("no mark", "Its Vega-Lite specification is broken"),
        ("breaks off", "The file is no JSON"),
    ):
        seen(page, name, lambda shown, why=why: shown.get_by_role("alert").filter(has_text=re.compile(why)))
    picture(page, "run-figures-broken-wide-light")
    assert panel(page, "huge").get_by_role("button", name="Download plotly").is_visible()
    page.unroute("**/files/media/**.plotly.json")
    panel(page, "breaks off").get_by_role("button", name="Retry").click()
    drawn(page, "breaks off")


def cut_off(route: Any) -> None:
    answer = route.fetch()
    whole = "broken by the test" not in answer.text()
    route.fulfill(response=answer, body=answer.body() if whole else answer.body()[:20])


def test_a_figure_that_is_never_drawn_is_given_up(open_page: Open, written: list[str]) -> None:
    page = open_page("/")
    page.clock.install()
    page.route(
        "**/viewer.html", lambda route: route.fulfill(body="<p>for ever busy</p>", content_type="text/html")
    )
    page.goto(f"/runs/{written[0]}?tab=media")
    panel(page, "bars").locator("iframe").wait_for()
    page.clock.fast_forward(31_000)
    panel(page, "bars").get_by_text("was not drawn within 30 seconds").wait_for()


def test_axe_finds_nothing_serious_beside_figures(open_page: Open, written: list[str]) -> None:
    build = builder()
    build.install(build.EVERYTHING)
    axe = (REPOSITORY / "dashboard" / "node_modules" / "axe-core" / "axe.min.js").read_text()
    violations = {}
    for dark in (False, True):
        for run_id, name in zip(written, ("bars", "no traces"), strict=True):
            page = open_page(f"/runs/{run_id}?tab=media", dark=dark, refused=True)
            seen(page, name, ended)
            page.evaluate(axe)
            answer = page.evaluate("axe.run(document, { resultTypes: ['violations'], iframes: false })")
            for violation in answer["violations"]:
                if violation["impact"] in ("serious", "critical"):
                    key = f"{name} {dark} {violation['id']}"
                    violations[key] = [node["html"][:200] for node in violation["nodes"][:3]]
    assert not violations
