"""HTTP client of the query layer, over the standard library: one kept-alive connection a thread.

No `requests` or `httpx`: the client install stays small and `import runstream` quick.
"""

from __future__ import annotations

import atexit
import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import IO, TYPE_CHECKING, Any, cast

from runstream_schemas.backoff import Backoff
from runstream_schemas.settings import Settings

from ..exceptions import AuthenticationException, ServiceException
from .addresses import Address, with_ticket
from .arguments import text_argument

if TYPE_CHECKING:
    import http.client
    import socket

# http.client and urllib.parse are imported where they are used: they take longer to load than all the rest a script needs
# to start a run and log to it.

AWAY_TIMEOUT = 30.0
"""Seconds a call retries to reach the service before it raises `ServiceException`."""

_NOT_STARTED_TIMEOUT = 5.0  # nobody is asked to start one, so it is there or just coming up
_ANSWER_TIMEOUT = (
    75.0  # longer than a read may wait for this process's writes (30 s) or a query may take (60 s)
)
_SHORTEST_CONNECT, _LONGEST_CONNECT = 0.25, 10.0
_RETRIED = frozenset({429, 502, 503, 504})
_PIECE = 1 << 20

Params = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Response:
    """A whole answer.

    Attributes:
        status: HTTP status below 400.
        headers: names in lower case.
        body: content.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The content as JSON."""
        return json.loads(self.body)


class ServiceClient:
    """Requests to one service, from any thread; found by `settings.url` or started in the home.

    Every method raises `ServiceException` when the service answers with an error, or is away for `AWAY_TIMEOUT` seconds
    (status_code 503), and `AuthenticationException` when it refuses the token.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._address: Address | None = None
        self._local = threading.local()

    def address(self, timeout: float = AWAY_TIMEOUT) -> Address:
        """Where the service is; starts the embedded one if need be.

        Args:
            timeout: seconds to wait for a service that is coming up.
        """
        if self._address is None:
            if self.settings.url:
                self._address = Address(self.settings.url.rstrip("/"), self.settings.token)
            else:
                from ..home.autostart import ensure_service

                if not self.settings.autostart:
                    timeout = min(timeout, _NOT_STARTED_TIMEOUT)
                info = ensure_service(self.settings, wait=max(timeout, 0.0))
                if info is None:
                    raise ServiceException(
                        f"no runstream service answers for {self.settings.home_path}; start it with `runstream up`, "
                        f"see what is wrong with `runstream doctor` or in {self.settings.home_path / 'log'}, "
                        "or set RUNSTREAM_URL to a server",
                        503,
                    )
                self._address = Address(info.url.rstrip("/"), info.token or "", info.browsers_need_ticket)
        return self._address

    def page(self, path: str) -> str:
        """Address of a page that opens by a click: of one's own service with leave to read where its browser needs that,
        good once and for ten minutes. Addresses of other servers are given on to others, and let nobody in.

        Args:
            path: the path of the page, quoted, with its query.
        """
        address = self.address()
        ticket = self.ticket() if address.needs_ticket else ""
        return with_ticket(address.url, path, ticket)

    def opened_page(self, path: str) -> str:
        """Address of a page to be opened at once in this user's browser: as `page`, with leave to read from any server."""
        return with_ticket(self.address().url, path, self.ticket())

    def ticket(self) -> str:
        """Leave for a browser to read what this client may, good once; '' where it needs none."""
        return str(self.request("POST", "/api/v1/tickets").json()["ticket"])

    def find_again(self, timeout: float = AWAY_TIMEOUT) -> None:
        """The embedded service is not where it was: look for it, and start it if need be; see `address`."""
        self._drop()
        if not self.settings.url:
            self._address = None
        self.address(timeout)

    def get_json(self, path: str, params: Params = (), *, fresh: bool = True) -> Any:
        """GET a JSON document; see `request`."""
        return self.request("GET", path, params, fresh=fresh).json()

    def request(
        self,
        method: str,
        path: str,
        params: Params = (),
        *,
        body: bytes | IO[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        patience: float | None = None,
        fresh: bool = True,
    ) -> Response:
        """One request, repeated while the service is away; every request of the API may be repeated.

        Args:
            method: HTTP method.
            path: path below the service's URL, quoted (see `quoted`).
            params: query parameters; a name may come several times.
            body: content; a file must be seekable and is sent from its current position.
            headers: further headers. A file's `Content-Length` has to be among them.
            patience: seconds to retry while the service is away; default `AWAY_TIMEOUT`.
            fresh: a read sees what any process of this node had recorded before; for those who ask again and again anyway
                it may be without.
        """
        import http.client

        patience = AWAY_TIMEOUT if patience is None else patience
        if fresh and (method == "GET" or path == "/api/v1/sql"):
            from .freshness import catch_up

            catch_up(self, path, params, patience)
        start = body.tell() if body is not None and not isinstance(body, bytes) else 0
        deadline = time.monotonic() + patience
        while True:
            with self._answer(method, path, params, body, headers, start, patience) as answer:
                try:
                    content = answer.read()
                except (http.client.HTTPException, OSError) as error:
                    if time.monotonic() > deadline:
                        raise self._away(error) from error
                    continue
                named = {name.lower(): value for name, value in answer.getheaders()}
                return Response(answer.status, named, content)

    def download(
        self,
        path: str,
        target: IO[bytes],
        progress: Callable[[int], AbstractContextManager[Callable[[int], None]]] | None = None,
    ) -> None:
        """GET a file into `target`, in pieces; after a broken connection it resumes where it stopped.

        Args:
            progress: given the file's size, a context whose function is told how far it came.
        """
        import http.client

        done, deadline, tag = 0, time.monotonic() + AWAY_TIMEOUT, ""
        with ExitStack() as stack:
            show: Callable[[int], None] | None = None
            while True:
                # If the file was replaced meanwhile, all of the new one is sent.
                rest = {"Range": f"bytes={done}-", **({"If-Range": tag} if tag else {})} if done else None
                with self._answer("GET", path, (), None, rest, 0) as answer:
                    if answer.status != 206:
                        target.seek(0)
                        target.truncate()
                        done = 0
                    tag = answer.headers.get("ETag", "")
                    expected = done + (answer.length or 0)
                    if progress is not None and show is None:
                        show = stack.enter_context(progress(expected))
                    broken: Exception = ConnectionError("the connection broke")
                    try:
                        # A connection that breaks reads as the end of the file: the length tells them apart.
                        while piece := answer.read(_PIECE):
                            target.write(piece)
                            done += len(piece)
                            deadline = time.monotonic() + AWAY_TIMEOUT
                            if show is not None:
                                show(done)
                    except (http.client.HTTPException, ConnectionError, TimeoutError) as error:
                        broken = error
                    if done >= expected:
                        return
                    if time.monotonic() > deadline:
                        raise self._away(broken) from broken

    def events(self, params: Params = ()) -> Iterator[dict[str, Any]]:
        """The service's stream of changes, until it ends: `{"metrics": [run ids] or None, ...}`; {}: a sign of life, or
        anything may have changed. It breaks like any connection; open it again and look at everything anew.

        Args:
            params: `run` (several): only changes of these runs.
        """
        with self._answer("GET", "/api/v1/events", params, None, None, 0) as answer:
            data = ""
            while line := answer.readline():
                text = line.decode().rstrip("\r\n")
                if text.startswith("data:"):
                    data += text[5:]
                elif not text:
                    yield json.loads(data) if data else {}
                    data = ""

    @contextmanager
    def _answer(
        self,
        method: str,
        path: str,
        params: Params,
        body: bytes | IO[bytes] | None,
        headers: Mapping[str, str] | None,
        start: int,
        patience: float | None = None,
    ) -> Iterator[http.client.HTTPResponse]:
        import http.client
        from urllib.parse import urlencode

        given = [(name, text_argument(name, value)) for name, value in params]
        target = f"{path}?{urlencode(given)}" if given else path
        deadline = time.monotonic() + (AWAY_TIMEOUT if patience is None else patience)
        fresh = False
        for pause in Backoff(0.05, 2.0):
            if body is not None and not isinstance(body, bytes):
                body.seek(start)
            try:
                answer = self._send(method, target, body, headers or {}, deadline)
                problem = _problem(answer) if answer.status >= 400 else None
            except (http.client.HTTPException, OSError) as error:
                self._drop()
                if not self.settings.url:
                    self._address = None  # the embedded service may be back on another port
                if (
                    not fresh
                ):  # a kept connection may have been closed long ago: that alone does not make a service away
                    fresh = True
                    continue
                if time.monotonic() + pause > deadline:
                    raise self._away(error) from error
            else:
                if problem is None:
                    try:
                        yield answer
                    finally:
                        if not answer.isclosed():
                            self._drop()  # half-read: what remains would be taken for the next answer
                    return
                if answer.status not in _RETRIED or time.monotonic() + pause > deadline:
                    raise problem
            time.sleep(pause)

    def _send(
        self,
        method: str,
        target: str,
        body: bytes | IO[bytes] | None,
        headers: Mapping[str, str],
        deadline: float,
    ) -> http.client.HTTPResponse:
        import http.client
        from urllib.parse import urlsplit

        address = self.address(deadline - time.monotonic())
        connection = self._connection(address)
        if connection.sock is None:  # a host that swallows packets must not take as long as a slow answer
            connection.timeout = min(max(deadline - time.monotonic(), _SHORTEST_CONNECT), _LONGEST_CONNECT)
            connection.connect()
            cast("socket.socket", connection.sock).settimeout(_ANSWER_TIMEOUT)
        extra = {"Authorization": f"Bearer {address.token}"} if address.token else {}
        path = urlsplit(address.url).path + target
        try:
            connection.request(method, path, body=body, headers={**extra, **headers})
        except (BrokenPipeError, ConnectionResetError) as error:
            # A server that refuses a long body may not wait for its end: its answer says why.
            try:
                return connection.getresponse()
            except (http.client.HTTPException, OSError):
                raise error from None
        return connection.getresponse()

    def _connection(self, address: Address) -> http.client.HTTPConnection:
        import http.client
        from urllib.parse import urlsplit

        # A forked child must not speak on its parent's socket: the process id is part of the key.
        key = (os.getpid(), address)
        if getattr(self._local, "key", None) == key:
            kept: http.client.HTTPConnection = self._local.connection
            return kept
        url = urlsplit(address.url)
        if url.scheme not in ("http", "https") or not url.hostname:
            raise ServiceException(
                f"RUNSTREAM_URL={address.url!r}: expected http://host:port or https://host[:port]", 400
            )
        kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
        connection = kind(url.hostname, url.port, timeout=_ANSWER_TIMEOUT)
        self._local.connection, self._local.key = connection, key
        return connection

    def close(self) -> None:
        """Close this thread's connection; the next request opens one again."""
        self._drop()

    def _drop(self) -> None:
        connection = getattr(self._local, "connection", None)
        if connection is not None:
            connection.close()
        self._local.key = None

    def _away(self, error: BaseException) -> ServiceException:
        where = self._address.url if self._address else self.settings.url or f"of {self.settings.home_path}"
        return ServiceException(
            f"the runstream service {where} is away ({type(error).__name__}: {error}); "
            "what was logged is kept in the spool. "
            "Start it with `runstream up`, or check RUNSTREAM_URL",
            503,
        )


def _problem(answer: http.client.HTTPResponse) -> Exception:
    body = answer.read()
    try:
        document = json.loads(body)
        message = document.get("detail") or document.get("title") or answer.reason
    except (ValueError, AttributeError):
        document, message = {}, body.decode(errors="replace")[:500] or answer.reason
    if answer.status in (401, 403):
        return AuthenticationException(
            f"the runstream service refused the token ({message}); set RUNSTREAM_TOKEN"
        )
    return ServiceException(str(message), answer.status, document)


@lru_cache(maxsize=64)
def client_for(settings: Settings) -> ServiceClient:
    """The process's one client for these settings."""
    client = ServiceClient(settings)
    atexit.register(client.close)
    return client
