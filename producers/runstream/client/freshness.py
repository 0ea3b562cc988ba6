"""A read sees what any process of this node had recorded before it began: `python train.py && python report.py`.

The node's spool tells how far that is (`spool.node`). In the embedded mode it also tells when the service has stored it;
with Kafka between, the service is asked. The wait is bounded, and what was waited for in vain is not waited for again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from runstream_schemas.backoff import Backoff
from runstream_schemas.errors import RunstreamError
from runstream_schemas.settings import Settings

from ..home.autostart import agent_running, ensure_service
from ..home.layout import Home, open_home, running_service
from ..spool.node import NodeSpool, Written
from .waits import as_text, by_request

Params = Sequence[tuple[str, str]]


class ServiceClient(Protocol):
    """What is needed of `http.ServiceClient`."""

    settings: Settings

    def address(self, timeout: float = ...) -> Any:
        """Find the service."""

    def find_again(self, timeout: float = ...) -> None:
        """Find it anew."""

    def get_json(self, path: str, params: Params = ...) -> Any:
        """Ask it."""


LONGEST_WAIT = 15.0
"""Seconds a read waits for what other processes recorded."""

_log = logging.getLogger("runstream")
_IN_VAIN = "the service has not stored all that was recorded on this machine within %.0f s; what is read may lack the newest"
_FIRST_LOOK, _SLOWEST_LOOK = 0.003, 0.05
_SOON = 1.0
_LOOK_FOR_SERVICE = 0.5
_settled: dict[Path, dict[str, Written]] = {}  # by spool and source: stored, or waited for in vain


@lru_cache(maxsize=8)
def _node(spool: Path) -> NodeSpool:
    return NodeSpool(spool)


def catch_up(client: ServiceClient, path: str, params: Params, patience: float) -> None:
    """Wait until the service has stored what was recorded on this node, as far as the request is about it.

    Args:
        path, params: what the request asks for. Later pages of a list, and waiting itself, do not wait.
        patience: seconds to wait for a service that is coming up.

    Raises:
        ServiceException: the service is away.
    """
    if (
        not path.startswith("/api/v1/")
        or path == "/api/v1/stored"
        or any(name == "after" for name, _ in params)
    ):
        return
    home = _home(client.settings)
    if home is None or not home.spool.is_dir():
        return
    with suppress(PermissionError):  # somebody else's home
        _wait(client, home, _run_of(path, params), patience)


def reads_spool(client: ServiceClient) -> bool:
    """Whether somebody takes what lies in this machine's spool to the service."""
    home = _home(client.settings)
    return home is not None and _delivery(client, home, LONGEST_WAIT) != ""


def _wait(client: ServiceClient, home: Home, run_id: str | None, patience: float) -> None:
    node, settled = _node(home.spool), _settled.setdefault(home.spool, {})
    written = node.written(run_id)
    delivery = _delivery(client, home, patience)
    if delivery == "kafka":
        written += node.delivered(run_id)
    if not delivery:
        return
    waiting = [source for source in written if settled.get(source.source) != source]
    deadline = time.monotonic() + LONGEST_WAIT
    if delivery == "kafka":
        arrived, waiting = _ask_patiently(client, node, waiting, run_id, deadline)
    else:
        arrived = _watch(client, home, waiting, deadline)
    if not arrived:
        _log.warning(_IN_VAIN, LONGEST_WAIT)
    if run_id is None:
        there = {source.source for source in written}
        for source in [source for source in settled if source not in there]:
            del settled[source]
    settled.update((source.source, source) for source in waiting)


@lru_cache(maxsize=8)
def _home(settings: Settings) -> Home | None:
    try:
        return open_home(settings, create=False)
    except (RunstreamError, OSError):
        return None


def _delivery(client: ServiceClient, home: Home, patience: float) -> str:
    """Who takes what lies in the spool to the service: `kafka`, `spool` (the service itself), or nobody: empty."""
    settings = client.settings
    if settings.kafka:
        if settings.autostart:
            ensure_service(settings)  # the agent
        return "kafka" if settings.autostart or agent_running(home) else ""
    if not settings.url:
        client.address(patience)
    info = running_service(home)
    if info is None and not settings.url:
        client.find_again(patience)
        info = running_service(home)
    if info is None or (settings.url and info.url.rstrip("/") != settings.url.rstrip("/")):
        return ""
    return "kafka" if info.kafka else "spool"


def _run_of(path: str, params: Params) -> str | None:
    """The one run a request is about; None: many."""
    from urllib.parse import unquote

    words = path.split("/")  # "", "api", "v1", "runs", id
    if len(words) > 4 and words[3] == "runs":
        return unquote(words[4])
    runs = [value for name, value in params if name == "run"]
    alone = len(runs) == 1 and not any(name == "recursive" for name, _ in params)
    return runs[0] if alone else None


def _watch(client: ServiceClient, home: Home, waiting: list[Written], deadline: float) -> bool:
    pauses, looked = Backoff(_FIRST_LOOK, _SLOWEST_LOOK, 1.5), time.monotonic()
    node = _node(home.spool)
    while waiting := node.undelivered(waiting):
        now = time.monotonic()
        if now > deadline:
            return False
        if now - looked > _LOOK_FOR_SERVICE:
            looked = now
            if running_service(home) is None:
                client.find_again()
        time.sleep(next(pauses))
    return True


def _ask_patiently(
    client: ServiceClient, node: NodeSpool, waiting: list[Written], run_id: str | None, deadline: float
) -> tuple[bool, list[Written]]:
    """Whether it is stored, and what was waited for: in vain, so was for all else that lay on this node all that time.

    A report over many runs of which something was lost on the way then waits once, not once a run.
    """
    if _ask(client, waiting, min(deadline, time.monotonic() + _SOON)):
        return True, waiting
    others = [] if run_id is None else [*node.written(), *node.delivered()]
    if _ask(client, waiting, deadline):
        return True, waiting
    return False, [*others, *waiting]


def _ask(client: ServiceClient, waiting: list[Written], deadline: float) -> bool:
    positions: dict[str, int] = {}
    for source in waiting:
        positions |= source.positions()
    for part in by_request(positions):
        if not part:
            continue
        left = max(deadline - time.monotonic(), 0.0)
        params = [("wait", as_text(part)), ("timeout", f"{left:.3f}")]
        if not client.get_json("/api/v1/stored", params)["stored"]:
            return False
    return True
