"""`runstream up --kafka`: the cluster's shape on one machine: a real Kafka, the embedded Postgres, and each role a process.

The same commands as in compose.yaml, with the same variables; only the hosts differ. The processes end with this one,
however it ends, and one that crashes is started again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
from asyncio.subprocess import Process
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from runstream.home.autostart import command, environment
from runstream.home.layout import (
    Home,
    ServiceInfo,
    ServiceLock,
    claim_database,
    create_token,
    forget_service,
    lock_owner,
    open_home,
    write_service,
)
from runstream.version import __version__
from runstream_schemas.backoff import Backoff
from runstream_schemas.errors import ServiceError
from runstream_schemas.settings import Settings

from .probe import answers
from .supervision import FIRST_PAUSE, LONGEST_PAUSE, STOP_SECONDS, stop_at_signals, watch_postgres

if TYPE_CHECKING:
    from .servers.kafka import KafkaServer
    from .servers.postgres import PostgresServer

logger = logging.getLogger("runstream.cluster")

LOCAL_KAFKA = "here"
"""Value of the setting `kafka` that asks for a broker of our own."""
ROLES = {"agent": 1, "consumer": 2, "compactor": 2, "server": 1}
"""How many processes of each role. Two threads of one compactor are slower than one: they wait for one another's GIL."""
READY_SECONDS = 60.0


async def run_cluster(settings: Settings, *, on_ready: Callable[[ServiceInfo], None] | None = None) -> None:
    """Run the roles as processes until SIGTERM or SIGINT.

    Args:
        settings: `kafka` is bootstrap servers, or LOCAL_KAFKA for a broker of our own; `database` likewise, if empty.
        on_ready: called once, when the server answers.

    Raises:
        ServiceError: the home is served already, or Kafka does not start.
        DatabaseError: Postgres does not start or has another version.
    """
    home = open_home(settings)
    lock = ServiceLock(home)
    if not lock.acquire():
        raise ServiceError(
            f"the home {home.root} is served already, by process {lock_owner(home)}; end it with `runstream down`"
        )
    try:
        forget_service(home)
        if not settings.database:
            claim_database(home)
        await _Cluster(home, replace(settings, home=str(home.root), spool=str(home.spool))).run(on_ready)
    finally:
        forget_service(home)
        lock.release()


@dataclass(slots=True)
class _Cluster:
    home: Home
    settings: Settings
    kafka: KafkaServer | None = None
    postgres: PostgresServer | None = None
    processes: dict[str, Process] = field(default_factory=dict)

    async def run(self, on_ready: Callable[[ServiceInfo], None] | None) -> None:
        stop = stop_at_signals()
        try:
            self._start_servers()
            self.settings = replace(
                self.settings,
                token=self.settings.token or create_token(self.home),
                port=self.settings.port or _free_port(self.settings.host),
            )
            places = [(role, number) for role, count in ROLES.items() for number in range(count)]
            watches = [asyncio.create_task(self._keep(*place, at, stop)) for at, place in enumerate(places)]
            if self.postgres is not None:
                watches.append(asyncio.create_task(watch_postgres(self.postgres, stop)))
            watches.append(asyncio.create_task(self._keep_kafka(stop)))
            try:
                await self._announce(stop, on_ready)
                await stop.wait()
            finally:
                stop.set()
                await asyncio.gather(*watches, return_exceptions=True)
        finally:
            if self.kafka is not None:
                self.kafka.stop()
            if self.postgres is not None:
                self.postgres.stop()
            logger.info("stopped")

    def _start_servers(self) -> None:
        # On this thread, the main one: both servers are told to end when the thread that started them does.
        if not self.settings.database:
            from .servers.postgres import PostgresServer

            self.postgres = PostgresServer(self.home.postgres)
            self.postgres.start()
            self.settings = replace(self.settings, database=self.postgres.dsn)
        if self.settings.kafka == LOCAL_KAFKA:
            from .servers.kafka import KafkaServer

            self.kafka = KafkaServer(self.home.postgres.parent / "kafka")
            self.settings = replace(self.settings, kafka=self.kafka.start())

    async def _announce(self, stop: asyncio.Event, on_ready: Callable[[ServiceInfo], None] | None) -> None:
        host = self.settings.host
        shown = "127.0.0.1" if host in ("", "0.0.0.0", "::") else host  # noqa: S104 - shown, not bound
        scheme = "https" if self.settings.tls_cert_file else "http"
        url = f"{scheme}://{f'[{shown}]' if ':' in shown else shown}:{self.settings.port}"
        deadline = asyncio.get_running_loop().time() + READY_SECONDS
        while not await asyncio.to_thread(answers, url, "/readyz", 1.0):
            if stop.is_set():
                return
            if asyncio.get_running_loop().time() > deadline:
                raise ServiceError(
                    f"the server at {url} did not answer within {READY_SECONDS:.0f} s; see {self.home.log}"
                )
            await asyncio.sleep(0.05)
        info = ServiceInfo(
            url=url,
            pid=os.getpid(),
            host=socket.gethostname(),
            started=datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            version=__version__,
            kafka=self.settings.kafka,
            browsers_need_ticket=True,
            token=self.settings.token,
        )
        write_service(self.home, info)
        logger.info("ready at %s, home %s, Kafka %s", url, self.home.root, info.kafka)
        if on_ready is not None:
            on_ready(info)

    async def _keep(self, role: str, number: int, place: int, stop: asyncio.Event) -> None:
        """One process of a role, started again when it ends by itself; `place`: among all."""
        name = f"{role}-{number + 1}" if ROLES[role] > 1 else role
        pauses = Backoff(FIRST_PAUSE, LONGEST_PAUSE)
        loop = asyncio.get_running_loop()
        while not stop.is_set():
            began = loop.time()
            process = await self._spawn(role, name, place)
            if await _ended(process, stop):
                if loop.time() - began > 60:
                    pauses.reset()
                pause = next(pauses)
                logger.error(
                    "%s ended with status %s; starting it again in %.1f s (see %s)",
                    name,
                    process.returncode,
                    pause,
                    self.home.log / f"{name}.log",
                )
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), pause)

    async def _spawn(self, role: str, name: str, place: int) -> Process:
        port = self.settings.metrics_port
        settings = replace(self.settings, metrics_port=port + place if port else 0)
        log = os.open(
            self.home.log / f"{name}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600
        )
        try:
            process = await asyncio.create_subprocess_exec(
                *command(role, "--parent", str(os.getpid())),
                env=environment(settings),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        finally:
            os.close(log)
        self.processes[name] = process
        logger.info("%s is process %d", name, process.pid)
        return process

    async def _keep_kafka(self, stop: asyncio.Event) -> None:
        """Start the broker again when it ended; the roles reconnect by themselves."""
        while self.kafka is not None and not stop.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), 0.25)
                return
            if not self.kafka.running:
                logger.error("Kafka ended by itself (see %s); starting it again", self.kafka.log_path)
                # Blocks, some seconds, and must: the broker ends with the thread that starts it.
                try:
                    self.kafka.start()
                except (ServiceError, OSError) as error:
                    logger.error("%s", error)


async def _ended(process: Process, stop: asyncio.Event) -> bool:
    """Wait for a process; True if it ended by itself, False after it was stopped."""
    waiting, stopping = asyncio.create_task(process.wait()), asyncio.create_task(stop.wait())
    await asyncio.wait({waiting, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not stop.is_set():
        return True
    for number, patience in ((signal.SIGTERM, STOP_SECONDS), (signal.SIGKILL, 5.0)):
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(number)
            await asyncio.wait({waiting}, timeout=patience)
    return False


def _free_port(host: str) -> int:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])
