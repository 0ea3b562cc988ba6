"""HTTP for what people change: runs one by one and many at once, saved views."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from runstream_schemas.errors import QueryError

from ..json_values import plain
from ..runs import deletion, saved_views
from ..runs.edits import UNCHANGED, Changes, cancel_runs, edit_runs
from ..runs.runs import get_run
from . import access
from .context import server_of
from .parameters import boolean, flag, json_body, run_ids, text_or_none
from .responses import json_answer, problem

MOST_TAGS = 1000
"""Tags of one change."""
CHANGE_KEYS = {"display_name", "description", "tags", "archived"}


def _missing(run_id: str) -> Response:
    return problem(404, "Not Found", f"no run {run_id!r}")


def read_changes(document: dict[str, Any]) -> Changes:
    """The changes a body asks for.

    Raises:
        QueryError: a value of another kind than expected, or nothing to change.
    """
    tags = document.get("tags", {})
    if not isinstance(tags, dict) or tags.keys() - {"set", "remove"}:
        raise QueryError('"tags": expected {"set": {name: text or null}, "remove": [name]}')
    set_, remove = tags.get("set", {}), tags.get("remove", [])
    if not isinstance(set_, dict) or not all(
        value is None or isinstance(value, str) for value in set_.values()
    ):
        raise QueryError('"tags": "set": expected an object of texts or nulls')
    if not isinstance(remove, list) or not all(isinstance(key, str) for key in remove):
        raise QueryError('"tags": "remove": expected a list of names')
    if len(set_) + len(remove) > MOST_TAGS:
        raise QueryError(
            f'"tags": {len(set_) + len(remove)} of them, the most is {MOST_TAGS}; send several requests'
        )
    if both := set_.keys() & set(remove):
        raise QueryError(f'"tags": {sorted(both)[0]!r:.80} is to be both set and removed')
    if not document:
        raise QueryError(f"nothing to change; give any of {', '.join(sorted(CHANGE_KEYS))}")
    return Changes(
        display_name=text_or_none(document, "display_name") if "display_name" in document else UNCHANGED,
        description=text_or_none(document, "description") if "description" in document else UNCHANGED,
        set_tags=set_,
        remove_tags=remove,
        archived=boolean(document, "archived", None),
    )


# --- one run ---------------------------------------------------------------------------------------------------------


async def edit_run(request: Request) -> Response:
    """`PATCH /api/v1/runs/{id}`: change a run; answers its record."""
    run_id = request.path_params["run_id"]
    changes = read_changes(await json_body(request, CHANGE_KEYS))
    async with server_of(request).pool.acquire() as connection:
        if not await edit_runs(connection, [run_id], changes):
            return _missing(run_id)
        run = await get_run(connection, run_id)
    return _missing(run_id) if run is None else json_answer(request, plain(run.record()))


async def delete_run(request: Request) -> Response:
    """`DELETE /api/v1/runs/{id}[?force=1]`: delete a run with its descendants."""
    pool, run_id = server_of(request).pool, request.path_params["run_id"]
    deleted = await deletion.delete_runs(pool, [run_id], force=flag(request.query_params.get("force")))
    return json_answer(request, {"deleted": deleted}) if deleted else _missing(run_id)


async def cancel_run(request: Request) -> Response:
    """`POST /api/v1/runs/{id}/cancel`: ask a run and its descendants to stop."""
    run_id = request.path_params["run_id"]
    async with server_of(request).pool.acquire() as connection:
        if await get_run(connection, run_id) is None:
            return _missing(run_id)
        return json_answer(request, {"statuses": await cancel_runs(connection, [run_id])})


# --- many runs -------------------------------------------------------------------------------------------------------


async def edit_many(request: Request) -> Response:
    """`PATCH /api/v1/runs`: the same changes to many runs."""
    document = await json_body(request, {"runs", "changes"})
    wanted, body = run_ids(document), document.get("changes")
    known = await access.check_runs(request, wanted)
    if not isinstance(body, dict) or body.keys() - CHANGE_KEYS:
        raise QueryError(f'"changes": expected an object with any of {", ".join(sorted(CHANGE_KEYS))}')
    async with server_of(request).pool.acquire() as connection:
        changed = await edit_runs(connection, known, read_changes(body))
    return json_answer(request, {"changed": changed, "missing": _without(wanted, changed)})


async def cancel_many(request: Request) -> Response:
    """`POST /api/v1/runs/cancel`: ask many runs to stop."""
    document = await json_body(request, {"runs", "descendants"})
    wanted = await access.check_runs(request, run_ids(document))
    async with server_of(request).pool.acquire() as connection:
        statuses = await cancel_runs(
            connection, wanted, descendants=boolean(document, "descendants", True) is True
        )
    return json_answer(request, {"statuses": statuses})


async def delete_many(request: Request) -> Response:
    """`POST /api/v1/runs/delete`: delete many runs with their descendants, or tell what that would delete."""
    document = await json_body(request, {"runs", "force", "dry_run"})
    wanted, pool = run_ids(document), server_of(request).pool
    known = await access.check_runs(request, wanted)
    force = boolean(document, "force", False) is True
    if boolean(document, "dry_run", False):
        async with pool.acquire() as connection:
            return json_answer(request, (await deletion.contents(connection, known)).record())
    deleted = await deletion.delete_runs(pool, known, force=force)
    return json_answer(request, {"deleted": deleted, "missing": _without(wanted, deleted)})


def _without(wanted: list[str], found: list[str]) -> list[str]:
    known = set(found)
    return [one for one in wanted if one not in known]


# --- saved views -----------------------------------------------------------------------------------------------------


async def views(request: Request) -> Response:
    """`GET /api/v1/views`: the named views; `POST`: keep one."""
    async with server_of(request).pool.acquire() as connection:
        if request.method != "POST":
            found = await saved_views.list_views(connection, request.query_params.get("page"))
            return json_answer(request, {"views": found})
        document = await json_body(request, {"page", "name", "state"})
        try:
            view, new = await saved_views.add_view(
                connection,
                text_or_none(document, "page") or "",
                text_or_none(document, "name"),
                document.get("state"),
            )
        except saved_views.NameTaken as error:
            return problem(409, "Conflict", str(error))
    answer = json_answer(request, view)
    answer.status_code = 201 if new else 200
    return answer


async def view(request: Request) -> Response:
    """`GET /api/v1/views/{id}`: a view with its state; `PATCH`: change it; `DELETE`: forget it."""
    view_id = request.path_params["view_id"]
    missing = problem(404, "Not Found", f"no view {view_id!r:.80}; it may have been deleted")
    document: dict[str, Any] = {}
    if request.method == "PATCH":
        document = await json_body(request, {"name", "state"})
        text_or_none(document, "name")
    async with server_of(request).pool.acquire() as connection:
        if request.method == "DELETE":
            return (
                Response(status_code=204) if await saved_views.delete_view(connection, view_id) else missing
            )
        try:
            found = (
                await saved_views.change_view(connection, view_id, document)
                if request.method == "PATCH"
                else await saved_views.get_view(connection, view_id)
            )
        except saved_views.NameTaken as error:
            return problem(409, "Conflict", str(error))
    return missing if found is None else json_answer(request, found)


def routes() -> list[Route]:
    """The routes of what people change. Those of many runs come before those with an id in their path."""
    return [
        Route("/api/v1/runs", edit_many, methods=["PATCH"]),
        Route("/api/v1/runs/cancel", cancel_many, methods=["POST"]),
        Route("/api/v1/runs/delete", delete_many, methods=["POST"]),
        Route("/api/v1/runs/{run_id}", edit_run, methods=["PATCH"]),
        Route("/api/v1/runs/{run_id}", delete_run, methods=["DELETE"]),
        Route("/api/v1/runs/{run_id}/cancel", cancel_run, methods=["POST"]),
        Route("/api/v1/views", views, methods=["GET", "POST"]),
        Route("/api/v1/views/{view_id}", view, methods=["GET", "PATCH", "DELETE"]),
    ]
