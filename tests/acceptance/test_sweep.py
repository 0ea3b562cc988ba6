"""The README's promise, by its own commands: the sweep runs, its files open with DuckDB alone, and kill -9 loses no point.

Once embedded, once through a real Kafka and a real Postgres.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

REPOSITORY = Path(__file__).parents[2]
PARTS = ("schemas", "producers", "consumers", "query", "service")
RUNS, STEPS, SERIES = 20, 112, 4
MODES = [pytest.param([], id="embedded"), pytest.param(["--kafka"], id="kafka", marks=pytest.mark.kafka)]

pytestmark = pytest.mark.timeout(400)


class Home:
    """A home, its commands, and its end."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.environment = {
            **os.environ,
            "RUNSTREAM_HOME": str(root),
            "RUNSTREAM_COMPACT_AFTER": "1",
            "RUNSTREAM_COMPACT_INTERVAL": "1",
            "PYTHONPATH": os.pathsep.join(str(REPOSITORY / part) for part in PARTS),
        }

    def run(self, *words: str) -> str:
        """Output of `runstream <words>`."""
        done = subprocess.run(
            [sys.executable, "-m", "runstream", *words],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout

    def number(self, sql: str) -> int:
        """The one number a query answers."""
        return int(self.run("sql", sql, "-o", "tsv").split()[-1])

    def in_files(self) -> int:
        """Points a plain glob over the Parquet files shows."""
        try:
            glob = self.root / "store" / "metrics" / "**" / "*.parquet"
            ((rows,),) = duckdb.connect().execute(f"select count(*) from '{glob}'").fetchall()
        except duckdb.IOException:
            return 0
        return int(rows)


@pytest.fixture
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    made = Home(tmp_path_factory.mktemp("h"))
    yield made
    subprocess.run(
        [sys.executable, "-m", "runstream", "down"],
        env=made.environment,
        capture_output=True,
        timeout=60,
        check=False,
    )


def wait_until(true: object, seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not true():  # type: ignore[operator]
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(0.3)


@pytest.mark.parametrize("mode", MODES)
def test_the_sweep_is_stored_whole_and_in_open_files(home: Home, mode: list[str]) -> None:
    home.run("up", *mode)
    printed = home.run("demo")
    best = re.search(r"Best: alpha = ([\d.]+), .* run ([0-9a-f-]{36})", printed)
    assert best, printed
    assert len(re.findall(r"Completed", printed)) >= RUNS
    assert (
        home.number("select count(*) from runs where status = 'Completed' and parent_run_id is not null")
        == RUNS
    )
    points = home.number("select count(*) from metrics")
    assert points > RUNS * STEPS
    wait_until(lambda: home.in_files() == points, 90, f"all {points} points to be in Parquet files")
    # The best run by the stored points is the one that was printed.
    assert best[2] in home.run(
        "sql",
        "select run_id from metrics where name = 'mse' group by run_id order by arg_max(value, step) limit 1",
    )
    models = (home.root / "store" / "artifacts").rglob("*")
    assert len([path for path in models if path.is_file()]) == RUNS


SWEEP = """
import sys
from runstream_service import demo
from runstream.core.workspace import Workspace
demo.ALPHAS = tuple(float(i) for i in range(1, 2000))
demo.sweep(Workspace.get("default"))
"""


@pytest.mark.parametrize("mode", MODES)
def test_a_sweep_killed_in_the_middle_keeps_every_point(home: Home, mode: list[str]) -> None:
    home.run("up", *mode)
    trainer = subprocess.Popen([sys.executable, "-c", SWEEP], env=home.environment)
    try:
        wait_until(
            lambda: home.number("select count(*) from runs where status = 'Completed'") >= 3,
            120,
            "three runs",
        )
    finally:
        trainer.send_signal(signal.SIGKILL)
        trainer.wait()
    wait_until(
        lambda: home.number("select count(*) from runs where status = 'Running'") == 0,
        60,
        "the dead runs' end",
    )
    wait_until(
        lambda: (
            home.run("sql", "select count(*) from runs where not settled", "-o", "tsv").split()[-1] == "0"
        ),
        60,
        "all",
    )
    failed = home.run("sql", "select run_id from runs where status = 'Failed'", "-o", "tsv").split()[1:]
    assert failed, "the parent was running"
    # The steps of the children go up by six: no series of any of them has a gap.
    broken = home.number(
        "select count(*) from (select m.run_id, m.name from metrics m join runs r using (run_id) "
        "where r.parent_run_id is not null "
        "group by all having count(*) <> (max(m.step) - min(m.step)) // 6 + 1)"
    )
    assert broken == 0
    points = home.number("select count(*) from metrics")
    wait_until(lambda: home.in_files() == points, 90, f"all {points} points to be in Parquet files")
