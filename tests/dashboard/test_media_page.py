"""Histograms and media on the run page, in a real browser: pictures, keys, and pages that try to run."""

from __future__ import annotations

import pytest

from .conftest import Site
from .test_browser import Open, Picture

WRITING = """
import numpy as np
from runstream import media
from runstream.core import Experiment, Workspace

run = Experiment(Workspace.from_config(), "media").start_logging(outputs=None, snapshot_directory=None)
random = np.random.default_rng(3)
for step in range(40):
    run.log_histogram("weights", random.normal(step / 10, 1 + step / 40, 2000))
run.log_histogram("nothing", [float("nan")])
for step in range(3):
    pixels = random.integers(0, 255, (40, 60, 3)).astype(np.uint8)
    run.log_media("samples", [media.Image(pixels, caption=f"picture {i} of {step}") for i in range(4)], step=step)
evil = b"<svg xmlns='http://www.w3.org/2000/svg' onload='top.pwned=1'><script>top.pwned=1</script></svg>"
run.log_media("evil picture", media.Image(evil))
page = "<p>harmless</p><script>top.pwned = 1</script><img src=x onerror='top.pwned=1'>"
run.log_media("evil page", media.Html(page))
run.log_media("sound", media.Audio(np.sin(np.arange(4000) / 20), rate=8000, caption="a tone"))
run.log_media("figure", media.Plotly({"data": []}))
run.log_media("words", media.Text("some words"))
print(run.id)
run.get_media("sound")[0].read()
run.complete()
"""


@pytest.fixture(scope="module")
def written(site: Site) -> str:
    run_id = site.shell.python(WRITING).stdout.split()[0]
    site.shell.wait_until(lambda: site.is_settled(run_id), 60, "the run")
    return run_id


def test_histograms_are_drawn_and_told_step_by_step(open_page: Open, written: str, picture: Picture) -> None:
    page = open_page(f"/runs/{written}")
    page.get_by_role("tab", name="Histograms (2)").click()
    drawn = page.get_by_role("img", name="weights: 40 histograms from step 0 at the top to 39 at the bottom")
    drawn.wait_for()
    page.get_by_text("1 NaN").wait_for()
    slider = page.get_by_role("slider", name="Step of weights")
    assert slider.get_attribute("aria-valuetext").startswith("step 39, 2,000 values")
    slider.focus()
    page.keyboard.press("ArrowLeft")
    page.get_by_text("step 38, 2,000 values").wait_for()
    ink = "c => new Set(c.getContext('2d').getImageData(0, 0, c.width, c.height).data).size"
    canvas = drawn.locator("canvas")
    assert canvas.evaluate(ink) > 20
    picture(page, "run-histograms-wide-light")
    page.get_by_label("Picture").first.select_option("heat")
    assert canvas.evaluate(ink) > 20
    picture(page, "run-heat-wide-light")


def test_media_are_shown_by_step_and_nothing_in_them_runs(
    open_page: Open, written: str, picture: Picture
) -> None:
    page = open_page(f"/runs/{written}?tab=media")
    page.get_by_text("picture 0 of 2").wait_for()
    assert page.get_by_role("img", name="samples, step 2").count() == 4
    page.get_by_role("slider", name="Step of samples").focus()
    page.keyboard.press("Home")
    page.get_by_role("img", name="samples, step 0: picture 3 of 0").wait_for()
    shown = page.get_by_role("img", name="samples, step 0: picture 3 of 0")
    shown.evaluate("image => image.decode()")
    page.frame_locator("iframe[title^='evil page']").get_by_text("harmless").wait_for()
    page.get_by_text("some words").wait_for()
    sound = page.get_by_label("sound, step 0: a tone", exact=True)
    page.wait_for_function("audio => audio.duration > 0.4", arg=sound.element_handle())
    page.get_by_role("button", name="Download plotly").wait_for()
    assert page.evaluate("window.pwned") is None
    picture(page, "run-media-wide-light")
