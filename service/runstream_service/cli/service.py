"""Commands about the service of a home: up, down, status, open, demo."""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys
import time
from dataclasses import fields, replace
from typing import Any

from runstream.home.layout import (
    Home,
    ServiceInfo,
    lock_held,
    lock_owner,
    open_home,
    read_service,
    running_service,
)
from runstream_schemas.errors import ServiceError
from runstream_schemas.settings import Settings

from ..probe import answers, directory_size
from .options import add_output, performs
from .output import emit
from .settings import WHERE, add_settings, settings_of

STOP_PATIENCE = 60.0
NOT_RUNNING = 3


def add_up(parser: argparse.ArgumentParser) -> None:
    """Add what `runstream up` takes."""
    performs(parser, up)
    parser.add_argument(
        "--foreground", action="store_true", help="stay in this terminal until Ctrl-C, logging to it"
    )
    parser.add_argument("--started-by-itself", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument(
        "--wait", type=float, default=60.0, metavar="SECONDS", help="longest wait until it is ready [60]"
    )
    add_settings(parser, [item.name for item in fields(Settings) if item.name != "kafka"])
    parser.add_argument(
        "--kafka",
        dest="setting_kafka",
        nargs="?",
        const="here",
        metavar="HOST:PORT",
        help="the cluster's shape on this machine: agent, consumer, compactor and server as processes around a real Kafka, "
        "started from its jars, or the one at HOST:PORT",
    )


def up(options: argparse.Namespace) -> int:
    """`runstream up`: in the background, or with --foreground in this process."""
    settings = settings_of(options)
    if options.foreground or options.started_by_itself:
        return _serve(settings, options.started_by_itself)
    home = open_home(settings)
    info = _answering(home, options.wait)
    if info is not None:
        if info.ends_when_idle and info.host == socket.gethostname():
            os.kill(info.pid, signal.SIGUSR1)  # it was started by itself; now somebody wants it to stay
        print(f"already up: {info.url}  (process {info.pid}, home {home.root})")
        return 0
    if lock_held(home):
        info = _await_ready(home, None, options.wait)
    else:
        info = _start(home, settings, options.wait)
    print(f"up: {info.url}  (process {info.pid}, home {home.root})")
    print("`runstream open` shows the dashboard, `runstream down` ends it")
    return 0


def _answering(home: Home, wait: float) -> ServiceInfo | None:
    """The service that is up. One that was killed has its lock until the system has ended it, which may take a second."""
    deadline = time.monotonic() + wait
    while (info := running_service(home)) is not None:
        elsewhere = info.host != socket.gethostname() or info.url.startswith("https:")  # not ours to ask
        if elsewhere or answers(info.url, "/healthz"):
            return info
        if time.monotonic() > deadline:
            raise ServiceError(
                f"process {info.pid} serves {home.root}, and {info.url} does not answer; see {home.log / 'service.log'}, "
                f"and end it (`runstream down`, or `kill -9 {info.pid}`) to start another"
            )
        time.sleep(0.05)
    return None


def _start(home: Home, settings: Settings, wait: float) -> ServiceInfo:
    import subprocess

    from runstream.home.autostart import command, environment, log_file, missing_modules

    if missing := missing_modules(settings):
        raise ServiceError(f"the service needs {', '.join(missing)}; `pip install 'runstream[server]'`")
    descriptor = os.open(log_file(home, "service"), os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
    try:
        process = subprocess.Popen(
            command("up", "--foreground"),
            env=environment(settings),
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=descriptor,
            start_new_session=True,
        )
    finally:
        os.close(descriptor)
    return _await_ready(home, process, wait)


def _await_ready(home: Home, process: Any, wait: float) -> ServiceInfo:
    deadline = time.monotonic() + wait
    while time.monotonic() < deadline:
        info = running_service(home)
        if info is not None:
            return info
        if process is not None and process.poll() is not None and not lock_held(home):
            raise ServiceError(
                f"the service did not start: {_last_line(home)} (more in {home.log / 'service.log'})"
                "; mend what it says and start it again"
            )
        time.sleep(0.01)
    raise ServiceError(
        f"the service was not ready after {wait:.0f} s; look into {home.log / 'service.log'}, or ask `runstream doctor`"
    )


def _last_line(home: Home) -> str:
    try:
        lines = (home.log / "service.log").read_text(errors="replace")[-8192:].splitlines()
    except OSError:
        return "no reason given"
    said = [line for line in lines if line.startswith("error: ")] or [line for line in lines if line.strip()]
    return said[-1].removeprefix("error: ") if said else "no reason given"


def _serve(settings: Settings, started_by_itself: bool) -> int:
    from ..embedded import run_service
    from ..supervision import detach, do_without_pandas, log_to_stderr, run_blocking

    if started_by_itself:
        detach()
    log_to_stderr(settings.log_level)
    do_without_pandas()
    shown = not started_by_itself and sys.stdout.isatty()

    def ready(info: ServiceInfo) -> None:
        if shown:
            print(f"up: {info.url}  (Ctrl-C ends it)", flush=True)

    if settings.kafka:
        from ..cluster import run_cluster

        run_blocking(run_cluster(settings, on_ready=ready))
    else:
        run_blocking(run_service(settings, started_by_itself=started_by_itself, on_ready=ready))
    return 0


def add_down(parser: argparse.ArgumentParser) -> None:
    """Add what `runstream down` takes."""
    performs(parser, down)
    add_settings(parser, ("home",))


def down(options: argparse.Namespace) -> int:
    """`runstream down`."""
    settings = settings_of(options)
    home = open_home(settings, create=False)
    if not lock_held(home):
        print(f"nothing runs for the home {home.root}")
        return 0
    info = read_service(home)
    if info is not None and info.host and info.host != socket.gethostname():
        raise ServiceError(f"the service of {home.root} runs on the machine {info.host}; end it there")
    pid = lock_owner(home)
    if not pid:
        raise ServiceError(
            f"{home.lock_file} is held, but does not say by whom; `fuser {home.lock_file}` does"
        )
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_PATIENCE
    while lock_held(home):
        if time.monotonic() > deadline:
            raise ServiceError(
                f"process {pid} did not end within {STOP_PATIENCE:.0f} s; `kill -9 {pid}` loses nothing that was stored"
            )
        time.sleep(0.02)
    print(f"down: process {pid}, home {home.root}")
    return 0


def add_status(parser: argparse.ArgumentParser) -> None:
    """Add what `runstream status` takes."""
    performs(parser, status)
    add_output(parser)
    add_settings(parser, WHERE)


def status(options: argparse.Namespace) -> int:
    """`runstream status`."""
    settings = settings_of(options)
    record = _describe(settings)
    emit(record, options.output, options.query)
    return 0 if record["status"] == "up" else NOT_RUNNING


def _describe(settings: Settings) -> dict[str, Any]:
    """What runs where."""
    if settings.url:
        return {"status": "up" if answers(settings.url, "/readyz") else "away", "url": settings.url}
    home = open_home(settings, create=False)
    info = running_service(home)
    held = lock_held(home)
    record: dict[str, Any] = {
        "status": "up" if info else "starting" if held else "down",
        "home": str(home.root),
    }
    if info is not None:
        if not answers(info.url, "/readyz"):
            record["status"] = "not answering"
        record |= {
            "url": info.url,
            "pid": info.pid,
            "host": info.host,
            "started": info.started,
            "version": info.version,
        }
        if info.kafka:
            record["kafka"] = info.kafka
    record["spool"] = str(home.spool)
    record["spool_bytes"] = directory_size(home.spool)
    record["store"] = settings.store_url
    return record


def add_open(parser: argparse.ArgumentParser) -> None:
    """Add what `runstream open` takes."""
    performs(parser, open_page)
    parser.add_argument("run", nargs="?", metavar="RUN", help="id of a run whose page to open")
    add_settings(parser, WHERE)


def open_page(options: argparse.Namespace) -> int:
    """`runstream open`."""
    import webbrowser

    from runstream.client.addresses import quoted
    from runstream.client.http import client_for
    from runstream.home.autostart import ensure_service

    settings = settings_of(options)
    info = ensure_service(replace(settings, autostart=True), wait=30.0)
    if info is None:
        raise ServiceError("no service answers; see `runstream doctor`")
    where = f"/runs/{quoted(options.run)}" if options.run else "/"
    page = client_for(settings).opened_page(where)
    if webbrowser.open(page):
        print(info.url + where if options.run else info.url)
    else:
        print(f"{page}\nno browser to be opened here; open this address in one", file=sys.stderr)
    return 0


def add_demo(parser: argparse.ArgumentParser) -> None:
    """Add what `runstream demo` takes."""
    performs(parser, demo)
    add_settings(parser, WHERE)


def demo(options: argparse.Namespace) -> int:
    """`runstream demo`."""
    from .. import demo as sweep

    return int(sweep.main(settings_of(options)) or 0)
