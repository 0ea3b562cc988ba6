"""How a browser proves that it may read, where the connection alone does not say whose it is (see `connection_owner`).

A browser holds the secret of a *session* in the storage of the server's origin and sends it as bearer token. A cookie would
be sent to every port of the host: whoever serves another one would have it, and replay it. Storage is for the origin alone,
its port included, and no request carries it by itself, so a page elsewhere cannot make a browser use it either.

A session begins with the token, or with a *ticket*: `runstream open` asks for one with the token and opens
`/login?ticket=...`. Tickets are good once, so their trace in a browser's history opens nothing. What a browser fetches
without headers (downloads, the event stream) carries a ticket for that one path.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from dataclasses import dataclass
from typing import Any, TypedDict
from urllib.parse import urlencode, urlsplit

import asyncpg
import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from runstream_schemas.errors import QueryError

from ..json_values import utc
from ..not_there import NotThere
from . import pages
from .access import grant_of
from .context import server_of
from .endpoint import OURS, Door, Reach, endpoint
from .responses import problem
from .tokens import SESSION_PREFIX, Grant, Role, Tokens

TICKET_SECONDS = 600
"""How long a ticket is good, at most."""
SESSION_SECONDS = 30 * 24 * 3600
MOST_TICKETS = 1000
"""Tickets of one token that were not used."""
MOST_SESSIONS = 1000
"""Sessions of one token; a new one ends the oldest."""
MAX_LOGIN_BYTES = 4096

_ADD_TICKET = """
with held as (delete from access_tickets where expires_at < now())
insert into access_tickets (sha256, token_id, token_sha256, path, expires_at)
select $1, $2, $3, $4, now() + $5 * interval '1 second'
where (select count(*) from access_tickets where token_id is not distinct from $2::bigint and expires_at > now()) < $6
returning 1"""
_USE_TICKET = """
delete from access_tickets where sha256 = $1 and path is not distinct from $2 and expires_at > now()
returning token_id, token_sha256"""
_WHOSE_TICKET = "select token_id from access_tickets where sha256 = $1"
_BEGIN = """
with old as (
    delete from access_sessions where expires_at < now() or id in (
        select id from access_sessions where token_id is not distinct from $2::bigint order by id desc offset $6 - 1))
insert into access_sessions (sha256, token_id, token_sha256, client, expires_at)
values ($1, $2, $3, $4, now() + $5 * interval '1 second')"""
_SESSIONS = """
select s.id, coalesce(t.name, 'the server''s own token') as token, s.client, s.created_at, s.used_at, s.expires_at
from access_sessions s left join access_tokens t on t.id = s.token_id
where ($1::bigint is null or s.token_id = $1) and s.expires_at > now()
  and s.token_sha256 in ($2, t.sha256, t.previous_sha256)
order by s.used_at desc, s.id"""
_END = """
delete from access_sessions where id = $1 and ($2::bigint is null or token_id = $2) returning id"""

_NEXT = re.compile(r"/(?![/\\])[!-~]*")


def safe_next(where: str) -> str:
    """Where a sign-in leads: a path of the pages of this server, else the first page."""
    is_path = _NEXT.fullmatch(where) is not None and "\\" not in where
    path = where.partition("?")[0].partition("#")[0]
    known = path == "/" or path.startswith(("/runs/", "/experiments", "/compare", "/compute", "/alerts"))
    return where if is_path and known else "/"


def same_origin(request: Request) -> bool:
    """Whether a browser says that a page of this server asks."""
    # Pages of other ports of this machine count as the same site, so nothing less will do.
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    origin = request.headers.get("origin")
    return origin is not None and urlsplit(origin).netloc == request.headers.get("host")


def from_another_page(request: Request) -> bool:
    """Whether a browser asks for a page of another origin, by what it says: nobody typed the address, nor is it ours."""
    said = "sec-fetch-site" in request.headers or "origin" in request.headers
    return said and request.headers.get("sec-fetch-site") != "none" and not same_origin(request)


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


@dataclass(slots=True)
class Sessions:
    """Sessions of browsers, and tickets, in the database."""

    pool: asyncpg.Pool[Any]

    async def ticket(self, grant: Grant, path: str | None) -> str:
        """A new ticket: for a session, or for one GET of `path`.

        Raises:
            HTTPException: too many were not used (429).
        """
        ticket = secrets.token_urlsafe(32)
        values = (_digest(ticket), grant.id or None, grant.digest, path, TICKET_SECONDS, MOST_TICKETS)
        if await self.pool.fetchval(_ADD_TICKET, *values) is None:
            raise HTTPException(429, f"{MOST_TICKETS} tickets of this token were not used; wait, or use them")
        return ticket

    async def redeem(self, ticket: str, path: str | None = None) -> tuple[int | None, bytes] | None:
        """The token a ticket is for, and the digest of its secret; None: it is no good, as it is not after its first use."""
        row = await self.pool.fetchrow(_USE_TICKET, _digest(ticket), path)
        return None if row is None else (row["token_id"], row["token_sha256"])

    async def whose(self, ticket: str) -> int | None:
        """The token a ticket is for; None: the server's own, or there is no such ticket."""
        number: int | None = await self.pool.fetchval(_WHOSE_TICKET, _digest(ticket))
        return number

    async def begin(self, token_id: int | None, digest: bytes, client: str) -> str:
        """A new session's secret."""
        secret = SESSION_PREFIX + secrets.token_urlsafe(32)
        await self.pool.execute(
            _BEGIN, _digest(secret), token_id, digest, client[:200], SESSION_SECONDS, MOST_SESSIONS
        )
        return secret

    async def granted(self, tokens: Tokens, ticket: str, path: str) -> Grant | None:
        """What a request with a ticket for its path may do; None: nothing."""
        redeemed = await self.redeem(ticket, path)
        if redeemed is None:
            return None
        token_id, digest = redeemed
        return await tokens.of_digest(token_id, digest)


def _client(request: Request) -> str:
    return request.headers.get("user-agent", "").replace("\0", "")


class TicketFor(msgspec.Struct, forbid_unknown_fields=True):
    path: str | None = None


class Ticket(TypedDict):
    """Leave for a browser, good once; empty where none is needed."""

    ticket: str
    seconds: int


@endpoint("POST /api/v1/tickets", Role.READ, Reach.HANDLER, OURS, answer=Ticket, statuses=(201,))
async def new_ticket(request: Request, body: TicketFor | None) -> Response:
    grant, path = grant_of(request), None if body is None else body.path
    if path is not None and not path.startswith("/api/v1/"):
        raise QueryError('"path": expected a path of the API')
    ticket = ""
    if grant.digest and (path is not None or grant.id or not request.app.owner_enters):
        ticket = await request.app.sessions.ticket(grant, path)
    document: Ticket = {"ticket": ticket, "seconds": TICKET_SECONDS}
    return Response(json.dumps(document), 201, {"Cache-Control": "no-store"}, media_type="application/json")


class LoginQuery(msgspec.Struct, kw_only=True):
    ticket: str = ""
    next: str = "/"
    ask: str = ""


@endpoint("GET /login", Door.PAGE, Reach.ALL, OURS)
async def login(request: Request, asked: LoginQuery) -> Response:
    """The page that begins a session."""
    where, ticket = safe_next(asked.next), asked.ticket
    redirect = RedirectResponse(where, 303, {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"})
    if not ticket or not request.app.guarded:
        return redirect
    number = await request.app.sessions.whose(ticket)
    if number is not None and from_another_page(request) and not asked.ask:
        # Somebody else's page may have brought a ticket of its own, to have what is done here done in its name.
        redirect.headers["location"] = "/login?" + urlencode({"ticket": ticket, "next": where, "ask": 1})
        return redirect
    answer = await pages.send_page(request)
    answer.headers["Cache-Control"] = "no-store"
    answer.headers["Referrer-Policy"] = "no-referrer"
    return answer


class Credentials(msgspec.Struct, forbid_unknown_fields=True):
    token: str | None = None
    ticket: str | None = None


class Session(TypedDict):
    """A browser's session; `session`: its secret."""

    session: str
    seconds: int


@endpoint("POST /login", Door.SIGN_IN, Reach.ALL, OURS, most=MAX_LOGIN_BYTES, answer=Session)
async def begin_session(request: Request, body: Credentials) -> Response:
    """With `{"token": ...}` or `{"ticket": ...}`, from the page at that address."""
    if (body.token is None) == (body.ticket is None):
        raise QueryError('expected {"token": "..."} or {"ticket": "..."}')
    gate, sessions = request.app, request.app.sessions
    if not gate.guarded:
        return _session("")
    if body.ticket:
        owner = await sessions.redeem(body.ticket)
    else:
        address = request.client.host if request.client else ""
        grant = await gate.tokens.of((body.token or "").strip(), address)
        owner = None if grant is None or grant.session is not None else (grant.id or None, grant.digest)
    if owner is None:
        return problem(
            401,
            "Unauthorized",
            "that is no token, or no unused ticket, of this server; `runstream open` brings a new one",
        )
    return _session(await sessions.begin(*owner, _client(request)))


def _session(secret: str) -> Response:
    document: Session = {"session": secret, "seconds": SESSION_SECONDS}
    return Response(json.dumps(document), 200, {"Cache-Control": "no-store"}, "application/json")


class SignedIn(TypedDict):
    """A browser that is signed in; `current`: the one that asks."""

    id: int
    token: str
    client: str
    created_at: str
    used_at: str
    expires_at: str
    current: bool


class SignedInBrowsers(TypedDict):
    """Browsers that are signed in."""

    sessions: list[SignedIn]


@endpoint("GET /api/v1/sessions", Role.READ, Reach.HANDLER, OURS)
async def sessions(request: Request) -> SignedInBrowsers:
    """Of an administrator's token: all, else its own."""
    grant, gate = grant_of(request), request.app
    rows = await server_of(request).pool.fetch(_SESSIONS, _own(grant), gate.tokens.own_digest)
    signed_in: list[SignedIn] = [
        {
            "id": row["id"],
            "token": row["token"],
            "client": row["client"],
            "created_at": utc(row["created_at"]),
            "used_at": utc(row["used_at"]),
            "expires_at": utc(row["expires_at"]),
            "current": row["id"] == grant.session,
        }
        for row in rows
    ]
    return {"sessions": signed_in}


@endpoint("DELETE /api/v1/sessions/{id}", Role.READ, Reach.HANDLER, OURS)
async def end_session(request: Request, id: str) -> None:
    """Sign a browser out; `current`: this one."""
    grant, named = grant_of(request), id
    number = (
        grant.session if named == "current" else int(named) if re.fullmatch(r"[0-9]{1,18}", named) else None
    )
    if number is None or await server_of(request).pool.fetchval(_END, number, _own(grant)) is None:
        raise NotThere(f"there is no session {named!r:.80}; GET /api/v1/sessions lists them")
    request.app.tokens.forget()


def _own(grant: Grant) -> int | None:
    """The token whose sessions a grant may see and end; None: all."""
    return None if grant.role is Role.ADMIN and grant.workspace is None else grant.id


ENDPOINTS = (login, begin_session, new_ticket, sessions, end_session)
