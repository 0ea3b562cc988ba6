"""Kills, stops and hinders the processes of a home at random, by a seed; then checks that all that was logged is there once.

`python -m tests.chaos.nemesis --seconds 60 --seed 1 [--kafka] [--network] [--disk] [--topics]` runs it by hand; without a
kind, one trial of each:

- always: kill -9, stop and continue every process, all at once too; clocks that jump; a reader at random moments;
- kafka: also the broker and each role, more consumers, records delivered again in another order;
- network: broker and database are reached by proxies, which are slow, cut connections or let nobody in;
- disk: the spool lies on a small tmpfs that is full now and then (root only);
- topics: a topic is deleted with all it holds, and made again.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runstream_schemas.settings import Settings
from runstream_service.servers.postgres import PostgresServer

from .broker import delete_topic, deliver_again, make_missing_topics
from .checks import Expected, check_files, check_run, check_stored, is_settled, wait_for_rest
from .network import Network

TRAINERS = 8
MORE_CONSUMERS = 2
SPOOL_BYTES = 12 << 20
"""Size of the small disk of a trial with `disk`."""
FAULTS = ("kafka", "network", "disk", "topics")


@dataclass(slots=True)
class Trial:
    """One home under attack.

    Attributes:
        faults: which of FAULTS, besides those that are always there.
        trainers: run id to process.
        extra: consumers beside those of the home.
        done: what was done, second by second, to print when a check fails.
    """

    home: Path
    faults: AbstractSet[str]
    chance: random.Random
    network: Network | None = None
    trainers: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    extra: list[subprocess.Popen[bytes]] = field(default_factory=list)
    reader: subprocess.Popen[bytes] | None = None
    done: list[str] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)

    @property
    def kafka(self) -> bool:
        """Whether there is a broker."""
        return bool({"kafka", "network", "topics"} & self.faults)

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
        self.set_clock(0.0)
        if "disk" in self.faults:
            (self.home / "spool").mkdir(mode=0o700)
            size = f"size={SPOOL_BYTES}"
            subprocess.run(
                ["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(self.home / "spool")], check=True
            )
        if "network" in self.faults:
            self.network = Network(self.home)

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
        progress = str(self.home / f"{run_id}.progress")
        rest = str(self.chance.choice([0.001, 0.01, 0.1]))
        self.trainers[run_id] = self._python("trainer", run_id, progress, str(self.home / "stop"), rest)

    def start_reader(self) -> None:
        """The reader at random moments."""
        files = [str(self.home / name) for name in ("wrong", "stop")]
        seed, gaps = str(self.chance.randrange(10**6)), "1" if {"topics", "disk"} & self.faults else "0"
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

    def attack(self, seconds: float) -> None:
        """Do harm for so long, with pauses in which the services come up again."""
        harms = [
            self.kill,
            self.kill,
            self.kill,
            self.stop,
            self.stop,
            self.kill_trainer,
            self.kill_trainer,
            self.jump,
        ]
        harms += [self.kill_all] if not self.kafka else [self.add_consumer, self.deliver_again]
        harms += [self.cut, self.cut, self.slow, self.refuse] if self.network else []
        harms += [self.fill_disk, self.fill_disk] if "disk" in self.faults else []
        harms += [self.delete_topic] if "topics" in self.faults else []
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            time.sleep(self.chance.uniform(0.2, 2.5))
            self.mend()
            self.chance.choice(harms)()
            if "up" not in " ".join(self.victims().values()):
                self.note("up")
                self.up()
            self.look()
        self.mend()

    def mend(self) -> None:
        """Let what was stopped, filled or shut go on; what was killed is started by its keeper, or by `up`."""
        for pid in self.victims():
            _signal(pid, signal.SIGCONT)
        (self.home / "spool" / "filler").unlink(missing_ok=True)
        if self.network:
            self.network.repair()
        if "topics" in self.faults:
            make_missing_topics(self.settings)

    def look(self) -> None:
        """Raise what the reader found."""
        wrong = self.home / "wrong"
        assert not wrong.exists(), f"a reader saw: {wrong.read_text()}"

    def kill(self) -> None:
        """kill -9 one process."""
        self._send(signal.SIGKILL, "kill -9")

    def stop(self) -> None:
        """SIGSTOP one process, until the next harm is done."""
        self._send(signal.SIGSTOP, "stop")

    def _send(self, number: int, name: str) -> None:
        victims = self.victims()
        if victims:
            pid = self.chance.choice(sorted(victims))
            _signal(pid, number)
            self.note(f"{name} {victims[pid]} ({pid})")

    def kill_all(self) -> None:
        """kill -9 all services."""
        for pid in self.victims():
            _signal(pid, signal.SIGKILL)
        self.note("kill -9 all services")

    def kill_trainer(self) -> None:
        """kill -9 a trainer, and start another run."""
        alive = [run for run, process in self.trainers.items() if process.poll() is None]
        run_id = self.chance.choice(alive)
        self.trainers[run_id].kill()
        self.trainers[run_id].wait()
        self.note(f"kill -9 trainer {run_id}")
        self.start_trainer()

    def jump(self) -> None:
        """Set the clock of all our processes, by up to an hour ahead or back."""
        offset = self.chance.choice([-1, 1]) * 10 ** self.chance.uniform(-1, 3.5)
        self.set_clock(offset)
        self.note(f"clock {offset:+.1f} s")

    def set_clock(self, offset: float) -> None:
        """How many seconds our processes' clocks are ahead."""
        descriptor = os.open(self.home / "clock", os.O_WRONLY | os.O_CREAT, 0o600)
        os.pwrite(descriptor, struct.pack("d", offset), 0)
        os.close(descriptor)

    def add_consumer(self) -> None:
        """A consumer more than the home has; with MORE_CONSUMERS there, one less."""
        alive = [process for process in self.extra if process.poll() is None]
        if len(alive) >= MORE_CONSUMERS:
            alive[0].terminate()
            alive[0].wait(60)
            self.note(f"end consumer ({alive[0].pid})")
            return
        settings = self.settings
        reached = {"RUNSTREAM_KAFKA": settings.kafka, "RUNSTREAM_DATABASE": settings.database}
        if settings.kafka:
            with (self.home / "log" / "consumer-more.log").open("ab") as log:
                command = [sys.executable, "-P", "-m", "runstream", "consumer"]
                environment = {**self.environment, **reached}
                self.extra.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log))
            self.note(f"one more consumer ({self.extra[-1].pid})")

    def deliver_again(self) -> None:
        """Records a second time, out of order."""
        if (settings := self.settings).kafka:
            self.note(f"{deliver_again(settings, self.chance)} records delivered again")

    def delete_topic(self) -> None:
        """A topic goes, with what nobody has stored yet."""
        if (settings := self.settings).kafka:
            self.note(f"topic {delete_topic(settings, self.chance) or 'not'} deleted")

    def fill_disk(self) -> None:
        """No room in the spool, until the next harm is done."""
        with contextlib.suppress(OSError), (self.home / "spool" / "filler").open("wb") as filler:
            while True:
                filler.write(bytes(1 << 16))
                filler.flush()
        self.note("disk full")

    def _connections(self) -> str:
        return self.chance.choice(["broker", "database"])

    def cut(self) -> None:
        """Break every connection to a server."""
        getattr(self.network, name := self._connections()).cut()
        self.note(f"cut connections to the {name}")

    def slow(self) -> None:
        """Every piece waits, until the next harm is done."""
        getattr(self.network, name := self._connections()).delay = self.chance.uniform(0.05, 0.5)
        self.note(f"slow connections to the {name}")

    def refuse(self) -> None:
        """Break every connection and let nobody in, until the next harm is done."""
        proxy = getattr(self.network, name := self._connections())
        proxy.closed = True
        proxy.cut()
        self.note(f"no connections to the {name}")

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
            if "topics" not in self.faults:
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
        if "topics" not in self.faults:
            check_files(self.home / "store", counts)
        return counts

    def _expected(self, run_id: str) -> Expected:
        text = (self.home / f"{run_id}.progress").read_text()
        gaps, drops = "topics" in self.faults, "disk" in self.faults
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
            _signal(pid, signal.SIGKILL)
        if "disk" in self.faults:
            subprocess.run(["umount", "--lazy", str(self.home / "spool")], check=False)
        shutil.rmtree(self.home, ignore_errors=True)


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def run_trial(seconds: float, seed: int, faults: AbstractSet[str] = frozenset()) -> dict[str, int]:
    """A trial from start to end.

    Raises:
        AssertionError: something is not as it must be; the text holds all that was done, and the end of the logs.
    """
    trial = Trial(Path(tempfile.mkdtemp(prefix="rsc")), faults, random.Random(seed))
    try:
        trial.prepare()
        trial.up()
        for _ in range(TRAINERS):
            trial.start_trainer()
        trial.start_reader()
        trial.attack(seconds)
        return trial.check()
    except Exception as error:
        raise AssertionError(f"{error}\n{trial.log()}") from error
    finally:
        trial.end()


def main() -> None:
    """One trial with the faults that are asked for, or one of each kind."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.nemesis")
    parser.add_argument("--seconds", type=float, default=60, help="of harm, in each trial")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    for fault in FAULTS:
        parser.add_argument(f"--{fault}", action="store_true")
    options = parser.parse_args()
    asked = {fault for fault in FAULTS if getattr(options, fault)}
    trials = [asked] if asked else [set(), {"kafka"}, {"network"}, {"topics"}, {"disk"}]
    for faults in trials:
        name = " ".join(sorted(faults)) or "embedded"
        if "disk" in faults and os.geteuid() != 0:
            print(f"{name}: left out, only root can mount a small disk")
            continue
        print(f"{name}: seed {options.seed}", flush=True)
        counts = run_trial(options.seconds, options.seed, faults)
        print(
            f"{name}: {len(counts)} runs, {sum(counts.values())} values of each series, each there exactly once"
        )


if __name__ == "__main__":
    main()
