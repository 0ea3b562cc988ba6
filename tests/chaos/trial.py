"""One home under attack: processes are killed, stopped and hindered by a seed; then all that was logged is there once.

`python -m tests.chaos` runs as many trials as you have time for (`make chaos TRIALS=10`).
"""

from __future__ import annotations

import argparse
import contextlib
import json
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

from runstream_schemas.settings import Settings
from runstream_service.servers.postgres import PostgresServer

from .broker import make_missing_topics
from .checks import Expected, check_files, check_run, check_stored, is_settled, wait_for_rest
from .evidence import keep
from .harms import KINDS, WITH_BROKER, harms_of, send_signal, set_clock
from .network import Network

TRAINERS = 8
SPOOL_BYTES = 12 << 20
"""Size of the small disk of a trial with `disk`."""


@dataclass(slots=True)
class Trial:
    """One home under attack.

    Attributes:
        kind: one of KINDS.
        seconds: of harm.
        trainers: run id to process.
        extra: consumers beside those of the home.
        done: what was done, second by second, to print when a check fails.
    """

    home: Path
    kind: str
    seed: int
    seconds: float
    chance: random.Random = field(init=False)
    network: Network | None = None
    trainers: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    extra: list[subprocess.Popen[bytes]] = field(default_factory=list)
    reader: subprocess.Popen[bytes] | None = None
    done: list[str] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)

    @property
    def filler(self) -> Path:
        """What takes the room in the spool."""
        return self.home / "spool" / "filler"

    @property
    def environment(self) -> dict[str, str]:
        """What every process of the trial gets."""
        root = Path(__file__).parents[2]
        clock = str(Path(__file__).parent / "clock")
        paths = [
            clock,
            *(str(root / part) for part in ("schemas", "producers", "consumers", "query", "service")),
        ]
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
            "RUNSTREAM_TRASH_GRACE": "5",
            "RUNSTREAM_TOPIC_PARTITIONS": "4",
            "CHAOS_CLOCK": str(self.home / "clock"),
            "PYTHONPATH": os.pathsep.join(paths),
        }

    @property
    def settings(self) -> Settings:
        """What leads to the broker and, past the proxy, to the database."""
        server = self.network.postgres if self.network else PostgresServer(self.home / "postgres")
        info = self.home / "service.json"
        kafka = str(json.loads(info.read_text()).get("kafka", "")) if info.exists() else ""
        return Settings(home=str(self.home), kafka=kafka, database=server.dsn, topic_partitions=4)

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
            raise AssertionError(f"runstream {' '.join(words)}: {done.stderr or done.stdout}")
        return done.stdout

    def prepare(self) -> None:
        """What has to be there before anything starts."""
        set_clock(self, 0.0)
        if self.kind == "disk":
            (self.home / "spool").mkdir(mode=0o700)
            size = f"size={SPOOL_BYTES}"
            subprocess.run(
                ["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(self.home / "spool")], check=True
            )
        if self.kind == "network":
            self.network = Network(self.home)

    def up(self) -> None:
        """Make sure the services run."""
        if self.network:
            self.network.repair()
            self.command("up", "--kafka", f"127.0.0.1:{self.network.broker.port}")
        else:
            self.command("up", *(["--kafka"] if self.kind in WITH_BROKER else []))

    def start_trainer(self) -> None:
        """One more trainer, on a run of its own."""
        run_id = f"run-{len(self.trainers)}"
        progress = str(self.home / f"{run_id}.progress")
        rest = str(self.chance.choice([0.001, 0.01, 0.1]))
        self.trainers[run_id] = self._python("trainer", run_id, progress, str(self.home / "stop"), rest)

    def start_reader(self) -> None:
        """The reader at random moments."""
        files = [str(self.home / name) for name in ("wrong", "stop")]
        seed, gaps = str(self.chance.randrange(10**6)), "1" if self.kind in {"topics", "disk"} else "0"
        self.reader = self._python("reader", str(self.home), *files, seed, gaps)

    def _python(self, module: str, *words: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", f"tests.chaos.{module}", *words]
        return subprocess.Popen(command, env=self.environment, cwd=Path(__file__).parents[2])

    def victims(self) -> dict[int, str]:
        """The services' processes by pid, with a name."""
        found = {}
        for entry in Path("/proc").iterdir():
            try:
                if not entry.name.isdigit() or int(entry.name) == os.getpid():
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

    def attack(self) -> None:
        """Do harm for so long, with pauses in which the services come up again."""
        harms = harms_of(self.kind)
        weights = [harm.weight for harm in harms]
        deadline = time.monotonic() + self.seconds
        while time.monotonic() < deadline:
            time.sleep(self.chance.uniform(0.2, 2.5))
            self.mend()
            self.chance.choices(harms, weights)[0].do(self)
            if "up" not in " ".join(self.victims().values()):
                self.note("up")
                self.up()
            self.look()
        self.mend()

    def mend(self) -> None:
        """Let what was stopped, filled or shut go on; what was killed is started by its keeper, or by `up`."""
        for pid in self.victims():
            send_signal(pid, signal.SIGCONT)
        self.filler.unlink(missing_ok=True)
        if self.network:
            self.network.repair()
        if self.kind == "topics":
            make_missing_topics(self.settings)

    def look(self) -> None:
        """Raise what the reader found."""
        wrong = self.home / "wrong"
        assert not wrong.exists(), f"a reader saw: {wrong.read_text()}"

    # --- the check ---

    def check(self) -> dict[str, int]:
        """Let everything come to rest and compare what readers see with what the trainers noted.

        Returns:
            run id to values of one series.
        """
        (self.home / "stop").touch()
        for process in [*self.trainers.values(), self.reader]:
            assert process is not None
            process.wait(60)
        self.look()
        self.up()
        before = dict(os.environ)
        os.environ.update(self.environment)
        try:
            if self.kind != "topics":
                return self._check_runs()
            # What a deleted topic has held up may come after a long rest: then all is looked at once more.
            deadline = time.monotonic() + 90
            while True:
                wait_for_rest(self.settings)
                try:
                    return self._check_runs()
                except AssertionError:
                    if time.monotonic() > deadline:
                        raise
        finally:
            # What runs after this in the process must not see the trial's database.
            os.environ.clear()
            os.environ.update(before)

    def _check_runs(self) -> dict[str, int]:
        from runstream.core import Workspace

        workspace = Workspace.get("default")
        # A trainer that was killed before it had begun its run left no notes.
        begun = [run_id for run_id in self.trainers if (self.home / f"{run_id}.progress").exists()]
        runs = [self._expected(run_id) for run_id in begun]
        seen = {}
        for expected in runs:
            run = self._settled(workspace, expected)
            if run is not None:
                seen[expected.run_id] = check_run(run, expected)
        counts = {run_id: len(vectors.get("int", [])) for run_id, vectors in seen.items()}
        check_stored(self.settings, [expected for expected in runs if expected.run_id in seen], seen)
        if self.kind != "topics":
            check_files(self.home / "store", counts)
        return counts

    def _expected(self, run_id: str) -> Expected:
        text = (self.home / f"{run_id}.progress").read_text()
        gaps, drops = self.kind == "topics", self.kind == "disk"
        return Expected(run_id, int(text[:12] or 0), text.endswith("done"), gaps=gaps, drops=drops)

    def _settled(self, workspace: Any, expected: Expected) -> Any:
        """The run, once all of it is stored. Its last status, or its end, may have been in a topic that was deleted."""
        status = "Completed" if expected.finished else "Failed"
        deadline = time.monotonic() + 120
        why: object = "never seen"
        while time.monotonic() < deadline:
            with contextlib.suppress(Exception):
                run = workspace.get_run(expected.run_id)
                why = run.get_status()
                if expected.gaps or (why == status and is_settled(self.settings, expected.run_id)):
                    return run
            time.sleep(0.5)
        if expected.gaps:
            return None
        raise AssertionError(f"{expected.run_id}: expected {status} and settled, it is {why}")

    def log(self) -> str:
        """What was done, and the last lines of the services' logs."""
        parts = list(self.done)
        for path in sorted((self.home / "log").glob("*.log")):
            parts.append(f"--- {path.name}")
            parts.extend(path.read_text(errors="replace").splitlines()[-25:])
        return "\n".join(parts)

    def end(self) -> None:
        """End every process and remove the home."""
        for process in [*self.trainers.values(), *self.extra, *([self.reader] if self.reader else [])]:
            if process.poll() is None:
                process.kill()
            process.wait()
        self.command("down", check=False)
        if self.network:
            self.network.end()
        for pid in self.victims():
            send_signal(pid, signal.SIGKILL)
        if self.kind == "disk":
            subprocess.run(["umount", "--lazy", str(self.home / "spool")], check=False)
        shutil.rmtree(self.home, ignore_errors=True)


def run_trial(seconds: float, seed: int, kind: str, evidence: Path | None = None) -> dict[str, int]:
    """A trial from start to end.

    Args:
        seconds: of harm.
        seed: repeats what is done to whom; not the moments at which the operating system carries it out.
        kind: one of KINDS.
        evidence: directory to keep what is needed to find out why, if it does not hold.

    Returns:
        run id to values of one series.

    Raises:
        AssertionError: something is not as it must be; the text holds all that was done, and the end of the logs.
    """
    trial = Trial(Path(tempfile.mkdtemp(prefix="rsc")), kind, seed, seconds)
    try:
        trial.prepare()
        trial.up()
        for _ in range(TRAINERS):
            trial.start_trainer()
        trial.start_reader()
        trial.attack()
        return trial.check()
    except Exception as error:
        if evidence:
            keep(trial, error, evidence)
        raise AssertionError(f"{error}\n{trial.log()}") from error
    finally:
        trial.end()


def main() -> None:
    """One trial; exit code 1 if it does not hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.trial")
    parser.add_argument("--kind", choices=KINDS, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--seconds", type=float, default=30, help="of harm")
    parser.add_argument("--evidence", type=Path, help="where to keep what is found")
    options = parser.parse_args()
    # Told to end, it ends what it has started.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        counts = run_trial(options.seconds, options.seed, options.kind, options.evidence)
    except AssertionError as error:
        raise SystemExit(str(error)) from None
    print(f"{len(counts)} runs, {sum(counts.values())} values of each series, each there exactly once")


if __name__ == "__main__":
    main()
