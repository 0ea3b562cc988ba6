"""What the actors of the simulation share: spool, broker, database and store, each reduced to what the protocol leans on.

A slot's value is its number, so that a set of slots says everything about the points stored. `Broken` names the safeguards a
simulation can be told to leave out: each of them must then be missed (`test_protocol.py`).
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from runstream_consumers.storing.slots import Slots

PENDING_GRACE, TRASH_GRACE, ORPHAN_GRACE = 60, 150, 120
"""Steps of the simulation after which a claim counts as abandoned, a replaced file and an orphan may go."""

Slot = tuple[str, int]
ChunkKey = tuple[
    str, int, int
]  # source, first new slot, and a number that is 0 unless the slots' check is left out


class Broken(enum.Enum):
    """A safeguard left out."""

    FENCE = "offsets move without comparing them with the batch's start"
    SLOTS = "a resent event is stored as it comes"
    SOURCES = "slots of a source move without comparing them with what was cached"
    PUBLISH = "a file goes live, and its chunks go, in two transactions"
    CLAIM = "a file is published without looking whether the claim still stands"
    CHUNKS = "a file is published though one of its chunks is gone"
    ACKNOWLEDGE = "the spool is freed when an event is sent, not when it is acknowledged"
    ENDS = "a run is settled by its ending alone"
    IN_HAND = "what was read ahead of a lost fence is stored after it, where a count of commits lets it"
    EARLY_END = "the end of a run is sent before what it counts is acknowledged"
    HORIZON = "what an end counts is given up without waiting for the ends of the topics"
    TRASH = "a replaced file goes at once"
    SNAPSHOT = "manifest and chunks are read in two transactions"


class Violation(AssertionError):
    """An invariant does not hold."""


@dataclass(frozen=True, slots=True)
class Event:
    """What a source wrote in [first, end), or that its run has ended and until where its sources wrote."""

    run: str
    source: str
    first: int
    end: int
    ends: tuple[tuple[str, int], ...] = ()


@dataclass(slots=True)
class Spool:
    """One source: `written` slots, of which those below `noted` may be gone."""

    run: str
    total: int
    written: int = 0
    noted: int = 0
    status_noted: bool = False


@dataclass(slots=True)
class File:
    """A row of the manifest."""

    id: int
    path: str
    run: str
    state: str
    changed: int
    created: int
    slots: frozenset[Slot] = frozenset()


@dataclass(slots=True)
class Database:
    """Tables, and the locks of open transactions. A commit changes all at once; whoever dies before it changed nothing."""

    clock: Callable[[], int]
    broken: frozenset[Broken]
    offsets: dict[tuple[str, int], int] = field(default_factory=dict)
    sources: dict[str, Slots] = field(default_factory=dict)
    chunks: dict[ChunkKey, frozenset[Slot]] = field(default_factory=dict)
    run_of: dict[str, str] = field(default_factory=dict)
    files: dict[int, File] = field(default_factory=dict)
    ends: dict[str, dict[str, int]] = field(default_factory=dict)
    settled: set[str] = field(default_factory=set)
    given_up: set[str] = field(default_factory=set)
    lost: set[Slot] = field(default_factory=set)
    unanswered: bool = False
    ledger: set[Slot] = field(default_factory=set)
    locks: dict[object, object] = field(default_factory=dict)
    restarts: int = 0
    _ids: int = 0
    _shown: dict[tuple[str, int], int] = field(default_factory=dict)

    def new_id(self) -> int:
        """The next value of the sequence of files."""
        self._ids += 1
        return self._ids

    def by_path(self, path: str) -> File | None:
        """The row of a path; paths are unique."""
        return next((file for file in self.files.values() if file.path == path), None)

    def live(self, run: str | None = None) -> list[File]:
        """Live files, in the order in which their points were stored."""
        live_files = [
            file for file in self.files.values() if file.state == "live" and run in (None, file.run)
        ]
        return sorted(live_files, key=lambda file: (file.created, file.id))

    def check(self) -> None:
        """The invariants that hold at every moment. Called after every commit.

        Raises:
            Violation: one does not.
        """
        stored = [slot for slots in self.chunks.values() for slot in slots]
        stored += [slot for file in self.live() for slot in file.slots]
        if len(stored) != len(set(stored)):
            twice = sorted({slot for slot in stored if stored.count(slot) > 1})
            raise Violation(f"stored twice: {twice[:5]}")
        if set(stored) != self.ledger:
            raise Violation(f"committed and no longer stored: {sorted(self.ledger - set(stored))[:5]}")
        back = [p for p, shown in self._shown.items() if self.offsets[p] < shown]
        if back:
            raise Violation(f"the offset of {back[0]} moved back")
        self._shown = dict(self.offsets)
        for run in self.settled:
            for source, end in self.ends[run].items():
                missing = [n for n in range(end) if (source, n) not in self.ledger | self.lost]
                if missing:
                    raise Violation(f"{run} is settled without {source} {missing[:5]}")


class ConnectionLost(Exception):
    """The database was restarted; the transaction is rolled back."""


@dataclass(slots=True)
class Transaction:
    """Changes that are made at the commit, and rows that are locked until then."""

    database: Database
    restarts: int
    changes: list[Callable[[], None]] = field(default_factory=list)

    def alive(self) -> None:
        """Raise if the database was restarted since the transaction began."""
        if self.database.restarts != self.restarts:
            raise ConnectionLost

    def lock(self, row: object) -> Iterator[None]:
        """Wait for a row."""
        while self.database.locks.get(row, self) is not self:
            yield
            self.alive()
        self.database.locks[row] = self

    def commit(self) -> None:
        """Make the changes."""
        self.alive()
        for change in self.changes:
            change()
        self.database.check()

    def answer(self) -> None:
        """Tell the client that it is committed, unless the connection breaks at that moment."""
        if self.database.unanswered:
            self.database.unanswered = False
            raise ConnectionLost


@contextmanager
def transaction(database: Database) -> Iterator[Transaction]:
    """A transaction: rolled back, and its locks freed, unless `commit` was called."""
    tx = Transaction(database, database.restarts)
    try:
        yield tx
    finally:
        for row in [row for row, owner in database.locks.items() if owner is tx]:
            del database.locks[row]


@dataclass(slots=True)
class Store:
    """Files by path: what they hold, and since when."""

    files: dict[str, tuple[frozenset[Slot], int]] = field(default_factory=dict)
