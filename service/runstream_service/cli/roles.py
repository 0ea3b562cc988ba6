"""Roles of a cluster as commands (agent, consumer, compactor, server), and a role's work done once (sync, compact)."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from runstream.home.layout import open_home
from runstream_schemas.errors import DatabaseError, ServiceError, SpoolError
from runstream_schemas.settings import Settings

from .options import Command, performs
from .settings import add_settings, settings_of

if TYPE_CHECKING:
    import asyncio

logger = logging.getLogger("runstream")

Role = Callable[[Settings, "asyncio.Event"], Awaitable[None]]


def _add_role(role: Command, parser: argparse.ArgumentParser) -> None:
    performs(parser, role, "Runs until SIGTERM or Ctrl-C.")
    parser.add_argument("--parent", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--started-by-itself", action="store_true", help=argparse.SUPPRESS)
    add_settings(parser)


def agent(options: argparse.Namespace) -> int:
    """`runstream agent`."""
    import asyncio

    from runstream.agent import AgentState, run_agent
    from runstream.client.outbox import run_outbox
    from runstream.consoles.sending import run_consoles
    from runstream.monitoring.sampler import SamplerState, run_sampler

    from ..exposition import exposed
    from ..supervision import detach, kept_running

    settings = settings_of(options)
    if not settings.kafka:
        raise ServiceError(
            "the agent sends spools to Kafka: set RUNSTREAM_KAFKA or --kafka host:port (without Kafka: `runstream up`)"
        )
    home = open_home(settings)
    settings = replace(settings, spool=str(home.spool))
    idle_timeout = None  # started by hand it stays, also when there is nothing to do
    if options.started_by_itself:
        idle_timeout = settings.agent_idle_timeout
        detach()

    async def role(settings: Settings, stop: asyncio.Event) -> None:
        state, sampled = AgentState(), SamplerState()
        beside = [
            asyncio.create_task(run_outbox(settings, stop)),
            asyncio.create_task(kept_running("consoles", lambda: run_consoles(settings, stop), stop)),
            asyncio.create_task(
                kept_running("sampler", lambda: run_sampler(settings, stop, state=sampled), stop)
            ),
        ]
        try:
            with exposed(settings, state, sampled):
                await run_agent(settings, stop, idle_timeout=idle_timeout, state=state)
        finally:
            stop.set()
            await asyncio.gather(*beside)

    return _run(options, settings, role)


def consumer(options: argparse.Namespace) -> int:
    """`runstream consumer`."""
    from runstream_consumers.compaction.recall import Recall
    from runstream_consumers.storing.consumer import ConsumerState, run_consumer

    from ..exposition import exposed

    async def role(settings: Settings, stop: asyncio.Event) -> None:
        state = ConsumerState()
        with exposed(settings, state):
            await _prepare_database(settings)
            source: Literal["kafka", "spool"] = "kafka" if settings.kafka else "spool"
            await run_consumer(settings, stop, source=source, state=state, make_cold=Recall)

    return _run(options, settings_of(options), role)


def compactor(options: argparse.Namespace) -> int:
    """`runstream compactor`."""
    from runstream_consumers.compaction.role import run_compactor
    from runstream_consumers.compaction.state import CompactorState

    from ..exposition import exposed

    async def role(settings: Settings, stop: asyncio.Event) -> None:
        state = CompactorState()
        with exposed(settings, state):
            await _prepare_database(settings)
            await run_compactor(settings, stop, state=state)

    return _run(options, settings_of(options), role)


def server(options: argparse.Namespace) -> int:
    """`runstream server`."""
    import asyncio

    from runstream_consumers.storing.direct import DirectRecorder
    from runstream_query.alerts.role import run_alerts
    from runstream_query.alerts.state import AlertsState
    from runstream_query.http.app import run_server
    from runstream_query.http.counters import ServerCounters

    from ..exposition import exposed
    from ..supervision import kept_running

    async def role(settings: Settings, stop: asyncio.Event) -> None:
        counters, told = ServerCounters(), AlertsState()
        with exposed(settings, counters, told):
            await _prepare_database(settings)
            alerts = asyncio.create_task(
                kept_running("alerts", lambda: run_alerts(settings, stop, state=told), stop)
            )
            try:
                await run_server(
                    settings,
                    stop,
                    token=settings.token,
                    counters=counters,
                    shown=(told,),
                    on_ready=lambda url: logger.info("ready at %s", url),
                    recorder=DirectRecorder,
                )
            finally:
                stop.set()
                await alerts

    return _run(options, settings_of(options), role)


async def _prepare_database(settings: Settings) -> None:
    from ..supervision import prepare_database

    if not settings.database:
        raise DatabaseError(
            "this role needs a database: set RUNSTREAM_DATABASE=postgresql://user:password@host/name "
            "(on one machine `runstream up` brings its own)"
        )
    await prepare_database(settings)


def _run(options: argparse.Namespace, settings: Settings, role: Role) -> int:
    from ..supervision import do_without_pandas, log_to_stderr, run_blocking, stop_at_signals

    log_to_stderr(settings.log_level)
    do_without_pandas()
    if options.parent:
        end_with(options.parent)

    async def whole() -> None:
        stop = stop_at_signals()
        await role(settings, stop)

    run_blocking(whole())
    return 0


def end_with(parent: int) -> None:
    """End this process (SIGTERM) when its parent ends, however that ends."""
    import signal

    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGTERM, 0, 0, 0)  # PR_SET_PDEATHSIG
    else:

        def watch() -> None:
            while os.getppid() == parent:
                time.sleep(1.0)
            os.kill(os.getpid(), signal.SIGTERM)

        threading.Thread(target=watch, daemon=True, name="parent watch").start()
    if os.getppid() != parent:
        raise ServiceError(f"the parent process {parent} is gone already; start it again")


add_agent = partial(_add_role, agent)
add_consumer = partial(_add_role, consumer)
add_compactor = partial(_add_role, compactor)
add_server = partial(_add_role, server)


def add_sync(parser: argparse.ArgumentParser) -> None:
    """Add what `runstream sync` takes."""
    performs(
        parser,
        sync,
        "For a laptop that was offline, or a node without a network whose spool was copied here.",
    )
    parser.add_argument("directory", metavar="DIR", help="a spool directory, or a home that has one")
    add_settings(parser)


def add_compact(parser: argparse.ArgumentParser) -> None:
    """Add what `runstream compact` takes."""
    performs(parser, compact)
    add_settings(parser)


def sync(options: argparse.Namespace) -> int:
    """`runstream sync DIR`."""
    from ..supervision import log_to_stderr, run_blocking
    from ..sync import sync_consoles, sync_directory, sync_outbox

    settings = settings_of(options)
    directory = Path(options.directory).expanduser().absolute()
    outbox, consoles = directory / "outbox", directory / "consoles"
    if (directory / "spool").is_dir():
        directory = directory / "spool"
    if not directory.is_dir():
        raise SpoolError(f"{directory} is no directory; name a spool directory, or a home that has one")
    log_to_stderr("WARNING")

    async def whole() -> None:
        await sync_directory(settings, directory)
        await sync_outbox(settings, outbox)
        await sync_consoles(settings, consoles)

    run_blocking(whole())
    return 0


def compact(options: argparse.Namespace) -> int:
    """`runstream compact`."""
    from ..supervision import log_to_stderr, run_blocking
    from ..sync import compact_now

    settings = settings_of(options)
    log_to_stderr("WARNING")
    run_blocking(compact_now(settings))
    return 0
