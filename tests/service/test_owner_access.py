"""One's own service lets one's own browser in, nobody else, and no page of another origin; by tickets where need be."""

from __future__ import annotations

import json
import os
import subprocess
import urllib.parse
from typing import Any

import httpx
import pytest

from runstream.home.layout import read_token

pytestmark = pytest.mark.attack

STRANGER = 23456
TRAINING = """
from runstream import Experiment, Workspace
run = Experiment(Workspace.from_config(), "e").start_logging(outputs=False, snapshot_directory=None)
run.complete()
print(run.id, run.get_portal_url(), run.experiment.get_portal_url())
"""


@pytest.fixture
def served(shell: Any) -> tuple[Any, str]:
    shell.run("up")
    return shell, json.loads((shell.root / "service.json").read_text())["url"]


def test_the_owners_browser_needs_nothing(served: tuple[Any, str]) -> None:
    shell, url = served
    own = {"Sec-Fetch-Site": "same-origin"}
    with httpx.Client(base_url=url, timeout=30) as browser:
        for headers, status in (
            ({}, 200),
            (own, 200),
            ({"Sec-Fetch-Site": "none"}, 200),
            ({"Sec-Fetch-Site": "cross-site"}, 403),
            ({"Sec-Fetch-Site": "same-site"}, 403),
            ({"Origin": "http://127.0.0.1:1"}, 403),
            ({"Host": "evil.example"}, 403),
            ({"Host": f"evil.example:{urllib.parse.urlsplit(url).port}", **own}, 403),
            ({"Authorization": "Bearer wrong"}, 401),
            ({"Authorization": "Basic eDp5"}, 401),
            ({"X-Forwarded-For": "10.0.0.1"}, 401),  # somebody's program passes on what somebody else asks
            ({"Forwarded": "for=10.0.0.1"}, 401),
        ):
            assert (headers, browser.get("/api/v1/runs", headers=headers).status_code) == (headers, status)
        for headers, status in (
            ({}, 401),
            (own, 200),
            ({"Origin": url}, 200),
            ({"Origin": "null"}, 403),
            ({"Sec-Fetch-Site": "none"}, 401),
            ({"Authorization": f"Bearer {read_token(shell.home)}"}, 200),
        ):
            assert (headers, browser.put("/api/v1/experiments/e", headers=headers).status_code) == (
                headers,
                status,
            )
        assert browser.post("/api/v1/tickets", headers=own).json()["ticket"] == ""
        assert browser.get("/login?next=/runs/r", headers=own).headers["location"] == "/runs/r"
        assert not browser.cookies
    run, *page = shell.python(TRAINING).stdout.split()
    for address in page:
        assert address.startswith((f"{url}/runs/{run}?wsid=", f"{url}/experiments/id/"))
    shell.variables["BROWSER"] = "true"  # the program that does nothing
    assert shell.run("open", run).stdout.strip() == f"{url}/runs/{run}"


@pytest.mark.skipif(
    os.geteuid() != 0,
    reason="nobody but root may become another user; test_connection_owner.py holds the same",
)
def test_others_of_the_machine_are_refused(served: tuple[Any, str]) -> None:
    _, url = served
    address = urllib.parse.urlsplit(url)
    head = f" HTTP/1.1\r\nHost: {address.netloc}\r\nSec-Fetch-Site: same-origin\r\nConnection: close\r\n\r\n"
    answer = as_stranger(address.port, f"GET /api/v1/runs{head}", "cat <&3")
    assert b" 401 " in answer.splitlines()[0] + b" "
    assert b"and the connection of user 23456" in answer
    # Whose socket is closed before it is looked at is not taken for root, as Linux lists it.
    for _ in range(20):
        as_stranger(address.port, f"PUT /api/v1/experiments/of-a-stranger{head}", ":")
    listed = httpx.get(f"{url}/api/v1/experiments", headers={"Sec-Fetch-Site": "none"}, timeout=30)
    assert [experiment["name"] for experiment in listed.json()["experiments"]] == []


def as_stranger(port: int | None, request: str, then: str) -> bytes:
    script = f'exec 3<>/dev/tcp/127.0.0.1/{port}; printf "%s" "$1" >&3; {then}'
    command = ["/bin/bash", "-c", script, "bash", request]
    # Not with our own PATH, whose folders the stranger may not be let into.
    where = {"PATH": os.defpath}
    done = subprocess.run(
        command, user=STRANGER, cwd="/", env=where, capture_output=True, timeout=30, check=True
    )
    return done.stdout


def test_with_tickets_where_the_owner_is_not_known(shell: Any) -> None:
    shell.variables["RUNSTREAM_OWNER_ACCESS"] = "0"
    shell.run("up")
    url = json.loads((shell.root / "service.json").read_text())["url"]
    _, *addresses = shell.python(TRAINING).stdout.split()
    own = {"Sec-Fetch-Site": "same-origin"}
    with httpx.Client(base_url=url, timeout=30) as browser:
        assert browser.get("/api/v1/runs", headers=own).status_code == 401
        for address, below in zip(addresses, ("/runs/", "/experiments/id/"), strict=True):
            parts = urllib.parse.urlsplit(address)
            given = dict(urllib.parse.parse_qsl(parts.query))
            assert (parts.path, given["next"].startswith(below)) == ("/login", True)
            begun = browser.post("/login", json={"ticket": given["ticket"]}, headers=own)
            session = {"Authorization": f"Bearer {begun.json()['session']}", **own}
            assert browser.get("/api/v1/runs", headers=session).status_code == 200
            assert browser.post("/login", json={"ticket": given["ticket"]}, headers=own).status_code == 401
        assert not browser.cookies
    listed = shell.json("token", "sessions")
    assert [session["token"] for session in listed] == ["the server's own token"] * 2
    shell.run("token", "sign-out", str(listed[0]["id"]))
    assert len(shell.json("token", "sessions")) == 1
