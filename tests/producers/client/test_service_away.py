"""The service is killed in the middle of a run, and comes back: the training notices nothing, and nothing is lost."""

from __future__ import annotations

import socket
import tempfile
import threading
import time
from pathlib import Path

import pytest
from tests.producers.conftest import serve

from runstream.client.http import ServiceClient
from runstream.core import Experiment, Workspace
from runstream.exceptions import ServiceException
from runstream_schemas.settings import Settings


def test_killed_and_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("runstream.client.http.AWAY_TIMEOUT", 1.0)
    with tempfile.TemporaryDirectory(prefix="rs-sdk-", ignore_cleanup_errors=True) as directory:
        home = Path(directory)
        monkeypatch.setenv("RUNSTREAM_HOME", directory)
        experiment = Experiment(Workspace(), "away")
        before = experiment.start_logging()  # no service has ever been here
        for step in range(1000):
            before.log("loss", step)
        before.complete()
        run = experiment.start_logging()
        with serve(home) as service:
            for step in range(1000):
                run.log("loss", step)
            assert len(run.get_metrics()["loss"]) == 1000
            service.kill()
            service.wait()
            began = time.monotonic()
            for step in range(1000, 2000):
                run.log("loss", step)
            run.tag("during", "the outage")
            during = run.child_run()
            during.log("loss", 0.5)
            during.fail("not its fault")
            assert time.monotonic() - began < 1.0
            with pytest.raises(ServiceException) as away:
                run.get_metrics()
            assert away.value.status_code == 503
        with serve(home):
            monkeypatch.setattr("runstream.client.http.AWAY_TIMEOUT", 30.0)
            assert run.get_metrics()["loss"] == list(range(2000))
            assert run.get_tags() == {"during": "the outage"}
            assert during.get_details()["error"]["error"]["message"] == "not its fault"
            run.complete()
            assert [run.status for run in experiment.get_runs()] == ["Completed", "Completed"]
            assert before.get_metrics()["loss"] == list(range(1000))


def test_killed_in_the_midst_of_saying_that_something_is_away() -> None:
    """The head of an error had come and its text had not: found where a reader was told of an incomplete read."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve_two() -> None:
            for answer in (
                b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 140\r\n\r\n",
                b'HTTP/1.1 404 Not Found\r\nContent-Length: 27\r\n\r\n{"detail": "no such thing"}',
            ):
                connection, _ = listening.accept()
                with connection:
                    connection.recv(1 << 16)
                    connection.sendall(answer)

        serving = threading.Thread(target=serve_two)
        serving.start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        client = ServiceClient(Settings(url=url, autostart=False))
        with pytest.raises(ServiceException, match="no such thing") as told:
            client.request("GET", "/api/v1/runs/x", fresh=False)
        assert told.value.status_code == 404
        serving.join()
        client.close()
