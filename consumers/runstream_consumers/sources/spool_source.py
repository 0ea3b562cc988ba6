"""The embedded mode's source: the spool itself, without a broker between.

A spool directory is one partition, which carries all three kinds of events. Its offset is there for the fence, so that of
two services on one spool only one stores anything. It says nothing of what the spool holds, and moves by a random distance:
a count could be met by chance by a batch that was forgotten, which would leave a hole. What is stored of each source
is noted in the spool and, as with Kafka, in the table `sources`; a batch read again after a crash changes nothing.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import deque

from runstream.spool.collecting.collected import Collected
from runstream.spool.collecting.collector import Collector
from runstream_schemas.settings import Settings

from .source import Fetched, LoadOffsets, Partition

LONGEST_MOVE = 1 << 31
"""Of the offset: there is room for 2^33 commits or so."""


class SpoolSource:
    """`source.EventSource` over a spool directory.

    Args:
        load_offsets: tells the stored offset (the writer's `load_offsets`).
    """

    def __init__(self, settings: Settings, load_offsets: LoadOffsets) -> None:
        self.collector = Collector(settings)
        self._load_offsets = load_offsets
        self._next = 0
        self._noted: deque[Collected] = deque()
        self._out: dict[int, list[Collected]] = {}  # by the batch's end
        self.partition = Partition("", "spool", str(settings.spool_path), 0)

    async def start(self) -> None:
        """Lock the spool and learn where its partition stands.

        Raises:
            SpoolError: another process reads this spool.
        """
        await self.collector.lock()
        self.partition = Partition(f"spool:{self.collector.id}", "spool", str(self.collector.spool), 0)
        await self._reload()

    async def fetch(self, max_bytes: int, timeout: float) -> list[Fetched]:
        """What is due in the spool; see `source.EventSource.fetch`."""
        deadline = time.monotonic() + timeout
        while True:
            looking = asyncio.create_task(asyncio.to_thread(self._work, max_bytes))
            try:
                items = await asyncio.shield(looking)
            finally:
                await asyncio.wait([looking])  # before that nobody else may touch the collector
            if items:
                return [self._fetched(items)]
            rest = deadline - time.monotonic()
            if rest <= 0:
                return []
            await asyncio.sleep(min(self.collector.pause, rest))

    def _work(self, max_bytes: int) -> list[Collected]:
        """In a thread, because encoding takes a while; what was stored is noted here too: only one touches the spool."""
        self._note()
        return self.collector.collect(max_bytes)

    def _note(self) -> None:
        while self._noted:
            self.collector.stored(self._noted.popleft())

    def _fetched(self, items: list[Collected]) -> Fetched:
        start = self._next
        self._next += 1 + secrets.randbelow(LONGEST_MOVE)
        events = [event for item in items for event in item.events]
        fetched = Fetched(
            self.partition, start, self._next, events, size=sum(item.size for item in items), complete=True
        )
        self._out[fetched.next] = items
        return fetched

    async def stored(self, fetched: Fetched) -> None:
        """Give the segments back; see `source.EventSource.stored`."""
        self._noted.extend(self._out.pop(fetched.next, ()))

    async def lost(self, partition: Partition) -> None:
        """Read again what was not stored; see `source.EventSource.lost`."""
        self._note()
        self._out.clear()
        self.collector.forget()
        await self._reload()

    def lag(self) -> int:
        """Sources with something that is not stored; see `source.EventSource.lag`."""
        return self.collector.backlog

    @property
    def horizon(self) -> None:
        """Its batches are complete; see `source.EventSource.horizon`."""
        return None

    async def stop(self) -> None:
        """Note what was stored and let another process read the spool."""
        try:
            self._note()
        finally:
            self.collector.unlock()

    async def _reload(self) -> None:
        self._next = (await self._load_offsets([self.partition]))[self.partition] or 0
