"""Does a compactor's round, and dies at a given step of it. A process that forks, so that a death costs milliseconds.

Reads lines `<dsn> <store> <step>`, answers each with the exit code: 9 died at that step, 0 came to the end before it.
A step is every suspension of the coroutine (a request was sent, the answer not seen) and every change of the store.
"""

from __future__ import annotations

import asyncio
import os
import sys
import traceback
import types
from collections.abc import Coroutine, Generator
from typing import Any

import pyarrow as pa

from runstream_consumers.compaction import merge, orphans, purge, runs_file, selection
from runstream_consumers.compaction.iceberg import cleaning, tables
from runstream_consumers.compaction.iceberg.publisher import Publisher
from runstream_consumers.compaction.role import compact_once
from runstream_consumers.compaction.worker import Worker
from runstream_schemas.database import create_pool
from runstream_schemas.settings import Settings
from runstream_schemas.store import LocalStore
from runstream_schemas.store.local import LocalFile

left = 0


def step() -> None:
    """Die when enough steps were taken."""
    global left
    left -= 1
    if left == 0:
        os._exit(9)


@types.coroutine
def stepped(work: Coroutine[Any, Any, None]) -> Generator[Any, Any, None]:
    """Run `work`, counting its suspensions."""
    while True:
        try:
            future = work.send(None)
        except StopIteration:
            return
        step()
        yield future


def counted(owner: Any, name: str) -> None:
    """Make a change of the store a step, before and after it."""
    original = getattr(owner, name)

    def change(*args: Any) -> Any:
        step()
        result = original(*args)
        step()
        return result

    setattr(owner, name, change)


async def one_round(dsn: str, root: str) -> None:
    """Everything a compactor does, with no patience."""
    settings = Settings(database=dsn, store=root, compact_after=0.0)
    store, worker = LocalStore(root), Worker()
    pool = await create_pool(settings, max_size=2)
    await orphans.clean_files(pool, store, grace=-10, keep=-10)
    await orphans.clean_rows(pool, store, pending_grace=-10, trash_grace=-10)
    await purge.purge_runs(pool, store, worker)
    await compact_once(pool, store, settings)
    await merge.merge_small_files(pool, store, worker)
    await runs_file.write_runs(pool, store, worker)
    await pool.close()
    worker.close()


async def publishing_round(dsn: str, root: str) -> None:
    """What a compactor does for the Iceberg tables, after what comes before; snapshots are old at once, unless kept."""
    global left
    settings = Settings(
        database=dsn, store=root, compact_after=0.0, trash_grace=900.0 if "kept" in sys.argv else 0.0
    )
    store, worker = LocalStore(root), Worker()
    pool = await create_pool(settings, max_size=2)
    steps, left = left, 1 << 40  # compaction itself dies elsewhere
    await purge.purge_runs(pool, store, worker)
    await compact_once(pool, store, settings)
    await merge.merge_small_files(pool, store, worker)
    left = steps
    await Publisher(pool, store, settings, worker).publish()
    await orphans.clean_files(pool, store, grace=-10, keep=-10)
    await orphans.clean_rows(pool, store, pending_grace=-10, trash_grace=-10)
    await cleaning.clean_metadata(pool, store, worker, grace=-10)
    await pool.close()
    worker.close()


def main() -> None:
    """Serve until the input ends."""
    global left
    pa.array([0])  # imports pandas, which takes longer than a whole round: once here, not in every child
    merge.FANOUT = 3
    selection.FILE_POINTS = 40  # a round makes several files
    tables.schema_of("metrics")  # warms up what takes longer the first time
    for name in ("stage", "publish", "retire", "delete", "pin"):
        counted(LocalStore, name)
    counted(LocalFile, "commit")
    for line in sys.stdin:
        dsn, root, steps = line.split()
        child = os.fork()
        if child == 0:
            left = int(steps)
            code = 1
            try:
                asyncio.run(stepped_main(dsn, root))
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(code)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


async def stepped_main(dsn: str, root: str) -> None:
    """A round, step by step."""
    await stepped((publishing_round if "iceberg" in sys.argv else one_round)(dsn, root))


if __name__ == "__main__":
    main()
