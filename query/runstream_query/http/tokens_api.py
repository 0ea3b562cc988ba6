"""Endpoints that give tokens out and take them back, and say what the caller's own allows."""

from __future__ import annotations

import hashlib
import json
import secrets
from datetime import datetime
from typing import Any

import asyncpg
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from runstream_schemas.errors import QueryError
from runstream_schemas.limits import check_name

from ..json_values import iso
from ..runs.registry import InTheWay, NotThere
from .access import grant_of
from .context import server_of
from .parameters import json_body
from .responses import json_answer
from .tokens import PREFIX, Role

_LIST = """
select name, role, workspace, created_at, expires_at, revoked_at, used_at, previous_until
from access_tokens order by revoked_at is not null, name, created_at"""
_ADD = """
insert into access_tokens (name, sha256, role, workspace, expires_at)
values ($1, $2, $3, $4, now() + $5::float8 * interval '1 day')"""
_ROTATE = """
update access_tokens set previous_sha256 = sha256, previous_until = now() + $3::float8 * interval '1 minute', sha256 = $2
where name = $1 and revoked_at is null returning role, workspace, expires_at"""
_REVOKE = "update access_tokens set revoked_at = now() where name = $1 and revoked_at is null returning id"


async def _access(request: Request) -> Response:
    """`GET /api/v1/access`: what the caller's token allows."""
    grant = grant_of(request)
    return json_answer(
        request, {"name": grant.name, "role": grant.role.name.lower(), "workspace": grant.workspace}
    )


def _number(document: dict[str, Any], name: str, default: float | None, most: float) -> float | None:
    value = document.get(name, default)
    if value is not None and (
        isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= most
    ):
        raise QueryError(f"{name!r}: expected a number from 0 to {most:g}")
    return value


async def _tokens(request: Request) -> Response:
    pool = server_of(request).pool
    if request.method == "GET":
        rows = await pool.fetch(_LIST)
        shown = [
            {key: iso(value) if isinstance(value, datetime) else value for key, value in row.items()}
            for row in rows
        ]
        return json_answer(request, {"tokens": shown})
    document = await json_body(request, {"name", "role", "workspace", "days"})
    name, role, workspace = document.get("name"), document.get("role"), document.get("workspace")
    if not isinstance(name, str) or not isinstance(role, str) or role.upper() not in Role.__members__:
        raise QueryError(
            '"name" and "role" are needed; "role" is one of ' + ", ".join(r.name.lower() for r in Role)
        )
    check_name("token name", name)
    if workspace is not None:
        check_name("workspace", str(workspace))
    token = PREFIX + secrets.token_urlsafe(32)
    digest = hashlib.sha256(token.encode()).digest()
    try:
        await pool.execute(
            _ADD, name, digest, role.lower(), workspace, _number(document, "days", None, 36_500)
        )
    except asyncpg.UniqueViolationError:
        raise InTheWay(f"there is a token {name!r:.80} already; rotate or revoke it") from None
    return _shown_once(name, role.lower(), workspace, token, 201)


async def _token(request: Request) -> Response:
    server, name = server_of(request), request.path_params["name"]
    if request.method == "DELETE":
        if await server.pool.fetchval(_REVOKE, name) is None:
            raise NotThere(f"there is no token {name!r:.80}")
        server.tokens.forget()
        return Response(status_code=204)
    document = await json_body(request, {"keep_minutes"})
    token = PREFIX + secrets.token_urlsafe(32)
    row = await server.pool.fetchrow(
        _ROTATE,
        name,
        hashlib.sha256(token.encode()).digest(),
        _number(document, "keep_minutes", 0, 100_000),
    )
    if row is None:
        raise NotThere(f"there is no token {name!r:.80}")
    server.tokens.forget()
    return _shown_once(name, row["role"], row["workspace"], token, 200)


def _shown_once(name: str, role: str, workspace: str | None, token: str, status: int) -> Response:
    document = {"name": name, "role": role, "workspace": workspace, "token": token}
    return Response(json.dumps(document), status, {"Cache-Control": "no-store"}, "application/json")


def routes() -> list[Route]:
    """The endpoints of tokens; the gate lets only administrators in, but to what a token says of itself."""
    return [
        Route("/api/v1/access", _access),
        Route("/api/v1/tokens", _tokens, methods=["GET", "POST"]),
        Route("/api/v1/tokens/{name:path}", _token, methods=["POST", "DELETE"]),
    ]
