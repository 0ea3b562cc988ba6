"""What every request passes: the check of its Host and token, the count for /metrics, and errors as problem+json."""

from __future__ import annotations

import asyncio
import base64
import os
import time
from collections.abc import Iterable, Sequence

from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from .access import GRANT, leave_out_absent, refusal
from .bodies import sent_as_json
from .browser_access import Sessions, from_another_page, same_origin
from .connection_owner import owner_may_enter
from .connections import CONNECTION, Connection
from .counters import ServerCounters
from .endpoint import Door, Endpoint
from .failures import ending, error_answer, slow_down, wrong_tokens
from .hosts import Hosts, is_local
from .responses import ProblemAnswer, problem
from .routing import METHODS, Asked, BadTarget, find_route
from .shares import ASKER, Stalled, UnderWay, in_time, taken_in_time
from .tokens import OWNER, Grant, Rate, Tokens, TooManyFailures

_RELAYED = ("x-forwarded-for", "x-forwarded-host", "x-real-ip", "forwarded")
"""Headers of requests that somebody else's program passes on: the connection says nothing about who asks."""


_ALWAYS = (
    # No page of another origin gets an answer into its own process, and nothing is taken for what it does not say it is.
    (b"x-content-type-options", b"nosniff"),
    (b"cross-origin-resource-policy", b"same-origin"),
)


def _missing(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    there = {name.lower() for name, _ in headers}
    return [header for header in _ALWAYS if header[0] not in there]


class Revoked(Exception):
    """A token is good no more by the time the body of its request is whole."""


class Gate:
    """ASGI middleware around the whole application.

    Args:
        routes: what it guards; each handler is given the very request that was looked at.
        state: what handlers find as `request.app.state`.
        tokens: what clients have to send, if the server has a token of its own; else nothing.
        owner_enters: the owner of this process, and root, need no token from this machine; see `connection_owner`.
        rate: how many requests one client may send.
        hosts: what is accepted as Host: a page in the user's browser whose name was rebound to this server's address comes
            with a name of its own.
        counters: what to count in.
    """

    def __init__(
        self,
        routes: Sequence[Endpoint],
        state: object,
        *,
        tokens: Tokens,
        owner_enters: bool,
        rate: Rate,
        hosts: Hosts,
        counters: ServerCounters,
    ) -> None:
        self.state = state
        self.tokens = tokens
        self.guarded = bool(tokens.own)
        self.owner_enters = owner_enters and self.guarded
        self.sessions = Sessions(tokens.pool)
        self._rate = rate
        self._under_way = UnderWay()
        self.routes, self._hosts, self._counters = tuple(routes), hosts, counters

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return  # the server speaks nothing else
        scope["app"] = self
        status = 500
        began = time.perf_counter()
        answering = False

        async def noting_send(message: Message) -> None:
            nonlocal status, answering
            if message["type"] == "http.response.start":
                status, answering = message["status"], True
                message["headers"] = [*message.get("headers", ()), *_missing(message.get("headers", ()))]
            await taken(message)

        taken, coming = taken_in_time(send), in_time(receive)
        asked: Asked | None = None
        self._counters.in_flight += 1
        try:
            try:
                asked = Asked(scope, self._while_granted(scope, coming), noting_send)
            except BadTarget as error:
                answer: Response = problem(400, "Bad Request", str(error), {"Connection": "close"})
            else:
                answer = in_dialect(asked, await self._answer(asked))
            await answer(scope, coming, noting_send)
        except ClientDisconnect:
            status = 499
        except Revoked as error:
            ended = problem(
                401, "Unauthorized", str(error), {"WWW-Authenticate": "Bearer", "Connection": "close"}
            )
            await in_dialect(asked, ended)(scope, receive, noting_send)
        except Stalled as error:
            if answering:
                status = 499
                self._cut(scope)
            else:
                late = problem(408, "Request Timeout", str(error), {"Connection": "close"})
                await in_dialect(asked, late)(scope, receive, noting_send)
        except asyncio.CancelledError:
            if answering:
                raise
            # The server ends, and waited for this as long as it does. uvicorn would say 500, as if it had failed.
            if (task := asyncio.current_task()) is not None:
                task.uncancel()
            await in_dialect(asked, ending())(scope, receive, noting_send)
        except Exception as error:
            if answering:  # too late for another status: the broken connection tells the client
                raise
            failed = error_answer(f"{scope['method']:.20} {scope['path']:.200}", error)
            await in_dialect(asked, failed)(scope, receive, noting_send)
        finally:
            self._counters.in_flight -= 1
            # The route's pattern, not the path: names of runs must not make a series of their own each.
            route = "other" if asked is None or asked.route is None else asked.route.path
            method = scope["method"] if scope["method"] in METHODS else "other"
            self._counters.requests[method, route, status] += 1
            self._counters.durations[route].add(time.perf_counter() - began)

    def _while_granted(self, scope: Scope, receive: Receive) -> Receive:
        """The same, for a body that is whole only if its token is good still: sending it may have taken its time."""

        async def received() -> Message:
            message = await receive()
            if message["type"] == "http.request" and not message.get("more_body", False):
                grant: Grant | None = scope.get(GRANT)
                if grant is not None and not await self.tokens.still(grant):
                    raise Revoked(
                        "the token was taken back or replaced while the body came, of which nothing is stored; set "
                        "RUNSTREAM_TOKEN to a good one, and send it again"
                    )
            return message

        return received

    async def _answer(self, asked: Asked) -> Response:
        asked.route, values, others = find_route(self.routes, asked.method, asked.path)
        asked.scope["path_params"] = values
        refused = await self._refusal(asked)
        if refused is not None:
            return refused
        if asked.route is None:
            if others:
                allowed = ", ".join(sorted(others))
                return problem(
                    405,
                    "Method Not Allowed",
                    f"{asked.path!r:.200} takes {allowed}, not {asked.method:.20}",
                    {"Allow": allowed},
                )
            return problem(
                404, "Not Found", f"there is nothing at {asked.path!r:.200}; /docs shows what there is"
            )
        if isinstance(asked.route.needs, Door):
            response: Response = await asked.route.endpoint(asked)
            return response
        grant = asked.scope[GRANT]
        asker = (
            ("token", grant.id) if self.guarded else ("address", asked.client.host if asked.client else "")
        )
        ASKER.set(asker)
        with self._under_way.one(asker, body=asked.method not in ("GET", "HEAD")):
            if asked.absent and (refused := await leave_out_absent(grant, asked)) is not None:
                return refused
            response = await asked.route.endpoint(asked)
        return response

    def _cut(self, scope: Scope) -> None:
        """End the connection whatever has not been sent: whoever takes nothing would hold it for ever."""
        connection: Connection | None = scope.get("extensions", {}).get(CONNECTION)
        if connection is not None:
            connection.cut()

    async def _refusal(self, request: Asked) -> Response | None:
        needs = None if request.route is None else request.route.needs
        refused = self._hosts.refusal(request.headers.get("host", ""))
        if refused and needs is not Door.PROBE:  # a load balancer asks by address
            return problem(403, "Forbidden", refused)
        if "transfer-encoding" in request.headers and "content-length" in request.headers:
            # A proxy in front may believe the other of the two, and take the rest of one request for the next one.
            return problem(
                400,
                "Bad Request",
                "Content-Length and Transfer-Encoding give two lengths of one body; send one of them",
                {"Connection": "close"},
            )
        if needs is Door.PROBE:
            return None
        if needs not in (Door.PAGE, Door.SIGN_IN) and from_another_page(request):
            return problem(
                403, "Forbidden", "a page of another origin may not ask here; open this server's own pages"
            )
        address = request.client.host if request.client else ""
        try:
            grant = await self._grant(request, address)
        except TooManyFailures:
            return wrong_tokens()
        wait = self._rate.wait(grant.id if grant is not None and self.guarded else address)
        if wait:
            return slow_down("too many requests (RUNSTREAM_RATE_LIMIT)", wait)
        if needs is Door.SIGN_IN and not same_origin(request):
            return problem(403, "Forbidden", "only this server's own page may sign in; open /login here")
        if isinstance(needs, Door):
            return None
        if grant is None:
            why = await self._not_the_owner(request)
            headers = {"WWW-Authenticate": "Bearer"}
            return problem(
                401,
                "Unauthorized",
                f"{why}the bearer token is missing or wrong; set RUNSTREAM_TOKEN",
                headers,
            )
        request.scope[GRANT] = grant
        return None if request.route is None else await refusal(grant, request, self.tokens.pool)

    async def _grant(self, request: Asked, address: str) -> Grant | None:
        """What a request may do: by its token or session, by a ticket for its path, or by whose connection it is."""
        if not self.guarded:
            return OWNER
        if "authorization" in request.headers:
            secret = _secret(request)
            return None if secret is None else await self.tokens.of(secret, address)
        ticket = request.query_params.get("ticket")
        if (
            ticket
            and request.method == "GET"
            and request.route is not None
            and request.route.needs is not Door.PAGE
        ):
            return await self.sessions.granted(self.tokens, ticket, request.path)
        if request.method not in ("GET", "HEAD") and not same_origin(request) and not _no_page(request):
            return None  # as a page may send it from a browser that does not say where the page is from
        return OWNER if owner_may_enter(await self._other_end(request)) else None

    async def _other_end(self, request: Asked) -> int | None:
        """The user of this machine who asks; None: not known, or not asked for."""
        connection: Connection | None = request.scope.get("extensions", {}).get(CONNECTION)
        relayed = any(name in request.headers for name in _RELAYED)
        if (
            not self.owner_enters
            or connection is None
            or relayed
            or not is_local(request.headers.get("host", ""))
        ):
            return None
        return await connection.owner()

    async def _not_the_owner(self, request: Asked) -> str:
        user = await self._other_end(request)
        if user is None or owner_may_enter(user):
            return ""
        return f"this service is of user {os.geteuid()}, and the connection of user {user}: "


def _secret(request: Asked) -> str | None:
    """The token a request brings; None: it brings something else. Clients of other tools may send it as a password."""
    scheme, _, given = request.headers["authorization"].partition(" ")
    if scheme.lower() == "bearer":
        return given.strip()
    if scheme.lower() != "basic" or request.route is None or request.route.dialect is None:
        return None
    try:
        return base64.b64decode(given.strip(), validate=True).decode().partition(":")[2]
    except ValueError:
        return None


def _no_page(request: Asked) -> bool:
    """Whether no page can have sent a request: clients of other tools, whose users have no token on their own machine,
    write in ways for which a browser asks the server for leave first, and gets none."""
    if request.route is None or request.route.dialect is None:
        return False
    simple = request.method == "POST" and not sent_as_json(request)
    return not simple and "origin" not in request.headers and "sec-fetch-site" not in request.headers


def in_dialect(asked: Asked | None, answer: Response) -> Response:
    """An answer as whoever asked understands it: clients of other tools read failures as their own servers give them."""
    dialect = None if asked is None or asked.route is None else asked.route.dialect
    if dialect is None or not isinstance(answer, ProblemAnswer):
        return answer
    said = dialect.failure(answer.status_code, answer.detail)
    said.headers.update(answer.beside)
    return said
