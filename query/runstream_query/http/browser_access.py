"""How a browser proves that it may read: a cookie, which it gets for a one-time ticket or for the token.

`runstream open` asks for a ticket with the bearer token and opens `/login?ticket=...`. A ticket is good once and for a
minute, so its trace in a browser's history opens nothing. The cookie (HttpOnly, SameSite=Strict) is derived from the token:
it survives a restart of the server, and dies with the token. The pages themselves hold no data and are served to anyone.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import time
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from .access import GRANT, OWNER, Grant
from .responses import problem

TICKET_SECONDS = 60
"""How long a ticket is good."""
COOKIE_SECONDS = 30 * 24 * 3600
MAX_LOGIN_BYTES = 4096

PAGES = frozenset(
    {
        *(
            "/",
            "/login",
            "/docs",
            "/experiments",
            "/experiments/id/{id}",
            "/runs/{run_id:path}",
            "/compare",
            "/compute",
        ),
        *("/compute/{target:path}", "/assets/{path:path}", "/favicon.svg"),
    }
)
"""Routes of the pages: they hold no data, and need no token."""
OPEN_PAGES = ("/", "/login", "/docs", "/experiments", "/compare", "/compute", "/favicon.svg")
OPEN_FOLDERS = ("/assets/", "/runs/", "/experiments/", "/compute/")
"""Paths of the pages: no data is under them."""


def is_page(path: str) -> bool:
    """Whether a path is one of the pages, which need no token."""
    return path in OPEN_PAGES or path.startswith(OPEN_FOLDERS)


class BrowserAccess:
    """Tickets and cookies of one token.

    Args:
        token: the server's bearer token.
    """

    def __init__(self, token: str) -> None:
        self._key = token.encode()
        # A machine may run several services, and cookies know no ports.
        self.cookie_name = f"runstream-{hashlib.sha256(self._key).hexdigest()[:12]}"
        self._used: dict[str, float] = {}

    def is_token(self, given: str) -> bool:
        """Whether that is the token."""
        return hmac.compare_digest(given.encode(), self._key)

    def number(self, request: Request) -> int | None:
        """The token whose cookie a request carries (0: the server's own), None: no good one.

        A request that changes something must also come from a page of this server.
        """
        number, _, signature = request.cookies.get(self.cookie_name, "").partition(".")
        if not number.isdecimal() or not hmac.compare_digest(
            signature.encode(), self._sign(f"browser {number}").encode()
        ):
            return None
        return int(number) if request.method in ("GET", "HEAD") or _same_origin(request) else None

    def ticket(self, number: int) -> str:
        """A new ticket for the cookie of a token."""
        body = f"{int(time.time()) + TICKET_SECONDS}.{number}.{secrets.token_urlsafe(12)}"
        return f"{body}.{self._sign('ticket ' + body)}"

    def redeem(self, ticket: str) -> int | None:
        """The token a ticket is for; None: it is no good, as it is not after its first use."""
        body, _, signature = ticket.rpartition(".")
        if not hmac.compare_digest(signature.encode(), self._sign("ticket " + body).encode()):
            return None
        expires, number, _ = body.split(".", 2)
        now = time.time()
        self._used = {one: until for one, until in self._used.items() if until > now}
        if float(expires) < now or body in self._used:
            return None
        self._used[body] = float(expires)
        return int(number)

    def admit(self, response: Response, number: int, *, secure: bool) -> Response:
        """Give the cookie of a token with an answer."""
        response.set_cookie(
            self.cookie_name,
            f"{number}.{self._sign(f'browser {number}')}",
            max_age=COOKIE_SECONDS,
            httponly=True,
            samesite="strict",
            secure=secure,
        )
        response.headers["Cache-Control"] = "no-store"
        response.headers["Referrer-Policy"] = "no-referrer"
        return response

    def _sign(self, text: str) -> str:
        return hmac.new(self._key, f"runstream {text}".encode(), hashlib.sha256).hexdigest()


def _same_origin(request: Request) -> bool:
    # Pages of other ports of this machine count as the same site, so SameSite alone does not keep them out.
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    origin = request.headers.get("origin")
    return origin is not None and urlsplit(origin).netloc == request.headers.get("host")


def from_another_page(request: Request) -> bool:
    """Whether a browser sends a change for a page of another origin, by what the browser says."""
    if request.method in ("GET", "HEAD"):
        return False
    said = "sec-fetch-site" in request.headers or "origin" in request.headers
    return said and request.headers.get("sec-fetch-site") != "none" and not _same_origin(request)


def _access(request: Request) -> BrowserAccess | None:
    access: BrowserAccess | None = request.app.browsers
    return access


async def new_ticket(request: Request) -> Response:
    """`POST /api/v1/tickets`: `{"ticket": ..., "seconds": 60}`; empty where the server wants no token."""
    access = _access(request)
    grant: Grant = request.scope[GRANT]
    document = {"ticket": access.ticket(grant.id) if access else "", "seconds": TICKET_SECONDS}
    return Response(json.dumps(document), 201, {"Cache-Control": "no-store"}, media_type="application/json")


async def login(request: Request) -> Response:
    """`GET /login?ticket=...&next=/...`, or `POST /login` with `{"token": ...}` from the page that asks for it."""
    access = _access(request)
    secure = request.scope["scheme"] == "https"
    if request.method == "POST":
        if not _same_origin(request):
            return problem(403, "Forbidden", "only this server's own page may log in")
        body = b""
        async for piece in request.stream():
            body += piece
            if len(body) > MAX_LOGIN_BYTES:
                return problem(413, "Content Too Large", "that is no token")
        try:
            token = str(json.loads(body)["token"]).strip()
        except (ValueError, TypeError, KeyError, RecursionError):
            return problem(400, "Bad Request", 'expected {"token": "..."}')
        answer = Response(status_code=204)
        if access is None:
            return answer
        address = request.client.host if request.client else ""
        grant = OWNER if access.is_token(token) else await request.app.tokens.of_token(token, address)
        if grant is None:
            return problem(401, "Unauthorized", "that is no token of this server")
        return access.admit(answer, grant.id, secure=secure)
    where = request.query_params.get("next", "/")
    if not is_page(urlsplit(where).path) or where.startswith("//") or "\\" in where:
        where = "/"
    redirect = RedirectResponse(where, 303)
    number = None if access is None else access.redeem(request.query_params.get("ticket", ""))
    if access is not None and number is not None:
        return access.admit(redirect, number, secure=secure)
    redirect.headers["Cache-Control"] = "no-store"
    return redirect  # without a good ticket the page itself asks for the token
