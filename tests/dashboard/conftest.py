"""A whole service with runs in it, and a real browser that was let in as `runstream open` does it.

Screenshots go to artefacts/dashboard/ (not under version control): look at them after a change of the pages.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

import pytest

from runstream.home.layout import lock_held, lock_owner
from tests.browser import find
from tests.service.conftest import Shell

REPOSITORY = Path(__file__).parents[2]
PICTURES = REPOSITORY / "artefacts" / "dashboard"
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip

TRAINING = """
import math, random
from runstream.core import Experiment, Workspace

experiment = Experiment(Workspace.from_config(), "sweep")
for k in range(4):
    tags = {"lr": str(10 ** -(k + 1)), "optimizer": "adam" if k % 2 else "sgd"}
    run = experiment.start_logging(outputs=None, snapshot_directory=None, tags=tags, display_name=f"run-{k}")
    noise = random.Random(k)
    for step in range(5000):
        value = 2 * math.exp(-step / 800) + 0.1 * k + noise.gauss(0, 0.05)
        run.log("train/loss", 50.0 if step == 3333 else math.nan if 4000 <= step < 4010 else value)
        if step % 100 == 0:
            run.log("val/loss", value)
    run.log("parameters", 25557032)
    for i in range(20):
        run.log_row("curve", recall=i / 20, precision=1 - i / 40)
    if k == 3:
        run.fail(error_details="CUDA out of memory", error_code="OutOfMemory")
    else:
        run.complete()
    print(run.id, flush=True)
"""


def builder() -> ModuleType:
    """dashboard/build.py as a module."""
    spec = importlib.util.spec_from_file_location("dashboard_build", REPOSITORY / "dashboard" / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


REFUSED = ("csp", "net::ERR_ABORTED")
"""How a request ends that its page's policy refuses, and one whose frame goes before that is told. Nobody has the name it
asks for: what is let through ends with another error."""


@dataclass
class Site:
    """A served dashboard.

    Attributes:
        url: the service's address.
        runs: ids of the sweep's runs, `run-0` first.
    """

    shell: Shell
    url: str
    runs: list[str]

    def is_settled(self, run_id: str) -> bool:
        """Whether all of a run is stored. By the list: a run that is not there yet is no error in it."""
        return any(run["settled"] for run in self.api(f"/api/v1/runs?run={run_id}")["runs"])

    def api(self, path: str, body: bytes | None = None) -> Any:
        token = (self.shell.root / "token").read_text().strip()
        request = urllib.request.Request(self.url + path, body, {"Authorization": f"Bearer {token}"})
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.load(answer)

    def train(self, code: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=self.shell.environment()
        )


def leave_out(why: str) -> NoReturn:
    """Skip the tests of the pages; where nobody reads what was skipped, they fail instead."""
    if os.environ.get("CI"):
        pytest.fail(f"{why} (CI is set)")
    pytest.skip(why)


@pytest.fixture(scope="session")
def chromium() -> str:
    """Where the browser is; `make test` brings one."""
    browser = find()
    if not browser:
        leave_out("no browser: `python -m tests.browser` fetches one")
    return browser


@pytest.fixture(scope="module")  # tests of a file count the rows of a list
def site(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    build = builder()
    try:
        build.build()
    except build.BuildError as error:
        leave_out(f"the dashboard cannot be built here: {error}")
    shell = Shell(tmp_path_factory.mktemp("dashboard") / "home")
    shell.variables["RUNSTREAM_ALERT_RECEIVERS"] = "hook=json://127.0.0.1:9"  # where nobody listens
    try:
        shell.run("up")
        runs = shell.python(TRAINING).stdout.split()
        url = json.loads((shell.root / "service.json").read_text())["url"]
        site = Site(shell, url, runs)
        shell.wait_until(lambda: len(_settled(site)) == len(runs), 60, "the runs")
        yield site
    finally:
        shell.close()
        if lock_held(shell.home):
            raise AssertionError(f"process {lock_owner(shell.home)} still serves {shell.root}")


def _settled(site: Site) -> list[str]:
    return [run["run_id"] for run in site.api("/api/v1/runs")["runs"] if run["settled"]]


@pytest.fixture(
    scope="module"
)  # its event loop runs in this thread, where later modules want one of their own
def browser(chromium: str) -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
        yield started
        started.close()


@pytest.fixture
def open_page(site: Site, browser: Any) -> Iterator[Callable[..., Any]]:
    """Opens a page of the dashboard in a browser of its own; an error in it, or a request elsewhere, fails the test.

    `refused`: something in the page will ask elsewhere, and only what its policy does not refuse fails the test.
    """
    contexts: list[Any] = []
    errors: list[str] = []

    def open_(
        path: str,
        *,
        width: int = 1280,
        height: int = 800,
        dark: bool = False,
        login: bool = True,
        refused: bool = False,
    ) -> Any:
        scheme = "dark" if dark else "light"
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, base_url=site.url
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.on("pageerror", lambda error: errors.append(str(error)))

        def elsewhere(request: Any) -> bool:
            return not request.url.startswith((site.url, "data:", "blob:"))

        for event in ("requestfinished", "requestfailed") if refused else ("request",):
            page.on(
                event,
                lambda request: (
                    errors.append(f"{request.url} {request.failure}")
                    if elsewhere(request) and not (refused and request.failure in REFUSED)
                    else None
                ),
            )
        if login:
            ticket = site.api("/api/v1/tickets", b"")["ticket"]
            if ticket:  # else the service knows its owner's browser by the connection
                page.goto(f"/login?ticket={ticket}")
                page.wait_for_url(site.url + "/")
        page.goto(path)
        return page

    yield open_
    for context in contexts:
        context.close()
    assert not errors


@pytest.fixture(scope="session")
def picture() -> Callable[[Any, str], None]:
    """Keeps a screenshot for people to look at."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    return lambda page, name: page.screenshot(path=str(PICTURES / f"{name}.png"))
