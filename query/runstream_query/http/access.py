"""What a grant allows: the role a request needs, and the workspace it is held to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import asyncpg
from starlette.requests import Request
from starlette.responses import Response

from ..not_there import no_run
from .endpoint import Door, Reach
from .filters import Wait
from .parameters import read
from .responses import problem
from .routing import Asked
from .shares import SharedPool
from .tokens import OWNER, Grant
from .waiting import wait_for_writes

if TYPE_CHECKING:
    from .context import Server

GRANT = "runstream.grant"
"""Where the gate leaves the grant in a request's scope."""

_RUNS = """
select r.run_id, r.experiment_id is null as unknown, e.workspace is not distinct from $2 as here
from runs r left join experiments e on e.id = r.experiment_id where r.run_id = any($1::text[])"""


async def refusal(grant: Grant, asked: Asked, pool: asyncpg.Pool[Any]) -> Response | None:
    """Why a grant does not allow a request; None: it does. A request of one workspace's token is narrowed to that one."""
    assert asked.route is not None
    needed, reach = asked.route.needs, asked.route.reach
    assert not isinstance(needed, Door)
    if grant.role < needed:
        return _forbidden(
            f"the token {grant.name!r} may {grant.role.name.lower()}; {asked.method} {asked.path} needs "
            f"{needed.name.lower()}"
        )
    if grant.workspace is None:
        return None
    elsewhere = f"the token {grant.name!r} is for the workspace {grant.workspace!r} only"
    if reach is Reach.WORKSPACE:
        named = asked.query_params.getlist("workspace")
        if any(value != grant.workspace for value in named):
            return _forbidden(f"{elsewhere}, not for {named[0]!r:.80}; leave workspace= out")
        if not named:
            asked.narrow(grant.workspace)
        return None
    runs = asked.query_params.getlist("run") if reach is Reach.RUNS else []
    if reach is Reach.ALL or (reach is Reach.RUNS and not runs):
        return _forbidden(
            f"{elsewhere}; {asked.path} shows those of others too"
            + (", unless run= names some" if reach is Reach.RUNS else "; use a token of all workspaces")
        )
    if reach in (Reach.RUN, Reach.RUN_TO_COME):
        runs = [asked.path_params["run_id"]]
    if runs:
        asked.absent = await _absent(pool, grant, runs, early=reach is Reach.RUN_TO_COME)
    return None


async def _absent(
    pool: asyncpg.Pool[Any] | SharedPool, grant: Grant, runs: Sequence[str], *, early: bool = False
) -> frozenset[str]:
    """Of those runs the ones a token of one workspace finds nothing of: there is none, or it is another workspace's.

    Args:
        early: without those that nobody knows yet: what comes for one is held for the token's workspace until then, see
            `artifacts.claim`.
    """
    rows = await pool.fetch(_RUNS, list(runs), grant.workspace)
    if early:
        return frozenset(row["run_id"] for row in rows if not row["here"] and not row["unknown"])
    return frozenset(runs) - {row["run_id"] for row in rows if row["here"]}


async def leave_out_absent(grant: Grant, asked: Asked) -> Response | None:
    """Take out of a request what its token finds nothing of; what to answer where nothing is left.

    Whether such a run is another workspace's or nobody's makes no difference to what is done here, so the answer tells
    nothing of it. The handler sees none of them: one that is not there yet may be another's by the time it looks.
    """
    assert asked.route is not None
    headers: dict[str, str] = {}
    waits = [parameter for parameter in asked.route.parameters if parameter.name in Wait.__struct_fields__]
    if asked.query_params.get("wait") and waits:
        server: Server = asked.app.state
        headers = await wait_for_writes(server, read(Wait, waits, asked.query_params))
        asked.absent = await _absent(server.pool, grant, list(asked.absent))
    named = (
        asked.query_params.getlist("run")
        if asked.route.reach is Reach.RUNS
        else [asked.path_params["run_id"]]
    )
    if asked.absent.issuperset(named):
        return problem(404, "Not Found", str(no_run(named[0])), headers)
    asked.leave_out("run", asked.absent)
    return None


def _forbidden(detail: str) -> Response:
    return problem(403, "Forbidden", detail)


def grant_of(request: Request) -> Grant:
    """What the request may do, as the gate found it."""
    grant: Grant = request.scope.get(GRANT, OWNER)
    return grant


async def runs_there(request: Request, run_ids: Sequence[str]) -> list[str]:
    """Those of the runs a body names that its token may use: of one workspace's token only runs that are known there.

    Others it may not know of are left out as those that do not exist: it is not told which of the two they are.
    """
    grant = grant_of(request)
    if grant.workspace is None:
        return list(run_ids)
    absent = await _absent(request.app.state.pool, grant, run_ids)
    return [run_id for run_id in run_ids if run_id not in absent]
