"""The roles as compose.yaml or the chart describe them, started as processes of this machine: they do a training's work."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runstream_schemas.settings import PREFIX

START_SECONDS = 40.0
POINTS = 1000
TOKEN = "a-token-of-this-cluster"
PRINTED = "trained beside the agent"

TRAINING = f"""
from runstream.core import Experiment, Workspace
run = Experiment(Workspace.from_config(), "described").start_logging(snapshot_directory=None)
run.tag("kind", "described")
for step in range({POINTS}):
    run.log("loss", float(step))
print({PRINTED!r})
run.complete()
"""


def of_image() -> dict[str, str]:
    """The variables that the Dockerfile sets."""
    dockerfile = (Path(__file__).parents[2] / "Dockerfile").read_text()
    [line] = re.findall(r"^ENV (.*)$", dockerfile, re.MULTILINE)
    return dict(part.split("=", 1) for part in line.split())


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass(frozen=True)
class Role:
    """A container.

    Attributes:
        command: what the image's entry point is given.
        environment: of its own, with hosts and directories as they are in the cluster.
        replicas: how many there are.
    """

    command: list[str]
    environment: dict[str, str]
    replicas: int = 1


@dataclass
class Cluster:
    """Roles as processes.

    Attributes:
        replaced: what stands in for texts of the description: directories, addresses.
        kafka: the topics of the test.
    """

    directory: Path
    roles: dict[str, Role]
    replaced: dict[str, str]
    kafka: Any
    port: int = field(default_factory=free_port)
    metrics: dict[str, int] = field(default_factory=dict)
    logs: dict[str, Path] = field(default_factory=dict)
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    _stack: ExitStack = field(default_factory=ExitStack)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def environment(self, name: str) -> dict[str, str]:
        plain = {key: value for key, value in os.environ.items() if not key.startswith(PREFIX)}
        own = dict(self.roles[name].environment)
        for variable in own:
            for text, instead in self.replaced.items():
                own[variable] = own[variable].replace(text, instead)
        own |= {
            "RUNSTREAM_KAFKA": self.kafka.bootstrap,
            "RUNSTREAM_TOPIC_PREFIX": self.kafka.prefix,
            "RUNSTREAM_CONSUMER_GROUP": self.kafka.prefix,
        }
        if own.get("RUNSTREAM_HOST") == "0.0.0.0":
            own |= {"RUNSTREAM_HOST": "127.0.0.1", "RUNSTREAM_PORT": str(self.port)}
        if "RUNSTREAM_URL" in own:
            own["RUNSTREAM_URL"] = self.url
        return plain | {"PYTHONPATH": os.pathsep.join(sys.path)} | own

    def start(self, *names: str) -> None:
        """These roles, or all of them, and wait for the server."""
        for name in names or self.roles:
            for number in range(1, self.roles[name].replicas + 1):
                self._start(name, f"{name}-{number}")
        self.wait_until_ready()

    def _start(self, name: str, process: str) -> None:
        self.logs[process] = path = self.directory / f"{process}.log"
        self.metrics[process] = port = free_port()  # in the cluster each has an address of its own
        shown = {"RUNSTREAM_METRICS_HOST": "127.0.0.1", "RUNSTREAM_METRICS_PORT": str(port)}
        with path.open("wb") as log:
            self.processes[process] = subprocess.Popen(
                [sys.executable, "-m", "runstream", *self.roles[name].command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory,
                env=self.environment(name) | shown,
            )
        self._stack.callback(_end, self.processes[process])

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                with urllib.request.urlopen(f"{self.url}/readyz", timeout=4):
                    return
            except OSError:
                assert time.monotonic() < deadline, self.said()
                time.sleep(0.2)

    def train(self) -> None:
        """On the machine of the agent, in the home it shares."""
        agent = self.environment("agent")
        done = subprocess.run(
            [sys.executable, "-c", TRAINING],
            cwd=self.directory,
            env=agent | {"RUNSTREAM_AUTOSTART": "0"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    def check(self) -> None:
        """That everything the training recorded is there, each role shows its metrics, and all end in order."""
        [run] = self._wait_for(
            "/api/v1/runs?summaries=1",
            lambda page: page["runs"] and all(run["settled"] for run in page["runs"]),
        )["runs"]
        assert run["status"] == "Completed"
        assert run["tags"] == {"kind": "described"}
        assert run["summaries"]["loss"]["count"] == POINTS
        assert run["summaries"]["loss"]["last"] == POINTS - 1
        console = f"/api/v1/runs/{run['run_id']}/files/user_logs/std_log.txt"
        assert PRINTED in self._wait_for(console, lambda text: PRINTED in text)
        for name, port in self.metrics.items():
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
                role = "http" if name.startswith("server") else name.partition("-")[0]
                assert f"\nrunstream_{role}_" in answer.read().decode(), name
        ended = {name: it.returncode for name, it in self.processes.items() if it.poll() is not None}
        assert not ended, self.said()
        for process in self.processes.values():
            process.send_signal(signal.SIGTERM)
        codes = {name: process.wait(30) for name, process in self.processes.items()}
        assert codes == dict.fromkeys(self.processes, 0), self.said()

    def _wait_for(self, path: str, good: Any) -> Any:
        request = urllib.request.Request(self.url + path, headers={"Authorization": f"Bearer {TOKEN}"})
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                with urllib.request.urlopen(request, timeout=10) as answer:
                    text = answer.read().decode()
                    content = (
                        json.loads(text) if answer.headers.get_content_type() == "application/json" else text
                    )
            except urllib.error.HTTPError as error:
                content = error.code
            else:
                if good(content):
                    return content
            assert time.monotonic() < deadline, f"{path}: {str(content)[:1000]}\n{self.said()}"
            time.sleep(0.1)

    def close(self) -> None:
        self._stack.close()

    def said(self) -> str:
        return "\n".join(
            f"--- {name}\n{path.read_text(errors='replace')[-3000:]}" for name, path in self.logs.items()
        )


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
