"""The processes that carry SQL out: started when needed, a few at once, used again, killed when they are late.

See `sql_worker` for why they are processes.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from typing import Any

from runstream_schemas.errors import QueryError, ServiceError
from runstream_schemas.settings import Settings

GRACE = 2.0
"""Seconds after the end of its time at which a process ends itself, if nobody did before."""
ANSWER = "answer.arrow"
"""File of a statement's folder with its answer."""
MOST_AT_ONCE = 4
"""Statements that run at once; further ones wait, as long as a query may take."""
IDLE_SECONDS = 60.0
"""Seconds a process is kept for the next statement."""
_KEPT = 2  # processes kept
_ENVIRONMENT = ("PATH", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH")

_places = threading.BoundedSemaphore(MOST_AT_ONCE)
_idle: list[tuple[float, SqlProcess]] = []
_lock = threading.Lock()


class FileGone(Exception):
    """A file of the views cannot be read."""


class SqlProcess:
    """One such process, for one statement at a time. It ends when this end of its pipe is closed, however that happens.

    Args:
        remote: the store is an object store, which may find its credentials in the environment or the user's home.

    Raises:
        ServiceError: it cannot be started.
    """

    def __init__(self, remote: bool) -> None:
        self.remote = remote
        # What DuckDB could be talked into showing must not hold passwords.
        environment = {
            key: value
            for key, value in os.environ.items()
            if (not key.startswith(("RUNSTREAM_", "PG")) if remote else key in _ENVIRONMENT)
        }
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "runstream_query.sql.sql_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
        )
        assert self._process.stdout is not None
        if not self._process.stdout.readline():
            self.close()
            raise ServiceError("the process for SQL could not be started; see the server's log")

    async def ask(self, do: str, settings: Settings, **request: Any) -> Any:
        """Let it do something; see `sql_worker`.

        Raises:
            QueryError: the statement is refused, wrong, or needs too much time or memory.
            FileGone: a file of the views cannot be read.
        """
        seconds = settings.query_timeout
        line = json.dumps({"do": do, "seconds": seconds, "memory": settings.sql_memory, **request})
        late = f"the query took longer than {seconds:g} s; narrow it, or raise RUNSTREAM_QUERY_TIMEOUT"
        memory = f"the query needs more than {settings.sql_memory} of memory; narrow it, or raise RUNSTREAM_SQL_MEMORY"
        try:
            async with asyncio.timeout(seconds + GRACE / 2):
                answered = await asyncio.to_thread(self._exchange, line)
        except TimeoutError:  # DuckDB could not be interrupted
            self.kill()
            raise QueryError(late) from None
        except asyncio.CancelledError:  # the client went away
            self.kill()
            raise
        if not answered:
            self.kill()
            raise QueryError(memory)  # what else ends it: the system, for want of memory
        answer = json.loads(answered)
        if answer.get("last"):
            self.kill()
        if answer.get("error") == "file":
            raise FileGone(answer["detail"])
        if "error" in answer:
            raise QueryError({"late": late, "memory": memory}.get(answer["error"], answer["detail"]))
        return answer["ok"]

    def _exchange(self, line: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
            return self._process.stdout.readline()
        except (OSError, ValueError):
            return ""

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

    def usable(self) -> bool:
        """Whether it still lives."""
        return self._process.poll() is None

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """End it, and give back its pipes."""
        self.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


@contextlib.asynccontextmanager
async def borrowed(settings: Settings, *, remote: bool) -> AsyncIterator[SqlProcess]:
    """A process for one statement.

    Raises:
        TimeoutError: `MOST_AT_ONCE` others were under way all the time a query may take.
    """
    async with asyncio.timeout(settings.query_timeout):
        while not _places.acquire(blocking=False):
            await asyncio.sleep(0.02)
    try:
        process = _take(remote)
        if process is None:
            process = await asyncio.to_thread(SqlProcess, remote)
        try:
            yield process
        finally:
            await asyncio.shield(asyncio.to_thread(_give_back, process))
    finally:
        _places.release()


def _take(remote: bool) -> SqlProcess | None:
    with _lock:
        for number, (_, process) in reversed(list(enumerate(_idle))):
            if process.remote == remote and process.usable():
                del _idle[number]
                return process
    return None


def _give_back(process: SqlProcess) -> None:
    if not process.usable():
        process.close()
        return
    with _lock:
        _idle.append((time.monotonic() + IDLE_SECONDS, process))
    timer = threading.Timer(IDLE_SECONDS + 0.1, _close_idle)
    timer.daemon = True
    timer.start()
    _close_idle()


def _close_idle(at_exit: bool = False) -> None:
    now = time.monotonic()
    with _lock:
        kept = [] if at_exit else [idle for idle in _idle[-_KEPT:] if idle[0] > now and idle[1].usable()]
        closed = [idle for idle in _idle if idle not in kept]
        _idle[:] = kept
    for _, process in closed:
        process.close()


atexit.register(_close_idle, at_exit=True)
