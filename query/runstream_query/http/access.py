"""What a grant allows: the role a request needs, and the workspace it is held to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import asyncpg
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from .endpoint import Door, Reach
from .responses import problem
from .routing import Asked
from .tokens import OWNER, Grant

GRANT = "runstream.grant"
"""Where the gate leaves the grant in a request's scope."""

_RUNS = """
select r.run_id, r.experiment_id is null as unknown, e.workspace is not distinct from $2 as here
from runs r left join experiments e on e.id = r.experiment_id where r.run_id = any($1::text[])"""


_RUN_PARAMETERS = frozenset({"run", "parent"})


async def refusal(grant: Grant, asked: Asked, pool: asyncpg.Pool[Any]) -> Response | None:
    """Why a grant does not allow a request; None: it does. A request of one workspace's token is narrowed to that one."""
    assert asked.route is not None
    wanted, reach = asked.route.needs, asked.route.reach
    assert not isinstance(wanted, Door)
    if grant.role < wanted:
        return _forbidden(
            f"the token {grant.name!r} may {grant.role.name.lower()}; {asked.method} {asked.path} needs "
            f"{wanted.name.lower()}"
        )
    if grant.workspace is None:
        return None
    elsewhere = f"the token {grant.name!r} is for the workspace {grant.workspace!r} only"
    runs = [
        value for key, value in asked.query_params.multi_items() if key in _RUN_PARAMETERS and value != "none"
    ]
    if reach is Reach.ALL or (reach is Reach.RUNS and not runs):
        return _forbidden(f"{elsewhere}; {asked.path} shows those of others too")
    if reach in (Reach.RUN, Reach.RUN_TO_COME):
        runs.append(asked.path_params["run_id"])
    if reach is Reach.WORKSPACE:
        named = asked.query_params.getlist("workspace")
        if any(value != grant.workspace for value in named):
            return _forbidden(f"{elsewhere}, not for {named[0]!r:.80}; leave workspace= out")
        if not named:
            asked.narrow(grant.workspace)
    # A file may come before its run is known: it is held for the token's workspace until then (`artifacts.claim`).
    early = reach is Reach.RUN_TO_COME
    if not runs:
        return None
    found = await pool.fetch(_RUNS, runs, grant.workspace)
    if not all(row["here"] or (early and row["unknown"]) for row in found):
        return _forbidden(f"{elsewhere}; a run asked for is in another one")
    missing = set(runs) - {row["run_id"] for row in found}
    if missing and not early:
        if asked.method not in ("GET", "HEAD"):
            # Not left to the handler: the body may take its time, and the run become another workspace's meanwhile.
            return problem(
                404, "Not Found", f"no run {missing.pop()!r:.200}; its first record may not have arrived yet"
            )
        asked.not_known_yet = True
    return None


def _forbidden(detail: str) -> Response:
    return problem(403, "Forbidden", detail)


def grant_of(request: Request) -> Grant:
    """What the request may do, as the gate found it."""
    found: Grant = request.scope.get(GRANT, OWNER)
    return found


async def check_runs(request: Request, run_ids: Sequence[str]) -> list[str]:
    """See that a token of one workspace names only runs of that one.

    Returns:
        The runs it may use: without those that are not known yet, which may be another's by the time they are looked for.

    Raises:
        HTTPException: it names another (403).
    """
    grant = grant_of(request)
    if grant.workspace is None:
        return list(run_ids)
    pool: asyncpg.Pool[Any] = request.app.state.pool
    found = await pool.fetch(_RUNS, list(run_ids), grant.workspace)
    if not all(row["here"] for row in found):
        raise HTTPException(
            403,
            f"the token {grant.name!r} is for the workspace {grant.workspace!r} only; a run asked for is in another one",
        )
    known = {row["run_id"] for row in found}
    return [run_id for run_id in run_ids if run_id in known]
