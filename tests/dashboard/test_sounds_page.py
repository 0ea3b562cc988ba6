"""Sounds on the run page, in a real browser: a waveform that is played, pointed at and gone through by keys."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import REPOSITORY, Site, builder
from .test_browser import Open, Picture

WRITING = """
import numpy as np
from runstream import media
from runstream.core import Experiment, Workspace

run = Experiment(Workspace.from_config(), "sounds").start_logging(outputs=None, snapshot_directory=None)
rate = 8000
time = np.arange(6 * rate) / rate
tone = np.sin(440 * 2 * np.pi * time) * (time % 1)
run.log_media("tone", media.Audio(np.stack([tone, tone / 2], 1), rate=rate, caption="a swell each second"))
run.log_media("broken", media.Audio(b"ID3" + b"nothing that is a sound " * 40))
run.log_media("long", media.Audio(np.zeros((33 << 20) // 2, dtype=np.int16), rate=rate))
for series in run.get_media().values():
    for medium in series:
        medium.read()
print(run.id)
run.complete()
"""


@pytest.fixture(scope="module")
def written(site: Site) -> str:
    run_id = site.shell.python(WRITING).stdout.split()[0]
    site.shell.wait_until(lambda: site.is_settled(run_id), 60, "the run")
    return run_id


WAVE = "Waveform of tone, step 0: a swell each second"


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, True)])
def test_a_sound_has_a_waveform_that_is_played_and_gone_through(
    open_page: Open, written: str, picture: Picture, width: int, dark: bool
) -> None:
    page = open_page(f"/runs/{written}?tab=media", width=width, dark=dark)
    wave = page.get_by_role("slider", name=WAVE)
    wave.wait_for()
    assert coloured(wave) > 500
    player = page.get_by_label("tone, step 0: a swell each second", exact=True)
    assert player.evaluate("audio => audio.duration") == 6
    wave.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert wave.get_attribute("aria-valuetext") == "0:00.6 of 0:06.0"
    assert player.evaluate("audio => audio.currentTime") == pytest.approx(0.6)
    box = wave.bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + 20)
    assert player.evaluate("audio => audio.currentTime") == pytest.approx(3, abs=0.1)
    assert player.evaluate("audio => audio.paused")
    picture(page, f"run-sounds-{'wide' if width > 720 else 'narrow'}-{'dark' if dark else 'light'}")
    page.keyboard.press("Space")
    page.wait_for_function("audio => !audio.paused && audio.currentTime > 3.2", arg=player.element_handle())
    page.keyboard.press("Space")
    page.wait_for_function("audio => audio.paused", arg=player.element_handle())
    page.keyboard.press("Home")
    assert player.evaluate("audio => audio.currentTime") == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def coloured(wave: Any) -> int:
    """Pixels that are painted on a waveform."""
    return wave.locator("canvas").evaluate(
        """canvas => canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data
          .filter((_, place) => place % 4 === 3).filter(alpha => alpha > 0).length"""
    )


def test_what_has_no_waveform_says_why_and_keeps_its_player(open_page: Open, written: str) -> None:
    page = open_page(f"/runs/{written}?tab=media")
    page.get_by_text("this browser cannot decode it. The file may be broken").wait_for()
    page.get_by_text("It is too long for a waveform").wait_for()
    long = page.get_by_label("long, step 0", exact=True)
    page.wait_for_function("audio => audio.duration > 2000", arg=long.element_handle())
    assert page.get_by_label("broken, step 0", exact=True).count() == 1


def test_sounds_are_loaded_when_they_are_looked_at(open_page: Open, written: str) -> None:
    page = open_page(f"/runs/{written}")
    page.get_by_role("tab", name="Media (3)").wait_for()
    names = "performance.getEntriesByType('resource').map(entry => entry.name).join(' ')"
    assert "/Sound-" not in page.evaluate(names)
    page.get_by_role("tab", name="Media (3)").click()
    page.get_by_role("slider", name=WAVE).wait_for()
    assert "/Sound-" in page.evaluate(names)


def test_axe_finds_nothing_serious_beside_sounds(open_page: Open, written: str) -> None:
    build = builder()
    build.install(build.EVERYTHING)
    axe = (REPOSITORY / "dashboard" / "node_modules" / "axe-core" / "axe.min.js").read_text()
    violations = {}
    for dark in (False, True):
        page = open_page(f"/runs/{written}?tab=media", dark=dark)
        page.get_by_role("slider", name=WAVE).wait_for()
        page.evaluate(axe)
        answer = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
        for violation in answer["violations"]:
            if violation["impact"] in ("serious", "critical"):
                violations[f"{dark} {violation['id']}"] = [
                    node["html"][:200] for node in violation["nodes"][:3]
                ]
    assert not violations
