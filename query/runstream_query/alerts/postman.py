"""The process that delivers alerts, seen from outside: apprise, in a process that lives while there is something to
send.

It is a process and not a thread: apprise takes seconds and tens of megabytes to load all it knows, a receiver that
hangs can hold a thread for good but not a process, and the addresses it is told are out of memory when it has ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from dataclasses import dataclass, field
from typing import Any

from .receivers import Receiver

START_SECONDS = 60.0
"""Seconds the process has to be ready."""
IDLE_SECONDS = 60.0
"""Seconds it is kept for the next message."""
_LONGEST_ANSWER = 1 << 20
_ENVIRONMENT = (
    "PATH", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "HOME", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy",
    "https_proxy", "no_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE",
)  # fmt: skip


@dataclass(slots=True, eq=False)
class _Postman:
    """One process."""

    process: Process
    waiting: dict[int, asyncio.Future[str | None]] = field(default_factory=dict)
    listening: asyncio.Task[None] | None = None
    retired: bool = False
    killed: bool = False
    idle: asyncio.TimerHandle | None = None

    def usable(self) -> bool:
        return not self.retired and self.process.returncode is None

    def kill(self) -> None:
        if self.idle is not None:
            self.idle.cancel()
        if not self.killed:  # a second time it may be gone, and asyncio then takes its end from its watcher
            self.retired = self.killed = True
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()


class Post:
    """Delivers messages; starts the process when it is needed.

    Args:
        seconds: the time a receiver has to take a message.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._postman: _Postman | None = None
        self._numbers = itertools.count(1)
        self._starting = asyncio.Lock()
        self._all: set[_Postman] = set()

    async def deliver(self, receiver: Receiver, title: str, text: str, level: str) -> str | None:
        """Deliver a message; None: it was taken, else why not. It may have been taken, too, when it was too late."""
        try:
            async with self._starting:
                if self._postman is None or not self._postman.usable():
                    self._postman = await self._start()
                postman = self._postman
                assert postman is not None
                number = next(self._numbers)
                answer: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
                postman.waiting[number] = answer
            if postman.idle is not None:
                postman.idle.cancel()
            message = {
                "number": number,
                "address": receiver.address,
                "title": title,
                "text": text,
                "level": level,
            }
            assert postman.process.stdin is not None
            postman.process.stdin.write(json.dumps(message).encode() + b"\n")
            await postman.process.stdin.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            return f"the process that delivers alerts could not be used ({type(error).__name__}: {error})"
        try:
            async with asyncio.timeout(self._seconds):
                return await answer
        except TimeoutError:
            postman.retired = True  # what hangs there ends with it, once nobody else waits for it
            return f"no answer within {self._seconds:g} s"
        finally:
            postman.waiting.pop(number, None)
            self._look_after(postman)

    def _look_after(self, postman: _Postman) -> None:
        if postman.waiting:
            return
        if postman.retired:
            postman.kill()
        else:
            postman.idle = asyncio.get_running_loop().call_later(IDLE_SECONDS, postman.kill)

    async def _start(self) -> _Postman:
        environment = {key: value for key, value in os.environ.items() if key in _ENVIRONMENT}
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",
            "-m",
            "runstream_query.alerts.postman_worker",
            stdin=PIPE,
            stdout=PIPE,
            stderr=DEVNULL,  # a traceback there could hold an address
            env=environment,
            limit=_LONGEST_ANSWER,
        )
        postman = _Postman(process)
        self._all.add(postman)
        assert process.stdout is not None
        try:
            async with asyncio.timeout(START_SECONDS):
                await process.stdout.readuntil(b"\n")
        except BaseException:
            postman.kill()
            self._all.discard(postman)
            raise
        postman.listening = asyncio.create_task(self._listen(postman), name="alerts-postman")
        return postman

    async def _listen(self, postman: _Postman) -> None:
        assert postman.process.stdout is not None
        while line := await postman.process.stdout.readline():
            answer: dict[str, Any] = json.loads(line)
            future = postman.waiting.get(answer["number"])
            if future is not None and not future.done():
                future.set_result(answer["error"])
        postman.retired = postman.killed = True
        await postman.process.wait()
        for future in postman.waiting.values():
            if not future.done():
                future.set_result("the process that delivers alerts ended")
        self._all.discard(postman)

    async def close(self) -> None:
        """End the process."""
        postmen = list(self._all)
        for postman in postmen:
            postman.kill()
        await asyncio.gather(*(p.listening for p in postmen if p.listening is not None))
