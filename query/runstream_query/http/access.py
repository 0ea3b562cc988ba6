"""What a grant allows: the role a request needs, and the workspace it is held to."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum, auto
from typing import Any

import asyncpg
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from .responses import problem
from .routing import Asked
from .tokens import OWNER, Grant, Role

GRANT = "runstream.grant"
"""Where the gate leaves the grant in a request's scope."""

_RUNS = """
select r.run_id, r.experiment_id is null as unknown, e.workspace is not distinct from $2 as here
from runs r left join experiments e on e.id = r.experiment_id where r.run_id = any($1::text[])"""


_READING_POSTS = frozenset({"/api/v1/sql", "/api/v1/tickets"})
_OWN_SESSIONS = "/api/v1/sessions"
_ADMIN_ROUTES = ("/api/v1/tokens", "/api/v1/runs/delete", "/api/v1/workspaces/")
_OWN_DELETES = ("/api/v1/views/",)


class Reach(Enum):
    """How a route is held to the workspace of a token that is for one only."""

    WORKSPACE = auto()
    """By the parameter `workspace`, which is given where it is not."""
    RUN = auto()
    """By the run in the path."""
    RUNS = auto()
    """By the parameters `run`, of which there has to be one."""
    HANDLER = auto()
    """Where it is answered, see `grant_of` and `check_runs`."""
    CONTENT = auto()
    """What is sent is named by its digest, and kept apart by workspace until a run or a model of one names it."""


_REACH = {
    **dict.fromkeys(
        (
            "/api/v1/runs", "/api/v1/export/runs", "/api/v1/workspaces", "/api/v1/experiments",
            "/api/v1/experiments/{name:path}", "/api/v1/models", "/api/v1/models/{name}/{version}",
            "/api/v1/models/{name}/{version}/files/{path:path}", "/api/v1/environments", "/api/v1/environment-labels",
            "/api/v1/experiment-counts", "/api/v1/target-counts", "/api/v1/metric-names",
        ),
        Reach.WORKSPACE,
    ),
    **dict.fromkeys(
        (
            "/api/v1/runs/{run_id}", "/api/v1/runs/{run_id}/cancel", "/api/v1/runs/{run_id}/files",
            "/api/v1/runs/{run_id}/files/{path:path}", "/api/v1/runs/{run_id}/zip", "/api/v1/runs/{run_id}/series",
            "/api/v1/runs/{run_id}/values", "/api/v1/runs/{run_id}/tables/{name:path}",
        ),
        Reach.RUN,
    ),
    **dict.fromkeys(
        (
            "/api/v1/metrics", "/api/v1/series", "/api/v1/charts", "/api/v1/child-counts", "/api/v1/export/points",
            "/api/v1/export/table",
        ),
        Reach.RUNS,
    ),
    **dict.fromkeys(
        (
            "/api/v1/access", "/api/v1/events", "/api/v1/sql", "/api/v1/stored", "/api/v1/tickets",
            "/api/v1/sessions", "/api/v1/sessions/{id}",
            "PATCH /api/v1/runs", "/api/v1/runs/cancel", "/api/v1/runs/delete",
        ),
        Reach.HANDLER,
    ),
    **dict.fromkeys(
        ("/api/v1/blobs/{sha256}", "/api/v1/uploads/{sha256}", "/api/v1/model-content/{sha256}"), Reach.CONTENT
    ),
}  # fmt: skip
"""By route, or method and route. A route that is not here shows what is of others too, and is refused."""
_RUN_PARAMETERS = frozenset({"run", "parent"})
_FILE = "/api/v1/runs/{run_id}/files/{path:path}"


def needed(method: str, route: str) -> Role:
    """The role a request needs: reading, changing, or (deleting and giving out tokens) everything.

    Args:
        method: of HTTP.
        route: the pattern that matched, e.g. `/api/v1/runs/{run_id}`.
    """
    if route.startswith(_ADMIN_ROUTES):
        return Role.ADMIN
    if method in ("GET", "HEAD", "OPTIONS") or route in _READING_POSTS or route.startswith(_OWN_SESSIONS):
        return Role.READ
    if method == "DELETE" and not route.startswith(_OWN_DELETES):
        return Role.ADMIN
    return Role.WRITE


async def refusal(grant: Grant, asked: Asked, pool: asyncpg.Pool[Any]) -> Response | None:
    """Why a grant does not allow a request; None: it does. A request of one workspace's token is narrowed to that one."""
    assert asked.route is not None
    route = asked.route.path
    wanted = needed(asked.method, route)
    if grant.role < wanted:
        return _forbidden(
            f"the token {grant.name!r} may {grant.role.name.lower()}; {asked.method} {asked.path} needs "
            f"{wanted.name.lower()}"
        )
    if grant.workspace is None:
        return None
    elsewhere = f"the token {grant.name!r} is for the workspace {grant.workspace!r} only"
    reach = _REACH.get(f"{asked.method} {route}") or _REACH.get(route)
    runs = [
        value for key, value in asked.query_params.multi_items() if key in _RUN_PARAMETERS and value != "none"
    ]
    if reach is None or (reach is Reach.RUNS and not runs):
        return _forbidden(f"{elsewhere}; {asked.path} shows those of others too")
    if reach is Reach.RUN:
        runs.append(asked.path_params["run_id"])
    if reach is Reach.WORKSPACE:
        named = asked.query_params.getlist("workspace")
        if any(value != grant.workspace for value in named):
            return _forbidden(f"{elsewhere}, not for {named[0]!r:.80}")
        if not named:
            asked.narrow(grant.workspace)
    # A file may come before its run is known: it is held for the token's workspace until then (`artifacts.claim`).
    early = route == _FILE and asked.method in ("PUT", "POST")
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
