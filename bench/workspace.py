"""The page people keep open all day, in a real headless Chromium: an experiment's runs beside their charts.

A module beside `bench dashboard`, whose helpers it uses: its data alone take minutes to make.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from typing import Any

import numpy as np
from tests.browser import fetch as fetch_browser

from .cluster import Cluster, cluster, finish, go, start_writers
from .dashboard import FLAGS, PROBE, _open, _until
from .dashboard_data import add_run
from .result import Measured, Result

RUNS, METRICS, POINTS = 500, 20, 10_000
WIDTH, HEIGHT = 1440, 900
TOGGLES = 9

SEEDS = 5
"""Runs whose points are made; the others have the points of one of these."""
_TWINS = """(
    select a.key, b.key as twin from runs a
    join runs b on b.run_id = $1 || '-' || right(a.run_id, -length($1) - 1)::int % $2
    where a.run_id like $1 || '-%' and right(a.run_id, -length($1) - 1)::int between $2 and $3
)"""
COPY = (
    """insert into runs (run_id, experiment_id, status, start_time, end_time, settled_at)
    select $1 || '-' || n, r.experiment_id, r.status, r.start_time, r.end_time, r.settled_at
    from generate_series($2::int, $3::int) n join runs r on r.run_id = $1 || '-' || n % $2""",
    f"""insert into sources (source, topic, run_key, ordinal)
    select gen_random_uuid(), 'metrics', t.key, 0 from {_TWINS} t""",
    f"""insert into chunks (run_key, source_key, first, count, points, payload)
    select t.key, s.key, c.first, c.count, c.points, c.payload
    from {_TWINS} t join sources s on s.run_key = t.key join chunks c on c.run_key = t.twin""",
    f"""insert into live_summaries
    (run_key, series_id, kind, count, finite, first, last, min, max, sum, last_step, last_time)
    select t.key, m.series_id, m.kind, m.count, m.finite, m.first, m.last, m.min, m.max, m.sum, m.last_step, m.last_time
    from {_TWINS} t join live_summaries m on m.run_key = t.twin""",
)
# Lines are drawn of answers only. The last answer says nothing of the first chart: several may come before it is seen.
FIRST_LINE = "window.painted[0]"
# Every chart in sight has lines, and when the last of them was painted.
ALL_PAINTED = """(() => {
  const pane = document.querySelector('[data-scroll]');
  if (!pane) return 0;
  const { top, bottom } = pane.getBoundingClientRect();
  const seen = [...pane.querySelectorAll('.group .plot')].filter((plot) => {
    const box = plot.getBoundingClientRect();
    return box.bottom > top && box.top < bottom;
  });
  if (!seen.length) return 0;
  const empty = seen.some((plot) => {
    const canvas = plot.querySelector('canvas');
    if (!canvas || !canvas.width) return true;
    const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    for (let i = 0; i < data.length; i += 4) {
      const [red, green, blue, alpha] = data.subarray(i, i + 4);
      if (alpha && Math.max(red, green, blue) - Math.min(red, green, blue) > 40) return false;
    }
    return true;
  });
  return empty ? 0 : window.painted.at(-1);
})()"""
# From the click to the end of the frame in which the last chart was drawn again.
TOGGLE = """async () => {
  const eyes = [...document.querySelectorAll('[role=row] .eye')];
  const before = window.painted.length;
  const began = performance.now();
  eyes[1 + (window.turn = (window.turn ?? 0) + 1) % 5].click();
  let quiet = 0, last = began;
  while (quiet < 4 && performance.now() - began < 5000) {
    const painted = window.painted.length;
    await new Promise(requestAnimationFrame);
    await new Promise((done) => setTimeout(done));
    if (window.painted.length > painted) { last = performance.now(); quiet = 0; } else quiet += 1;
  }
  return [last - began, window.painted.length - before];
}"""
# The newest value of each answer of the probe's chart, and when the frame behind it was shown.
SENT = """
  window.sent = [];
  const before = window.fetch;
  window.fetch = async (...given) => {
    const answer = await before(...given);
    if (String(given[0]).includes('/api/v1/charts')) {
      const bytes = await answer.clone().arrayBuffer();
      const size = new DataView(bytes).getUint32(0, true);
      const head = JSON.parse(new TextDecoder().decode(new Uint8Array(bytes, 4, size)));
      let at = 4 + size;
      for (const { name, lines } of head.charts)
        for (const { n, columns } of lines) {
          if (name === 'sent' && n) {
            const value = new Float64Array(bytes, at + 8 * n, n)[n - 1];
            requestAnimationFrame(() => setTimeout(() => window.sent.push([value, Date.now() / 1000])));
          }
          for (const column of columns) at += column === 'marks' ? n + ((8 - (n % 8)) % 8) : 8 * n;
        }
    }
    return answer;
  };"""


def run(quick: bool) -> Measured:
    """A workspace of 500 runs of 20 metrics of 10,000 points (quick: a tenth of runs and points), and one of live runs."""
    part = 10 if quick else 1
    settings = {"RUNSTREAM_COMPACT_AFTER": "3600", "RUNSTREAM_COMPACT_INTERVAL": "3600"}
    with cluster(settings=settings) as made:
        made.up()
        began = time.perf_counter()
        experiments = asyncio.run(_fill(made, RUNS // part, POINTS // part))
        print(f"filled in {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
        made.command("compact", timeout=600)
        print(f"compacted after {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
        from playwright.sync_api import sync_playwright

        chromium = fetch_browser()
        if chromium is None:
            raise SystemExit("no browser, and none can be fetched: name one in RUNSTREAM_TEST_CHROMIUM")
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
            try:
                results = _workspace(made, browser, experiments["wide"], part, 3 if quick else 5)
                results += _toggle(made, browser, experiments["toggled"])
                results += _live(made, browser, 6.0 if quick else 15.0)
            finally:
                browser.close()
        made.down()
    note = (
        f"A window of {WIDTH} by {HEIGHT}. Times run from the start of the navigation, or from the click, to the frame that "
        "shows it. Just started: the server holds nothing and reads every point of the charts in sight once; it keeps their "
        "buckets."
    )
    return Measured(results, [note])


async def _fill(made: Cluster, runs: int, points: int) -> dict[str, int]:
    """Experiments by name: one of many wide runs, and one of 100 runs of 12 metrics."""
    from runstream_schemas.database import create_pool
    from runstream_schemas.settings import Settings

    pool = await create_pool(Settings(database=made.dsn()))
    try:
        ids = {}
        names = [f"{half}/metric{n}" for half in ("val", "train") for n in range(METRICS // 2)]
        for name, count, metrics, length in (
            ("wide", runs, names, points),
            ("toggled", 100, names[:6] + names[-6:], 1000),
        ):
            for number in range(SEEDS):
                await add_run(pool, f"{name}-{number}", metrics, length, seed=number)
            for statement in COPY:
                await pool.execute(statement, name, SEEDS, count - 1)
            ids[name] = await pool.fetchval(
                "insert into experiments (name) values ($1) on conflict (workspace, name) do update set name = $1 "
                "returning id",
                name,
            )
            await pool.execute(
                "update runs set experiment_id = $1, number = right(run_id, -length($2) - 1)::int "
                "where run_id like $2 || '-%'",
                ids[name],
                name,
            )
        await pool.execute("vacuum analyze")
    finally:
        await pool.close()
    return ids


def _visit(page: Any, experiment: int) -> tuple[float, float]:
    """Milliseconds until the first chart has a line, and until all in sight have theirs."""
    page.goto(f"/experiments/id/{experiment}")
    first = _until(page, FIRST_LINE)
    return float(first), float(_until(page, ALL_PAINTED))


def _page(made: Cluster, browser: Any) -> Any:
    page = _open(made, browser)
    page.set_viewport_size({"width": WIDTH, "height": HEIGHT})
    page.add_init_script(SENT)
    return page


def _workspace(made: Cluster, browser: Any, experiment: int, part: int, rounds: int) -> list[Result]:
    of = f"workspace of {RUNS // part} runs x {METRICS} metrics x {POINTS // part:,} points".replace(",", " ")
    made.down()
    made.up()
    page = _page(made, browser)
    cold = _visit(page, experiment)
    warm = [_visit(page, experiment) for _ in range(rounds)]
    page.context.close()
    return [
        Result(f"{of}: first charts", [first for first, _ in warm], "ms", 800),
        Result(f"{of}: all in sight", [every for _, every in warm], "ms", 1500),
        Result(f"{of}: first charts, server just started", [cold[0]], "ms"),
        Result(f"{of}: all in sight, server just started", [cold[1]], "ms"),
    ]


def _toggle(made: Cluster, browser: Any, experiment: int) -> list[Result]:
    page = _page(made, browser)
    page.set_viewport_size({"width": 1920, "height": 1400})  # twelve charts in sight
    _visit(page, experiment)
    page.wait_for_timeout(1500)
    times = []
    for _ in range(TOGGLES):
        taken, painted = page.evaluate(TOGGLE)
        assert painted, "no chart was drawn again"
        times.append(taken)
        page.wait_for_timeout(200)
    charts = page.evaluate("document.querySelectorAll('.plot canvas').length")
    page.context.close()
    return [Result(f"show or hide one of 100 runs, in {charts} charts", times[1:], "ms", 100)]


def _live(made: Cluster, browser: Any, seconds: float) -> list[Result]:
    """A probe among 100 runs that log ten times a second each, all of them in the workspace."""
    rate, runs = 1000, 100
    steps = str(int(rate * (seconds + 4) / runs))
    writers = start_writers(
        made, 1, "--runs", str(runs), "--series", "1", "--steps", steps, "--rate", str(rate)
    )
    probe = subprocess.Popen(
        [sys.executable, "-c", PROBE, str(seconds), "live"],
        env=made.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert probe.stdout
    assert probe.stdin
    probe.stdout.readline()
    page = _page(made, browser)
    go(writers)
    probe.stdin.write("go\n")
    probe.stdin.flush()
    page.wait_for_timeout(1000)
    page.goto("/?q=status:running")
    page.wait_for_timeout(2000)
    opened = time.time()
    probe.wait(seconds + 60)
    finish(writers)
    page.wait_for_timeout(1000)
    charts = page.evaluate("document.querySelectorAll('.plot canvas').length")
    seen: dict[float, float] = {}
    for sent, at in page.evaluate("window.sent"):
        seen.setdefault(sent, at)
    page.context.close()
    delays = [1e3 * (at - sent) for sent, at in sorted(seen.items()) if sent > opened]
    assert len(delays) > 5, "the probe's chart was not drawn"
    name = f"log() to pixel in a workspace of 100 runs logging, {charts} charts"
    return [
        Result(f"{name}: p50", [float(np.percentile(delays, 50))], "ms", 250),
        Result(f"{name}: p99", [float(np.percentile(delays, 99))], "ms", 500),
    ]
