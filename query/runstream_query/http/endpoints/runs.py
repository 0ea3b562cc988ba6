"""HTTP for runs that are read: a page of them, or one."""

from __future__ import annotations

import asyncio
from typing import NotRequired, TypedDict

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from runstream_schemas.errors import QueryError
from runstream_schemas.runs.record import RunRecord

from ...not_there import no_run
from ...runs.branches import Branches, branches_of
from ...runs.run_order import Order
from ...runs.runs import (
    MOST_COMMON,
    RunParams,
    attach_named_summaries,
    attach_params,
    common_metrics,
    count_runs,
    get_run,
    list_runs,
    run_params,
)
from ..context import server_of
from ..endpoint import Reach, endpoint
from ..filters import Filters, Wait, run_filter
from ..responses import json_answer, problem
from ..tokens import Role
from ..waiting import wait_for_writes

SHOWN_OF_PARAM = 500
"""Characters of a parameter in a list of runs."""


class RunsQuery(Filters, kw_only=True):
    order: str = "-start_time"
    limit: int = 50
    after: str | None = None
    summaries: bool = False
    summary: list[str] = msgspec.field(default_factory=list)
    summary_common: int | None = None
    params: bool = False
    param: list[str] = msgspec.field(default_factory=list)
    count: bool = False


class RunPage(TypedDict):
    """Some runs; `next`: where the next page starts (null: that was the last one), `metrics`: those that are summarized,
    `count`: runs that pass, by status."""

    runs: list[RunRecord]
    next: str | None
    metrics: NotRequired[list[str]]
    count: NotRequired[dict[str, int]]


@endpoint("GET /api/v1/runs", Role.READ, Reach.WORKSPACE, "A page of the runs that pass all filters")
async def runs(request: Request, asked: RunsQuery) -> RunPage:
    server = server_of(request)
    filters = run_filter(asked)
    order = Order.parse(asked.order)
    async with asyncio.timeout(server.settings.query_timeout), server.pool.acquire() as connection:
        page = await list_runs(
            connection,
            filters,
            order=order,
            limit=asked.limit,
            after=asked.after or None,
            summaries=asked.summaries,
        )
        names, common = asked.summary, asked.summary_common
        if common is not None:
            if not 1 <= common <= MOST_COMMON:
                raise QueryError(f"summary_common={common}: expected 1 to {MOST_COMMON}")
            names = list(dict.fromkeys([*names, *await common_metrics(connection, page.runs, common)]))
        if names:
            await attach_named_summaries(connection, page.runs, names)
        if asked.params or asked.param:
            await attach_params(connection, page.runs, None if asked.params else asked.param, SHOWN_OF_PARAM)
        document: RunPage = {"runs": [run.record() for run in page.runs], "next": page.next}
        if common is not None:
            document["metrics"] = names
        if asked.count:
            document["count"] = await count_runs(connection, filters)
    return document


class RunQuery(Wait, kw_only=True):
    summaries: bool = False
    params: bool = False


@endpoint("GET /api/v1/runs/{run_id}", Role.READ, Reach.RUN, "One run", answer=RunRecord)
async def run(request: Request, run_id: str, asked: RunQuery) -> Response:
    server = server_of(request)
    headers = await wait_for_writes(server_of(request), asked)
    async with asyncio.timeout(server.settings.query_timeout), server.pool.acquire() as connection:
        stored = await get_run(connection, run_id, summaries=asked.summaries)
        if stored is not None and asked.params:
            await attach_params(connection, [stored])
    if stored is None:
        return problem(404, "Not Found", str(no_run(run_id)), headers)
    return json_answer(request, stored.record(), headers)


@endpoint(
    "GET /api/v1/runs/{run_id}/params",
    Role.READ,
    Reach.RUN,
    "The parameters of a run, and what they were before",
    answer=RunParams,
)
async def params(request: Request, run_id: str, asked: Wait) -> Response:
    server = server_of(request)
    headers = await wait_for_writes(server, asked)
    async with asyncio.timeout(server.settings.query_timeout), server.pool.acquire() as connection:
        stored = await run_params(connection, run_id)
    if stored is None:
        return problem(404, "Not Found", str(no_run(run_id)), headers)
    return json_answer(request, stored, headers)


@endpoint(
    "GET /api/v1/runs/{run_id}/branches",
    Role.READ,
    Reach.RUN,
    "Where a run was forked from and rewound, and its forks",
    answer=Branches,
)
async def branches(request: Request, run_id: str, asked: Wait) -> Response:
    server = server_of(request)
    headers = await wait_for_writes(server, asked)
    async with asyncio.timeout(server.settings.query_timeout), server.pool.acquire() as connection:
        stored = await branches_of(connection, run_id)
    if stored is None:
        return problem(404, "Not Found", str(no_run(run_id)), headers)
    return json_answer(request, stored, headers)


ENDPOINTS = (runs, run, params, branches)
