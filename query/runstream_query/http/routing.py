"""One parsed request and one matched route, made once: what the gate allows is what a handler does.

Two readings of the same bytes are how a request gets past a check: the check reads one workspace, the handler another. So
the bytes of the target are read here and nowhere else, the gate finds the route, and hands the very object it looked at to
the handler. Afterwards the bytes are taken out of the scope, so that nothing can read them anew.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from .endpoint import Endpoint

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
"""Methods that are counted by their names; there is no end to those a client can make up."""


class BadTarget(ValueError):
    """The target of a request has no one meaning; says why."""


class Asked(Request):
    """A request as the gate and the handlers see it.

    Attributes:
        path: decoded.
        route: which answers it; None: none.
        query_params: the parameters of the query, narrowed to a workspace where the token is for one.
        absent: runs it names that are not there for its token: `access.leave_out_absent` sees to them.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        super().__init__(scope, receive, send)
        raw = bytes(scope.get("raw_path") or b"")
        query = bytes(scope["query_string"])
        scope["raw_path"] = scope["query_string"] = b""
        self.path: str = scope["path"]
        self.route: Endpoint | None = None
        self.absent: frozenset[str] = frozenset()
        self._parameters = QueryParams(b"")
        if b"#" in raw or b"#" in query or not raw.isascii() or not query.isascii():
            raise BadTarget("the target holds '#' or bytes beyond ASCII; write them as %23 and %XX")
        if not raw.startswith(b"/"):
            raise BadTarget("the target is no path; it begins with '/'")
        self._parameters = QueryParams(query)

    @property
    def query_params(self) -> QueryParams:
        return self._parameters

    def narrow(self, workspace: str) -> None:
        """Let handlers see this workspace as the one that was asked for."""
        self._parameters = QueryParams([*self._parameters.multi_items(), ("workspace", workspace)])

    def leave_out(self, name: str, values: Collection[str]) -> None:
        """Let handlers see the query without those values of a parameter."""
        kept = [item for item in self._parameters.multi_items() if item[0] != name or item[1] not in values]
        self._parameters = QueryParams(kept)

    @property
    def path_params(self) -> dict[str, Any]:
        values: dict[str, Any] = self.scope.get("path_params", {})
        return values


def find_route(
    routes: Iterable[Endpoint], method: str, path: str
) -> tuple[Endpoint | None, Mapping[str, Any], set[str]]:
    """The route of a request with the values in its path; where there is none, the methods the path does take.

    The whole path has to match: `$` alone would also match before a last line break.
    """
    others: set[str] = set()
    for route in routes:
        match = route.path_regex.fullmatch(path)
        if match is None:
            continue
        if method in (route.methods or ()):
            values = {
                name: route.param_convertors[name].convert(value) for name, value in match.groupdict().items()
            }
            return route, values, set()
        others |= route.methods or set()
    return None, {}, others
