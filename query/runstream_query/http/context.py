"""What the endpoints share."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import asyncpg
from starlette.requests import Request

from runstream_schemas.metrics import Collected
from runstream_schemas.runs.recording import Recorder
from runstream_schemas.settings import Settings
from runstream_schemas.store import Store

from ..alerts.receivers import Receiver, parse_receivers
from ..charts.charts import Charts
from ..points.reader import Query
from ..points.watermark import Notifications
from .caching import Shared
from .counters import ServerCounters
from .shares import Places, SharedPool
from .tokens import Tokens

MOST_SQL = 2
"""Statements of one token that run at once: half of a server's places for them."""
MOST_FORESTS = 2
"""Questions for the importance of parameters that are answered at once, one of a token."""


@dataclass(slots=True)
class Server:
    """What the handlers share.

    Attributes:
        shown: what /metrics shows.
        recorder: stores runs, points and parameters that clients ask this server to write; None: it takes none.
        receivers: whom alerts may be sent to, by name.
    """

    pool: asyncpg.Pool[Any] | SharedPool
    store: Store
    settings: Settings
    notifications: Notifications | None = None
    counters: ServerCounters = field(default_factory=ServerCounters)
    shown: list[Collected] = field(default_factory=list)
    recorder: Recorder | None = None
    receivers: Mapping[str, Receiver] = field(init=False)
    tokens: Tokens = field(init=False)
    query: Query = field(init=False)
    charts: Charts = field(init=False)
    shared: Shared = field(default_factory=Shared)
    sql_places: Places = field(default_factory=lambda: Places(MOST_SQL))
    forest_places: Places = field(default_factory=lambda: Places(1))
    forests: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MOST_FORESTS))

    def __post_init__(self) -> None:
        self.shown.append(self.counters)
        self.receivers = parse_receivers(self.settings.alert_receivers)
        self.tokens = Tokens(self.pool)
        self.query = Query(self.pool, self.store, self.settings)
        self.charts = Charts(self.query)


def server_of(request: Request) -> Server:
    """What the endpoint that answers a request works with."""
    server: Server = request.app.state
    return server
