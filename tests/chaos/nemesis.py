"""Kills and stops the processes of a home at random, by a seed; then checks that every acknowledged value is there once.

`python -m tests.chaos.nemesis --seconds 60 --seed 1 [--kafka] [--network]` runs it by hand. With `--network` broker and
database are reached by proxies, which are slow, cut connections or let nobody in.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from runstream_consumers.kafka_server import KafkaServer
from runstream_consumers.postgres_server import SOCKET_PORT, PostgresServer

from .proxy import Proxy

TRAINERS = 4


class Network:
    """A broker and a database of their own, each behind a proxy."""

    def __init__(self, home: Path) -> None:
        self.kafka, self.postgres = KafkaServer(home / "kafka"), PostgresServer(home / "postgres")
        self.postgres.start()
        self.database = Proxy(str(self.postgres.data_dir / f".s.PGSQL.{SOCKET_PORT}"))
        self.kafka.start()
        host, _, port = self.kafka.bootstrap.rpartition(":")
        self.kafka.stop()
        self.broker = Proxy((host, int(port)))
        # What the broker tells its clients to connect to is the proxy.
        address = f"CLIENT://127.0.0.1:{self.broker.port}"
        self.kafka = KafkaServer(home / "kafka", properties={"advertised.listeners": address})
        self.kafka.start()

    @property
    def dsn(self) -> str:
        """Address of the database, by its proxy."""
        parts = urlsplit(self.postgres.dsn)
        user = parts.netloc.rpartition("@")[0]
        return f"postgresql://{user}@127.0.0.1:{self.database.port}{parts.path}"

    def repair(self) -> None:
        """Let everybody in, and start what was killed."""
        for proxy in (self.broker, self.database):
            proxy.delay, proxy.closed = 0.0, False
        for server in (self.postgres, self.kafka):
            if not server.running:
                server.start()

    def end(self) -> None:
        """Stop both."""
        for proxy in (self.broker, self.database):
            proxy.stop()
        self.kafka.stop()
        self.postgres.stop()


@dataclass(slots=True)
class Trial:
    """One home under attack.

    Attributes:
        trainers: run id to process.
        done: what was done, second by second, to print when a check fails.
    """

    home: Path
    kafka: bool
    chance: random.Random
    network: Network | None = None
    trainers: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    killed: set[str] = field(default_factory=set)
    done: list[str] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)

    @property
    def environment(self) -> dict[str, str]:
        """What every process of the trial gets."""
        root = Path(__file__).parents[2]
        paths = [str(root / part) for part in ("schemas", "producers", "consumers", "query")]
        reached = {"RUNSTREAM_DATABASE": self.network.dsn} if self.network else {}
        return {
            **os.environ,
            **reached,
            "RUNSTREAM_HOME": str(self.home),
            "RUNSTREAM_AUTOSTART": "0",
            "RUNSTREAM_COMPACT_AFTER": "1",
            "RUNSTREAM_COMPACT_INTERVAL": "0.5",
            "RUNSTREAM_COMPACT_BYTES": "200000",
            "RUNSTREAM_COMPACT_CLAIM_GRACE": "10",
            "PYTHONPATH": os.pathsep.join(paths),
        }

    def note(self, text: str) -> None:
        """Remember what was done."""
        self.done.append(f"{time.monotonic() - self.began:6.1f} s  {text}")

    # --- processes ---

    def command(self, *words: str, check: bool = True, timeout: float = 90.0) -> str:
        """Run `runstream <words>`."""
        done = subprocess.run(
            [sys.executable, "-m", "runstream", *words],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if check and done.returncode:
            raise AssertionError(f"runstream {' '.join(words)}: {done.stderr or done.stdout}\n{self.log()}")
        return done.stdout

    def up(self) -> None:
        """Make sure the services run."""
        if self.network:
            self.network.repair()
            self.command("up", "--kafka", f"127.0.0.1:{self.network.broker.port}")
        else:
            self.command("up", *(["--kafka"] if self.kafka else []))

    def start_trainer(self) -> None:
        """One more trainer, on a run of its own."""
        run_id = f"run-{len(self.trainers)}"
        words = [
            sys.executable,
            "-m",
            "tests.chaos.trainer",
            run_id,
            str(self.home / f"{run_id}.progress"),
            str(self.home / "stop"),
        ]
        self.trainers[run_id] = subprocess.Popen(
            [*words, str(self.chance.choice([0.001, 0.01, 0.1]))],
            env=self.environment,
            cwd=Path(__file__).parents[2],
        )

    def victims(self) -> dict[int, str]:
        """The services' processes by pid, with a name."""
        found = {}
        trainers = {process.pid for process in self.trainers.values()}
        for entry in Path("/proc").iterdir():
            try:
                if not entry.name.isdigit() or int(entry.name) in trainers | {os.getpid()}:
                    continue
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                mine = (
                    f"RUNSTREAM_HOME={self.home}\0".encode() in (entry / "environ").read_bytes()
                    or str(self.home) in line
                )
            except OSError:
                continue
            if not mine or "tests.chaos" in line or "unshare" in line:
                continue
            if "kafka.Kafka" in line:
                found[int(entry.name)] = "kafka"
            elif "bin/postgres" in line:
                found[int(entry.name)] = "postgres"
            elif "-m runstream" in line:
                found[int(entry.name)] = line.split("-m runstream")[1].strip().split(" --")[0] or "service"
        return found

    # --- the attack ---

    def attack(self, seconds: float) -> None:
        """Do harm for so long, with pauses in which the services come up again."""
        deadline = time.monotonic() + seconds
        stopped: list[int] = []
        while time.monotonic() < deadline:
            time.sleep(self.chance.uniform(0.2, 2.5))
            for pid in stopped:
                _signal(pid, signal.SIGCONT)
            stopped.clear()
            actions = ["kill", "kill", "stop", "trainer", "everything" if not self.kafka else "kill"]
            if self.network:
                self.network.repair()
                actions += ["cut", "cut", "slow", "refuse"]
            action = self.chance.choice(actions)
            victims = self.victims()
            if self.network and action in ("cut", "slow", "refuse"):
                name = self.chance.choice(["broker", "database"])
                proxy = self.network.broker if name == "broker" else self.network.database
                if action == "cut":
                    proxy.cut()
                elif action == "slow":
                    proxy.delay = self.chance.uniform(0.05, 0.5)
                else:
                    proxy.closed = True
                    proxy.cut()
                self.note(f"{action} connections to the {name}")
            elif action == "trainer":
                alive = [run for run, process in self.trainers.items() if process.poll() is None]
                run_id = self.chance.choice(alive)
                self.trainers[run_id].kill()
                self.trainers[run_id].wait()
                self.killed.add(run_id)
                self.note(f"kill -9 trainer {run_id}")
                self.start_trainer()
            elif action == "everything":
                for pid in victims:
                    _signal(pid, signal.SIGKILL)
                self.note("kill -9 all services")
            elif victims:
                pid = self.chance.choice(sorted(victims))
                _signal(pid, signal.SIGKILL if action == "kill" else signal.SIGSTOP)
                self.note(f"{'kill -9' if action == 'kill' else 'stop'} {victims[pid]} ({pid})")
                if action == "stop":
                    stopped.append(pid)
            if "up" not in " ".join(self.victims().values()):
                self.note("up")
                self.up()
        for pid in stopped:
            _signal(pid, signal.SIGCONT)

    # --- the check ---

    def check(self) -> dict[str, int]:
        """Let everything come to rest and compare what readers see with what the trainers noted.

        Returns:
            run id to values of one series.
        """
        (self.home / "stop").touch()
        for process in self.trainers.values():
            process.wait(60)
        self.up()
        before = dict(os.environ)
        os.environ.update(self.environment)
        try:
            return self._check_runs()
        finally:
            # What runs after this in the process must not see the trial's database.
            os.environ.clear()
            os.environ.update(before)

    def _check_runs(self) -> dict[str, int]:
        from runstream.core import Workspace

        workspace = Workspace.get("default")
        counts = {}
        for run_id in self.trainers:
            acknowledged, finished = self._progress(run_id)
            run = self._settled(workspace, run_id, "Completed" if finished else "Failed")
            metrics = run.get_metrics() if acknowledged else {}
            n = len(_listed(metrics.get("int")))
            assert n >= acknowledged, (
                f"{run_id}: {acknowledged} values were acknowledged, {n} are there\n{self.log()}"
            )
            assert not finished or n == acknowledged, f"{run_id}: {n} values of {acknowledged}\n{self.log()}"
            assert _listed(metrics.get("int")) == list(range(n)), f"{run_id}: not 0..{n}\n{self.log()}"
            floats = _listed(metrics.get("float"))
            assert floats == [i / 2 for i in range(len(floats))], f"{run_id}: floats\n{self.log()}"
            assert 0 <= len(floats) - n <= 1, f"{run_id}: {len(floats)} floats, {n} ints\n{self.log()}"
            hundreds = list(range(100, n + 1, 100))
            rows = metrics.get("rows", {"i": [], "text": []})
            found = _listed(rows["i"])
            assert found == hundreds[: len(found)], f"{run_id}: rows\n{self.log()}"
            assert len(found) >= acknowledged // 100, f"{run_id}: {len(found)} rows\n{self.log()}"
            assert _listed(rows["text"]) == [f"row {i}" for i in found], (
                f"{run_id}: texts of rows\n{self.log()}"
            )
            if acknowledged:
                assert int(run.get_tags()["latest"]) >= acknowledged, f"{run_id}: tag\n{self.log()}"
            counts[run_id] = n
        self._check_files(counts)
        return counts

    def _progress(self, run_id: str) -> tuple[int, bool]:
        path = self.home / f"{run_id}.progress"
        text = path.read_text() if path.exists() else ""
        return int(text[:12] or 0), text.endswith("done")

    def _settled(self, workspace: Any, run_id: str, status: str) -> Any:
        deadline = time.monotonic() + 120
        why = "never seen"
        while time.monotonic() < deadline:
            with contextlib.suppress(Exception):
                run = workspace.get_run(run_id)
                why = run.get_status()
                if (
                    why == status
                    and self._query(f"select settled from runs where run_id = '{run_id}'") == "True"
                ):
                    return run
            time.sleep(0.5)
        raise AssertionError(f"{run_id}: expected {status} and settled, it is {why}\n{self.log()}")

    def _query(self, sql: str) -> str:
        return self.command("sql", sql, "-o", "tsv").strip().splitlines()[-1].strip().capitalize()

    def _check_files(self, counts: dict[str, int]) -> None:
        """A plain glob over the Parquet files shows every point of every settled run exactly once, soon after its end."""
        import duckdb

        glob = self.home / "store" / "metrics" / "**" / "*.parquet"
        deadline = time.monotonic() + 240
        found: dict[str, tuple[int, int]] = {}
        while time.monotonic() < deadline:
            with contextlib.suppress(duckdb.IOException):
                query = f"""
                    select run_id, count(*), count(distinct int_value) from '{glob}' where name = 'int' group by run_id
                """
                rows = duckdb.connect().execute(query).fetchall()
                found = {run_id: (total, distinct) for run_id, total, distinct in rows}
                if all(found.get(run_id) == (n, n) for run_id, n in counts.items() if n):
                    return
            time.sleep(1)
        wrong = {
            run_id: (n, found.get(run_id))
            for run_id, n in counts.items()
            if n and found.get(run_id) != (n, n)
        }
        raise AssertionError(
            f"the files show other points, (logged, (rows, distinct)): {wrong}\n{self.log()}"
        )

    def log(self) -> str:
        """What was done, and the last lines of the services' logs."""
        parts = list(self.done)
        for path in sorted((self.home / "log").glob("*.log")):
            parts.append(f"--- {path.name}")
            parts.extend(path.read_text(errors="replace").splitlines()[-25:])
        return "\n".join(parts)

    def end(self) -> None:
        """End every process and remove the home."""
        for process in self.trainers.values():
            if process.poll() is None:
                process.kill()
            process.wait()
        self.command("down", check=False)
        if self.network:
            self.network.end()
        for pid in self.victims():
            _signal(pid, signal.SIGKILL)
        shutil.rmtree(self.home, ignore_errors=True)


def _listed(value: Any) -> list[Any]:
    return [] if value is None else value if isinstance(value, list) else [value]


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def run_trial(seconds: float, seed: int, *, kafka: bool, network: bool = False) -> dict[str, int]:
    """A trial from start to end; raises AssertionError with all that was done if something is not as it must be."""
    trial = Trial(Path(tempfile.mkdtemp(prefix="rsc")), kafka or network, random.Random(seed))
    try:
        if network:
            trial.network = Network(trial.home)
        trial.up()
        for _ in range(TRAINERS):
            trial.start_trainer()
        trial.attack(seconds)
        return trial.check()
    finally:
        trial.end()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--kafka", action="store_true")
    parser.add_argument("--network", action="store_true")
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    counts = run_trial(options.seconds, options.seed, kafka=options.kafka, network=options.network)
    print(f"{len(counts)} runs, {sum(counts.values())} values of each series, each there exactly once")
