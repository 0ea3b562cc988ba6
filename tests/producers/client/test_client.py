"""The HTTP client against a server that misbehaves."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from runstream.client.http import ServiceClient
from runstream.exceptions import AuthenticationException, ServiceException
from runstream_schemas.settings import Settings

Behaviour = Callable[[BaseHTTPRequestHandler, int], None]
CONTENT = bytes(range(256)) * 4096


class Handler(BaseHTTPRequestHandler):
    """Counts requests and lets the test's behaviour answer."""

    protocol_version = "HTTP/1.1"
    behaviour: Behaviour
    seen: list[tuple[str, bytes, str | None]]

    def do_GET(self) -> None:
        size = int(self.headers.get("Content-Length", 0))
        self.seen.append((self.path, self.rfile.read(size), self.headers.get("Authorization")))
        type(self).behaviour(self, len(self.seen))

    do_PUT = do_POST = do_GET

    def log_message(self, format: str, *args: object) -> None:
        pass


def answer(handler: BaseHTTPRequestHandler, status: int, body: bytes, length: int | None = None) -> None:
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(body) if length is None else length))
    handler.end_headers()
    handler.wfile.write(body)


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[type[Handler], ServiceClient]]:
    monkeypatch.setattr("runstream.client.http.AWAY_TIMEOUT", 2.0)
    kind = type("ThisHandler", (Handler,), {"seen": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), kind)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    client = ServiceClient(Settings(url=f"http://127.0.0.1:{server.server_port}/base/", token="secret"))
    yield kind, client
    client.close()
    server.shutdown()
    thread.join()
    server.server_close()


def test_token_and_path_are_sent(served: tuple[type[Handler], ServiceClient]) -> None:
    kind, client = served
    kind.behaviour = lambda handler, n: answer(handler, 200, b'{"a": 1}')
    assert client.get_json("/api", [("tag", "ä=b c"), ("tag", "d")]) == {"a": 1}
    assert kind.seen == [("/base/api?tag=%C3%A4%3Db+c&tag=d", b"", "Bearer secret")]


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_busy_server_is_asked_again_with_the_whole_body(
    served: tuple[type[Handler], ServiceClient], status: int
) -> None:
    kind, client = served
    kind.behaviour = lambda handler, n: answer(handler, status if n < 3 else 200, b"{}")
    body = io.BytesIO(b"skipped" + CONTENT)
    body.seek(7)
    client.request("PUT", "/x", body=body, headers={"Content-Length": str(len(CONTENT))})
    assert [content for _, content, _ in kind.seen] == [CONTENT] * 3


@pytest.mark.parametrize("status", [400, 404, 409, 500])
def test_other_errors_are_raised_at_once(served: tuple[type[Handler], ServiceClient], status: int) -> None:
    kind, client = served
    kind.behaviour = lambda handler, n: answer(
        handler, status, b'{"title": "short", "detail": "what is wrong"}'
    )
    with pytest.raises(ServiceException) as raised:
        client.get_json("/x")
    assert (raised.value.status_code, raised.value.message) == (status, "what is wrong")
    assert len(kind.seen) == 1


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_token(served: tuple[type[Handler], ServiceClient], status: int) -> None:
    kind, client = served
    kind.behaviour = lambda handler, n: answer(handler, status, b"no")
    with pytest.raises(AuthenticationException, match="RUNSTREAM_TOKEN"):
        client.get_json("/x")


def test_an_answer_that_breaks_off_is_asked_for_again(served: tuple[type[Handler], ServiceClient]) -> None:
    kind, client = served

    def breaks_off(handler: BaseHTTPRequestHandler, n: int) -> None:
        answer(handler, 200, b'{"a": 1}'[: 8 if n > 2 else 3], length=8)
        handler.close_connection = True

    kind.behaviour = breaks_off
    assert client.get_json("/x") == {"a": 1}
    assert len(kind.seen) == 3


def test_a_download_goes_on_where_it_broke_off(served: tuple[type[Handler], ServiceClient]) -> None:
    kind, client = served
    ranges: list[str | None] = []

    def breaks_off(handler: BaseHTTPRequestHandler, n: int) -> None:
        wanted_range = handler.headers.get("Range")
        ranges.append(wanted_range)
        rest = CONTENT[int(wanted_range[6:-1]) if wanted_range else 0 :]
        answer(handler, 206 if wanted_range else 200, rest[:300_000], length=len(rest))
        handler.close_connection = True

    kind.behaviour = breaks_off
    target = io.BytesIO()
    client.download("/file", target)
    assert target.getvalue() == CONTENT
    assert ranges == [None, "bytes=300000-", "bytes=600000-", "bytes=900000-"]


def test_an_empty_download(served: tuple[type[Handler], ServiceClient]) -> None:
    kind, client = served
    kind.behaviour = lambda handler, n: answer(handler, 200, b"")
    target = io.BytesIO()
    client.download("/file", target)
    assert target.getvalue() == b""


def test_nobody_there_is_503_after_a_bounded_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runstream.client.http.AWAY_TIMEOUT", 0.5)
    client = ServiceClient(Settings(url="http://127.0.0.1:9"))
    began = time.monotonic()
    with pytest.raises(ServiceException, match=r"127\.0\.0\.1:9 is away") as away:
        client.get_json("/x")
    assert away.value.status_code == 503
    assert time.monotonic() - began < 3


@pytest.mark.parametrize("url", ["localhost:1", "ftp://localhost", "http://"])
def test_an_address_that_is_none(url: str) -> None:
    with pytest.raises(ServiceException, match="RUNSTREAM_URL"):
        ServiceClient(Settings(url=url)).get_json("/x")
