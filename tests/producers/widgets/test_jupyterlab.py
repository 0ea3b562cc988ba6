"""The live widget in a real JupyterLab: Chromium opens the example notebook, runs it and looks at what is drawn.

Screenshots go to artefacts/widget/ (not under version control).
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.dashboard.conftest import REPOSITORY, builder
from tests.dashboard.test_browser import COLOURED
from tests.dashboard.test_tour import keep
from tests.producers.conftest import environment

NOTEBOOK = REPOSITORY / "examples" / "live_widget.ipynb"
PICTURES = REPOSITORY / "artefacts" / "widget"
QUIET = {"fetchNews": "false", "checkForUpdates": False, "doNotDisturbMode": True}
PATIENCE = 60


@pytest.fixture(scope="module")
def lab(served_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a JupyterLab whose kernels use `served_home`."""
    build = builder()
    try:
        build.build()
    except build.BuildError as error:
        pytest.skip(f"the widget cannot be built here: {error}")
    root = tmp_path_factory.mktemp("lab")
    folders = {name: root / name for name in ("config", "data", "runtime", "ipython", "notebooks")}
    for folder in folders.values():
        folder.mkdir()
    shutil.copy(NOTEBOOK, folders["notebooks"])
    settings = root / "settings" / "@jupyterlab" / "apputils-extension"
    settings.mkdir(parents=True)
    (settings / "notification.jupyterlab-settings").write_text(json.dumps(QUIET))
    token = secrets.token_hex()
    places = {
        "JUPYTER_CONFIG_DIR": str(folders["config"]),
        "JUPYTER_DATA_DIR": str(folders["data"]),
        "JUPYTER_RUNTIME_DIR": str(folders["runtime"]),
        "IPYTHONDIR": str(folders["ipython"]),
        "JUPYTERLAB_SETTINGS_DIR": str(root / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(root / "workspaces"),
        "JUPYTER_TOKEN": token,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    with (root / "lab.log").open("w") as log:
        server = subprocess.Popen(
            [
                sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--expose-app-in-browser",
                "--ServerApp.ip=127.0.0.1", "--ServerApp.port_retries=100", f"--ServerApp.root_dir={folders['notebooks']}",
                "--LabApp.extension_manager=readonly",
            ],
            env={**environment(served_home), **places, "PYTHONWARNINGS": "ignore"}, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        yield f"{_address(server, folders['runtime'], root / 'lab.log')}lab/tree/{NOTEBOOK.name}?token={token}"
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _address(server: subprocess.Popen[bytes], runtime: Path, log: Path) -> str:
    deadline = time.monotonic() + PATIENCE
    while True:
        assert server.poll() is None, log.read_text()[-4000:]
        assert time.monotonic() < deadline, log.read_text()[-4000:]
        for record in runtime.glob("jpserver-*.json"):
            try:
                url = str(json.loads(record.read_text())["url"])
                urllib.request.urlopen(f"{url}api", timeout=5).close()
            except (OSError, ValueError):
                continue
            return url
        time.sleep(0.1)


def _until(page: Any, expression: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not page.evaluate(expression):
        assert time.monotonic() < deadline, expression
        page.wait_for_timeout(100)


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A page of the browser; what it showed last is kept as a picture."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    page = browser.new_page(viewport={"width": 1200, "height": 1600})
    page.set_default_timeout(PATIENCE * 1000)
    yield page
    page.screenshot(path=str(PICTURES / "jupyterlab-last.png"))
    page.close()


def test_the_example_notebook_shows_the_run_live(lab: str, page: Any) -> None:
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(lab)
    _until(page, "!!window.jupyterapp?.shell.currentWidget?.context?.isReady")
    page.get_by_text("| Idle").wait_for()  # the kernel is there
    # Not awaited: its answer comes when the last cell is through.
    page.evaluate("void window.jupyterapp.commands.execute('notebook:run-all-cells')")
    widget = page.get_by_role("article", name="Run noisy descent")
    # While the cell below trains: the status, a chart that is drawn, the log.
    widget.get_by_role("status").get_by_text("running").wait_for()
    chart = widget.get_by_role("region", name="train/loss").get_by_role("group", name=re.compile("^Chart"))
    chart.wait_for()
    _until(page, f"({COLOURED})().some(n => n > 100)")
    first = page.evaluate(COLOURED)
    _until(page, f"({COLOURED})().join() !== '{','.join(map(str, first))}'")
    busy = page.get_by_text("[*]:").count()
    widget.scroll_into_view_if_needed()
    page.screenshot(path=str(PICTURES / "jupyterlab-running.png"))
    page.set_viewport_size({"width": 960, "height": 700})
    widget.scroll_into_view_if_needed()
    keep(page, "notebook")
    page.set_viewport_size({"width": 1200, "height": 1600})
    # At the end by itself, without a cell being run again.
    widget.get_by_role("status").get_by_text("completed").wait_for()
    assert busy, "the charts came only after the cells"
    widget.get_by_label("Log logs/").or_(widget.get_by_text("Run is completed.")).first.wait_for()
    widget.get_by_role("img", name=re.compile("^weights of noisy descent")).wait_for()
    widget.get_by_role("img", name=re.compile("precision over recall, 20 points$")).wait_for()
    page.screenshot(path=str(PICTURES / "jupyterlab-completed.png"))
    widget.screenshot(path=str(PICTURES / "widget-light.png"))
    widget.get_by_role("button", name="lr 0.01").click()
    child = page.get_by_role("dialog", name="Child run lr 0.01")
    child.get_by_role("group", name=re.compile("^Chart of loss")).wait_for()
    child.get_by_text("completed").wait_for()
    page.screenshot(path=str(PICTURES / "child.png"))
    child.get_by_role("button", name="Close").click()
    # Zoomed, the points are asked of the kernel.
    chart.focus()
    page.keyboard.press("+")
    widget.get_by_role("button", name="Show all x").wait_for()
    page.evaluate(
        "void window.jupyterapp.commands.execute('apputils:change-theme', {theme: 'JupyterLab Dark'})"
    )
    _until(page, "!!document.querySelector('.runstream[data-theme=dark]')")
    widget.screenshot(path=str(PICTURES / "widget-dark.png"))
    assert not [error for error in errors if "runstream" in error], errors
