"""HTTP for saved views of pages."""

from __future__ import annotations

from typing import Any, TypedDict

import msgspec
from msgspec import UNSET, UnsetType
from starlette.requests import Request
from starlette.responses import Response

from ...not_there import NotThere
from ...runs import saved_views
from ...runs.saved_views import SavedView
from ..context import server_of
from ..endpoint import Reach, endpoint
from ..responses import json_answer
from ..tokens import Role


class ViewsQuery(msgspec.Struct, kw_only=True):
    page: str | None = None


class Views(TypedDict):
    """Views that are kept."""

    views: list[SavedView]


@endpoint("GET /api/v1/views", Role.READ, Reach.ALL, "Saved views")
async def views(request: Request, asked: ViewsQuery) -> Views:
    """Those with a name."""
    async with server_of(request).pool.acquire() as connection:
        return {"views": await saved_views.list_views(connection, asked.page)}


class NewView(msgspec.Struct, forbid_unknown_fields=True):
    page: str
    state: dict[str, Any]
    name: str | None = None


@endpoint("POST /api/v1/views", Role.WRITE, Reach.ALL, "Keep a view", answer=SavedView, statuses=(201, 200))
async def add_view(request: Request, body: NewView) -> Response:
    async with server_of(request).pool.acquire() as connection:
        kept, new = await saved_views.add_view(connection, body.page, body.name, body.state)
    answer = json_answer(request, kept)
    answer.status_code = 201 if new else 200
    return answer


def _no_view(view_id: str) -> NotThere:
    return NotThere(f"no view {view_id!r:.80}; it may have been deleted")


@endpoint("GET /api/v1/views/{view_id}", Role.READ, Reach.ALL, "A saved view with its state")
async def view(request: Request, view_id: str) -> SavedView:
    async with server_of(request).pool.acquire() as connection:
        saved = await saved_views.get_view(connection, view_id)
    if saved is None:
        raise _no_view(view_id)
    return saved


class ViewChanges(msgspec.Struct, forbid_unknown_fields=True):
    name: str | UnsetType | None = UNSET
    state: dict[str, Any] | UnsetType = UNSET


@endpoint("PATCH /api/v1/views/{view_id}", Role.WRITE, Reach.ALL, "Change a saved view")
async def change_view(request: Request, view_id: str, body: ViewChanges) -> SavedView:
    async with server_of(request).pool.acquire() as connection:
        changed = await saved_views.change_view(connection, view_id, msgspec.to_builtins(body))
    if changed is None:
        raise _no_view(view_id)
    return changed


@endpoint("DELETE /api/v1/views/{view_id}", Role.WRITE, Reach.ALL, "Forget a saved view")
async def delete_view(request: Request, view_id: str) -> None:
    async with server_of(request).pool.acquire() as connection:
        if not await saved_views.delete_view(connection, view_id):
            raise _no_view(view_id)


ENDPOINTS = (views, add_view, view, change_view, delete_view)
