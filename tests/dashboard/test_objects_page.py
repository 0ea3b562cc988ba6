"""3-D objects on the run page, in a real browser: turned, zoomed and reset by keys and pointer, and what cannot be drawn."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from .conftest import REPOSITORY, Site, builder
from .test_browser import Open, Picture
from .test_figures_page import drawn, panel, seen

WRITING = """
import base64, json
import numpy as np
from runstream import media
from runstream.core import Experiment, Workspace

run = Experiment(Workspace.from_config(), "objects").start_logging(outputs=None, snapshot_directory=None)
random = np.random.default_rng(1)
points = random.normal(size=(5000, 3))
points /= np.linalg.norm(points, axis=1)[:, None]
run.log_media("cloud", media.Object3D(np.hstack([points, (points + 1) * 127]), caption="a sphere"))
cube = "".join(f"v {x} {y} {z}\\n" for x in (0, 1) for y in (0, 1) for z in (0, 1))
cube += "f 1 2 4 3\\nf 5 6 8 7\\nf 1 2 6 5\\nf 3 4 8 7\\nf 1 3 7 5\\nf 2 4 8 6\\n"
run.log_media("cube", media.Object3D(cube.encode()))
corners = [(0, 0, 0), (1, 0, 0), (0, 1, 0)]
stl = "solid t\\nfacet normal 0 0 1\\nouter loop\\n" + "".join(f"vertex {x} {y} {z}\\n" for x, y, z in corners)
run.log_media("facet", media.Object3D((stl + "endloop\\nendfacet\\nendsolid t\\n").encode()))
packed = np.array(corners, dtype="<f4").tobytes()
gltf = {"asset": {"version": "2.0"}, "scene": 0, "scenes": [{"nodes": [0]}], "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}}]}], "bufferViews": [{"buffer": 0, "byteLength": 36}],
        "accessors": [{"bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC3",
                       "min": [0, 0, 0], "max": [1, 1, 0]}],
        "buffers": [{"byteLength": 36, "uri": "data:application/octet-stream;base64," + base64.b64encode(packed).decode()}]}
run.log_media("triangle", media.Object3D(json.dumps(gltf).encode()))
print(run.id)

bad = run.experiment.start_logging(outputs=None, snapshot_directory=None)
bad.log_media("outside", media.Object3D(json.dumps(gltf).encode()))
bad.log_media("broken", media.Object3D(points))
bad.log_media("nowhere", media.Object3D(b"v nan nan nan\\nv nan nan nan\\nv nan nan nan\\nf 1 2 3\\n"))
bad.log_media("huge", media.Object3D(np.zeros((5_700_000, 3), dtype=np.float32)))
print(bad.id)
for each in (run, bad):
    for series in each.get_media().values():
        for medium in series:
            medium.read()
    each.complete()
"""


@pytest.fixture(scope="module")
def written(site: Site) -> list[str]:
    runs = site.shell.python(WRITING).stdout.split()
    for run_id in runs:
        site.shell.wait_until(lambda run_id=run_id: site.is_settled(run_id), 60, "the run")
    return runs


SEEN = """key => {
  const canvas = document.querySelector('canvas');
  canvas.dispatchEvent(new KeyboardEvent('keydown', { key }));
  const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext('2d');
  copy.drawImage(canvas, 0, 0);
  const words = new Uint32Array(copy.getImageData(0, 0, canvas.width, canvas.height).data.buffer);
  const inked = words.filter(word => word !== words[0]);
  return [new Set(words).size, inked.length, words.reduce((sum, word, at) => (sum * 31 + word + at) | 0, 0)];
}"""
"""What is in the picture after a key: colours, pixels that are not the ground, a digest."""


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (1280, True), (390, False), (390, True)])
def test_objects_are_drawn_and_turned(
    open_page: Open, written: list[str], picture: Picture, width: int, dark: bool
) -> None:
    page = open_page(f"/runs/{written[0]}?tab=media", width=width, dark=dark)
    for name, count in (
        ("cube", "12 faces"),
        ("facet", "1 faces"),
        ("triangle", "1 faces"),
        ("cloud", "5,000 points"),
    ):
        frame = drawn(page, name)
        frame.get_by_text(f"{count}. Drag or arrow keys turn").wait_for()
        assert frame.evaluate(SEEN, "0")[1] > 1000, name
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    colours, inked, whole = frame.evaluate(SEEN, "0")
    assert colours > 300  # each point has its own
    turned = frame.evaluate(SEEN, "ArrowLeft")
    assert turned[2] != whole
    assert frame.evaluate(SEEN, "-")[1] < inked
    assert frame.evaluate(SEEN, "0")[2] == whole
    picture(page, f"run-objects-{'wide' if width > 720 else 'narrow'}-{'dark' if dark else 'light'}")
    canvas = frame.locator("canvas")
    canvas.focus()
    page.keyboard.press("Shift+ArrowRight")
    moved = frame.evaluate(SEEN, "x")
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + 100, box["y"] + 100)
    page.mouse.down()
    page.mouse.move(box["x"] + 160, box["y"] + 120, steps=4)
    page.mouse.up()
    assert canvas.get_attribute("role") == "application"
    assert frame.evaluate(SEEN, "+")[2] not in (whole, moved[2])


@pytest.mark.attack
def test_a_broken_or_hostile_object_is_not_drawn_and_says_why(
    open_page: Open, written: list[str], picture: Picture
) -> None:
    page = open_page("/", refused=True)
    page.route("**/files/media/**.gltf", reaching_out)
    page.route(
        "**/files/media/**.ply",
        lambda route: route.fulfill(
            body=b"ply\nformat binary_little_endian 1.0\n"
            b"element vertex 999999999\nproperty float x\nproperty float y\nproperty float z\nend_header\n1234"
        ),
    )
    page.goto(f"/runs/{written[1]}?tab=media")
    for name, why in (
        ("outside", r"elsewhere\.invalid/a\.bin was not loaded"),
        ("broken", "The file cannot be read: it may be broken"),
        ("nowhere", "There is nothing in it that has a place"),
        ("huge", r"too large to be drawn here \(68(\.\d)? MB; the most is 67"),
    ):
        seen(page, name, lambda shown, why=why: shown.get_by_role("alert").filter(has_text=re.compile(why)))
        assert panel(page, name).get_by_role("button", name="Download object3d").is_visible()
    picture(page, "run-objects-broken-wide-light")


def reaching_out(route: Any) -> None:
    answer = route.fetch()
    model = json.loads(answer.body())
    model["buffers"][0]["uri"] = "http://elsewhere.invalid/a.bin"
    route.fulfill(response=answer, body=json.dumps(model))


def test_without_webgl_it_says_so(open_page: Open, written: list[str]) -> None:
    page = open_page("/")
    page.add_init_script("HTMLCanvasElement.prototype.getContext = () => null")
    page.goto(f"/runs/{written[0]}?tab=media")
    seen(page, "cloud", lambda shown: shown.get_by_text("This browser has no WebGL here, which 3-D needs"))


def test_axe_finds_nothing_serious_beside_objects(open_page: Open, written: list[str]) -> None:
    build = builder()
    build.install(build.EVERYTHING)
    axe = (REPOSITORY / "dashboard" / "node_modules" / "axe-core" / "axe.min.js").read_text()
    violations = {}
    for dark in (False, True):
        page = open_page(f"/runs/{written[0]}?tab=media", dark=dark)
        frame = drawn(page, "cloud")
        for part in (page, frame):
            part.evaluate(axe)
            answer = part.evaluate("axe.run(document, { resultTypes: ['violations'], iframes: false })")
            for violation in answer["violations"]:
                if violation["impact"] in ("serious", "critical"):
                    violations[f"{dark} {violation['id']}"] = [
                        node["html"][:200] for node in violation["nodes"][:3]
                    ]
    assert not violations
