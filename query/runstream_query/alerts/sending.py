"""Sending what was raised: a lane a receiver, so that one that fails or hangs holds up none but itself.

A message is marked as `sending` first. One that a kill found there is sent again by whoever sends next: at least
once, with a number in its text by which two of them are known for one. What is not taken is tried again, with growing
pauses, a bounded number of times. Within the wait of a rule what it raises under the same title is `held`: noted, and
not sent.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, Final

import asyncpg

from runstream_schemas.backoff import Backoff
from runstream_schemas.runs.alerts import text_of

from .postman import Post
from .receivers import Receiver
from .rules import unknown_receiver
from .state import AlertsState

logger = logging.getLogger("runstream.alerts")

ATTEMPTS = 6
"""Times a message is sent at most."""
FIRST_PAUSE, LONGEST_PAUSE = 2.0, 300.0
"""Seconds until a receiver that did not take a message is asked again."""
SECONDS = 30.0
"""Seconds a receiver has to take a message."""

# By the database's clock; one that was set back holds nothing for longer.
_HOLD: Final = """
update alert_sends s set state = 'held', changed_at = now()
from alerts a join alert_rules u on u.id = a.rule_id
where s.receiver = $1 and s.state = 'waiting' and a.id = s.alert_id and exists (
    select from alert_sends p join alerts b on b.id = p.alert_id
    where p.receiver = $1 and p.state = 'sent' and b.rule_id = a.rule_id and b.title = a.title
        and p.changed_at <= now() and p.changed_at > now() - u.wait_seconds * interval '1 second')"""
_TAKE: Final = """
update alert_sends s set state = 'sending', attempts = attempts + 1, changed_at = now()
from alerts a left join runs r on r.key = a.run_key left join experiments e on e.id = r.experiment_id
where a.id = s.alert_id and s.receiver = $1 and s.alert_id = (
    select alert_id from alert_sends where receiver = $1 and state = 'waiting'
    order by alert_id limit 1 for update skip locked)
returning a.id, a.title, a.text, a.level, a.workspace, a.rule, s.attempts, r.run_id, r.display_name, e.name as experiment"""
_NOTE: Final = """
update alert_sends set state = $3, error = $4, changed_at = now() where alert_id = $1 and receiver = $2"""
_RESUME: Final = "update alert_sends set state = 'waiting' where state = 'sending'"
_WAITING: Final = "select distinct receiver from alert_sends where state = 'waiting'"


class Sender:
    """Sends what waits, when told that something does.

    Args:
        pool: connections to the database.
        receivers: by name.
        post: what delivers.
        first_pause: seconds until a receiver that did not take a message is asked again; each pause is twice the last one.
        state: counts on in this.
    """

    def __init__(
        self,
        pool: asyncpg.Pool[Any],
        receivers: Mapping[str, Receiver],
        post: Post,
        first_pause: float = FIRST_PAUSE,
        state: AlertsState | None = None,
    ) -> None:
        self._state = AlertsState() if state is None else state
        self._pool, self._receivers, self._post, self._first_pause = pool, receivers, post, first_pause
        self._lanes: dict[str, asyncio.Task[None]] = {}
        self._again: set[str] = set()

    async def resume(self) -> None:
        """Take up what the last sender left: all that was under way is sent again."""
        await self._pool.execute(_RESUME)
        await self.wake()

    async def wake(self) -> None:
        """See what waits, and have it sent."""
        for row in await self._pool.fetch(_WAITING):
            name = row["receiver"]
            self._again.add(name)
            lane = self._lanes.get(name)
            if lane is None or lane.done():
                self._lanes[name] = asyncio.create_task(self._lane(name), name=f"alerts to {name}")

    async def stop(self) -> None:
        """Let go of what is under way: it is sent again by the next sender."""
        for lane in self._lanes.values():
            lane.cancel()
        await asyncio.gather(*self._lanes.values(), return_exceptions=True)

    async def _lane(self, name: str) -> None:
        """Send all that waits for one receiver, in the order in which it was raised."""
        pauses = Backoff(self._first_pause, LONGEST_PAUSE)
        while name in self._again:
            self._again.discard(name)
            while True:
                try:
                    taken = await self._next(name)
                except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                    logger.warning("alerts to %s wait for the database: %s", name, error)
                    taken = False
                if taken is None:
                    break
                if taken:
                    pauses.reset()
                else:
                    await asyncio.sleep(next(pauses))

    async def _next(self, name: str) -> bool | None:
        """Send the next message; whether it was taken. None: nothing waits."""
        receiver = self._receivers.get(name)
        await self._pool.execute(_HOLD, name)
        row = await self._pool.fetchrow(_TAKE, name)
        if row is None:
            return None
        if receiver is None:
            self._state.attempts[name, "failed"] += 1
            await self._pool.execute(
                _NOTE, row["id"], name, "failed", unknown_receiver(name, self._receivers)
            )
            return True
        error = await self._post.deliver(receiver, row["title"], message_of(row), row["level"])
        if error is None:
            self._state.attempts[name, "sent"] += 1
            await self._pool.execute(_NOTE, row["id"], name, "sent", None)
            return True
        last = row["attempts"] >= ATTEMPTS
        self._state.attempts[name, "failed" if last else "refused"] += 1
        logger.warning(
            "alert %d was not taken by %s (attempt %d): %s", row["id"], name, row["attempts"], error
        )
        await self._pool.execute(_NOTE, row["id"], name, "failed" if last else "waiting", text_of(error))
        return False


def message_of(row: Any) -> str:
    """The text of a message: what is told, of which run, and the number of the alert."""
    lines = [row["text"], ""] if row["text"] else []
    if row["run_id"] is not None:
        name = row["display_name"] or row["run_id"]
        lines.append(f"Run: {name} ({row['run_id']})")
        lines.append(f"Experiment: {row['experiment']}, workspace {row['workspace']}")
    lines.append(f"Alert {row['id']}" + ("" if row["rule"] is None else f" of the rule {row['rule']}"))
    return "\n".join(lines)
