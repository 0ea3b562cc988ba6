"""A thread for the heavy work of compaction: zstd, numpy and Parquet release the GIL, so one process serves both."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from runstream_schemas.priority import be_nice

T = TypeVar("T")


class Worker:
    """The one thread that decodes, sorts and encodes, so that the event loop's heartbeats and requests never wait for it."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(1, "compaction", initializer=be_nice)

    async def run(self, work: Callable[..., T], *args: Any) -> T:
        """Call `work(*args)` in the thread."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, work, *args)

    def submit(self, work: Callable[[], object]) -> None:
        """Have `work()` done after what was asked for before; do not wait for it."""
        self._executor.submit(work)

    def close(self) -> None:
        """Let the thread end, once it did what was asked for."""
        self._executor.shutdown(wait=False)
