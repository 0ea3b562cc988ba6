"""Tokens of a server: what each role may, in which workspace, until when."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx
import pytest
from tests.query.http.owner import HERE, OWNER, SAME, bearer, made, status
from tests.query.http.test_api import serving

from runstream_query.http.app import create_app, run_server
from runstream_query.http.context import Server
from runstream_query.http.endpoint import Door
from runstream_query.http.endpoints import live
from runstream_query.http.endpoints.live import ChangedRuns, changes_of
from runstream_query.http.openapi import ENDPOINTS
from runstream_query.http.routing import find_route
from runstream_query.http.tokens import Role
from runstream_schemas.errors import ServiceError
from runstream_schemas.series import Kind, SeriesKey

pytestmark = pytest.mark.attack


@pytest.mark.parametrize(
    ("method", "path", "role"),
    [
        ("GET", "/api/v1/runs", Role.READ),
        ("GET", "/api/v1/runs/r/files/outputs/a", Role.READ),
        ("POST", "/api/v1/sql", Role.READ),
        ("PUT", "/api/v1/runs/r/files/outputs/a", Role.WRITE),
        ("PATCH", "/api/v1/runs/r", Role.WRITE),
        ("POST", "/api/v1/runs/cancel", Role.WRITE),
        ("POST", "/api/v1/models", Role.WRITE),
        ("DELETE", "/api/v1/views/v", Role.WRITE),
        ("DELETE", "/api/v1/sessions/{id}", Role.READ),
        ("DELETE", "/api/v1/runs/r", Role.ADMIN),
        ("POST", "/api/v1/runs/delete", Role.ADMIN),
        ("DELETE", "/api/v1/models/m/1", Role.ADMIN),
        ("DELETE", "/api/v1/experiments/e", Role.ADMIN),
        ("GET", "/api/v1/tokens", Role.ADMIN),
        ("POST", "/api/v1/tokens/t", Role.ADMIN),
    ],
)
def test_role_a_request_needs(method: str, path: str, role: Role) -> None:
    endpoint, _, _ = find_route(ENDPOINTS, method, path)
    assert endpoint is not None
    assert endpoint.needs == role


async def test_each_role_may_what_it_says(http: httpx.AsyncClient) -> None:
    reader, writer, admin = [await made(http, role, role=role) for role in ("read", "write", "admin")]
    new = "/api/v1/experiments/new"
    assert [await status(http, token, "GET", "/api/v1/runs") for token in (reader, writer, admin)] == [
        200
    ] * 3
    assert [await status(http, token, "PUT", new) for token in (reader, writer, admin)] == [403, 200, 200]
    assert [await status(http, token, "DELETE", new) for token in (reader, writer, admin)][:2] == [403, 403]
    assert [await status(http, token, "GET", "/api/v1/tokens") for token in (reader, writer, admin)] == [
        403,
        403,
        200,
    ]
    refused = await http.put(new, headers=bearer(reader))
    assert refused.json()["detail"] == "the token 'read' may read; PUT /api/v1/experiments/new needs write"


async def test_only_a_digest_is_kept(http: httpx.AsyncClient, server: Server) -> None:
    token = await made(http, "one", role="read")
    (row,) = await server.pool.fetch("select access_tokens::text from access_tokens")
    assert token not in row[0]
    listed = await http.get("/api/v1/tokens", headers=bearer(OWNER))
    assert token not in listed.text
    assert [(given["name"], given["role"]) for given in listed.json()["tokens"]] == [("one", "read")]


async def test_revoked_rotated_and_run_out(http: httpx.AsyncClient, server: Server) -> None:
    revoked, rotated = await made(http, "revoked", role="read"), await made(http, "rotated", role="read")
    over = await made(http, "over", role="read", days=0)
    assert await status(http, over, "GET", "/api/v1/runs") == 401
    assert [await status(http, token, "GET", "/api/v1/runs") for token in (revoked, rotated)] == [200, 200]
    assert await status(http, OWNER, "DELETE", "/api/v1/tokens/revoked") == 204
    assert await status(http, revoked, "GET", "/api/v1/runs") == 401
    assert await status(http, OWNER, "DELETE", "/api/v1/tokens/revoked") == 404
    again = await http.post("/api/v1/tokens/rotated", json={"keep_minutes": 5}, headers=bearer(OWNER))
    assert [await status(http, t, "GET", "/api/v1/runs") for t in (rotated, again.json()["token"])] == [
        200,
        200,
    ]
    await server.pool.execute("update access_tokens set previous_until = now() where name = 'rotated'")
    server.tokens.forget()
    assert [await status(http, t, "GET", "/api/v1/runs") for t in (rotated, again.json()["token"])] == [
        401,
        200,
    ]
    assert (
        await http.post("/api/v1/tokens", json={"name": "rotated", "role": "read"}, headers=bearer(OWNER))
    ).status_code == 409


IN_ONE_WORKSPACE = [
    ("GET", "/api/v1/runs/default-run", 200),
    ("GET", "/api/v1/runs/other-run", 404),
    ("GET", "/api/v1/runs/other-run/files", 404),
    ("GET", "/api/v1/runs?workspace=other", 403),
    ("GET", "/api/v1/export/runs?workspace=other", 403),
    ("GET", "/api/v1/export/runs?column=run_id", 200),
    ("GET", "/api/v1/export/points?run=other-run", 404),
    ("GET", "/api/v1/export/points?run=default-run", 200),
    ("GET", "/api/v1/runs?parent=other-run", 200),
    ("GET", "/api/v1/metrics?run=default-run", 200),
    ("GET", "/api/v1/metrics?run=default-run&run=other-run", 200),
    ("GET", "/api/v1/metric-names", 200),
    ("GET", "/api/v1/metric-names?run=default-run", 200),
    ("GET", "/api/v1/metric-names?workspace=other", 403),
    ("GET", "/api/v1/target-counts?workspace=other", 403),
    ("PUT", "/api/v1/experiments/new?workspace=other", 403),
    ("PUT", "/api/v1/experiments/new", 200),
    ("GET", "/api/v1/access", 200),
    ("GET", "/api/v1/views", 403),
    ("GET", "/metrics", 403),
    ("GET", "/api/v1/snapshots/0", 403),
    ("GET", "/api/v1/child-counts", 403),
    ("GET", "/api/v1/param-importance?name=m", 200),
    ("GET", "/api/v1/param-importance?name=m&workspace=other", 403),
]


async def test_a_token_of_one_workspace_stays_in_it(http: httpx.AsyncClient) -> None:
    token = await made(http, "narrow", role="write", workspace="default")
    for method, path, answer in IN_ONE_WORKSPACE:
        assert (method, path, await status(http, token, method, path)) == (method, path, answer)
    runs = ["default-run", "other-run"]
    before = (await http.get("/api/v1/runs/other-run", headers=bearer(OWNER))).json()
    body = {"runs": runs, "changes": {"tags": {"set": {"a": "b"}}}}
    changed = await http.patch("/api/v1/runs", json=body, headers=bearer(token))
    assert changed.json() == {"changed": ["default-run"], "missing": ["other-run"]}
    canceled = await http.post("/api/v1/runs/cancel", json={"runs": runs}, headers=bearer(token))
    assert "other-run" not in canceled.json()["statuses"]
    untouched = (await http.get("/api/v1/runs/other-run", headers=bearer(OWNER))).json()
    assert (untouched["tags"], untouched["status"]) == ({}, before["status"])


async def test_lists_are_narrowed_to_the_workspace(http: httpx.AsyncClient) -> None:
    narrow = await made(http, "narrow", role="read", workspace="other")
    runs = (await http.get("/api/v1/runs", headers=bearer(narrow))).json()["runs"]
    assert [run["run_id"] for run in runs] == ["other-run"]
    listed = (await http.get("/api/v1/experiments", headers=bearer(narrow))).json()["experiments"]
    assert [experiment["workspace"] for experiment in listed] == ["other"]
    for query, expected in (("", ["other"]), ("?name=other", ["other"]), ("?name=default", [])):
        answer = await http.get(f"/api/v1/workspaces{query}", headers=bearer(narrow))
        assert [workspace["name"] for workspace in answer.json()["workspaces"]] == expected
    of = {experiment["id"] for experiment in listed}
    counted = (await http.get("/api/v1/experiment-counts", headers=bearer(narrow))).json()["experiments"]
    assert set(counted) == {str(number) for number in of}
    says = (await http.get("/api/v1/access", headers=bearer(narrow))).json()
    assert says == {"name": "narrow", "role": "read", "workspace": "other"}


async def test_sql_and_events_are_narrowed_to_the_workspace(
    http: httpx.AsyncClient, server: Server, database: Any
) -> None:
    narrow = bearer(await made(http, "narrow", role="read", workspace="other"))
    for number, run in enumerate(("default-run", "other-run")):
        key = await server.pool.fetchval("select key from runs where run_id = $1", run)
        await database.add_summary(key, "loss")
        await database.add_chunk(
            key, bytes([number + 1]) * 16, [(SeriesKey(0, "loss"), Kind.FLOAT, 0, 0, 0, 1.0)]
        )

    async def ask(query: str, headers: dict[str, str] = narrow) -> list[list[Any]]:
        answer = await http.post("/api/v1/sql", json={"query": query}, headers=headers)
        assert answer.status_code == 200, answer.text
        rows: list[list[Any]] = answer.json()["rows"]
        return rows

    for tier in ("hot", "cold"):
        if tier == "cold":
            await database.compact()
        for view in ("metrics", "runs", "summaries"):
            assert await ask(f"SELECT run_id FROM {view}") == [["other-run"]], view
        assert len(await ask("SELECT run_id FROM metrics", bearer(OWNER))) == 2
    for row in await server.pool.fetch(
        "select path from files f join experiments e on e.id = f.experiment_id where workspace = 'default'"
    ):
        query = f"SELECT * FROM read_parquet('{server.store.locate(row['path'])}'), metrics"
        answer = await http.post("/api/v1/sql", json={"query": query}, headers=narrow)
        assert answer.status_code == 400
    changes: ChangedRuns = {"metrics": ["default-run", "other-run"], "tags": ["default-run"], "status": None}
    assert await changes_of(server.pool, "other", changes) == {"metrics": ["other-run"], "status": None}


async def session_of(http: httpx.AsyncClient, token: str) -> str:
    return str((await http.post("/login", json={"token": token}, headers=SAME)).json()["session"])


async def test_a_browser_has_the_rights_of_its_token(http: httpx.AsyncClient) -> None:
    reader = await made(http, "reader", role="read", workspace="other")
    ticket = (await http.post("/api/v1/tickets", headers=bearer(reader))).json()["ticket"]
    by_ticket = (await http.post("/login", json={"ticket": ticket}, headers=SAME)).json()["session"]
    for session in (await session_of(http, reader), by_ticket):
        listed = await http.get("/api/v1/runs", headers=bearer(session))
        assert [run["run_id"] for run in listed.json()["runs"]] == ["other-run"]
        assert await status(http, session, "PUT", "/api/v1/experiments/new") == 403
        assert await status(http, session, "GET", "/api/v1/tokens") == 403
    assert (await http.post("/login", json={"token": "rst_wrong"}, headers=SAME)).status_code == 401


async def test_another_secret_ends_the_sessions_of_the_one_before(
    http: httpx.AsyncClient, server: Server
) -> None:
    """Also those that begin, or tickets that are used, while others still believe the old one."""
    token = await made(http, "ci", role="admin")
    session = await session_of(http, token)
    ticket = (await http.post("/api/v1/tickets", headers=bearer(token))).json()["ticket"]
    assert await status(http, session, "GET", "/api/v1/tokens") == 200
    for keep, still in ((5, 200), (0, 401)):
        made_new = await http.post("/api/v1/tokens/ci", json={"keep_minutes": keep}, headers=bearer(OWNER))
        assert await status(http, session, "GET", "/api/v1/tokens") == still
    assert (await http.post("/login", json={"token": token}, headers=SAME)).status_code == 401
    late = (await http.post("/login", json={"ticket": ticket}, headers=SAME)).json()["session"]
    assert await status(http, late, "GET", "/api/v1/runs") == 401
    newest = await session_of(http, made_new.json()["token"])
    assert await status(http, newest, "GET", "/api/v1/runs") == 200
    assert await status(http, OWNER, "DELETE", "/api/v1/tokens/ci") == 204
    assert await status(http, newest, "GET", "/api/v1/runs") == 401
    # Another server's own token is another secret too.
    own = await session_of(http, OWNER)
    assert await status(http, own, "GET", "/api/v1/runs") == 200
    elsewhere = create_app(
        Server(server.pool, server.store, server.settings), token="the-next-token-of-this-server"
    )
    async with httpx.AsyncClient(transport=httpx.ASGITransport(elsewhere), base_url=HERE) as client:
        assert await status(client, own, "GET", "/api/v1/runs") == 401


async def test_streams_end_with_their_token(database: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "HEARTBEAT", 0.05)
    async with serving(database, token=OWNER) as client:
        tokens = [await made(client, name, role="read") for name in ("revoked", "rotated", "session")]
        secrets = [*tokens[:2], await session_of(client, tokens[2])]

        async def listen(secret: str) -> None:
            async with client.stream("GET", "/api/v1/events", headers=bearer(secret)) as answer:
                assert answer.status_code == 200
                started.release()
                async for _ in answer.aiter_bytes():
                    pass

        started = asyncio.Semaphore(0)
        listening = [asyncio.create_task(listen(secret)) for secret in secrets]
        for _ in listening:
            await asyncio.wait_for(started.acquire(), 20)
        assert await status(client, OWNER, "DELETE", "/api/v1/tokens/revoked") == 204
        await asyncio.wait_for(listening[0], 20)
        assert await status(client, OWNER, "POST", "/api/v1/tokens/rotated", {"keep_minutes": 0}) == 200
        await asyncio.wait_for(listening[1], 20)
        assert await status(client, secrets[2], "DELETE", "/api/v1/sessions/current") == 204
        await asyncio.wait_for(listening[2], 20)


async def test_the_stream_of_a_token_names_runs_of_its_workspace_only(database: Any) -> None:
    await database.pool.execute(
        "insert into experiments (workspace, name) values ('other', 'e'), ('default', 'e')"
    )
    await database.pool.execute("""
        insert into runs (run_id, experiment_id, status, created_at)
        select workspace || '-run', id, 'Running', now() from experiments""")
    async with serving(database, token=OWNER) as client:
        narrow = await made(client, "narrow", role="read", workspace="other")
        heard = b""
        async with (
            asyncio.timeout(20),
            client.stream("GET", "/api/v1/events", headers=bearer(narrow)) as answer,
        ):
            async for piece in answer.aiter_bytes():
                heard += piece
                if b"event: hello" in heard and b"other-run" not in heard:
                    for run in ("default-run", "other-run"):
                        change = json.dumps({"topic": "tags", "runs": [run]})
                        await database.pool.execute("select pg_notify('runstream', $1)", change)
                if b"other-run" in heard:
                    break
        assert b"default-run" not in heard


async def test_a_grant_that_was_narrowed_is_not_the_same_still(
    http: httpx.AsyncClient, server: Server
) -> None:
    token = await made(http, "one", role="write")
    grant = await server.tokens.of(token, "")
    assert grant is not None
    assert await server.tokens.still(grant)
    for change in ("role = 'read'", "role = 'write', workspace = 'other'"):
        await server.pool.execute(f"update access_tokens set {change} where name = 'one'")
        server.tokens.forget()
        assert not await server.tokens.still(grant)


@pytest.mark.parametrize("token", ["short", "a" * 40, "abcabcabcabcabcabcabc"])
async def test_a_token_that_can_be_guessed_is_refused(database: Any, token: str) -> None:
    with pytest.raises(ServiceError, match="RUNSTREAM_TOKEN can be guessed"):
        await run_server(database.settings, asyncio.Event(), token=token)


async def test_others_are_served_with_a_token_only(database: Any) -> None:
    reached = replace(database.settings, host="0.0.0.0")
    with pytest.raises(ServiceError, match=r"set RUNSTREAM_TOKEN .* or RUNSTREAM_ALLOW_NO_TOKEN=1"):
        await run_server(reached, asyncio.Event())
    for token, allowed, name, answer in (
        (None, "", "evil.example", 403),  # a name somebody else may point here
        (None, "", "10.1.2.3", 200),
        (None, "runs.example", "runs.example", 200),
        (None, "runs.example", "127.0.0.1", 200),
        (OWNER, "", "evil.example", 200),  # such a page has no token
        (OWNER, "runs.example", "evil.example", 403),
        (OWNER, "a.example, Runs.Example", "runs.example:80", 200),
    ):
        database.settings = replace(reached, allow_no_token=token is None, allowed_hosts=allowed)
        async with serving(database, token=token) as client:
            port = client.base_url.port
            headers = {"Host": name, **(bearer(token) if token else {})}
            got = await client.get(f"http://127.0.0.1:{port}/api/v1/runs", headers=headers)
            assert (token, allowed, name, got.status_code) == (token, allowed, name, answer)


async def test_tokens_by_the_command_line(database: Any) -> None:
    async with serving(database, token=OWNER) as client:
        where = {"RUNSTREAM_URL": str(client.base_url), "RUNSTREAM_TOKEN": OWNER}

        async def run(*words: str) -> str:
            command = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "runstream",
                "token",
                *words,
                env={**os.environ, **where},
                stdout=asyncio.subprocess.PIPE,
            )
            out, _ = await command.communicate()
            assert command.returncode == 0
            return out.decode()

        token = (await run("create", "ci", "--role", "read", "--days", "3")).strip()
        assert await status(client, token, "GET", "/api/v1/runs") == 200
        rotated = json.loads(await run("rotate", "ci", "-o", "json"))["token"]
        assert [
            await status(client, bearer_token, "GET", "/api/v1/runs") for bearer_token in (token, rotated)
        ] == [401, 200]
        assert await run("list", "--query", "[].[name, role]", "-o", "tsv") == "ci\tread\n"
        await run("revoke", "ci")
        assert await status(client, rotated, "GET", "/api/v1/runs") == 401


async def test_wrong_requests_for_tokens(http: httpx.AsyncClient) -> None:
    good = {"name": "n", "role": "read"}
    wrong: list[dict[str, Any]] = [
        {"name": "n"}, {"role": "read"}, {**good, "role": "king"}, {**good, "name": ""}, {**good, "days": -1},
        {**good, "days": True}, {**good, "x": 1},
    ]  # fmt: skip
    for document in wrong:
        assert (document, await status(http, OWNER, "POST", "/api/v1/tokens", document)) == (document, 400)


async def sent_while_revoked(
    http: httpx.AsyncClient, token: str, name: str, line: str, body: bytes
) -> httpx.Response:
    """An answer to a request whose token is revoked in the midst of its body."""

    async def slowly() -> AsyncIterator[bytes]:
        yield body[:5]
        assert await status(http, OWNER, "DELETE", f"/api/v1/tokens/{name}") == 204
        yield body[5:]

    method, path = line.split(" ")
    headers = bearer(token) | {"Content-Type": "application/json"}
    return await http.request(method, path, content=slowly(), headers=headers)


async def test_a_body_whose_token_is_revoked_meanwhile_is_not_stored(
    http: httpx.AsyncClient, server: Server
) -> None:
    """Of each endpoint that takes one: it is refused before anything is made of it."""
    body = b'{"a": "longer than a piece"}'
    digest = hashlib.sha256(body).hexdigest()
    names = await server.pool.fetch(
        "select relname from pg_stat_user_tables where relname <> 'access_tokens'"
    )
    count = " union all ".join(f"select '{row[0]}', count(*) from {row[0]}" for row in names)
    before = sorted(await server.pool.fetch(count))
    lines = [
        f"{endpoint.method} {endpoint.path}"
        for endpoint in ENDPOINTS
        if endpoint.body is not None and not isinstance(endpoint.needs, Door)
    ]
    assert len(lines) > 15
    for number, line in enumerate(lines):
        token = await made(http, f"t{number}", role="admin")
        path = re.sub(r"\{path:path\}", "outputs/a", line).replace("{sha256}", digest)
        path = path.replace("{api:mlflow_api}", "api").replace(
            "upload-artifact", "upload-artifact?run_uuid=r&path=a"
        )
        path = re.sub(r"\{[^}]*\}", "default-run", path)
        refused = await sent_while_revoked(http, token, f"t{number}", path, body)
        assert (line, refused.status_code) == (line, 401), refused.text
        said = refused.json()
        assert "was taken back or replaced while the body came" in said.get("detail", said.get("message"))
    assert sorted(await server.pool.fetch(count)) == before
    for place in ("other-run/files/outputs/a", "other-run/files/logs/a?append_at=0"):  # as is stored else
        method = "POST" if "append" in place else "PUT"
        answer = await http.request(method, f"/api/v1/runs/{place}", content=body, headers=bearer(OWNER))
        assert answer.status_code in (200, 201)
