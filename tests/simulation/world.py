"""One schedule: who does his next step is drawn from a seeded source, so that a seed repeats a failure exactly."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from random import Random

from . import actors, compactor
from .state import Broken, Database, Event, Spool, Store, Violation

RUNS, PARTITIONS, SLOTS = 2, 2, 14
FAULTY_STEPS, QUIET_STEPS = 260, 20_000


@dataclass(slots=True)
class _Actor:
    begin: Callable[[], Iterator[None]]
    steps: Iterator[None]
    wakes: int = 0
    done: bool = False


class World:
    """Everything a schedule consists of.

    Args:
        seed: decides everything.
        broken: safeguards that are left out.
    """

    def __init__(self, seed: int, broken: frozenset[Broken] = frozenset()) -> None:
        self.random = Random(seed)
        self.broken = broken
        self.now = 0
        self.generation = 0
        self.runs = [f"run-{n}" for n in range(RUNS)]
        # One run has two sources: two processes wrote it.
        places = [(f"source-{n}", self.runs[min(n, RUNS - 1)]) for n in range(RUNS + 1)]
        self.spools = {source: Spool(run, self.random.randint(1, SLOTS)) for source, run in places}
        self.embedded = seed % 3 == 0  # one service reads the spool; else an agent, a broker, and consumers
        self.deletions = 0
        self.late_until = 0  # the metrics' partitions have no leader: what is sent to them waits
        self.finished: set[str] = set()
        self.database = Database(lambda: self.now, broken, run_of=dict(places))
        self.store = Store()
        self.network: list[tuple[object, Event, list[bool]]] = []
        self._logs: dict[tuple[str, int], list[Event]] = {
            (topic, number): [] for topic in ("metrics", "status") for number in range(PARTITIONS)
        }
        self._groups = {"metrics": ["metrics-0", "metrics-1"], "status": ["status-0"]}
        if self.embedded:
            self._groups = {}
        begin: dict[str, Callable[[], Iterator[None]]] = {
            source: partial(actors.trainer, self, source) for source in self.spools
        }
        if self.embedded:
            begin["service"] = lambda: actors.service(self)
        else:
            begin["agent"] = lambda: actors.agent(self)
        for topic, names in self._groups.items():
            for name in names:
                begin[name] = partial(actors.consumer, self, name, topic)
        for number in range(2):
            begin[f"compactor-{number}"] = lambda: compactor.compactor(self)
        begin["reader"] = lambda: actors.reader(self)
        begin["settler"] = lambda: actors.settler(self)
        begin["network"] = lambda: self._deliver()
        chaos = Random(seed + 1)
        begin["nemesis"] = lambda: actors.nemesis(self, chaos)
        self._actors = {name: _Actor(make, make()) for name, make in begin.items()}
        self.mortal = [name for name in begin if name not in ("nemesis", "network", "settler")]

    def run(self) -> None:
        """Faults for a while, then none until nothing is left to do.

        Raises:
            Violation: an invariant does not hold.
        """
        self._step_until(lambda: self.now >= FAULTY_STEPS)
        del self._actors["nemesis"]
        self.rebalance()
        self.late_until = 0
        for actor in self._actors.values():
            actor.wakes = 0
        self._step_until(self._quiet)
        self._step_until(lambda: self.now % 400 == 0)
        self._check_end()

    # --- for the actors ---

    def kill(self, name: str) -> None:
        """The process ends at once, without any last word; another one takes its place. A trainer is not replaced."""
        actor = self._actors[name]
        actor.steps.close()  # type: ignore[attr-defined]
        actor.wakes = self.now + self.random.randint(0, 20)
        if name in self.spools:
            self.finished.add(name)
            actor.done = True
        else:
            actor.steps = actor.begin()
        if (
            name == "agent"
        ):  # some of what it sent is still on its way and arrives after what the next one sends
            self.network = [item for item in self.network if self.random.random() < 0.5]
        if name in self._groups.get("metrics", ()):
            self.rebalance()

    def pause(self, name: str, steps: int) -> None:
        """The process does nothing for a while, and does not know it."""
        self._actors[name].wakes = self.now + steps
        if self.random.random() < 0.7:
            self.rebalance()  # it was silent for too long: its partitions go to others

    def rebalance(self) -> None:
        """Partitions are given out anew; whoever is stopped does not hear of it."""
        self.generation += 1

    def assignment(self, name: str, topic: str) -> list[tuple[str, int]]:
        """Partitions of a consumer in this generation: of one that is stopped, another one's too."""
        names = [n for n in self._groups[topic] if self._actors[n].wakes <= self.now or n == name]
        turn = names.index(name) + self.generation
        return [
            (topic, number)
            for topic_, number in self._logs
            if topic_ == topic and (number + turn) % len(names) == 0
        ]

    def log(self, partition: tuple[str, int]) -> list[Event]:
        """What a partition holds; nothing, if its topic is gone."""
        return self._logs.get(partition, [])

    def horizon(self) -> dict[tuple[str, int], int]:
        """How far the partitions go that hold metrics."""
        return {partition: len(log) for partition, log in self._logs.items() if partition[0] == "metrics"}

    def delete_topic(self) -> None:
        """The metrics' topic goes with all it holds, and is made again: its partitions are others."""
        if not self.embedded:
            self.deletions += 1
            self._logs = {at: log for at, log in self._logs.items() if at[0] != "metrics"}
            for number in range(PARTITIONS):
                self._logs["metrics", self.deletions * PARTITIONS + number] = []
            self.rebalance()

    def sources_of(self, run: str) -> list[str]:
        """Sources that wrote to a run."""
        return [source for source, spool in self.spools.items() if spool.run == run]

    def run_finished(self, run: str) -> bool:
        """Whether all trainers of a run are done, or dead."""
        return all(source in self.finished for source in self.sources_of(run))

    # --- steps ---

    def _deliver(self) -> Iterator[None]:
        """The broker takes events of a topic in the order an agent sent them; those of a dead one come late, and twice."""
        while True:
            if self.network:
                session, event, acknowledged = self.random.choice(self.network)
                if not event.ends and self.now < self.late_until:
                    yield
                    continue
                at = next(
                    n
                    for n, item in enumerate(self.network)
                    if item[0] is session and bool(item[1].ends) == bool(event.ends)
                )
                session, event, acknowledged = self.network.pop(at)
                topic = "status" if event.ends else "metrics"
                again = self.deletions if topic == "metrics" else 0
                partition = (topic, again * PARTITIONS + self.runs.index(event.run) % PARTITIONS)
                self._logs[partition].append(event)
                if self.random.random() < 0.1:
                    self.network.append((object(), event, [False]))
                acknowledged[0] = True
            yield

    def _step_until(self, end: Callable[[], bool]) -> None:
        until = self.now + QUIET_STEPS
        while not end():
            awake = [a for a in self._actors.values() if not a.done and a.wakes <= self.now]
            self.now += 1
            if self.now > until:
                raise Violation(f"not done after {QUIET_STEPS} steps without a fault: {self._left()}")
            if awake:
                actor = self.random.choice(awake)
                try:
                    next(actor.steps)
                except StopIteration:
                    actor.done = True

    def _left(self) -> str:
        stored = {source: len([s for s in self.database.ledger if s[0] == source]) for source in self.spools}
        return ", ".join(f"{s}: {stored[s]} of {spool.written} stored" for s, spool in self.spools.items())

    def _quiet(self) -> bool:
        return (
            self.database.settled == set(self.runs)
            and not self.database.chunks
            and all(file.state == "live" for file in self.database.files.values())
            and set(self.store.files) == {file.path for file in self.database.files.values()}
        )

    def _check_end(self) -> None:
        self.database.check()
        written = {(source, n) for source, spool in self.spools.items() for n in range(spool.written)}
        if missing := written - self.database.ledger - self.database.lost:
            raise Violation(f"lost, and nobody says so: {sorted(missing)[:5]}")
        if self.database.ledger - written or (self.database.lost and not self.deletions):
            raise Violation("stored and never written, or given up without a reason")
        for file in self.database.live():
            if self.store.files[file.path][0] != file.slots:
                raise Violation(f"{file.path} holds something else than the manifest says")


def run_schedules(first: int, count: int, broken: frozenset[Broken] = frozenset()) -> int | None:
    """Run schedules of the seeds from `first` on; the seed that violated an invariant, None when none did."""
    for seed in range(first, first + count):
        try:
            World(seed, broken).run()
        except Violation:
            return seed
    return None
