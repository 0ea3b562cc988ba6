"""Counts the lists of the pages show: children of runs, and runs of experiments and compute targets by status."""

from __future__ import annotations

from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from runstream_schemas.errors import QueryError

from ..json_values import iso
from .context import server_of
from .responses import json_answer

MOST_RUNS = 1000
"""Most runs whose children one request counts."""

CHILD_COUNTS: Final = """
select child.parent_run_id, count(*) as children
from runs child join runs parent on parent.run_id = child.parent_run_id
where child.parent_run_id = any($1::text[]) and child.archived_at is null
    and same_workspace(child.experiment_id, parent.experiment_id)
group by child.parent_run_id
"""

EXPERIMENT_COUNTS: Final = """
select r.experiment_id as id, r.status, count(*) as runs, max(r.start_time) as newest
from runs r join experiments e on e.id = r.experiment_id
where r.archived_at is null and ($1::text is null or e.workspace = $1)
group by r.experiment_id, r.status
"""

TARGET_COUNTS: Final = """
select r.target, r.status, count(*) as runs, max(r.start_time) as newest
from runs r left join experiments e on e.id = r.experiment_id
where r.target is not null and r.archived_at is null and ($1::text is null or e.workspace = $1)
group by r.target, r.status
order by r.target
"""


async def child_counts(request: Request) -> Response:
    """`GET /api/v1/child-counts?run=..`: `{"children": {run id: how many}}`, those without children left out."""
    runs = request.query_params.getlist("run")
    if len(runs) > MOST_RUNS:
        raise QueryError(f"{len(runs)} runs; at most {MOST_RUNS} at once")
    rows = await server_of(request).pool.fetch(CHILD_COUNTS, runs)
    return json_answer(request, {"children": {row["parent_run_id"]: row["children"] for row in rows}})


async def experiment_counts(request: Request) -> Response:
    """`GET /api/v1/experiment-counts[?workspace=]`: `{"experiments": {id: {"statuses": {status: runs}, "newest_utc"}}}`."""
    rows = await server_of(request).pool.fetch(EXPERIMENT_COUNTS, request.query_params.get("workspace"))
    return json_answer(request, {"experiments": _by_status(rows, "id")})


async def target_counts(request: Request) -> Response:
    """`GET /api/v1/target-counts[?workspace=]`: the same by compute target, `{"targets": {name: ...}}`."""
    rows = await server_of(request).pool.fetch(TARGET_COUNTS, request.query_params.get("workspace"))
    return json_answer(request, {"targets": _by_status(rows, "target")})


def _by_status(rows: list[Any], key: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for row in rows:
        one = found.setdefault(str(row[key]), {"statuses": {}, "newest_utc": None})
        one["statuses"][row["status"]] = row["runs"]
        newest = iso(row["newest"])
        one["newest_utc"] = max(filter(None, (one["newest_utc"], newest)), default=None)
    return found


def routes() -> list[Route]:
    """The pages' counts."""
    return [
        Route("/api/v1/child-counts", child_counts),
        Route("/api/v1/experiment-counts", experiment_counts),
        Route("/api/v1/target-counts", target_counts),
    ]
