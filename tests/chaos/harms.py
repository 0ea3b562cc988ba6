"""What a trial does to its home, one function each: `HARMS` says how often, and in which kinds of trial."""

from __future__ import annotations

import contextlib
import os
import random
import resource
import signal
import struct
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from . import branching
from .broker import delete_topic, deliver_again
from .edits import change_tag, delete_run

if TYPE_CHECKING:
    from .trial import Trial

KINDS = ("embedded", "kafka", "network", "topics", "disk")
"""embedded: one service; kafka: a broker and each role; network, topics: kafka with proxies, with topics deleted; disk:
embedded with a small disk for the spool."""
WITH_BROKER = frozenset({"kafka", "network", "topics"})
MORE_CONSUMERS = 2


@dataclass(frozen=True, slots=True)
class Harm:
    """One way to do harm.

    Attributes:
        do: does it, to whom the trial's chance picks.
        weight: how often, beside the others.
        kinds: of trial in which it is done.
        optional: only half of those trials have it.
    """

    do: Callable[[Trial], None]
    weight: int = 1
    kinds: frozenset[str] = frozenset(KINDS)
    optional: bool = False

    @property
    def name(self) -> str:
        """For people."""
        return self.do.__name__.replace("_", " ")


def pick_harms(kind: str, chance: random.Random) -> list[Harm]:
    """Those of one trial: what its kind is about, and half of what else there is."""
    return [harm for harm in HARMS if kind in harm.kinds and (not harm.optional or chance.random() < 0.5)]


def kill(trial: Trial) -> None:
    """kill -9 one process."""
    _send(trial, signal.SIGKILL, "kill -9")


def stop(trial: Trial) -> None:
    """SIGSTOP one process, until the next harm is done."""
    _send(trial, signal.SIGSTOP, "stop")


def _send(trial: Trial, number: int, name: str) -> None:
    victims = trial.victims()
    if victims:
        pid = trial.chance.choice(sorted(victims))
        send_signal(pid, number)
        trial.note(f"{name} {victims[pid]} ({pid})")


def send_signal(pid: int, number: int) -> None:
    """To a process that may be gone."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def kill_all(trial: Trial) -> None:
    """kill -9 all services."""
    for pid in trial.victims():
        send_signal(pid, signal.SIGKILL)
    trial.note("kill -9 all services")


def kill_fattest(trial: Trial) -> None:
    """kill -9 the process with most memory, as a system without any left does."""
    sizes = {pid: _memory(pid, "VmRSS") for pid in trial.victims()}
    if sizes:
        pid = max(sizes, key=lambda pid: sizes[pid])
        trial.note(
            f"out of memory: kill -9 {trial.victims().get(pid, 'a process')} ({pid}), {sizes[pid] >> 20} MiB"
        )
        send_signal(pid, signal.SIGKILL)


def starve(trial: Trial) -> None:
    """One of our processes gets hardly any more memory, until the next harm is done."""
    ours = sorted(pid for pid, name in trial.victims().items() if name not in ("kafka", "postgres"))
    if ours:
        pid = trial.chance.choice(ours)
        more = trial.chance.choice([0, 8, 64]) << 20
        (trial.home / "starved").touch()
        limit_memory(pid, _memory(pid, "VmSize") + more)
        trial.note(
            f"no more memory than {more >> 20} MiB for {trial.victims().get(pid, 'a process')} ({pid})"
        )


def limit_memory(pid: int, most: int = resource.RLIM_INFINITY) -> None:
    """Of the address space of a process; without `most`, none."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        _, hard = resource.prlimit(pid, resource.RLIMIT_AS)
        resource.prlimit(pid, resource.RLIMIT_AS, (most, hard))


def _memory(pid: int, what: str) -> int:
    """Bytes, 0 if the process is gone."""
    try:
        lines = Path("/proc", str(pid), "status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith(f"{what}:")), 0)


def kill_trainer(trial: Trial) -> None:
    """kill -9 a trainer, and start another run."""
    run_id = trial.chance.choice([run for run in trial.trainers if run not in trial.killed])
    trial.killed.add(run_id)
    trial.trainers[run_id].kill()
    trial.trainers[run_id].wait()
    trial.note(f"kill -9 trainer {run_id}")
    trial.start_trainer(trial.chance.choice(["plain", branching.PROGRAM]))


def jump(trial: Trial) -> None:
    """Set the clock of all our processes, by up to an hour ahead or back."""
    offset = trial.chance.choice([-1, 1]) * 10 ** trial.chance.uniform(-1, 3.5)
    set_clock(trial, offset)
    trial.note(f"clock {offset:+.1f} s")


def set_clock(trial: Trial, offset: float) -> None:
    """How many seconds our processes' clocks are ahead."""
    descriptor = os.open(trial.home / "clock", os.O_WRONLY | os.O_CREAT, 0o600)
    os.pwrite(descriptor, struct.pack("d", offset), 0)
    os.close(descriptor)


def add_consumer(trial: Trial) -> None:
    """A consumer more than the home has; with MORE_CONSUMERS there, one less."""
    alive = [process for process in trial.extra if process.poll() is None]
    if len(alive) >= MORE_CONSUMERS:
        alive[0].terminate()
        alive[0].wait(60)
        trial.note(f"end consumer ({alive[0].pid})")
        return
    settings = trial.settings
    reached = {"RUNSTREAM_KAFKA": settings.kafka, "RUNSTREAM_DATABASE": settings.database}
    if settings.kafka:
        with (trial.home / "log" / "consumer-more.log").open("ab") as log:
            command = [sys.executable, "-P", "-m", "runstream", "consumer"]
            environment = {**trial.environment, **reached}
            trial.extra.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log))
        trial.note(f"one more consumer ({trial.extra[-1].pid})")


def repeat_records(trial: Trial) -> None:
    """Records a second time, out of order."""
    if (settings := trial.settings).kafka:
        trial.note(f"{deliver_again(settings, trial.chance)} records delivered again")


def lose_topic(trial: Trial) -> None:
    """A topic goes, with what nobody has stored yet."""
    if (settings := trial.settings).kafka:
        trial.note(f"topic {delete_topic(settings, trial.chance) or 'not'} deleted")


def fill_disk(trial: Trial) -> None:
    """No room in the spool, until the next harm is done."""
    with contextlib.suppress(OSError), trial.filler.open("wb") as filler:
        while True:
            filler.write(bytes(1 << 16))
            filler.flush()
    trial.note("disk full")


def _connections(trial: Trial) -> str:
    return trial.chance.choice(["broker", "database"])


def cut(trial: Trial) -> None:
    """Break every connection to a server."""
    getattr(trial.network, name := _connections(trial)).cut()
    trial.note(f"cut connections to the {name}")


def slow(trial: Trial) -> None:
    """Every piece waits, until the next harm is done."""
    getattr(trial.network, name := _connections(trial)).delay = trial.chance.uniform(0.05, 0.5)
    trial.note(f"slow connections to the {name}")


def answer_late(trial: Trial) -> None:
    """Answers wait for seconds, until the next harm is done; what was asked for has been done."""
    getattr(trial.network, name := _connections(trial)).late = trial.chance.uniform(1.0, 10.0)
    trial.note(f"late answers of the {name}")


def lose_answers(trial: Trial) -> None:
    """What is asked for is done, and nobody hears of it, until the next harm is done."""
    getattr(trial.network, name := _connections(trial)).deaf = True
    trial.note(f"lost answers of the {name}")


def refuse(trial: Trial) -> None:
    """Break every connection and let nobody in, until the next harm is done."""
    proxy = getattr(trial.network, name := _connections(trial))
    proxy.closed = True
    proxy.cut()
    trial.note(f"no connections to the {name}")


_WITHOUT_BROKER = frozenset(KINDS) - WITH_BROKER
HARMS = [
    Harm(kill, 3),
    Harm(stop, 2),
    Harm(kill_trainer, 2),
    Harm(jump),
    Harm(kill_fattest, optional=True),
    Harm(starve, optional=True),
    Harm(delete_run, optional=True),
    Harm(change_tag, optional=True),
    Harm(kill_all, 1, _WITHOUT_BROKER),
    Harm(add_consumer, 1, WITH_BROKER),
    Harm(repeat_records, 1, WITH_BROKER),
    Harm(cut, 2, frozenset({"network"})),
    Harm(slow, 1, frozenset({"network"})),
    Harm(refuse, 1, frozenset({"network"})),
    Harm(answer_late, 1, frozenset({"network"})),
    Harm(lose_answers, 1, frozenset({"network"})),
    Harm(fill_disk, 2, frozenset({"disk"})),
    Harm(lose_topic, 1, frozenset({"topics"})),
]
