"""The embedded mode in one process: Postgres, a consumer that reads the spool, the compactor and the HTTP server.

Each part runs until `stop` is set; one that crashes is logged and started again, with growing pauses, while the others
continue (`supervision`).
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib import import_module
from typing import TYPE_CHECKING

from runstream.client.outbox import run_outbox
from runstream.home.autostart import start_in_background
from runstream.home.layout import (
    Home,
    ServiceInfo,
    ServiceLock,
    claim_database,
    create_token,
    forget_service,
    lock_owner,
    open_home,
    read_service,
    spooled_sources,
    write_service,
)
from runstream.version import __version__
from runstream_schemas.errors import ServiceError
from runstream_schemas.runs.status import TERMINAL_SQL
from runstream_schemas.settings import Settings

from .exposition import exposed
from .supervision import Part, prepare_database, run_parts, stop_at_signals, stopped_within, watch_postgres

if TYPE_CHECKING:
    from .servers.postgres import PostgresServer

logger = logging.getLogger("runstream.service")

LIVE_SECONDS = 180.0
"""A run that was heard of this recently and has not ended is live; heartbeats come far more often."""

LIVE_RUNS = f"""
select exists (select from runs where status not in {TERMINAL_SQL}
               and seen_up > uptime() - $1::float8)
    or exists (select from runs where settled_at is null and status in {TERMINAL_SQL}
               and seen_up > uptime() - $1::float8)
    or backup_held()
"""


async def run_service(
    settings: Settings,
    *,
    started_by_itself: bool = False,
    on_ready: Callable[[ServiceInfo], None] | None = None,
) -> None:
    """Serve a home until SIGTERM or SIGINT; started by itself, also until nothing needed it for `idle_timeout` seconds.

    Call it on the main thread: it handles signals, and Postgres' life is tied to the thread that starts it.

    Args:
        settings: with `database` set that one is used instead of an embedded Postgres.
        started_by_itself: end when idle.
        on_ready: called once, when the server answers.

    Raises:
        ServiceError: the home is served already, or cannot be.
        DatabaseError: the database does not start or is not one this runstream knows.
    """
    home = open_home(settings)
    lock = ServiceLock(home)
    if not lock.acquire():
        raise ServiceError(
            f"the home {home.root} is served already, by process {lock_owner(home)}; see `runstream status`, or end it with "
            "`runstream down`"
        )
    service = _Service(home, replace(settings, home=str(home.root), spool=str(home.spool)))
    try:
        forget_service(home)
        if not settings.database:
            claim_database(home)
        await service.run(started_by_itself, on_ready)
    finally:
        forget_service(home)
        lock.release()
    if service.known is not None and spooled_sources(home) - service.known:
        # A run began while we were ending: it saw the lock held and started no service.
        start_in_background(home, settings, "up", "--foreground", "--started-by-itself")


@dataclass(slots=True)
class _Service:
    home: Home
    settings: Settings
    stays: bool = False  # `runstream up` found it running: it was asked for by hand after all
    known: set[str] | None = None  # sources in the spool when it was decided to end

    async def run(self, started_by_itself: bool, on_ready: Callable[[ServiceInfo], None] | None) -> None:
        stop = stop_at_signals()
        token = create_token(self.home)
        # Half of a cold start is initdb, which only waits: the libraries are loaded meanwhile.
        loading = asyncio.get_running_loop().run_in_executor(None, _load)
        postgres = self._start_postgres()
        try:
            await loading
            await prepare_database(self.settings)
            await self._run_parts(postgres, token, stop, started_by_itself, on_ready)
        finally:
            if postgres is not None:
                postgres.stop()
            logger.info("stopped")

    def _start_postgres(self) -> PostgresServer | None:
        if self.settings.database:
            return None
        from .servers.postgres import PostgresServer

        postgres = PostgresServer(self.home.postgres)
        postgres.start()
        self.settings = replace(self.settings, database=postgres.dsn)
        return postgres

    async def _run_parts(
        self,
        postgres: PostgresServer | None,
        token: str,
        stop: asyncio.Event,
        started_by_itself: bool,
        on_ready: Callable[[ServiceInfo], None] | None,
    ) -> None:
        from runstream.consoles.sending import run_consoles
        from runstream.monitoring.sampler import SamplerState, run_sampler
        from runstream_consumers.compaction.recall import Recall
        from runstream_consumers.compaction.role import run_compactor
        from runstream_consumers.compaction.state import CompactorState
        from runstream_consumers.storing.consumer import ConsumerState, run_consumer
        from runstream_consumers.storing.direct import DirectRecorder
        from runstream_query.alerts.role import run_alerts
        from runstream_query.alerts.state import AlertsState
        from runstream_query.http.app import owner_enters, run_server
        from runstream_query.http.counters import ServerCounters

        def ready(url: str) -> None:
            info = ServiceInfo(
                url=url.rstrip("/"),
                pid=os.getpid(),
                host=socket.gethostname(),
                started=datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
                version=__version__,
                ends_when_idle=started_by_itself,
                browsers_need_ticket=not owner_enters(settings),
                token=token,
            )
            write_service(self.home, info)
            logger.info("ready at %s, home %s", info.url, self.home.root)
            if on_ready is not None:
                on_ready(info)

        settings = self.settings
        counters, stored, compacted = ServerCounters(), ConsumerState(), CompactorState()
        sampled, told = SamplerState(), AlertsState()
        parts: dict[str, Part] = {
            "server": lambda: run_server(
                settings,
                stop,
                token=token,
                embedded=True,
                on_ready=ready,
                counters=counters,
                shown=(stored, compacted, sampled, told),
                recorder=DirectRecorder,
            ),
            "consumer": lambda: run_consumer(settings, stop, source="spool", state=stored, make_cold=Recall),
            # alone: the home is locked
            "compactor": lambda: run_compactor(settings, stop, alone=True, state=compacted),
        }
        parts["alerts"] = lambda: run_alerts(settings, stop, state=told)
        parts["sampler"] = lambda: run_sampler(settings, stop, state=sampled)
        parts["outbox"] = lambda: run_outbox(replace(settings, database=""), stop)
        parts["consoles"] = lambda: run_consoles(replace(settings, database=""), stop)
        parts["queue"] = lambda: _run_queue(replace(settings, database=""), stop)
        if postgres is not None:
            parts["postgres"] = lambda: watch_postgres(postgres, stop)
        if started_by_itself:
            parts["idle watch"] = lambda: self._end_when_idle(stop)
        # What lives for good is not looked at again by every collection.
        gc.freeze()
        try:
            with exposed(settings, counters, stored, compacted, sampled, told):
                await run_parts(parts, stop)
        finally:
            gc.unfreeze()

    async def _end_when_idle(self, stop: asyncio.Event) -> None:
        """Set `stop` once there was no live run, no open page and no backup for `idle_timeout` seconds."""
        from runstream_query.http.endpoints.live import open_pages
        from runstream_schemas.database import connect

        def stay() -> None:
            self.stays = True
            if (info := read_service(self.home)) is not None:
                write_service(self.home, replace(info, ends_when_idle=False))
            logger.info("asked to stay, also when idle")

        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, stay)
        timeout = self.settings.idle_timeout
        busy_at = time.monotonic()
        now = spooled_sources(self.home)
        while not await stopped_within(stop, min(max(timeout / 4, 0.1), 15.0)):
            known, now = (
                now,
                spooled_sources(self.home),
            )  # what began since the last look may not be stored yet
            connection = await connect(self.settings)
            try:
                live = await connection.fetchval(LIVE_RUNS, min(LIVE_SECONDS, max(timeout, 2.0)))
            finally:
                await connection.close()
            if live or open_pages() or self.stays:
                busy_at = time.monotonic()
            elif time.monotonic() - busy_at >= timeout:
                logger.info("no live run and no open page for %.0f s: ending until the next use", timeout)
                self.known = known
                # First out of sight: who comes now waits for the next service instead of talking to this one.
                forget_service(self.home)
                stop.set()


def _load() -> None:
    for name in (
        "runstream_query.http.app",
        "runstream_consumers.storing.consumer",
        "runstream_consumers.compaction.role",
    ):
        import_module(name)


async def _run_queue(settings: Settings, stop: asyncio.Event) -> None:
    """Have submitted runs run that were queued when the machine, or what runs them, went down."""
    from runstream.compute.queue import ensure_runner

    while not await stopped_within(stop, 1.0):
        await asyncio.to_thread(ensure_runner, settings)
