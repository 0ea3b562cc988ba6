"""Answers made of points carry a tag that changes when points are stored, so that nothing is read twice for nothing.

The tag is made of how far each of the runs' writers is stored, so it is the same whichever tier the points lie in, and is
known without reading them: a client that still has the answer gets 304 in a millisecond. It is taken before the points are
read: at worst an answer is newer than its tag, and is asked for once more.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final

import asyncpg
from cachetools import LRUCache
from starlette.requests import Request
from starlette.responses import Response

_FORMAT = "1"  # of all answers together: another one makes what clients hold useless
_LEFT_OUT = ("wait", "timeout", "ticket")  # parameters that do not change the answer

STORED: Final = """
select r.run_id, string_agg(concat_ws(',', s.key, s.next, s.ahead::text), ';' order by s.key) as stored
from runs r join sources s on s.run_key = r.key and s.topic = 'metrics'
where r.run_id = any($1::text[])
group by r.run_id
"""


class Shared:
    """Answers being made, or made lately: of many who ask for the same at the same time one reads.

    Args:
        most: bytes kept of those that are made.
    """

    def __init__(self, most: int = 32 << 20) -> None:
        self._making: dict[str, asyncio.Task[bytes]] = {}
        self._made: LRUCache[str, bytes] = LRUCache(most, getsizeof=len)

    async def get(self, tag: str, make: Callable[[], Coroutine[Any, Any, bytes]]) -> bytes:
        """The answer of that tag; `make` is called when nobody else is making it."""
        made = self._made.get(tag)
        if made is not None:
            return made
        task = self._making.get(tag)
        if task is None:
            task = self._making[tag] = asyncio.create_task(make())
            task.add_done_callback(lambda done: self._keep(tag, done))
        return await asyncio.shield(task)  # the others wait on when one goes away

    def _keep(self, tag: str, done: asyncio.Task[bytes]) -> None:
        del self._making[tag]
        if done.cancelled() or done.exception() is not None:
            return
        if len(done.result()) <= self._made.maxsize:
            self._made[tag] = done.result()


async def points_headers(request: Request, pool: asyncpg.Pool[Any], run_ids: Sequence[str]) -> dict[str, str]:
    """The headers of an answer made of points of these runs."""
    stored = {row["run_id"]: row["stored"] for row in await pool.fetch(STORED, list(run_ids))}
    digest = hashlib.blake2b(_FORMAT.encode(), digest_size=12)
    asked = sorted(pair for pair in request.query_params.multi_items() if pair[0] not in _LEFT_OUT)
    for part in (
        request.scope["path"],
        request.headers.get("accept", ""),
        repr(asked),
        *(f"{run_id}={stored.get(run_id)}" for run_id in run_ids),
    ):
        digest.update(part.encode() + b"\n")
    return {"ETag": f'W/"{digest.hexdigest()}"', "Cache-Control": "private, no-cache"}


def not_modified(request: Request, headers: dict[str, str]) -> Response | None:
    """The answer to a client that has it already; None: it has not."""
    held = [tag.strip() for tag in request.headers.get("if-none-match", "").split(",")]
    if headers["ETag"] not in held:
        return None
    return Response(status_code=304, headers={**headers, "Vary": "Accept, Accept-Encoding"})
