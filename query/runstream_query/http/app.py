"""The HTTP API: what SDK, command line and pages read, and where files are uploaded. Starlette on uvicorn."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any

import asyncpg
import pyarrow as pa
import uvicorn
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from runstream_schemas import strict_json
from runstream_schemas.database import create_pool
from runstream_schemas.errors import QueryError, ServiceError
from runstream_schemas.limits import check_name
from runstream_schemas.settings import Settings
from runstream_schemas.store import Store, open_store

from .. import queries
from ..charts import one_series
from ..charts.charts import Charts
from ..json_values import json_value, plain
from ..points.reader import Query
from ..points.vectors import Vectors
from ..points.watermark import Notifications, wait_stored
from ..runs.run_filter import Order
from ..runs.runs import (
    MOST_COMMON,
    attach_named_summaries,
    common_metrics,
    count_runs,
    descendants,
    get_run,
    list_runs,
)
from ..sql.sql import run_sql
from . import (
    access,
    browser_access,
    connection_owner,
    edit_api,
    export_api,
    file_api,
    live,
    openapi,
    pages,
    registry_api,
)
from . import charts_api as page_api
from .caching import Shared, not_modified, points_headers
from .connections import Connection
from .gate import Counters, Gate
from .hosts import Hosts, allowed_hosts
from .parameters import integer, number, run_filter
from .responses import (
    MSGPACK,
    answer,
    json_answer,
    pack_vectors,
    problem,
    table_answer,
    wants_arrow,
)
from .shares import Places, SharedPool

MAX_WAIT = 30.0
"""Most seconds a read waits for the caller's own writes."""
STALE = {"X-Runstream-Stale": "1"}
MAX_SQL_BYTES = 1 << 20
MOST_SQL = 2
"""Statements of one token that are carried out at once: half of a server's places for them."""
MIN_TOKEN = 16
"""Characters a server's own token needs."""
HOW_TO_MAKE_ONE = "python -c 'import secrets; print(secrets.token_urlsafe(32))'"


@dataclass(slots=True)
class Server:
    """What the handlers share."""

    pool: asyncpg.Pool[Any] | SharedPool
    store: Store
    settings: Settings
    notifications: Notifications | None = None
    counters: Counters = field(default_factory=Counters)
    tokens: access.Tokens = field(init=False)
    query: Query = field(init=False)
    charts: Charts = field(init=False)
    shared: Shared = field(default_factory=Shared)
    sql_places: Places = field(default_factory=lambda: Places(MOST_SQL))

    def __post_init__(self) -> None:
        self.tokens = access.Tokens(self.pool)
        self.query = Query(self.pool, self.store, self.settings)
        self.charts = Charts(self.query)


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
    routes = [
        Route("/healthz", _healthz),
        Route("/readyz", _readyz),
        Route("/metrics", _prometheus),
        Route("/api/v1/runs", _runs),
        Route("/api/v1/runs/{run_id}", _run),
        Route("/api/v1/metrics", _metrics),
        Route("/api/v1/series", _series),
        Route("/api/v1/stored", _stored),
        Route("/api/v1/sql", _sql, methods=["POST"]),
        Route("/api/v1/experiments", _experiments),
        Route("/api/v1/experiments/{name:path}", _experiment, methods=["PUT"]),
        Route("/api/v1/events", live.events),
        *access.routes(),
        *browser_access.routes(),
        *edit_api.routes(),
        *export_api.routes(),
        *openapi.routes(),
        *file_api.routes(),
        *registry_api.routes(),
        *page_api.routes(),
        *pages.routes(),
    ]
    return Gate(
        routes,
        server,
        tokens=server.tokens,
        owner_enters=owner_enters,
        rate=access.Rate(server.settings.rate_limit),
        hosts=Hosts(allowed_hosts(server.settings.allowed_hosts), local_only, bool(token)),
        counters=server.counters,
    )


def _server(request: Request) -> Server:
    server: Server = request.app.state
    return server


# --- health ----------------------------------------------------------------------------------------------------------


async def _healthz(request: Request) -> Response:
    return PlainTextResponse("ok")


async def _readyz(request: Request) -> Response:
    async with asyncio.timeout(5.0):
        await _server(request).pool.fetchval("select 1 from runs limit 1")
    return PlainTextResponse("ok")


async def _prometheus(request: Request) -> Response:
    return PlainTextResponse(_server(request).counters.text(), media_type="text/plain; version=0.0.4")


# --- runs ------------------------------------------------------------------------------------------------------------


async def _runs(request: Request) -> Response:
    server = _server(request)
    parameters = request.query_params
    wanted = run_filter(request)
    order = Order.parse(parameters.get("order") or "-start_time")
    limit = integer(parameters.get("limit"), "limit", 50)
    async with asyncio.timeout(server.settings.query_timeout), server.pool.acquire() as connection:
        page = await list_runs(
            connection,
            wanted,
            order=order,
            limit=50 if limit is None else limit,
            after=parameters.get("after") or None,
            summaries=parameters.get("summaries") == "1",
        )
        names = parameters.getlist("summary")
        common = integer(parameters.get("summary_common"), "summary_common", None)
        if common is not None:
            if not 1 <= common <= MOST_COMMON:
                raise QueryError(f"summary_common={common}: expected 1 to {MOST_COMMON}")
            names = list(dict.fromkeys([*names, *await common_metrics(connection, page.runs, common)]))
        if names:
            await attach_named_summaries(connection, page.runs, names)
        document: dict[str, Any] = {"runs": [run.record() for run in page.runs], "next": page.next}
        if common is not None:
            document["metrics"] = names
        if parameters.get("count") == "1":
            document["count"] = await count_runs(connection, wanted)
    return json_answer(request, plain(document))


async def _run(request: Request) -> Response:
    server = _server(request)
    run_id = request.path_params["run_id"]
    headers = await _wait(request)
    async with asyncio.timeout(server.settings.query_timeout), server.pool.acquire() as connection:
        run = await get_run(connection, run_id, summaries=request.query_params.get("summaries") == "1")
    if run is None:
        return problem(
            404, "Not Found", f"no run {run_id!r}; its first record may not have arrived yet", headers
        )
    return json_answer(request, plain(run.record()), headers)


async def _stored(request: Request) -> Response:
    return json_answer(request, {"stored": not await _wait(request)})


async def _wait(request: Request) -> dict[str, str]:
    """Wait for the writes the caller names; headers that tell whether it was in vain."""
    server = _server(request)
    positions: dict[str, int] = {}
    for text in request.query_params.getlist("wait"):
        for part in filter(None, text.split(",")):
            source, _, seq = part.rpartition(":")
            positions[source] = integer(seq, "wait", 0) or 0
    if not positions:
        return {}
    timeout = min(number(request.query_params.get("timeout"), "timeout", MAX_WAIT), MAX_WAIT)
    if await wait_stored(server.pool, positions, timeout, notifications=server.notifications):
        return {}
    server.counters.stale_waits += 1
    return dict(STALE)


# --- points ----------------------------------------------------------------------------------------------------------


async def _metrics(request: Request) -> Response:
    server = _server(request)
    parameters = request.query_params
    run_ids = parameters.getlist("run")
    if not run_ids:
        raise QueryError("run= is missing; name at least one run")
    headers = await _wait(request)
    classes = [integer(text, "cls", 0) or 0 for text in parameters.getlist("cls")]
    async with asyncio.timeout(server.settings.query_timeout):
        if parameters.get("recursive") == "1":
            run_ids = await _with_descendants(server, run_ids, parameters.get("type"))
        headers |= await points_headers(request, server.pool, run_ids)
        if (same := not_modified(request, headers)) is not None:
            return same
        vectors = await server.query.vectors(
            run_ids, names=parameters.getlist("name") or None, cls=classes or None
        )
    from_step, from_time = (integer(parameters.get(name), name, None) for name in ("from_step", "from_time"))
    if from_step is not None or from_time is not None:
        tails = [series.since(from_step, from_time) for series in vectors]
        vectors = Vectors([series for series in tails if len(series)])
    server.counters.points += sum(len(series) for series in vectors)
    body = await asyncio.to_thread(pack_vectors, vectors)
    return await asyncio.to_thread(answer, request, body, MSGPACK, headers)


async def _with_descendants(server: Server, run_ids: list[str], type_: str | None) -> list[str]:
    """Each run's descendants, newest start first, then the run itself."""
    result: dict[str, None] = {}
    async with server.pool.acquire() as connection:
        for run_id in run_ids:
            result.update(dict.fromkeys(await descendants(connection, run_id, type=type_)))
            result.pop(run_id, None)
            result[run_id] = None
    return list(result)


async def _series(request: Request) -> Response:
    server = _server(request)
    parameters = request.query_params
    run_id, name = parameters.get("run"), parameters.get("name")
    if not run_id or not name:
        raise QueryError("run= and name= are needed")
    headers = await _wait(request)
    async with asyncio.timeout(server.settings.query_timeout):
        headers |= await points_headers(request, server.pool, [run_id])
        if (same := not_modified(request, headers)) is not None:
            return same
        chart = await one_series.chart(
            server.query,
            run_id,
            name,
            integer(parameters.get("width"), "width", 1000) or 0,
            start=integer(parameters.get("from"), "from", None),
            stop=integer(parameters.get("to"), "to", None),
            over=parameters.get("x") or None,
        )
    if chart is None:
        return problem(404, "Not Found", f"run {run_id!r} has no metric {name!r}", headers)
    server.counters.points += len(chart.steps)
    if wants_arrow(request):
        table = pa.table(
            {
                "step": pa.array(chart.steps),
                "time": pa.array(chart.times).view(pa.timestamp("us", tz="UTC")),
                "value": pa.array(chart.values),
                **({} if chart.x is None else {"x": pa.array(chart.x)}),
            }
        ).replace_schema_metadata({"bucket": str(chart.bucket), "points": str(chart.points)})
        return table_answer(request, table, headers)
    document = {
        "run_id": run_id,
        "name": name,
        "bucket": chart.bucket,
        "points": chart.points,
        "steps": chart.steps.tolist(),
        "times": chart.times.tolist(),
        "values": [json_value(value) for value in chart.values.tolist()],
        **({} if chart.x is None else {"x": [json_value(value) for value in chart.x.tolist()]}),
    }
    return json_answer(request, document, headers)


async def _sql(request: Request) -> Response:
    server = _server(request)
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        # A page of another site can send text/plain without being asked for leave; it cannot send JSON.
        return problem(415, "Unsupported Media Type", "send the query as application/json")
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_SQL_BYTES:
            return problem(413, "Content Too Large", f"a query has at most {MAX_SQL_BYTES} bytes")
    try:
        statement = strict_json.loads(body)["query"]
    except (ValueError, TypeError, KeyError):
        raise QueryError('expected a JSON object {"query": "SELECT ..."}') from None
    if not isinstance(statement, str):
        raise QueryError('"query" is not a string')
    workspace = access.grant_of(request).workspace
    async with asyncio.timeout(server.settings.query_timeout) as waiting, server.sql_places.one():
        waiting.reschedule(None)  # from here on the statement has its own time
        table = await run_sql(server.pool, server.store, server.settings, statement, workspace=workspace)
    return await asyncio.to_thread(table_answer, request, table)


# --- experiments -----------------------------------------------------------------------------------------------------


async def _experiments(request: Request) -> Response:
    rows = await _server(request).pool.fetch(queries.EXPERIMENTS, request.query_params.get("workspace"), None)
    return json_answer(request, plain({"experiments": [registry_api.experiment_record(row) for row in rows]}))


async def _experiment(request: Request) -> Response:
    pool = _server(request).pool
    name = check_name("experiment name", request.path_params["name"])
    workspace = check_name("workspace", request.query_params.get("workspace") or "default")
    await pool.execute(queries.ADD_EXPERIMENT, workspace, name)
    row = await pool.fetchrow(queries.EXPERIMENTS, workspace, name)
    return json_answer(request, plain(registry_api.experiment_record(row)))


# --- the server ------------------------------------------------------------------------------------------------------


class _QuietServer(uvicorn.Server):
    """Leaves the process's signals to whoever runs the loop."""

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
) -> None:
    """Serve the API until `stop` is set, in the running event loop.

    Args:
        settings: `host`, `port`, `database` (migrated) and `store` are used.
        stop: ends the server.
        token: what clients must send as bearer token; None: nothing.
        embedded: it is one user's own, who needs no token from this machine where that is known.
        on_ready: called with the server's address once it answers.

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
            await _serve(Server(SharedPool(pool), store, settings), listener, stop, token, embedded, on_ready)
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
            f"RUNSTREAM_TLS_CERT_FILE={server.settings.tls_cert_file!r} and its key cannot be used ({error})"
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
