"""The pages in a real headless Chromium: from navigation to rows and to a chart's first line, from `log()` to the pixel."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
from tests.browser import fetch as fetch_browser

from .cluster import Cluster, cluster, finish, go, start_writers
from .dashboard_data import LONG, MANY_NAMES, add_run, compared, fill_list
from .result import Measured, Result

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-sync",
    "--no-first-run",
)
FOLLOWERS = 200
# Rows in the list, lines on a canvas (only our painter strokes a Path2D), tasks that froze the page, and the value at the
# end of each answer of a chart: the probe logs the time as its value.
WATCH = """
  window.rows = 0; window.painted = []; window.answered = 0; window.frozen = 0; window.seen = [];
  new MutationObserver(() => {
    if (window.rows || !document.querySelector('[role=gridcell] a')) return;
    requestAnimationFrame(() => (window.rows ||= performance.now()));
  }).observe(document, { childList: true, subtree: true });
  new PerformanceObserver((list) => {
    for (const task of list.getEntries()) window.frozen = Math.max(window.frozen, task.duration);
  }).observe({ type: 'longtask', buffered: true });
  const stroke = CanvasRenderingContext2D.prototype.stroke;
  CanvasRenderingContext2D.prototype.stroke = function (...path) {
    if (path.length) window.painted.push(performance.now());
    return stroke.apply(this, path);
  };
  const ask = window.fetch;
  window.fetch = async (...given) => {
    const answer = await ask(...given);
    if (String(given[0]).includes('/api/v1/charts')) {
      window.answered = performance.now();
      const bytes = await answer.clone().arrayBuffer();
      const size = new DataView(bytes).getUint32(0, true);
      const head = JSON.parse(new TextDecoder().decode(new Uint8Array(bytes, 4, size)));
      const n = head.charts[0]?.lines[0]?.n ?? 0;
      if (n) {
        const value = new Float64Array(bytes, 4 + size + 8 * n, n)[n - 1];
        requestAnimationFrame(() => setTimeout(() => window.seen.push([value, Date.now() / 1000])));
      }
    }
    return answer;
  };"""
PAN = """async () => {
  const chart = document.querySelector('.chart .u-over');
  const { left, top, width } = chart.getBoundingClientRect();
  const shift = { bubbles: true, cancelable: true, shiftKey: true, button: 0, pointerType: 'mouse' };
  const at = (x) => ({ ...shift, clientX: x, clientY: top + 40 });
  chart.dispatchEvent(new PointerEvent('pointerdown', at(left + width / 2)));
  const began = performance.now();
  for (let frame = 1; frame <= 60; frame++) {
    dispatchEvent(new PointerEvent('pointermove', at(left + width / 2 - frame)));
    await new Promise(requestAnimationFrame);
  }
  const taken = performance.now() - began;
  dispatchEvent(new PointerEvent('pointerup', at(left + width / 2 - 60)));
  return 60e3 / taken;
}"""
PROBE = """
import sys, time
from runstream.core import Experiment, Workspace
run = Experiment(Workspace.get("default"), sys.argv[2]).start_logging(snapshot_directory=None, outputs=False)
print(run.id, flush=True)
sys.stdin.readline()
end = time.time() + float(sys.argv[1])
while time.time() < end:
    run.log("sent", time.time())
    time.sleep(0.23)
run.complete()
"""


def run(quick: bool) -> Measured:
    """Pages over 10,000 runs, a run of 10 M points, 100 runs of 10,000 points, a run of 12,000 metrics (quick: a tenth)."""
    part = 10 if quick else 1
    rounds = 3 if quick else 7
    settings = {"RUNSTREAM_COMPACT_AFTER": "3600", "RUNSTREAM_COMPACT_INTERVAL": "3600"}
    with cluster(settings=settings) as made:
        made.up()
        asyncio.run(_fill(made, part))
        made.command("compact", timeout=600)
        results = _bundle() + _lists(made, 10_000 // part, rounds)
        from playwright.sync_api import sync_playwright

        chromium = fetch_browser()
        if chromium is None:
            raise SystemExit(
                "no browser, and none can be fetched for this system: name one in RUNSTREAM_TEST_CHROMIUM"
            )
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
            try:
                results += _pages(made, browser, part, rounds)
                results += _live(made, browser, 6.0 if quick else 20.0)
            finally:
                browser.close()
        results += asyncio.run(_followers(made, 5.0 if quick else 15.0))
        made.down()
    note = (
        "Times in the browser run from the start of the navigation (or the key that zooms) to the frame that shows it. "
        "The first chart of 10 M points is read by a server that has just started and holds nothing."
    )
    return Measured(results, [note])


async def _fill(made: Cluster, part: int) -> None:
    from runstream_schemas.database import create_pool
    from runstream_schemas.settings import Settings

    pool = await create_pool(Settings(database=made.dsn()))
    try:
        await fill_list(pool, 10_000 // part)  # first: it counts on an empty database
        await add_run(pool, LONG, ["loss"], 10_000_000 // part)
        for number in range(100):
            await add_run(pool, compared(number), ["loss"], 10_000 // part, seed=number)
        await add_run(pool, MANY_NAMES, [f"layer{n % 100}/weight{n}" for n in range(12_000 // part)], 2)
    finally:
        await pool.close()


def _bundle() -> list[Result]:
    import runstream_query

    web = Path(runstream_query.__file__).parent / "web"
    page = (web / "index.html").read_text()
    named = re.findall(r'(?:src|href)="/(assets/[^"]+)"', page)
    size = sum(len(gzip.compress((web / name).read_bytes(), 9)) for name in ["index.html", *named])
    viewers = [
        Result(
            f"viewer of {name}, gzipped, when one is looked at",
            [_packed(*web.glob(f"assets/{name}-*.js"))],
            "kB",
        )
        for name in ("plotly", "vega", "object3d")
    ]
    return [Result("the first page's bundle, gzipped", [size / 1e3], "kB", 130), *viewers]


def _packed(*files: Path) -> float:
    return sum(len(gzip.compress(file.read_bytes(), 9)) for file in files) / 1e3


def _lists(made: Cluster, runs: int, rounds: int) -> list[Result]:
    """The list's requests over HTTP, with summaries of the 20 metrics the runs have in common, each by a new connection."""
    service, token = _service(made)
    of = f"{runs:,} runs".replace(",", " ") + ", at the API"
    filtered = urllib.parse.urlencode([("tag", "group=g7"), ("metric", "metric/3:last<0.5")])
    results = []
    for what, query, must in (
        ("newest 50", "", 50),
        ("50 by a metric's min", "&order=metric:metric/7:min", 100),
        ("50 by metric and tag", f"&{filtered}", 100),
    ):
        url = f"{service['url']}/api/v1/runs?limit=50&summary_common=20{query}"
        request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})
        times = []
        for _ in range(3 + 3 * rounds):
            began = time.perf_counter()
            with urllib.request.urlopen(request, timeout=30) as answer:
                rows = len(json.load(answer)["runs"])
            times.append((time.perf_counter() - began) * 1e3)
            assert rows, url
        results.append(Result(f"{what} of {of}", times[3:], "ms", must))
    return results


def _service(made: Cluster) -> tuple[dict[str, Any], str]:
    """Where the service is, and the token it wants."""
    return json.loads((made.home / "service.json").read_text()), (made.home / "token").read_text().strip()


def _open(made: Cluster, browser: Any) -> Any:
    """A page that was let in, with our watch on it."""
    service, token = _service(made)
    context = browser.new_context(viewport={"width": 1280, "height": 800}, base_url=service["url"])
    page = context.new_page()
    page.set_default_timeout(120_000)
    request = urllib.request.Request(
        f"{service['url']}/api/v1/tickets", b"", {"Authorization": f"Bearer {token}"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        page.goto(f"/login?ticket={json.load(answer)['ticket']}")
    page.add_init_script(WATCH)
    return page


def _until(page: Any, expression: str, seconds: float = 120.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (answer := page.evaluate(expression)):
        if time.monotonic() > deadline:
            raise TimeoutError(expression)
        page.wait_for_timeout(10)
    return answer


def _visits(page: Any, path: str, done: str, rounds: int) -> list[float]:
    """Milliseconds from navigation until `done` says when it was; the first visit is not counted."""
    times = []
    for number in range(rounds + 1):
        page.goto(path)
        at = _until(page, done)
        if number:
            times.append(at)
    return times


def _pages(made: Cluster, browser: Any, part: int, rounds: int) -> list[Result]:
    first_line = "window.answered && window.painted.find((at) => at > window.answered)"
    of = f"{10_000 // part:,} runs".replace(",", " ")
    page = _open(made, browser)
    results = [
        Result(f"list of {of}: navigation to rows", _visits(page, "/", "window.rows", rounds), "ms", 500)
    ]
    cold = []
    for _ in range(2 if part > 1 else 3):
        page.context.close()
        made.down()
        made.up()
        page = _open(made, browser)
        page.goto("/compute/local")  # the page's code is there; the server has read no points
        page.goto(f"/runs/{LONG}")
        cold.append(_until(page, first_line))
    points = f"{10_000_000 // part:,} points".replace(",", " ")
    results.append(Result(f"chart of {points}: first paint, server just started", cold, "ms", 300))
    warm = _visits(page, f"/runs/{LONG}", first_line, rounds)
    results.append(Result(f"chart of {points}: first paint, read before", warm, "ms", 300))
    results.append(Result(f"chart of {points}: a zoom step", _zooms(page, rounds), "ms", 100))
    many = f"/compare?runs={','.join(compared(number) for number in range(100))}&m=loss"
    results.append(
        Result(
            f"100 runs x {10_000 // part} points: first paint",
            _visits(page, many, first_line, rounds),
            "ms",
            500,
        )
    )
    pans = [page.evaluate(PAN) for _ in range(rounds)]
    results.append(Result("100 runs in a chart: pan", pans, "frames/s", 50, higher_is_better=True))
    names = f"{12_000 // part:,} metrics".replace(",", " ")
    usable = _visits(page, f"/runs/{MANY_NAMES}", first_line, rounds)
    results.append(Result(f"a run of {names}: first chart", usable, "ms", 1000))
    results.append(Result(f"a run of {names}: longest freeze", [page.evaluate("window.frozen")], "ms", 100))
    page.context.close()
    return results


def _zooms(page: Any, rounds: int) -> list[float]:
    times = []
    page.locator(".chart").first.focus()
    for _ in range(rounds):
        before = page.evaluate("window.pressed = performance.now()")
        page.keyboard.press("+")
        done = f"window.answered > {before} && window.painted.find((at) => at > window.answered)"
        times.append(_until(page, done) - before)
        page.wait_for_timeout(200)  # a step of its own, not a drag
    return times


def _live(made: Cluster, browser: Any, seconds: float) -> list[Result]:
    """A probe among 100 runs that log ten times a second each."""
    rate, runs = 1000, 100
    writers = start_writers(
        made,
        1,
        "--runs",
        str(runs),
        "--series",
        "1",
        "--steps",
        str(int(rate * (seconds + 4) / runs)),
        "--rate",
        str(rate),
    )
    probe = subprocess.Popen(
        [sys.executable, "-c", PROBE, str(seconds), "probe"],
        env=made.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert probe.stdout
    assert probe.stdin
    run_id = probe.stdout.readline().strip()
    page = _open(made, browser)
    page.goto(f"/runs/{run_id}")
    go(writers)
    probe.stdin.write("go\n")
    probe.stdin.flush()
    probe.wait(seconds + 60)
    finish(writers)
    page.wait_for_timeout(1000)
    seen: dict[float, float] = {}
    for sent, at in page.evaluate("window.seen"):
        seen.setdefault(sent, at)
    page.context.close()
    delays = [1e3 * (at - sent) for sent, at in sorted(seen.items())][4:]
    name = "log() to pixel, 100 runs logging"
    return [
        Result(f"{name}: p50", [float(np.percentile(delays, 50))], "ms", 250),
        Result(f"{name}: p99", [float(np.percentile(delays, 99))], "ms", 500),
    ]


async def _followers(made: Cluster, seconds: float) -> list[Result]:
    """Event streams held open while 100 runs log: what they cost, and who misses the last change."""
    service = json.loads((made.home / "service.json").read_text())
    token = (made.home / "token").read_text().strip()
    host, port = service["url"].removeprefix("http://").split(":")
    heard = [0.0] * FOLLOWERS
    ready = 0

    async def follow(number: int) -> None:
        nonlocal ready
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(
            f"GET /api/v1/events HTTP/1.1\r\nHost: {host}:{port}\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
        )
        try:
            while line := await reader.readline():
                ready += line.startswith(b"event: hello")
                if line.startswith(b"data:"):
                    heard[number] = time.perf_counter()
        finally:
            writer.close()

    followers = [asyncio.create_task(follow(number)) for number in range(FOLLOWERS)]
    while ready < FOLLOWERS:
        await asyncio.sleep(0.05)
    writers = start_writers(
        made, 1, "--runs", "100", "--series", "1", "--steps", str(int(10 * seconds)), "--rate", "1000"
    )
    go(writers)
    before, _ = made.cpu_and_memory()
    start = time.perf_counter()
    await asyncio.sleep(seconds - 1)
    after, _ = made.cpu_and_memory()
    cpu = (after - before) / (time.perf_counter() - start)
    await asyncio.to_thread(finish, writers)
    await asyncio.sleep(2)
    latest = max(heard)
    missed = sum(latest - at > 1 for at in heard)
    for task in followers:
        task.cancel()
    await asyncio.gather(*followers, return_exceptions=True)
    name = f"{FOLLOWERS} browsers following 100 runs"
    return [
        Result(f"{name}: CPU of all our processes", [100 * cpu], "% of a core", 100),
        Result(f"{name}: did not hear the last change", [float(missed)], "browsers", 0),
    ]
