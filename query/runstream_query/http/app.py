"""The HTTP API: what SDK, command line and pages read, and where files are uploaded. Starlette on uvicorn."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Generator, Sequence
from ipaddress import ip_address
from typing import Any

import asyncpg
import uvicorn

from runstream_schemas.database import create_pool
from runstream_schemas.errors import ServiceError
from runstream_schemas.metrics import Collected
from runstream_schemas.runs.recording import Recorder
from runstream_schemas.settings import Settings
from runstream_schemas.store import open_store

from ..points.watermark import Notifications
from . import connection_owner
from .connections import Connection
from .context import Server
from .counters import ServerCounters
from .gate import Gate
from .hosts import Hosts, allowed_hosts
from .listener import Listener
from .openapi import ENDPOINTS
from .shares import SharedPool
from .tokens import Rate

MIN_TOKEN = 16
"""Characters a server's own token needs."""
HOW_TO_MAKE_ONE = "python -c 'import secrets; print(secrets.token_urlsafe(32))'"


def create_app(
    server: Server, *, token: str | None = None, local_only: bool = False, owner_enters: bool = False
) -> Gate:
    """The ASGI application.

    Args:
        server: connections and store.
        token: what clients must send as bearer token; None: nothing.
        local_only: accept only requests for a loopback Host.
        owner_enters: the owner of this process needs no token from this machine.
    """
    server.tokens.own = token or ""
    return Gate(
        ENDPOINTS,
        server,
        tokens=server.tokens,
        owner_enters=owner_enters,
        rate=Rate(server.settings.rate_limit),
        hosts=Hosts(allowed_hosts(server.settings.allowed_hosts), local_only, bool(token)),
        counters=server.counters,
    )


# --- the server ------------------------------------------------------------------------------------------------------


class _QuietServer(uvicorn.Server):
    """Leaves the process's signals to whoever runs the loop, and keeps listening where uvloop would not."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        def connection() -> Connection:
            return Connection(config=self.config, server_state=self.server_state, app_state={})

        context, backlog = self.config.ssl, self.config.backlog
        self.servers = [
            Listener(listening, connection, backlog=backlog, context=context)  # type: ignore[misc]  # what it uses of one
            for listening in sockets or ()
        ]
        self.started = True

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


async def run_server(
    settings: Settings,
    stop: asyncio.Event,
    *,
    token: str | None = None,
    embedded: bool = False,
    on_ready: Callable[[str], None] | None = None,
    counters: ServerCounters | None = None,
    shown: Sequence[Collected] = (),
    recorder: Callable[[asyncpg.Pool[Any]], Recorder] | None = None,
) -> None:
    """Serve the API until `stop` is set, in the running event loop.

    Args:
        settings: `host`, `port`, `database` (migrated) and `store` are used.
        stop: ends the server.
        token: what clients must send as bearer token; None: nothing.
        embedded: it is one user's own, who needs no token from this machine where that is known.
        on_ready: called with the server's address once it answers.
        counters: count on in these.
        shown: what else /metrics shows.
        recorder: makes what stores the writes of clients that have no spool; None: they are refused.

    Raises:
        ServiceError: the port is taken, the address is not of this machine, or anyone could reach it without a token.
        DatabaseError: the database's address cannot be used.
    """
    check_token(token)
    listener = _listen(settings)
    try:
        store = await asyncio.to_thread(open_store, settings)
        pool = await create_pool(settings)
        try:
            server = Server(
                SharedPool(pool),
                store,
                settings,
                counters=counters or ServerCounters(),
                shown=list(shown),
                recorder=None if recorder is None else recorder(pool),
            )
            await _serve(server, listener, stop, token, embedded, on_ready)
        finally:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(pool.close(), 5.0)
    finally:
        listener.close()


async def _serve(
    server: Server,
    listener: socket.socket,
    stop: asyncio.Event,
    token: str | None,
    embedded: bool,
    on_ready: Callable[[str], None] | None,
) -> None:
    host, port = listener.getsockname()[:2]
    local, settings = ip_address(host).is_loopback, server.settings
    if not (local or token or settings.allow_no_token):
        raise ServiceError(
            f"RUNSTREAM_HOST={settings.host!r}: other machines would reach this server, and it has no token; set "
            f"RUNSTREAM_TOKEN ({HOW_TO_MAKE_ONE} makes one), or RUNSTREAM_ALLOW_NO_TOKEN=1 to let anyone read, "
            "change and delete"
        )
    app = create_app(server, token=token, local_only=local, owner_enters=embedded and owner_enters(settings))
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="off",
        ws="none",
        timeout_graceful_shutdown=3,
        timeout_keep_alive=75,
        http=Connection,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=settings.trusted_proxies or None,
        server_header=False,
        ssl_certfile=server.settings.tls_cert_file or None,
        ssl_keyfile=server.settings.tls_key_file or None,
    )
    try:
        config.load()
    except (OSError, ValueError) as error:
        raise ServiceError(
            f"RUNSTREAM_TLS_CERT_FILE={server.settings.tls_cert_file!r} and its key cannot be used ({error}); both have "
            "to be PEM files this process may read"
        ) from None
    if not server.settings.database_pgbouncer:
        server.notifications = Notifications(server.settings)
        await server.notifications.start()
    http = _QuietServer(config)
    serving = asyncio.create_task(http.serve(sockets=[listener]), name="runstream-http")
    stopping = asyncio.create_task(stop.wait())
    try:
        while not http.started and not serving.done():
            await asyncio.sleep(0.005)
        if http.started and on_ready is not None:
            on_ready(f"{'https' if config.is_ssl else 'http'}://{_shown(host)}:{port}")
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
        http.should_exit = True
        if server.notifications is not None:
            await server.notifications.stop()  # ends the event streams, which would hold the server up
        await serving


def owner_enters(settings: Settings) -> bool:
    """Whether the user of an embedded service gets in without a token, by whose connection it is."""
    return settings.owner_access and not settings.trusted_proxies and not connection_owner.why_unknown()


def check_token(token: str | None) -> None:
    """See that a server's own token cannot be guessed.

    Raises:
        ServiceError: it is short, or nearly all one character.
    """
    if token and (len(token) < MIN_TOKEN or len(set(token)) < MIN_TOKEN // 2):
        raise ServiceError(
            f"RUNSTREAM_TOKEN can be guessed: it has {len(token)} characters, {len(set(token))} of them different; a "
            f"server's own token needs {MIN_TOKEN}, at random: {HOW_TO_MAKE_ONE} makes one"
        )


def _listen(settings: Settings) -> socket.socket:
    try:
        family, *_, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise ServiceError(
            f"RUNSTREAM_HOST={settings.host!r} cannot be used ({error}); give an address of this machine"
        ) from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(512)
    except OSError as error:
        listener.close()
        raise ServiceError(
            f"cannot listen on {settings.host}:{settings.port} ({error.strerror}); stop the program that uses that port, "
            "or set RUNSTREAM_PORT to another one (0: any free one)"
        ) from None
    listener.setblocking(False)
    return listener


def _shown(host: str) -> str:
    if host in ("0.0.0.0", "::"):  # noqa: S104 - shown, not bound
        return socket.gethostname()
    return f"[{host}]" if ":" in host else host
