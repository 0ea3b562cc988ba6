"""One home under attack: processes are killed, stopped and hindered by a seed; then all that was logged is there once.

`python -m tests.chaos` runs as many trials as you have time for (`make chaos TRIALS=10`).
"""

from __future__ import annotations

import argparse
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

from runstream_schemas.settings import Settings
from runstream_service.servers.postgres import PostgresServer

from . import branching
from .broker import make_missing_topics
from .edits import OutsideTag
from .evidence import keep
from .harms import KINDS, WITH_BROKER, Harm, limit_memory, pick_harms, send_signal, set_clock
from .network import Network
from .processes import Others
from .programs import PROGRAMS
from .rest import check

ROOT = Path(__file__).parents[2]
TRAINERS = 8
OTHER_PROGRAMS = ("wide", "long", "family")
"""Besides the plain one: a trial has each of them with one trainer or with none."""
TRAINER_END = 180.0
"""Seconds a trainer may take to end: a fork waits for what is stored, and for a service that is away."""
READER_END = 240.0
"""Seconds the readers may take to end: reads under way, and what an open page has to catch up with."""
SPOOL_BYTES = 12 << 20
"""Size of the small disk of a trial with `disk`."""


@dataclass(slots=True)
class Trial:
    """One home under attack.

    Attributes:
        kind: one of KINDS.
        seconds: of harm.
        code: the checkout whose services and trainers these are.
        trainers: run id to process; those that were killed too.
        extra: consumers beside those of the home.
        neighbour: another home on the same machine, under the same harm.
        outside: tags set from outside.
        deleting, deleted: runs that somebody asked to delete, and was told they were.
        done: what was done, second by second, to print when a check fails.
    """

    home: Path
    kind: str
    seed: int
    seconds: float
    many: int = TRAINERS
    code: Path = ROOT
    chance: random.Random = field(init=False)
    harms: list[Harm] = field(init=False)
    compact_bytes: int = field(init=False)
    network: Network | None = None
    neighbour: Trial | None = None
    trainers: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    killed: set[str] = field(default_factory=set)
    outside: dict[str, OutsideTag] = field(default_factory=dict)
    edits: int = 0
    deleting: set[str] = field(default_factory=set)
    deleted: set[str] = field(default_factory=set)
    extra: list[subprocess.Popen[bytes]] = field(default_factory=list)
    reader: subprocess.Popen[bytes] | None = None
    done: list[str] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)
    others: Others = field(default_factory=Others)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.harms = pick_harms(self.kind, self.chance)
        self.compact_bytes = self.chance.choice((200_000, 20_000))

    @property
    def gaps(self) -> bool:
        """Whether values may be missing, where the run says so."""
        return self.kind in ("topics", "disk")

    @property
    def filler(self) -> Path:
        """What takes the room in the spool."""
        return self.home / "spool" / "filler"

    @property
    def environment(self) -> dict[str, str]:
        """What every process of the trial gets."""
        clock = str(Path(__file__).parent / "clock")
        paths = [
            clock,
            *(str(self.code / part) for part in ("schemas", "producers", "consumers", "query", "service")),
        ]
        reached = {"RUNSTREAM_DATABASE": self.network.dsn} if self.network else {}
        # A trial starts dozens of Pythons: compiled modules are kept, whatever the caller does with his.
        inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        return {
            **inherited,
            **reached,
            "RUNSTREAM_HOME": str(self.home),
            "RUNSTREAM_AUTOSTART": "0",
            "RUNSTREAM_COMPACT_AFTER": "1",
            "RUNSTREAM_COMPACT_INTERVAL": "0.5",
            "RUNSTREAM_COMPACT_BYTES": str(self.compact_bytes),
            "RUNSTREAM_COMPACT_CLAIM_GRACE": "10",
            # A replaced file is kept for longer than a query may take.
            "RUNSTREAM_QUERY_TIMEOUT": "20",
            "RUNSTREAM_TRASH_GRACE": "30",
            "RUNSTREAM_TOPIC_PARTITIONS": "4",
            # A sample that finds no room counts as dropped, too, and who has samples is not noted by any trainer.
            "RUNSTREAM_SYSTEM_METRICS": "01"[self.kind != "disk"],
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
        """Make sure the services run. On a busy machine they may take longer than `up` waits, not for good."""
        words = ["--kafka"] if self.kind in WITH_BROKER else []
        if self.network:
            self.network.repair()
            words.append(f"127.0.0.1:{self.network.broker.port}")
        for more in (2, 1, 0):
            try:
                self.command("up", *words)
                return
            except AssertionError as error:
                self.note(str(error))
                if not more:
                    raise

    def start(self) -> None:
        """The services, the trainers and the readers."""
        self.prepare()
        self.up()
        others = [name for name in OTHER_PROGRAMS if self.chance.random() < 0.5]
        programs = [*others, branching.PROGRAM]
        for i in range(self.many):
            self.start_trainer(programs[i] if i < len(programs) and i + 1 < self.many else "plain")
        self.start_reader()
        self.note(
            f"programs: {', '.join(['plain', *programs])}; harms: {', '.join(harm.name for harm in self.harms)}"
        )

    def start_reader(self) -> None:
        """The readers, which see what may not be."""
        words = [str(self.home), str(self.home / "stop"), str(self.chance.randrange(10**6)), "01"[self.gaps]]
        self.reader = self._python("reader", *words)

    def start_trainer(self, program: str = "plain") -> None:
        """One more trainer, on a run of its own."""
        run_id = f"run-{len(self.trainers)}"
        if program == branching.PROGRAM:
            rest, seed = str(self.chance.choice(branching.RESTS)), str(self.chance.randrange(10**9))
            words = [str(self.home / f"{run_id}.progress"), str(self.home / "stop"), rest, seed]
            self.trainers[run_id] = self._python("branching", run_id, *words, str(branching.MOST), "1")
            return
        rest = str(self.chance.choice(PROGRAMS[program].rests))
        words = [str(self.home / f"{run_id}.progress"), str(self.home / "stop"), rest]
        self.trainers[run_id] = self._python("trainer", run_id, program, *words)

    def _python(self, module: str, *words: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", f"tests.chaos.{module}", *words]
        with (self.home / f"{module}s.log").open("ab") as log:
            return subprocess.Popen(command, env=self.environment, cwd=ROOT, stdout=log, stderr=log)

    def said_by_trainers(self) -> str:
        """What they have printed."""
        return "".join(path.read_text(errors="replace") for path in self.home.glob("*s.log"))

    def victims(self) -> dict[int, str]:
        """The services' processes by pid, with a name."""
        processes = {}
        for pid, line in self.others.processes(self.home):
            if "tests.chaos" in line or "unshare" in line:
                continue
            if "kafka.Kafka" in line:
                processes[pid] = "kafka"
            elif "bin/postgres" in line:
                processes[pid] = "postgres"
            elif "-m runstream" in line:
                processes[pid] = line.split("-m runstream")[1].strip().split(" --")[0] or "service"
        return processes

    # --- the attack ---

    def attack(self) -> None:
        """Do harm for so long, with pauses in which the services come up again."""
        homes = [self, *([self.neighbour] if self.neighbour else [])]
        deadline = time.monotonic() + self.seconds
        while time.monotonic() < deadline:
            time.sleep(self.chance.uniform(0.2, 2.5))
            trial = self.chance.choices(homes, [4, 1][: len(homes)])[0]
            for home in homes:
                home.mend()
            self.chance.choices(trial.harms, [harm.weight for harm in trial.harms])[0].do(trial)
            for home in homes:
                if "up" not in " ".join(home.victims().values()):
                    home.note("up")
                    home.up()
                home.look()
        for home in homes:
            home.mend()

    def mend(self) -> None:
        """Let what was stopped, filled or shut resume; what was killed is started by its keeper, or by `up`."""
        for pid in self.victims():
            limit_memory(pid)
            send_signal(pid, signal.SIGCONT)
        self.filler.unlink(missing_ok=True)
        (self.home / "starved").unlink(missing_ok=True)
        if self.network:
            self.network.repair()
        if self.kind == "topics":
            make_missing_topics(self.settings)

    def look(self) -> None:
        """Raise what a reader found, or that one has ended."""
        wrong = self.home / "wrong"
        assert not wrong.exists(), f"a reader saw: {wrong.read_text()}"
        assert self.reader is None or self.reader.poll() is None, "the reader has ended"

    def check(self) -> dict[str, int]:
        """Let everything come to rest and compare what there is with what was logged.

        Returns:
            run id to values of one series.
        """
        (self.home / "stop").touch()
        for run_id, process in self.trainers.items():
            code = process.wait(TRAINER_END)
            assert run_id in self.killed or code == 0, f"trainer {run_id} ended with {code}"
        self.note("the trainers have ended")
        self.look()
        self.up()
        self.note("the services are up")
        counts = check(self)
        self.note("what is stored is as it must be")
        gone = self.deleted | (self.deleting - counts.keys())
        missing = self.trainers.keys() - self.killed - counts.keys() - gone
        assert self.kind == "topics" or not missing, (
            f"no trace of {sorted(missing)}, which ended by themselves"
        )
        assert self.reader is not None
        try:
            self.reader.wait(READER_END)
        except subprocess.TimeoutExpired:
            self.reader.send_signal(signal.SIGUSR1)  # into readers.log: where it stands
            time.sleep(1.0)
            raise AssertionError(f"the reader has not ended after {READER_END:.0f} s") from None
        wrong = self.home / "wrong"
        assert not wrong.exists(), f"a reader saw: {wrong.read_text()}"
        return counts

    def log(self) -> str:
        """What was done, and the last lines of the services' logs."""
        parts = [*self.done, *(self.neighbour.done if self.neighbour else [])]
        for path in sorted((self.home / "log").glob("*.log")):
            parts.append(f"--- {path.name}")
            parts.extend(path.read_text(errors="replace").splitlines()[-25:])
        return "\n".join(parts)

    def end(self) -> None:
        """End every process and remove the home."""
        if self.neighbour:
            self.neighbour.end()
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
    trial = Trial(new_home(), kind, seed, seconds)
    try:
        if trial.chance.random() < 0.25:
            trial.neighbour = Trial(new_home(), "embedded", seed + 1, seconds, many=2)
            trial.neighbour.start()
        trial.start()
        trial.attack()
        if trial.neighbour:
            (trial.home / "stop").touch()
            trial.neighbour.check()
            trial.note("the neighbour is as it must be")
        return trial.check()
    except BaseException as error:  # also what ends it from outside: a limit of time
        trial.note("ended here")
        if evidence:
            keep(trial, error, evidence)
        raise AssertionError(f"{error or repr(error)}\n{trial.log()}") from error
    finally:
        trial.end()


def new_home() -> Path:
    """A directory for a home."""
    return Path(tempfile.mkdtemp(prefix="rsc"))


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
