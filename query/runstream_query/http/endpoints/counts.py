"""Counts the lists of the pages show: children of runs, and runs of experiments and compute targets by status."""

from __future__ import annotations

from typing import Any, Final, TypedDict

import msgspec
from starlette.requests import Request

from runstream_schemas.errors import QueryError

from ...json_values import iso
from ..context import server_of
from ..endpoint import Reach, endpoint
from ..tokens import Role

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


class RunsAsked(msgspec.Struct, kw_only=True):
    run: list[str] = []


class OfWorkspace(msgspec.Struct, kw_only=True):
    workspace: str | None = None


class ChildCounts(TypedDict):
    """How many children runs have, by run id; those without children are left out."""

    children: dict[str, int]


class StatusCounts(TypedDict):
    """Runs by status, and when the newest began."""

    statuses: dict[str, int]
    newest_utc: str | None


class ExperimentCounts(TypedDict):
    """Runs of experiments, by id."""

    experiments: dict[str, StatusCounts]


class TargetCounts(TypedDict):
    """Runs of compute targets, by name."""

    targets: dict[str, StatusCounts]


@endpoint("GET /api/v1/child-counts", Role.READ, Reach.RUNS, "How many children runs have")
async def child_counts(request: Request, asked: RunsAsked) -> ChildCounts:
    if len(asked.run) > MOST_RUNS:
        raise QueryError(f"{len(asked.run)} runs; at most {MOST_RUNS} at once")
    rows = await server_of(request).pool.fetch(CHILD_COUNTS, asked.run)
    return {"children": {row["parent_run_id"]: row["children"] for row in rows}}


@endpoint("GET /api/v1/experiment-counts", Role.READ, Reach.WORKSPACE, "Runs of experiments by status")
async def experiment_counts(request: Request, asked: OfWorkspace) -> ExperimentCounts:
    rows = await server_of(request).pool.fetch(EXPERIMENT_COUNTS, asked.workspace)
    return {"experiments": _by_status(rows, "id")}


@endpoint("GET /api/v1/target-counts", Role.READ, Reach.WORKSPACE, "Runs of compute targets by status")
async def target_counts(request: Request, asked: OfWorkspace) -> TargetCounts:
    rows = await server_of(request).pool.fetch(TARGET_COUNTS, asked.workspace)
    return {"targets": _by_status(rows, "target")}


def _by_status(rows: list[Any], key: str) -> dict[str, StatusCounts]:
    counts: dict[str, StatusCounts] = {}
    for row in rows:
        count = counts.setdefault(str(row[key]), {"statuses": {}, "newest_utc": None})
        count["statuses"][row["status"]] = row["runs"]
        newest = iso(row["newest"])
        count["newest_utc"] = max(filter(None, (count["newest_utc"], newest)), default=None)
    return counts


ENDPOINTS = (child_counts, experiment_counts, target_counts)
