"""HTTP for SQL."""

from __future__ import annotations

import asyncio

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from ...sql.sql import run_sql
from ..access import grant_of
from ..context import server_of
from ..endpoint import Reach, endpoint
from ..responses import ARROW, Table, table_answer
from ..tokens import Role

MAX_SQL_BYTES = 1 << 20


class Statement(msgspec.Struct):
    query: str


@endpoint(
    "POST /api/v1/sql",
    Role.READ,
    Reach.HANDLER,
    "Read the views by SQL",
    most=MAX_SQL_BYTES,
    answer=Table,
    also=(ARROW,),
)
async def sql(request: Request, body: Statement) -> Response:
    server, workspace = server_of(request), grant_of(request).workspace
    async with asyncio.timeout(server.settings.query_timeout) as waiting, server.sql_places.one():
        waiting.reschedule(None)  # from here on the statement has its own time
        table = await run_sql(server.pool, server.store, server.settings, body.query, workspace=workspace)
    return await asyncio.to_thread(table_answer, request, table)


ENDPOINTS = (sql,)
