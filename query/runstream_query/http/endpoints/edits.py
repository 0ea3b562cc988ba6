"""HTTP for what people change: runs one by one and many at once."""

from __future__ import annotations

from typing import TypedDict

import msgspec
from msgspec import UNSET, UnsetType
from starlette.requests import Request

from runstream_schemas.errors import QueryError
from runstream_schemas.runs.record import RunRecord

from ...not_there import no_run
from ...runs import deletion
from ...runs.edits import UNCHANGED, RunEdit, cancel_runs, edit_runs
from ...runs.runs import get_run
from .. import access
from ..bodies import RunIds, check_run_ids
from ..context import server_of
from ..endpoint import Reach, endpoint
from ..tokens import Role

MOST_TAGS = 1000
"""Tags of one change."""


class TagChanges(msgspec.Struct, forbid_unknown_fields=True):
    """Tags to set (null: a tag without a value) and to remove."""

    set: dict[str, str | None] = {}
    remove: list[str] = []


class RunEditBody(msgspec.Struct, forbid_unknown_fields=True):
    """What to change of a run; what is left out stays."""

    display_name: str | UnsetType | None = UNSET
    description: str | UnsetType | None = UNSET
    archived: bool | UnsetType | None = UNSET
    tags: TagChanges | UnsetType = UNSET


def _changes(body: RunEditBody) -> RunEdit:
    """The changes a body asks for.

    Raises:
        QueryError: too many tags, one that is to be both set and removed, or nothing to change.
    """
    tags = TagChanges() if body.tags is UNSET else body.tags
    if (many := len(tags.set) + len(tags.remove)) > MOST_TAGS:
        raise QueryError(f"tags: {many} of them, the most is {MOST_TAGS}; send several requests")
    if both := tags.set.keys() & set(tags.remove):
        raise QueryError(f"tags: {sorted(both)[0]!r:.80} is to be both set and removed; name it once")
    if body == RunEditBody():
        raise QueryError(f"nothing to change; give any of {', '.join(sorted(RunEditBody.__struct_fields__))}")
    return RunEdit(
        display_name=UNCHANGED if body.display_name is UNSET else body.display_name,
        description=UNCHANGED if body.description is UNSET else body.description,
        set_tags=tags.set,
        remove_tags=tags.remove,
        archived=None if body.archived is UNSET else body.archived,
    )


# --- one run ---------------------------------------------------------------------------------------------------------


@endpoint("PATCH /api/v1/runs/{run_id}", Role.WRITE, Reach.RUN, "Change a run")
async def edit_run(request: Request, run_id: str, body: RunEditBody) -> RunRecord:
    changes = _changes(body)
    async with server_of(request).pool.acquire() as connection:
        if not await edit_runs(connection, [run_id], changes):
            raise no_run(run_id)
        run = await get_run(connection, run_id)
    if run is None:
        raise no_run(run_id)
    return run.record()


class DeleteQuery(msgspec.Struct, kw_only=True):
    force: bool = False


class Deleted(TypedDict):
    """Ids of the runs that were deleted."""

    deleted: list[str]


@endpoint("DELETE /api/v1/runs/{run_id}", Role.ADMIN, Reach.RUN, "Delete a run with its descendants")
async def delete_run(request: Request, run_id: str, asked: DeleteQuery) -> Deleted:
    deleted = await deletion.delete_runs(server_of(request).pool, [run_id], force=asked.force)
    if not deleted:
        raise no_run(run_id)
    return {"deleted": deleted}


class Statuses(TypedDict):
    """The new status of each run that was active, by id."""

    statuses: dict[str, str]


@endpoint("POST /api/v1/runs/{run_id}/cancel", Role.WRITE, Reach.RUN, "Ask a run to stop")
async def cancel_run(request: Request, run_id: str) -> Statuses:
    """And its descendants."""
    async with server_of(request).pool.acquire() as connection:
        if await get_run(connection, run_id) is None:
            raise no_run(run_id)
        return {"statuses": await cancel_runs(connection, [run_id])}


# --- many runs -------------------------------------------------------------------------------------------------------


class ManyChanges(msgspec.Struct, forbid_unknown_fields=True):
    runs: RunIds
    changes: RunEditBody


class Changed(TypedDict):
    """Ids of the runs that were changed, and of those there are not."""

    changed: list[str]
    missing: list[str]


@endpoint("PATCH /api/v1/runs", Role.WRITE, Reach.HANDLER, "Change many runs")
async def edit_many(request: Request, body: ManyChanges) -> Changed:
    run_ids = check_run_ids(body.runs)
    known = await access.runs_there(request, run_ids)
    async with server_of(request).pool.acquire() as connection:
        changed = await edit_runs(connection, known, _changes(body.changes))
    return {"changed": changed, "missing": _without(run_ids, changed)}


class ManyToCancel(msgspec.Struct, forbid_unknown_fields=True):
    runs: RunIds
    descendants: bool | None = True


@endpoint("POST /api/v1/runs/cancel", Role.WRITE, Reach.HANDLER, "Ask many runs to stop")
async def cancel_many(request: Request, body: ManyToCancel) -> Statuses:
    run_ids = await access.runs_there(request, check_run_ids(body.runs))
    async with server_of(request).pool.acquire() as connection:
        return {"statuses": await cancel_runs(connection, run_ids, descendants=body.descendants is not False)}


class ManyToDelete(msgspec.Struct, forbid_unknown_fields=True):
    runs: RunIds
    force: bool | None = False
    dry_run: bool | None = False


class DeletedMany(TypedDict):
    """Ids of the runs that were deleted, and of those there are not."""

    deleted: list[str]
    missing: list[str]


@endpoint(
    "POST /api/v1/runs/delete",
    Role.ADMIN,
    Reach.HANDLER,
    "Delete many runs with their descendants, or tell what that would delete",
)
async def delete_many(request: Request, body: ManyToDelete) -> DeletedMany | deletion.WouldDelete:
    run_ids, pool = check_run_ids(body.runs), server_of(request).pool
    known = await access.runs_there(request, run_ids)
    if body.dry_run:
        async with pool.acquire() as connection:
            return await deletion.would_delete(connection, known)
    deleted = await deletion.delete_runs(pool, known, force=bool(body.force))
    return {"deleted": deleted, "missing": _without(run_ids, deleted)}


def _without(run_ids: list[str], left_out: list[str]) -> list[str]:
    known = set(left_out)
    return [run_id for run_id in run_ids if run_id not in known]


ENDPOINTS = (edit_many, cancel_many, delete_many, edit_run, delete_run, cancel_run)
