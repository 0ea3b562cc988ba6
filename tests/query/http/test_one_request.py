"""What was allowed is what is done, whatever bytes come: one parsed request for the gate and the handlers.

The oracle knows nothing of how requests are read: a token of the workspace `mine` never gets a text of `victim`, and nothing
that belongs to `victim` changes.
"""

from __future__ import annotations

import ast
import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.seeds import new_random

import runstream_query
from runstream_query.http.openapi import document

from .kinds import proxy
from .test_api import serving
from .test_openapi import TIMES

pytestmark = pytest.mark.attack

OWNER = "the-token-of-this-server"
SECRET = "zebra-93c1"
"""In every text of the victim's, and in nothing an attacker sends."""
REQUESTS = 1500

_FILL = """
insert into experiments (workspace, name, description) values ('mine', 'e', 'own'), ('victim', 'e', 'zebra-93c1');
insert into runs (run_id, experiment_id, status, created_at, display_name, description)
select workspace || '-run', id, 'Running', now(), case workspace when 'mine' then 'own' else 'zebra-93c1' end, 'd'
from experiments;
"""
_STATE = """
select jsonb_build_object(
    'runs', (select jsonb_agg(to_jsonb(r) order by key) from runs r where run_id = 'victim-run'),
    'experiments', (select jsonb_agg(to_jsonb(e) order by id) from experiments e where workspace = 'victim'),
    'tags', (select jsonb_agg(to_jsonb(t) order by t) from tags t join runs r on r.key = run_key
             where run_id = 'victim-run'),
    'artifacts', (select jsonb_agg(to_jsonb(a) order by a) from artifacts a join runs r on r.key = a.run_key
                  where r.run_id = 'victim-run'),
    'models', (select jsonb_agg(to_jsonb(m) order by m) from models m where workspace = 'victim'),
    'environments', (select jsonb_agg(to_jsonb(e) order by e) from environments e where workspace = 'victim'),
    'labels', (select jsonb_agg(to_jsonb(e) order by e) from environment_labels e where workspace = 'victim'),
    'workspaces', (select jsonb_agg(to_jsonb(w) order by w) from workspaces w where name = 'victim'))::text
"""


@dataclass(slots=True)
class Two:
    """A server with a workspace for the attacker, whose token is `token`, and the victim's."""

    http: httpx.AsyncClient
    port: int
    token: str
    database: Any

    async def state(self) -> str:
        return str(await self.database.pool.fetchval(_STATE))

    async def raw(self, request: bytes) -> tuple[int, bytes]:
        """Status (0: none) and all that the server says to these bytes."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(request)
            async with asyncio.timeout(60):
                answer = await reader.read(1 << 20)
                while b"\r\n\r\n" in answer and b"text/event-stream" not in answer:
                    piece = await reader.read(1 << 20)
                    if not piece:
                        break
                    answer += piece
        except ConnectionError:
            return 0, b""
        finally:
            writer.close()
        return int(answer.split()[1]) if answer.startswith(b"HTTP/") else 0, answer

    async def ask(self, method: bytes, target: bytes, body: bytes = b"") -> tuple[int, bytes]:
        lines = [
            method + b" " + target + b" HTTP/1.1",
            b"Host: 127.0.0.1",
            b"Authorization: Bearer " + self.token.encode(),
            b"Connection: close",
        ]
        if body:
            lines += [b"Content-Type: application/json", b"Content-Length: %d" % len(body)]
        return await self.raw(b"\r\n".join(lines) + b"\r\n\r\n" + body)


@pytest.fixture(params=["with tokens", "embedded", "behind a proxy"])
async def two(database: Any, request: pytest.FixtureRequest) -> AsyncIterator[Two]:
    await database.pool.execute(_FILL)
    if request.param == "behind a proxy":
        database.settings = replace(database.settings, trusted_proxies="127.0.0.1")
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(
            serving(database, token=OWNER, embedded=request.param == "embedded")
        )
        port = http.base_url.port
        assert port is not None
        if request.param == "behind a proxy":
            port = await stack.enter_async_context(proxy(port))
        made = await http.post("/api/v1/tokens", json={"name": "n", "role": "admin", "workspace": "mine"})
        await http.put("/api/v1/runs/victim-run/files/outputs/a.txt", content=SECRET.encode())
        environment = {"name": "env", "document": {"packages": [SECRET]}}
        assert (await http.post("/api/v1/environments?workspace=victim", json=environment)).status_code == 200
        yield Two(http, port, made.json()["token"], database)


async def test_a_query_behind_a_fragment_is_no_request(two: Two) -> None:
    before = await two.state()
    for method, target, body in (
        (b"GET", b"/api/v1/runs?workspace=mine#&workspace=victim", b""),
        (b"GET", b"/api/v1/runs#?workspace=victim", b""),
        (b"GET", b"/api/v1/experiments?#&workspace=victim", b""),
        (
            b"POST",
            b"/api/v1/environments?workspace=mine#&workspace=victim",
            b'{"name": "x", "document": {"p": 1}}',
        ),
        (b"PATCH", b"/api/v1/experiments/e?workspace=mine#&workspace=victim", b'{"description": "x"}'),
        (b"GET", b"/api/v1/runs?workspace=mine&q=\xc3\xa9", b""),
        (b"GET", b"/api/v1/runs/\xff", b""),
        (b"GET", b"http://127.0.0.1/api/v1/runs?workspace=victim", b""),
        (b"GET", b"api/v1/runs?workspace=victim", b""),
        (b"OPTIONS", b"*", b""),
    ):
        status, answer = await two.ask(method, target, body)
        assert (target, status, SECRET.encode() in answer) == (target, 400, False)
    assert await two.state() == before
    status, answer = await two.ask(b"GET", b"/api/v1/runs?workspace=mine&q=%23")
    assert status == 200


def _targets() -> list[tuple[bytes, bytes]]:
    """Every route with a method, with the victim's names where there is room for one."""
    names = {
        "run_id": "victim-run",
        "name": "e",
        "version": "1",
        "path": "outputs/a.txt",
        "id": "x",
        "view_id": "x",
    }
    requests = []
    for template, operations in document()["paths"].items():
        path = template
        for name in ("run_id", "name", "version", "path", "id", "view_id", "sha256"):
            path = path.replace("{" + name + "}", names.get(name, "0" * 64))
        requests += [
            (method.upper().encode(), path.encode()) for method in operations if method != "parameters"
        ]
    return requests


_SEPARATORS = (
    b"?", b"&", b";", b"#", b"%23", b"%26", b"%3f", b"/", b"//", b"\\", b"%2f", b"%5c", b"%00", b"%0a", b"%0d%0a",
    b"=", b"%3d", b"+", b"%20", b" ", b"\t", b"\xc2\x85", b"\xff", b"%", b"%zz", b"%u0026", b"..", b"/../", b"%2e%2e/",
)  # fmt: skip
_PARTS = (
    b"workspace=victim", b"workspace=mine", b"Workspace=victim", b"workspace%3dvictim", b"work%73pace=victim",
    b"workspace[]=victim", b"workspace=", b"workspace", b"workspace=mine%00victim", b"workspace=victim%00",
    b"workspace=vic+tim", b"run=victim-run", b"run=mine-run", b"run=victim-run%00", b"parent=victim-run",
    b"ancestor=victim-run", b"recursive=1", b"archived=all", b"name=e", b"q=victim", b"summaries=1", b"count=1",
)  # fmt: skip
_BODIES: tuple[Any, ...] = (
    {"runs": ["victim-run"]}, {"runs": ["mine-run", "victim-run"], "changes": {"display_name": "x"}},
    {"runs": ["victim-run"], "force": True}, {"description": "x"}, {"query": "from runs select *"},
    {"query": "from runs where workspace = 'victim'"}, {"name": "env", "document": {"packages": ["x"]}},
    {"name": "env", "version": "1", "labels": ["l"]}, {"tags": {"a": "b"}},
    {"name": "m", "token": "7c0c64ee-6f2b-4f24-a6a4-0de68d3c2c93", "run_id": "victim-run", "path": "outputs"},
    {"name": "t", "role": "admin"},
)  # fmt: skip


def _made_up(dice: random.Random, targets: list[tuple[bytes, bytes]]) -> tuple[bytes, bytes, bytes]:
    method, path = dice.choice(targets)
    if dice.random() < 0.2:
        cut = dice.randrange(1, len(path) + 1)
        path = path[:cut] + dice.choice(_SEPARATORS) + path[cut:]
    if dice.random() < 0.15:
        spot = dice.randrange(1, len(path))
        path = path[:spot] + b"%%%02x" % path[spot] + path[spot + 1 :]
    if dice.random() < 0.3:
        path = path.replace(b"victim", b"mine")
    query = b""
    for _ in range(dice.randrange(5)):
        usual = b"&" if query else b"?"
        odd = dice.choice((*_SEPARATORS, b"#", b"#", b";")) + dice.choice((b"", usual))
        query += (usual if dice.random() < 0.5 else odd) + dice.choice(_PARTS)
    if dice.random() < 0.1:
        method = dice.choice((b"get", b"HEAD", b"OPTIONS", b"TRACE", b"PROPFIND", b"POST", b"PUT", b"DELETE"))
    body = b"" if method in (b"GET", b"HEAD") else json.dumps(dice.choice(_BODIES)).encode()
    return method, path + query, body


async def test_what_is_allowed_is_what_is_done(two: Two) -> None:
    dice, targets, before = new_random(), _targets(), await two.state()
    assert SECRET in before
    statuses: dict[int, int] = {}
    for number in range(REQUESTS * TIMES):
        request = _made_up(dice, targets)
        status, answer = await two.ask(*request)
        statuses[status] = statuses.get(status, 0) + 1
        assert SECRET.encode() not in answer, (number, request)
        assert status < 500, (number, request, answer)
        if request[0] not in (b"GET", b"HEAD"):
            assert await two.state() == before, (number, request)
    # It tried what is let through as well as what is not.
    assert all(statuses.get(status, 0) > REQUESTS / 50 for status in (200, 400, 403, 404)), statuses


def test_nothing_else_reads_the_bytes_of_a_request() -> None:
    """No handler, and no check, has a parser of its own for targets."""
    for file in Path(runstream_query.__file__).parent.rglob("*.py"):
        if file.name == "routing.py":
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            name = node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", None)
            assert name not in ("parse_qs", "parse_qsl", "QueryParams"), (file.name, node.lineno)
            if isinstance(node, ast.Attribute) and node.attr == "url":
                assert not (isinstance(node.value, ast.Name) and node.value.id in ("request", "asked")), (
                    file.name
                )
            if isinstance(node, ast.Constant):
                assert node.value not in ("query_string", "raw_path"), (file.name, node.lineno)
