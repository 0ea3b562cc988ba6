"""Holds rules against the runs that changed: its cost follows the changes, and without rules nothing is looked at.

Which runs changed is told by the notifications of those who store. One that names none ("any run may have changed")
stands for the runs that had not ended at the last look and those that are new since. All these are looked at again
now and then, for what was not told; after a restart, those that changed meanwhile, from a cursor on that is kept in
the database.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from runstream_schemas.runs.status import TERMINAL_SQL

from ..runs.runs import Connection
from .conditions import MOST_STEPS, occurrences
from .raising import raise_alerts
from .rules import TOPIC
from .silence import LOOKS, SILENT, Silence

SLICE = 5000
"""Runs of one statement."""
LEAST_PAUSE = 1.0
"""Seconds between two looks for silence, at least."""

_RULES: Final = """
select coalesce(array_agg(distinct kind), '{}') as kinds, min(seconds) filter (where kind = 'silent') as seconds
from alert_rules where enabled"""
_OPEN = f"(status not in {TERMINAL_SQL} or settled_at is null) as open"
_NAMED: Final = f"select key, {_OPEN} from runs where run_id = any($1::text[])"
_THESE: Final = f"select key, {_OPEN} from runs where key = any($1::int8[])"
_FROM: Final = f"select key, {_OPEN} from runs where key >= $1 order by key limit {SLICE}"
_LIVE: Final = f"select key from runs where status not in {TERMINAL_SQL}"
_NEXT: Final = "select coalesce(max(key), 0) + 1 from runs"
_CURSOR: Final = "select next_key from alert_cursor"
_MOVE: Final = "update alert_cursor set next_key = $1 where next_key <> $1"


@dataclass(slots=True)
class Notified:
    """What a stretch of notifications says.

    Attributes:
        runs: those that changed, by id; None: any run may have changed.
        rules: whether the rules were changed, or something waits to be sent.
    """

    runs: set[str] | None = field(default_factory=set)
    rules: bool = False


def changes_of(payloads: Iterable[str] | None) -> Notified:
    """What notifications say together; None: some were missed."""
    if payloads is None:
        return Notified(None, rules=True)
    changes = Notified()
    for payload in payloads:
        notice = json.loads(payload)
        topic, runs = notice.get("topic"), notice.get("runs")
        if topic == TOPIC:
            changes.rules = True
        elif topic in ("metrics", "status"):
            changes.runs = None if runs is None or changes.runs is None else changes.runs | set(runs)
    return changes


class Evaluator:
    """Holds rules against runs, over a connection that no other evaluator has the like of (see `role`).

    Args:
        connection: the one that holds the lock: who has lost it raises nothing.

    Attributes:
        raised: alerts raised since it was made.
        pause: seconds between two looks for silence; None: no rule asks for it.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._kinds: frozenset[str] = frozenset()
        self._open: set[int] = set()  # not ended, or not whole, at the last look
        self._next = 0  # above all runs looked at
        self._swept = 0  # where the next sweep begins
        self._silence = Silence()
        self.raised = 0
        self.pause: float | None = None

    @property
    def idle(self) -> bool:
        """Whether there are no rules."""
        return not self._kinds

    async def begin(self) -> None:
        """Learn the rules, and hold them against what changed while nobody did."""
        await self._learn()
        self._swept = self._next = await self._connection.fetchval(_CURSOR)
        if not self.idle:
            await self.sweep()

    async def renew(self) -> None:
        """Learn the rules anew, and hold new ones against the runs there are: those that live."""
        was_idle = self.idle
        await self._learn()
        if self.idle:
            return
        if was_idle:  # what ended before there was a rule is none of it
            self._swept = self._next = await self._connection.fetchval(_NEXT)
        await self.sweep()

    async def _learn(self) -> None:
        row = await self._connection.fetchrow(_RULES)
        self._kinds = frozenset(row["kinds"])
        self.pause = None if row["seconds"] is None else max(row["seconds"] / LOOKS, LEAST_PAUSE)
        if self.idle:
            self._open.clear()

    async def look(self, changes: Notified) -> None:
        """Hold the rules against what changed."""
        if changes.runs is None:
            await self._look_at(sorted(self._open))
            await self._look_from(self._next)
            return
        ids = list(changes.runs)
        for at in range(0, len(ids), SLICE):
            await self._hold(await self._connection.fetch(_NAMED, ids[at : at + SLICE]))

    async def sweep(self) -> None:
        """Hold the rules against all runs that live, did at the last look, or are new since the last sweep."""
        begin = self._next
        live = [row["key"] for row in await self._connection.fetch(_LIVE)]
        await self._look_at(sorted(self._open.union(live)))
        await self._look_from(self._swept)
        # Keys are seen as their transactions end, not in their order: what is above the last sweep's end is looked at twice.
        self._swept = begin
        await self.keep()

    async def listen(self, now: float) -> None:
        """Hold the rules for silence against the runs that live.

        Args:
            now: seconds of a clock that nobody sets.
        """
        self.raised += await raise_alerts(self._connection, await self._silence.look(self._connection, now))

    async def keep(self) -> None:
        """Note in the database from where on a restart has to look."""
        if not self.idle:
            await self._connection.execute(_MOVE, min(self._open, default=self._swept))

    async def _look_at(self, keys: Sequence[int]) -> None:
        for at in range(0, len(keys), SLICE):
            part = keys[at : at + SLICE]
            rows = await self._connection.fetch(_THESE, part)
            self._open.difference_update(part)  # a deleted run is open no more
            await self._hold(rows)

    async def _look_from(self, key: int) -> None:
        while rows := await self._connection.fetch(_FROM, key):
            key = rows[-1]["key"] + 1
            await self._hold(rows)

    async def _hold(self, rows: Sequence[Any]) -> None:
        """Hold the rules against runs, and note which of these are open."""
        keys = [row["key"] for row in rows]
        if not keys:
            return
        self._next = max(self._next, max(keys) + 1)
        self._open.difference_update(keys)
        self._open.update(row["key"] for row in rows if row["open"])
        for kind in sorted(self._kinds - {SILENT}):
            while True:
                met = await occurrences(self._connection, kind, keys)
                self.raised += await raise_alerts(self._connection, met)
                if kind != "alert" or len(met) < MOST_STEPS:
                    break
