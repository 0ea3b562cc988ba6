"""A plugin of pytest for MLflow's own tests: wherever they start MLflow's server, they get this one.

Each gets a workspace of its own, as it would get a database of its own: a relay on the port it chose names the workspace in
every request. Loaded with `-p` in MLflow's environment, so it imports nothing of runstream.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import threading
import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import pytest

SERVER = os.environ["RUNSTREAM_TEST_URL"]
TOKEN = os.environ["RUNSTREAM_TEST_TOKEN"]
LOCAL = "127.0.0.1"
_OF_CONNECTION = frozenset({"host", "transfer-encoding", "content-length", "connection"})


class _Relay(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    workspace = ""

    def relay(self) -> None:
        body = self._body()
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _OF_CONNECTION}
        named = [name for name in headers if name.lower() == "x-mlflow-workspace"]
        if not any(headers[name] != "default" for name in named):  # MLflow's tests name the default one
            headers = {name: value for name, value in headers.items() if name not in named}
            headers["X-MLFLOW-WORKSPACE"] = self.workspace
        headers.setdefault("Authorization", f"Bearer {TOKEN}")
        address = urlsplit(SERVER)
        upstream = http.client.HTTPConnection(address.hostname or LOCAL, address.port, timeout=60)
        try:
            upstream.request(self.command, self.path, body=body, headers=headers)
            answer = upstream.getresponse()
            content = answer.read()
            self.send_response_only(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                    self.send_header(name, value)
            if answer.status not in (204, 304):
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)
        finally:
            upstream.close()

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = relay

    def _body(self) -> bytes | None:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            pieces = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                pieces.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(pieces)
        length = int(self.headers.get("Content-Length") or 0)
        return self.rfile.read(length) if length else None

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextlib.contextmanager
def workspace_at(port: int) -> Iterator[str]:
    """The address of a server that has nothing in it yet."""
    handler = type("Relay", (_Relay,), {"workspace": f"w-{uuid.uuid4().hex[:12]}"})
    server = ThreadingHTTPServer((LOCAL, port), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://{LOCAL}:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class InPlaceOfServerThread:
    """Takes what MLflow's `ServerThread` takes, and leads to a workspace of the server that is tested."""

    def __init__(self, app: Any, port: int) -> None:
        self._opened = workspace_at(port)

    def __enter__(self) -> str:
        return self._opened.__enter__()

    def __exit__(self, *error: Any) -> None:
        self._opened.__exit__(*error)


@contextlib.contextmanager
def in_place_of_init_server(*args: Any, **more: Any) -> Iterator[str]:
    """Takes what MLflow's `_init_server` takes."""
    with workspace_at(0) as url:
        yield url


@contextlib.contextmanager
def in_place_of_launch_server(host: str, port: int, *args: Any) -> Iterator[None]:
    """Takes what `_launch_server` of the tests of artifacts takes."""
    with workspace_at(port):
        yield None


def pytest_configure(config: pytest.Config) -> None:
    """Before any test is imported: their modules take the names of these over."""
    from mlflow.server import handlers

    import tests.tracking.integration_test_utils as utils

    utils.ServerThread = InPlaceOfServerThread
    utils._init_server = in_place_of_init_server
    handlers.initialize_backend_stores = lambda *args, **more: None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Functions of single modules."""
    for item in items:
        module = getattr(item, "module", None)
        if hasattr(module, "_launch_server"):
            module._launch_server = in_place_of_launch_server


@pytest.hookimpl(tryfirst=True)
def pytest_plugin_registered(plugin: Any) -> None:
    """The fixture of MLflow's conftest, which has precedence over this plugin's, before pytest looks for it."""
    if getattr(plugin, "__name__", "") == "tests.conftest":
        plugin.db_uri = db_uri


@pytest.fixture
def db_uri() -> Iterator[str]:
    """Where MLflow's tests have a database: the address of a server, for those that only hand it on."""
    with workspace_at(0) as url:
        yield url
