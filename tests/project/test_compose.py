"""compose.yaml against the code: its variables are settings, and each service's very command starts and does its work."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from runstream_schemas.settings import PREFIX, Settings

from .described import TOKEN, Cluster, Role, of_image

pytestmark = pytest.mark.attack

ROOT = Path(__file__).parents[2]
SECRETS = {"RUNSTREAM_TOKEN": TOKEN, "POSTGRES_PASSWORD": "a-password-of-this-cluster"}
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
                assert target in (settings.store_url, str(settings.spool_path), str(settings.home_path))


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


@pytest.fixture
def cluster(home: Path, kafka: Any, postgres: str) -> Iterator[Cluster]:
    roles = {
        name: Role(
            service["command"],
            of_image() | environment_of(name),
            service.get("deploy", {}).get("replicas", 1),
        )
        for name, service in OURS.items()
    }
    inside = "postgresql://runstream:a-password-of-this-cluster@postgres:5432/runstream"
    cluster = Cluster(home, roles, {"/var/lib/runstream": str(home), inside: postgres}, kafka)
    yield cluster
    cluster.close()


@pytest.mark.kafka
def test_each_command_starts_does_its_work_and_ends(cluster: Cluster) -> None:
    assert {role.environment["RUNSTREAM_KAFKA"] for role in cluster.roles.values()} == {"kafka:9092"}
    cluster.start()
    # The server is healthy when its own health check says so.
    check = [part.replace("8080", str(cluster.port)) for part in OURS["server"]["healthcheck"]["test"][1:]]
    assert check[0] == "python"
    subprocess.run([sys.executable, *check[1:]], timeout=20, check=True)
    cluster.train()
    cluster.check()
