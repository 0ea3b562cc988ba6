"""compose.yaml against the code: its variables are settings, and each service's very command starts and does its work."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from runstream_schemas.settings import PREFIX, Settings

pytestmark = pytest.mark.attack

ROOT = Path(__file__).parents[2]
START_SECONDS = 40.0
POINTS = 1000


SECRETS = {"RUNSTREAM_TOKEN": "a-token-of-this-cluster", "POSTGRES_PASSWORD": "a-password-of-this-cluster"}
"""What compose demands: without them nothing starts."""


def interpolate(value: Any) -> Any:
    """What compose makes of ${NAME:-default} when no variable is set, and of ${NAME:?what to do} when all of those are."""
    if isinstance(value, str):
        value = re.sub(r"\$\{(\w+):\?[^}]+\}", lambda variable: SECRETS[variable[1]], value)
    if isinstance(value, dict):
        return {key: interpolate(item) for key, item in value.items()}
    if isinstance(value, list):
        return [interpolate(item) for item in value]
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value) if isinstance(value, str) else value


COMPOSE: dict[str, Any] = interpolate(yaml.safe_load((ROOT / "compose.yaml").read_text()))
OURS = {name: service for name, service in COMPOSE["services"].items() if "build" in service}


def environment_of(name: str) -> dict[str, str]:
    return {key: str(value) for key, value in OURS[name]["environment"].items()}


def test_nothing_starts_without_secrets_of_ones_own() -> None:
    text = (ROOT / "compose.yaml").read_text()
    uses = re.findall(r"\$\{(\w*(?:TOKEN|PASSWORD)\w*)([^}]*)\}", text)
    assert {name for name, _ in uses} == set(SECRETS)
    assert all(rest.startswith(":?") for _, rest in uses)
    server = Settings.load(environment_of("server"))
    assert (server.host, server.token, server.allow_no_token) == (
        "0.0.0.0",
        SECRETS["RUNSTREAM_TOKEN"],
        False,
    )


def test_every_role_is_there() -> None:
    assert {name: service["command"] for name, service in OURS.items()} == {
        role: [role] for role in ("consumer", "compactor", "server", "agent")
    }
    assert OURS["consumer"]["deploy"]["replicas"] == 2
    assert OURS["agent"]["profiles"] == ["agent"]


@pytest.mark.parametrize("name", OURS)
def test_variables_are_settings(name: str) -> None:
    known = {PREFIX + item.name.upper() for item in fields(Settings)}
    environment = environment_of(name)
    assert set(environment) <= known
    Settings.load(environment)


@pytest.mark.parametrize("name", OURS)
def test_waits_for_what_it_needs(name: str) -> None:
    for needed, condition in OURS[name]["depends_on"].items():
        assert condition == {"condition": "service_healthy"}
        assert COMPOSE["services"][needed]["healthcheck"]["test"]


def test_volumes_are_declared_and_lie_where_the_settings_say() -> None:
    declared = set(COMPOSE["volumes"])
    for name, service in COMPOSE["services"].items():
        for volume in service.get("volumes", []):
            source, _, target = volume.partition(":")
            assert source in declared
            if name in OURS:
                settings = Settings.load(environment_of(name))
                assert target in (settings.store_url, str(settings.spool_path))


def test_ports_are_published_to_this_machine_only() -> None:
    for service in COMPOSE["services"].values():
        for port in service.get("ports", []):
            assert str(port).startswith("127.0.0.1:")


@pytest.mark.parametrize("name", OURS)
def test_metrics_are_shown_to_the_other_containers(name: str) -> None:
    settings = Settings.load(environment_of(name))
    assert settings.metrics_host == "0.0.0.0"
    assert OURS[name]["expose"] == [str(settings.metrics_port)]


def test_the_image_installs_extras_that_exist_and_runs_as_a_user() -> None:
    import tomllib

    dockerfile = (ROOT / "Dockerfile").read_text()
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    [named] = re.findall(r'"\$wheel\[([\w,]+)\]"', dockerfile)
    assert set(named.split(",")) <= set(extras)
    assert re.findall(r"^USER (\w+)$", dockerfile, re.MULTILINE) == ["runstream"]
    assert '\nENTRYPOINT ["runstream"]\n' in dockerfile


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Services:
    """The services of compose.yaml as processes, with hosts, ports and volumes of this machine."""

    def __init__(self, directory: Path, kafka: Any, database: str) -> None:
        self.directory = directory
        self.kafka = kafka
        self.database = database
        self.port = free_port()
        self.metrics: dict[str, int] = {}
        self.logs: dict[str, Path] = {}
        plain = {key: value for key, value in os.environ.items() if not key.startswith(PREFIX)}
        self.plain = plain | {"PYTHONPATH": os.pathsep.join(sys.path)}
        self._stack = ExitStack()

    def environment(self, name: str) -> dict[str, str]:
        environment = environment_of(name)
        assert environment["RUNSTREAM_KAFKA"] == "kafka:9092"
        assert "@postgres:5432/" in environment["RUNSTREAM_DATABASE"]
        environment |= {
            "RUNSTREAM_KAFKA": self.kafka.bootstrap,
            "RUNSTREAM_TOPIC_PREFIX": self.kafka.prefix,
            "RUNSTREAM_CONSUMER_GROUP": self.kafka.prefix,
            "RUNSTREAM_DATABASE": self.database,
        }
        if environment.get("RUNSTREAM_HOST") == "0.0.0.0":
            environment |= {"RUNSTREAM_HOST": "127.0.0.1", "RUNSTREAM_PORT": str(self.port)}
        image = re.findall(r"^ENV (.*)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)[0]
        environment |= dict(part.split("=", 1) for part in image.split())
        return {
            key: value.replace("/var/lib/runstream", str(self.directory))
            for key, value in environment.items()
        }

    def start(self, name: str, number: int = 1) -> subprocess.Popen[bytes]:
        self.logs[f"{name}-{number}"] = path = self.directory / f"{name}-{number}.log"
        self.metrics[f"{name}-{number}"] = port = free_port()  # in compose each has an address of its own
        shown = {"RUNSTREAM_METRICS_HOST": "127.0.0.1", "RUNSTREAM_METRICS_PORT": str(port)}
        with path.open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "runstream", *OURS[name]["command"]],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory,
                env=self.plain | self.environment(name) | shown,
            )
        self._stack.callback(_end, process)
        return process

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


@pytest.fixture
def services(home: Path, kafka: Any, postgres: str) -> Iterator[Services]:
    services = Services(home, kafka, postgres)
    yield services
    services.close()


TRAINING = """
import sys
from runstream.core import Experiment, Workspace
run = Experiment(Workspace.from_config(), "compose").start_logging()
run.tag("kind", "compose")
for step in range(int(sys.argv[1])):
    run.log("loss", float(step))
run.complete()
"""


def train(services: Services) -> None:
    """Train on the machine of the agent: its spool, and the server's address."""
    agent = services.environment("agent")
    done = subprocess.run(
        [sys.executable, "-c", TRAINING, str(POINTS)],
        cwd=services.directory,
        env=services.plain
        | {
            name: agent[name]
            for name in ("RUNSTREAM_HOME", "RUNSTREAM_SPOOL", "RUNSTREAM_KAFKA", "RUNSTREAM_AUTOSTART")
        }
        | {
            "RUNSTREAM_URL": f"http://127.0.0.1:{services.port}",
            "RUNSTREAM_TOKEN": SECRETS["RUNSTREAM_TOKEN"],
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def wait_for_settled_run(services: Services) -> list[dict[str, Any]]:
    url = f"http://127.0.0.1:{services.port}/api/v1/runs?summaries=1"
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {SECRETS['RUNSTREAM_TOKEN']}"})
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        with urllib.request.urlopen(request, timeout=10) as answer:
            runs: list[dict[str, Any]] = json.load(answer)["runs"]
        if runs and all(run["settled"] for run in runs):
            return runs
        time.sleep(0.1)
    raise AssertionError(services.said())


@pytest.mark.kafka
def test_each_command_starts_does_its_work_and_ends(services: Services) -> None:
    replicas = {name: service.get("deploy", {}).get("replicas", 1) for name, service in OURS.items()}
    processes = {
        f"{name}-{number}": services.start(name, number)
        for name, count in replicas.items()
        for number in range(1, count + 1)
    }
    # The server is healthy when its own health check says so.
    check = [part.replace("8080", str(services.port)) for part in OURS["server"]["healthcheck"]["test"][1:]]
    assert check[0] == "python"
    check[0] = sys.executable
    deadline = time.monotonic() + START_SECONDS
    while subprocess.run(check, stderr=subprocess.DEVNULL, timeout=20, check=False).returncode:
        assert time.monotonic() < deadline, services.said()
        time.sleep(0.2)
    train(services)
    [run] = wait_for_settled_run(services)
    assert run["status"] == "Completed"
    assert run["tags"] == {"kind": "compose"}
    assert run["summaries"]["loss"]["count"] == POINTS
    assert run["summaries"]["loss"]["last"] == POINTS - 1
    for name, port in services.metrics.items():
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            role = "http" if name.startswith("server") else name.partition("-")[0]
            assert f"\nrunstream_{role}_" in answer.read().decode(), name
    ended = {name: process.returncode for name, process in processes.items() if process.poll() is not None}
    assert not ended, services.said()
    for process in processes.values():
        process.send_signal(signal.SIGTERM)
    assert {name: process.wait(30) for name, process in processes.items()} == dict.fromkeys(processes, 0), (
        services.said()
    )
