"""Endpoints that give tokens out and take them back, and say what the caller's own allows."""

from __future__ import annotations

import hashlib
import json
import secrets
from typing import Final, Literal, TypedDict

import asyncpg
import msgspec
from starlette.requests import Request
from starlette.responses import Response

from runstream_schemas.errors import QueryError
from runstream_schemas.limits import check_name

from ...json_values import iso, utc
from ...not_there import NotThere
from ...runs.registry import InTheWay
from ..access import grant_of
from ..context import server_of
from ..endpoint import Reach, endpoint
from ..tokens import PREFIX, Role

_ROLES: Final[dict[Role, Literal["read", "write", "admin"]]] = {
    Role.READ: "read",
    Role.WRITE: "write",
    Role.ADMIN: "admin",
}

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


class Access(TypedDict):
    """What a token allows; `workspace`: the only one, null for all."""

    name: str
    role: Literal["read", "write", "admin"]
    workspace: str | None


@endpoint("GET /api/v1/access", Role.READ, Reach.HANDLER, "What the caller's token allows")
async def access(request: Request) -> Access:
    grant = grant_of(request)
    return {"name": grant.name, "role": _ROLES[grant.role], "workspace": grant.workspace}


class TokenRecord(TypedDict):
    """A token that was given out, without its secret."""

    name: str
    role: str
    workspace: str | None
    created_at: str
    expires_at: str | None
    revoked_at: str | None
    used_at: str | None
    previous_until: str | None


class GivenOut(TypedDict):
    """Tokens."""

    tokens: list[TokenRecord]


@endpoint("GET /api/v1/tokens", Role.ADMIN, Reach.ALL, "Tokens that were given out")
async def tokens(request: Request) -> GivenOut:
    rows = await server_of(request).pool.fetch(_LIST)
    return {
        "tokens": [
            {
                "name": row["name"],
                "role": row["role"],
                "workspace": row["workspace"],
                "created_at": utc(row["created_at"]),
                "expires_at": iso(row["expires_at"]),
                "revoked_at": iso(row["revoked_at"]),
                "used_at": iso(row["used_at"]),
                "previous_until": iso(row["previous_until"]),
            }
            for row in rows
        ]
    }


class NewToken(msgspec.Struct, forbid_unknown_fields=True):
    name: str | None = None
    role: str | None = None
    workspace: str | None = None
    days: float | None = None


class Token(TypedDict):
    """A token with its secret, which is shown once."""

    name: str
    role: str
    workspace: str | None
    token: str


def _check_number(name: str, value: float | None, most: float) -> None:
    if value is not None and not 0 <= value <= most:
        raise QueryError(f"{name}: expected a number from 0 to {most:g}")


@endpoint("POST /api/v1/tokens", Role.ADMIN, Reach.ALL, "Give a token out", answer=Token, statuses=(201,))
async def add_token(request: Request, body: NewToken) -> Response:
    name, role, workspace = body.name, body.role, body.workspace
    if name is None or role is None or role.upper() not in Role.__members__:
        raise QueryError(f'"name" and "role" are needed; "role" is one of {", ".join(_ROLES.values())}')
    check_name("token name", name)
    if workspace is not None:
        check_name("workspace", workspace)
    _check_number("days", body.days, 36_500)
    token = PREFIX + secrets.token_urlsafe(32)
    digest = hashlib.sha256(token.encode()).digest()
    try:
        await server_of(request).pool.execute(_ADD, name, digest, role.lower(), workspace, body.days)
    except asyncpg.UniqueViolationError:
        raise InTheWay(f"there is a token {name!r:.80} already; rotate or revoke it") from None
    return _shown_once(name, role.lower(), workspace, token, 201)


class Rotation(msgspec.Struct, forbid_unknown_fields=True):
    keep_minutes: float | None = 0


@endpoint("POST /api/v1/tokens/{name:path}", Role.ADMIN, Reach.ALL, "Give a token a new secret", answer=Token)
async def rotate_token(request: Request, name: str, body: Rotation) -> Response:
    server = server_of(request)
    _check_number("keep_minutes", body.keep_minutes, 100_000)
    token = PREFIX + secrets.token_urlsafe(32)
    row = await server.pool.fetchrow(
        _ROTATE, name, hashlib.sha256(token.encode()).digest(), body.keep_minutes
    )
    if row is None:
        raise _no_token(name)
    server.tokens.forget()
    return _shown_once(name, row["role"], row["workspace"], token, 200)


@endpoint("DELETE /api/v1/tokens/{name:path}", Role.ADMIN, Reach.ALL, "Revoke a token")
async def revoke_token(request: Request, name: str) -> None:
    server = server_of(request)
    if await server.pool.fetchval(_REVOKE, name) is None:
        raise _no_token(name)
    server.tokens.forget()


def _no_token(name: str) -> NotThere:
    return NotThere(f"there is no token {name!r:.80}; GET /api/v1/tokens lists those that were given out")


def _shown_once(name: str, role: str, workspace: str | None, token: str, status: int) -> Response:
    document: Token = {"name": name, "role": role, "workspace": workspace, "token": token}
    return Response(json.dumps(document), status, {"Cache-Control": "no-store"}, "application/json")


ENDPOINTS = (access, tokens, add_token, rotate_token, revoke_token)
