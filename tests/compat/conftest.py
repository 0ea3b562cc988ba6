"""One real service for the clients of other tools; each test has a workspace of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from tests.processes import end_processes_of

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of what MLflow imports
    import mlflow
    from mlflow import MlflowClient


@dataclass(slots=True)
class Service:
    """An embedded service as a process of its own.

    Attributes:
        url: where it answers, also after it was killed and started again.
    """

    home: Path
    url: str
    process: subprocess.Popen[bytes] | None = field(default=None)

    @property
    def token(self) -> str:
        return (self.home / "token").read_text().strip()

    def start(self) -> None:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("RUNSTREAM_")}
        own = {"RUNSTREAM_HOME": str(self.home), "RUNSTREAM_PORT": self.url.rpartition(":")[2]}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "runstream", "up", "--foreground"],
            env=clean | own,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            assert self.process.poll() is None
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"{self.url}/readyz", timeout=5).status_code == 200:
                    return
            time.sleep(0.05)
        raise TimeoutError(self.url)

    def kill(self) -> None:
        """As the kernel does that has no memory left."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def api(self, method: str, path: str, document: object = None, token: str = "") -> httpx.Response:
        """Ask for what runstream itself has."""
        headers = {"Authorization": f"Bearer {token or self.token}"}
        return httpx.request(method, f"{self.url}{path}", json=document, headers=headers, timeout=30)


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    """A running service."""
    home = Path(tempfile.mkdtemp(prefix="rs-")) / "home"
    home.mkdir(mode=0o700)
    service = Service(home, f"http://127.0.0.1:{free_port()}")
    try:
        service.start()
        yield service
    finally:
        end_processes_of(home)
        if service.process is not None:
            service.process.wait()
        shutil.rmtree(home.parent, ignore_errors=True)


@pytest.fixture
def workspace() -> str:
    """A workspace nobody else has."""
    return f"w-{uuid.uuid4().hex[:12]}"


NOW = 1_764_000_000_000


@pytest.fixture
def client(service: Service, workspace: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[MlflowClient]:
    """A client in a workspace of its own."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", service.url)
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", service.token)
    monkeypatch.setenv("MLFLOW_WORKSPACE", workspace)
    monkeypatch.setenv("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    mlflow.set_tracking_uri(service.url)
    yield MlflowClient(service.url)
    mlflow.end_run()
    mlflow.set_tracking_uri(None)
    mlflow.tracking.fluent._active_experiment_id = None
    os.environ.pop("MLFLOW_EXPERIMENT_ID", None)  # which it sets itself
