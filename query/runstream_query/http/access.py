"""Who may do what: the server's own token, and the tokens it gave out, each with a role and perhaps for one workspace only.

A token given out is 256 random bits, shown once; the table `access_tokens` keeps its digest. A browser holds the secret of a
session instead (see `sessions`), which remembers the digest of the token it began with, and ends when that is replaced. What
was looked up is believed for `BELIEVED` seconds, so a revocation is in force everywhere after that long.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import Enum, IntEnum, auto
from typing import TYPE_CHECKING, Any

import asyncpg
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from runstream_schemas.errors import QueryError
from runstream_schemas.limits import check_name

from ..json_values import iso
from ..runs.registry import InTheWay, NotThere
from .parameters import json_body
from .responses import json_answer, problem
from .routing import Asked

if TYPE_CHECKING:
    from .app import Server

BELIEVED = 10.0
"""Seconds between two looks at one token in the database."""
PREFIX = "rst_"
SESSION_PREFIX = "rss_"
MOST_BELIEVED = 10_000
FAILURES, FAILURES_SECONDS = 30, 60.0
"""Wrong tokens from one address within so many seconds, after which the next wrong ones are answered 429. Good ones never
are: many who share a proxy's address may have one among them who guesses."""
LOOKUPS = 2
"""Tokens not seen before that are looked up at once, so that made-up ones take a part of the database's pool only."""
GRANT = "runstream.grant"
"""Where the gate leaves the grant in a request's scope."""

_FIND = """
select id, name, role, workspace, $1::bytea as digest, null::bigint as session from access_tokens
where (sha256 = $1 or (previous_sha256 = $1 and previous_until > now()))
  and revoked_at is null and (expires_at is null or expires_at > now())"""
_OF_SESSION = """
select t.id, t.name, t.role, t.workspace, s.token_sha256 as digest, s.id as session
from access_sessions s left join access_tokens t on t.id = s.token_id
where {} and s.expires_at > now() and (
    (s.token_id is null and s.token_sha256 = $2)
    or (t.revoked_at is null and (t.expires_at is null or t.expires_at > now())
        and (s.token_sha256 = t.sha256 or (s.token_sha256 = t.previous_sha256 and t.previous_until > now()))))"""
_FIND_SESSION, _SESSION_OF_ID = _OF_SESSION.format("s.sha256 = $1"), _OF_SESSION.format("s.id = $1")
_SESSION_USED = """
update access_sessions set used_at = now() where id = $1 and used_at < now() - interval '1 hour'"""
_USED = """
update access_tokens set used_at = now() where id = $1 and (used_at is null or used_at < now() - interval '1 hour')"""
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
_RUNS_ELSEWHERE = """
select r.run_id from runs r left join experiments e on e.id = r.experiment_id
where r.run_id = any($1::text[]) and e.workspace is distinct from $2 and (not $3 or r.experiment_id is not null) limit 1"""
"""$3: runs of which nobody knows yet where they belong are nobody's."""


class Role(IntEnum):
    """What a token allows; each includes those before it."""

    READ = 1
    WRITE = 2
    ADMIN = 3


@dataclass(frozen=True, slots=True)
class Grant:
    """What a request may do.

    Attributes:
        id: of the row in `access_tokens`; 0: the server's own token.
        workspace: the only one; None: all.
        digest: of the token's secret; empty where none was sent.
        session: the browser's, in `access_sessions`; None: it was no browser's session.
    """

    id: int
    name: str
    role: Role
    workspace: str | None
    digest: bytes = b""
    session: int | None = None


OWNER = Grant(0, "the server's own token", Role.ADMIN, None)


@dataclass(slots=True)
class Tokens:
    """The server's own token, those given out, and browsers' sessions, as the database has them.

    Attributes:
        own: the server's own token; '': it has none.
    """

    pool: asyncpg.Pool[Any]
    own: str = ""
    _believed: dict[bytes | int, tuple[float, Grant | None]] = field(default_factory=dict)
    _failures: dict[str, tuple[int, float]] = field(default_factory=dict)
    _lookups: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(LOOKUPS))

    @property
    def own_digest(self) -> bytes:
        return hashlib.sha256(self.own.encode()).digest()

    async def of(self, secret: str, address: str) -> Grant | None:
        """What a token, or a browser's session, allows; None: nothing.

        Raises:
            TooManyFailures: it is wrong, and too many wrong ones came from that address.
        """
        if self.own and hmac.compare_digest(secret.encode(), self.own.encode()):
            return replace(OWNER, digest=self.own_digest)
        digest = hashlib.sha256(secret.encode()).digest()
        known, grant = self._known(digest)
        if not known and secret.startswith((PREFIX, SESSION_PREFIX)):
            async with self._lookups:
                if secret.startswith(PREFIX):
                    grant = await self._look(digest, _FIND, digest)
                else:
                    grant = await self._look(digest, _FIND_SESSION, digest, self.own_digest)
        if grant is None:
            self._failed(address)
        return grant

    async def of_digest(self, token_id: int | None, digest: bytes) -> Grant | None:
        """What a token allows, by its number (None: the server's own) and the digest of its secret."""
        if token_id is None:
            return replace(OWNER, digest=digest) if self.own and digest == self.own_digest else None
        known, grant = self._known(digest)
        grant = grant if known else await self._look(digest, _FIND, digest)
        return grant if grant is not None and grant.id == token_id else None

    async def still(self, grant: Grant) -> bool:
        """Whether what was granted to somebody who is still being answered is so now."""
        if grant.session is not None:
            known, found = self._known(grant.session)
            if not known:
                found = await self._look(grant.session, _SESSION_OF_ID, grant.session, self.own_digest)
            return found is not None
        if not grant.digest or grant.digest == self.own_digest:
            return True
        known, found = self._known(grant.digest)
        return (found if known else await self._look(grant.digest, _FIND, grant.digest)) is not None

    def forget(self) -> None:
        """Look again at the next use."""
        self._believed.clear()

    def _known(self, key: bytes | int) -> tuple[bool, Grant | None]:
        until, grant = self._believed.get(key, (0.0, None))
        return until > time.monotonic(), grant

    async def _look(self, key: bytes | int, statement: str, *values: object) -> Grant | None:
        row = await self.pool.fetchrow(statement, *values)
        grant = None if row is None else _granted(row)
        if grant is not None and grant.session is not None:
            await self.pool.execute(_SESSION_USED, grant.session)
        if grant is not None and grant.id:
            await self.pool.execute(_USED, grant.id)
        if len(self._believed) >= MOST_BELIEVED:
            self._believed.clear()
        self._believed[key] = time.monotonic() + BELIEVED, grant
        return grant

    def _failed(self, address: str) -> None:
        now = time.monotonic()
        count, since = self._failures.get(address, (0, now))
        if now - since > FAILURES_SECONDS:
            count, since = 0, now
        if len(self._failures) >= MOST_BELIEVED:
            self._failures.clear()
        self._failures[address] = count + 1, since
        if count >= FAILURES:
            raise TooManyFailures


def _granted(row: Any) -> Grant:
    if row["id"] is None:
        return replace(OWNER, digest=row["digest"], session=row["session"])
    role = Role[row["role"].upper()]
    return Grant(row["id"], row["name"], role, row["workspace"], row["digest"], row["session"])


class TooManyFailures(Exception):
    """One address sent too many wrong tokens."""


@dataclass(slots=True)
class Rate:
    """At most `per_second` requests of one client on average, and ten seconds' worth at once; 0: any number."""

    per_second: float
    _levels: dict[object, tuple[float, float]] = field(default_factory=dict)

    def wait(self, client: object) -> float:
        """Seconds until the next request of that client would be taken; 0.0: this one is."""
        if not self.per_second:
            return 0.0
        now = time.monotonic()
        level, at = self._levels.get(client, (0.0, now))
        level = max(0.0, level - (now - at) * self.per_second)
        most = max(10 * self.per_second, 1.0)
        if level + 1 > most:
            return (level + 1 - most) / self.per_second
        if len(self._levels) >= MOST_BELIEVED:
            self._levels.clear()
        self._levels[client] = level + 1, now
        return 0.0


# --- what a grant allows ---------------------------------------------------------------------------------------------

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
    if runs and await pool.fetchval(_RUNS_ELSEWHERE, runs, grant.workspace, early) is not None:
        return _forbidden(f"{elsewhere}; a run asked for is in another one")
    return None


def _forbidden(detail: str) -> Response:
    return problem(403, "Forbidden", detail)


def grant_of(request: Request) -> Grant:
    """What the request may do, as the gate found it."""
    found: Grant = request.scope.get(GRANT, OWNER)
    return found


async def check_runs(request: Request, run_ids: Sequence[str]) -> None:
    """See that a token of one workspace names only runs of that one.

    Raises:
        HTTPException: it names another (403).
    """
    grant = grant_of(request)
    if grant.workspace is None:
        return
    pool = _server(request).pool
    if await pool.fetchval(_RUNS_ELSEWHERE, list(run_ids), grant.workspace, False) is not None:
        raise HTTPException(403, f"the token {grant.name!r} is for the workspace {grant.workspace!r} only")


async def _access(request: Request) -> Response:
    """`GET /api/v1/access`: what the caller's token allows."""
    grant = grant_of(request)
    return json_answer(
        request, {"name": grant.name, "role": grant.role.name.lower(), "workspace": grant.workspace}
    )


# --- giving tokens out -----------------------------------------------------------------------------------------------


def _server(request: Request) -> Server:
    server: Server = request.app.state
    return server


def _number(document: dict[str, Any], name: str, default: float | None, most: float) -> float | None:
    value = document.get(name, default)
    if value is not None and (
        isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= most
    ):
        raise QueryError(f"{name!r}: expected a number from 0 to {most:g}")
    return value


async def _tokens(request: Request) -> Response:
    pool = _server(request).pool
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
    server, name = _server(request), request.path_params["name"]
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
