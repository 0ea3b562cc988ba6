"""Views of pages people keep: a page's state as JSON, under a name, or without one to share a long selection by its id."""

from __future__ import annotations

import hashlib
import json
import secrets
from typing import Any, NotRequired, TypedDict

import asyncpg

from runstream_schemas.errors import QueryError
from runstream_schemas.limits import check_name

from ..json_values import utc
from . import queries
from .registry import InTheWay
from .runs import Connection

MAX_STATE_BYTES = 1 << 20
"""Longest state of a view, as JSON: some 20,000 run ids."""
MAX_PAGE_BYTES = 64


class SavedView(TypedDict):
    """A view that is kept; a list has its size in place of its state."""

    id: str
    page: str
    name: str | None
    created_utc: str
    changed_utc: str
    state: NotRequired[dict[str, Any]]
    bytes: NotRequired[int]


class NameTaken(InTheWay):
    """Another view of the page has that name."""


async def list_views(connection: Connection, page: str | None = None) -> list[SavedView]:
    """The named views (of a page), without their states."""
    return [{**_head(row), "bytes": row["bytes"]} for row in await connection.fetch(queries.VIEWS, page)]


async def get_view(connection: Connection, view_id: str) -> SavedView | None:
    """A view with its state, or None."""
    row = await connection.fetchrow(queries.VIEW, view_id)
    return None if row is None else _whole(row)


async def add_view(connection: Connection, page: str, name: str | None, state: Any) -> tuple[SavedView, bool]:
    """Keep a view; returns it, and whether it is new. Without a name, the same state has the same id.

    Raises:
        QueryError: a page or state that cannot be kept.
        LimitExceeded: a name that is too long.
        NameTaken: another view of the page has that name.
    """
    if not page or len(page.encode()) > MAX_PAGE_BYTES:
        raise QueryError(f"page {page!r:.80}: expected 1 to {MAX_PAGE_BYTES} bytes")
    if name is not None:
        check_name("view name", name)
    text = _state(state)
    view_id = secrets.token_urlsafe(9)
    if name is None:
        view_id = hashlib.sha256(f"{page}\n{text}".encode()).hexdigest()[:20]
    row = await connection.fetchrow(queries.ADD_VIEW, view_id, page, name, text)
    if row is not None:
        return _whole(row), True
    kept = await connection.fetchrow(queries.VIEW, view_id)
    if kept is None:
        raise NameTaken(
            f"page {page!r} has a view named {name!r:.80} already; change that one, or use another name"
        )
    return _whole(kept), False


async def change_view(connection: Connection, view_id: str, changes: dict[str, Any]) -> SavedView | None:
    """Change `name` and `state` of a view, where given; None: there is no such view.

    Raises:
        NameTaken, QueryError, LimitExceeded: as `add_view`.
    """
    name = changes.get("name")
    if name is not None:
        check_name("view name", name)
    text = _state(changes["state"]) if "state" in changes else None
    try:
        row = await connection.fetchrow(queries.CHANGE_VIEW, view_id, "name" in changes, name, text)
    except asyncpg.UniqueViolationError:
        raise NameTaken(f"the page has a view named {name!r:.80} already; use another name") from None
    return None if row is None else _whole(row)


async def delete_view(connection: Connection, view_id: str) -> bool:
    """Forget a view; whether there was one."""
    return await connection.fetchval(queries.DELETE_VIEW, view_id) is not None


def _state(state: Any) -> str:
    if not isinstance(state, dict):
        raise QueryError('"state" is no JSON object; send one')
    text = json.dumps(state, separators=(",", ":"))  # ASCII: Postgres takes any of it
    if len(text) > MAX_STATE_BYTES:
        raise QueryError(f'"state" has {len(text)} bytes as JSON, the most is {MAX_STATE_BYTES}; keep less')
    return text


def _head(row: Any) -> SavedView:
    return {
        "id": row["id"],
        "page": row["page"],
        "name": row["name"],
        "created_utc": utc(row["created_at"]),
        "changed_utc": utc(row["changed_at"]),
    }


def _whole(row: Any) -> SavedView:
    return {**_head(row), "state": json.loads(row["state"])}
