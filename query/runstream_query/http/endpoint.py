"""An endpoint, declared once: method and path, the role it needs, the workspace it is held to, parameters, body and answer.

`endpoint` makes one of a handler, whose signature is the rest of the declaration:

    @endpoint("GET /api/v1/runs/{run_id}/values", Role.READ, Reach.RUN, "Every value of one series, of any kind")
    async def values(request: Request, run_id: str, asked: ValuesQuery) -> Points: ...

- names of the path are handed on as texts,
- `asked` is made of the query, field by field; a value that does not fit is refused with its name (see `parameters.read`),
- `body` is made of the JSON body, in the same way; `... | None`: it may be left out; `bodies.Content`: bytes as they come,
- what is returned is answered as JSON; None is 204; a `Response` goes out as it is, and `answer` says what is in it.

Routing (`routing.find_route`), the check of tokens (`access.refusal`), the OpenAPI document, and from that the types of the
pages and docs/reference/http.md, all read these declarations. There is no other list of the endpoints.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum, auto
from types import NoneType
from typing import Any, TypeAlias, TypedDict, Unpack, get_args, get_type_hints

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from .bodies import MAX_BODY_BYTES, Content, json_body, json_text, sent_as_json, typed
from .parameters import parameters_of, read
from .responses import json_answer
from .tokens import Role

BINARY = "application/octet-stream"
OURS = ""
"""The summary of what is between our own pages and our own server: it may change with both, and is not described."""

Handler: TypeAlias = Callable[..., Awaitable[Any]]


class Door(Enum):
    """Endpoints that need no token."""

    PAGE = auto()
    """Holds no data: also browsers that come from another page may ask for it."""
    SIGN_IN = auto()
    """Begins a session: only a page of this server may ask."""
    PROBE = auto()
    """Asked by a load balancer, which has no token and may ask by address."""


class Reach(Enum):
    """How an endpoint is held to the workspace of a token that is for one only."""

    WORKSPACE = auto()
    """By the parameter `workspace`, which is given where it is not."""
    RUN = auto()
    """By the run in the path."""
    RUN_TO_COME = auto()
    """By the run in the path; what comes before its run is known is held for the token's workspace until then."""
    RUNS = auto()
    """By the parameters `run`, of which there has to be one."""
    HANDLER = auto()
    """Where it is answered, see `access.grant_of` and `access.runs_there`."""
    CONTENT = auto()
    """What is sent is named by its digest, and kept apart by workspace until a run or a model of one names it."""
    ALL = auto()
    """It shows what is of others too, and is refused."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """How the clients of another tool ask and are answered.

    Attributes:
        failure: makes the answer to what went wrong, of its status and what is said of it.
    """

    name: str
    failure: Callable[[int, str], Response]


class Said(TypedDict, total=False):
    """What a handler's signature does not say of an endpoint.

    Attributes:
        answer: type, or media type, of what is in the `Response`.
        most: bytes of the JSON body.
        parse: makes the declared type of the text of the body, in a thread, where that is better not parsed in one go.
        also: media types the answer has on request.
        statuses: the HTTP statuses of success; the first is the usual one.
        dialect: whose clients ask; None: ours.
    """

    answer: Any
    most: int
    parse: Callable[[bytes], Any]
    also: tuple[str, ...]
    statuses: tuple[int, ...]
    dialect: Dialect | None


class Endpoint(Route):
    """A method of a path, and all that is said of it.

    Attributes:
        method: the HTTP method; a GET answers HEAD as well.
        needs: the role a token has to have, or why none is needed.
        reach: how it is held to one workspace.
        summary: one line, or `OURS`.
        parameters: what it takes in its query.
        body: the type of the JSON body, or a media type; None: it takes none.
        body_needed: whether a request without a body is refused.
        answer: the type of the JSON answer, or a media type; None: there is nothing in it.
        also: media types the answer has on request.
        statuses: the HTTP statuses of success; the first is the usual one.
        dialect: whose clients ask; None: ours. The interface of another tool is described by that tool.
    """

    def __init__(
        self,
        handler: Handler,
        line: str,
        needs: Role | Door,
        reach: Reach,
        summary: str,
        **said: Unpack[Said],
    ) -> None:
        self.method, path = line.split(" ")
        super().__init__(path, self.respond, methods=[self.method], name=handler.__name__)
        self.handler, self.needs, self.reach, self.summary = handler, needs, reach, summary
        hints = get_type_hints(handler, include_extras=True)
        self._asked: type[Any] | None = hints.get("asked")
        self.parameters = () if self._asked is None else parameters_of(self._asked)
        self.body, self.body_needed = _body(hints.get("body"))
        self.answer = said.get("answer") if hints["return"] in (Response, NoneType) else hints["return"]
        self.statuses = said.get("statuses") or ((204,) if self.answer is None else (200,))
        self.also, self._most = said.get("also", ()), said.get("most", MAX_BODY_BYTES)
        self._parse, self.dialect = said.get("parse"), said.get("dialect")
        taken = [
            name for name in inspect.signature(handler).parameters if name not in ("request", "asked", "body")
        ]
        if unknown := set(taken) - set(self.param_convertors):
            raise TypeError(f"{handler.__qualname__}: {unknown} is not in the path {path}")
        self._named = tuple(taken)

    async def respond(self, request: Request) -> Response:
        """Hand a request to the handler, and what that returns to the client."""
        values = {name: request.path_params[name] for name in self._named}
        if self._asked is not None:
            values["asked"] = read(self._asked, self.parameters, request.query_params)
        if self.body is not None:
            values["body"] = await self._sent(request)
        answered = await self.handler(request, **values)
        if isinstance(answered, Response):
            return answered
        return Response(status_code=204) if answered is None else json_answer(request, answered)

    async def _sent(self, request: Request) -> Any:
        """The body of a request as its handler takes it."""
        if self.body == BINARY:
            return request.stream()
        if not self.body_needed and not sent_as_json(request):
            return None
        if self._parse is not None:
            return await asyncio.to_thread(self._parse, bytes(await json_text(request, self._most)))
        return typed(await json_body(request, self._most), self.body)


def _body(declared: Any) -> tuple[Any, bool]:
    """What a handler takes as body: its type, or media type, and whether it is needed."""
    if declared == Content:
        return BINARY, True
    kinds = [kind for kind in get_args(declared) if kind is not NoneType]
    return (kinds[0], False) if NoneType in get_args(declared) else (declared, True)


def endpoint(
    line: str, needs: Role | Door, reach: Reach, summary: str, **said: Unpack[Said]
) -> Callable[[Handler], Endpoint]:
    """Declare an endpoint, which the decorated function answers. See the head of this module.

    Args:
        line: method and path.
    """
    return lambda handler: Endpoint(handler, line, needs, reach, summary, **said)
