"""What somebody would try who wants in, or wants it down: over a real socket, as bytes where a client would tidy them up."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import ssl
import urllib.parse
import uuid
import zipfile
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.certificates import certificate_of_localhost

from runstream_query.http.app import run_server
from runstream_query.http.endpoints import live
from runstream_query.http.openapi import document
from runstream_schemas.errors import ServiceError

from .test_api import serving
from .test_openapi import TIMES

pytestmark = pytest.mark.attack

OWNER = "the-token-of-this-server"
DEEP = b'{"query":' + b"[" * 200_000 + b"]" * 200_000 + b"}"
INJECTIONS = (
    "'; drop table runs; --",
    "\0",
    "\ud800".encode("utf-8", "surrogatepass").decode("latin-1"),
    "' or '1'='1",
    '" or 1=1 --',
    "\\'; select pg_sleep(60); --",
    "$1",
    "%",
    "../../../../etc/passwd",
    "..%2f..%2fetc%2fpasswd",
    "<script>alert(1)</script>",
    "x" * 5000,
    "-1",
    "1e999",
    "99999999999999999999999",
    "nan",
    "{{7*7}}${7*7}",
)
QUIET = {"/api/v1/events"}  # has no end


@pytest.fixture
async def http(database: Any) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(database, token=OWNER) as client:
        yield client


async def raw(http: httpx.AsyncClient, request: bytes) -> tuple[int, bytes]:
    """Status (0: none) and the rest of what the server says to these bytes."""
    reader, writer = await asyncio.open_connection(http.base_url.host, http.base_url.port)
    try:
        writer.write(request)
        await writer.drain()
        async with asyncio.timeout(60):
            head = await reader.readline()
            rest = await reader.read(1 << 16) if head else b""
    finally:
        writer.close()
    return int(head.split()[1]) if head else 0, rest


async def test_hosts_paths_and_headers_that_no_client_sends(http: httpx.AsyncClient) -> None:
    bearer = b"Authorization: Bearer " + OWNER.encode() + b"\r\nConnection: close\r\n\r\n"
    port = str(http.base_url.port).encode()
    for host in (
        b"evil.example",
        b"evil.example:" + port,
        b"127.0.0.1.evil.example",
        b"localhost.evil.example",
        b"",
        b"127.0.0.1@evil.example",
        b"evil.example:80:" + port,
        b"[::ffff:10.0.0.1]",
        b"0.0.0.0",
        b"10.0.0.1:" + port,
        b"[::1].evil.example",
        b"127.0.0.1\tevil.example",
        b"localhost,evil.example",
        b"LOCALHOST.",
    ):
        status, rest = await raw(http, b"GET /api/v1/runs HTTP/1.1\r\nHost: " + host + b"\r\n" + bearer)
        assert (host, status in (400, 403), b"runs" in rest) == (host, True, False)
    absolute = b"GET http://evil.example/api/v1/runs HTTP/1.1\r\nHost: evil.example\r\n" + bearer
    assert (await raw(http, absolute))[0] in (400, 403)
    twice = b"GET /api/v1/runs HTTP/1.1\r\nHost: evil.example\r\nHost: 127.0.0.1\r\n" + bearer
    assert (await raw(http, twice))[0] in (400, 403)
    assert (await raw(http, b"GET /api/v1/runs HTTP/1.0\r\n" + bearer))[0] in (400, 403)
    here = b" HTTP/1.1\r\nHost: 127.0.0.1\r\n" + bearer
    for path in (
        b"/assets/../../../../../../etc/passwd",
        b"/assets/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        b"/assets/..%5c..%5cetc",
        b"/assets//etc/passwd",
        b"/assets/%00",
        b"/favicon.svg/../../etc/passwd",
        b"//etc/passwd",
        b"/..//etc/passwd",
        b"/api/v1/runs/r/files/%2e%2e/%2e%2e/token",
        b"/api/v1/runs/%2e%2e/files/token",
        b"/api/v1/runs/r/files//etc/passwd",
        b"/api/v1/snapshots/%2e%2e%2f%2e%2e/zip",
        b"/api/v1/models/..%2f../1/files/token",
    ):
        status, rest = await raw(http, b"GET " + path + here)
        assert (path, status, b"root:" in rest) == (path, status if status in (400, 401, 404) else 404, False)
    for request in (
        b"GET /" + b"a" * 200_000 + here,
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"a" * 200_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /api",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64),
        b"POST /api/v1/sql HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffffff\r\n",
    ):
        status, _ = await raw(http, request)
        assert status in (0, 400, 401, 404, 413, 431), request[:80]
    assert (await http.get("/readyz")).status_code == 200


async def test_bodies_that_blow_up(http: httpx.AsyncClient) -> None:
    json_type = {"Content-Type": "application/json"}
    for method, path in (
        ("POST", "/api/v1/sql"),
        ("POST", "/login"),
        ("PATCH", "/api/v1/runs/r"),
        ("POST", "/api/v1/runs/cancel"),
        ("PUT", "/api/v1/snapshots/" + "0" * 64),
        ("POST", "/api/v1/models"),
        ("POST", "/api/v1/views"),
        ("POST", "/api/v1/tokens"),
        ("PUT", "/api/v1/workspaces/w"),
    ):
        answer = await http.request(
            method, path, content=DEEP, headers={**json_type, "Sec-Fetch-Site": "same-origin"}
        )
        assert (path, answer.status_code in (400, 413)) == (path, True)
    cursor = urllib.parse.quote("W" * 30_000)
    assert (await http.get(f"/api/v1/runs?after={cursor}")).status_code == 400
    # What comes compressed is not unpacked, so there is no bomb: it is no JSON, and a file is kept as it came.
    bomb = gzip.compress(bytes(50 << 20))
    packed = {"Content-Encoding": "gzip", **json_type}
    assert (await http.post("/api/v1/sql", content=bomb, headers=packed)).status_code == 400
    kept = await http.put("/api/v1/runs/r/files/outputs/bomb.json", content=bomb, headers=packed)
    assert kept.json()["size"] == len(bomb)

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b" " * (1 << 20)

    for path in ("/api/v1/sql", "/api/v1/models", "/api/v1/views"):
        try:
            status = (await http.post(path, content=endless(), headers=json_type)).status_code
        except httpx.TransportError:  # it hung up while the rest was still on its way
            status = 413
        assert (path, status) == (path, 413)


async def test_texts_that_are_none(http: httpx.AsyncClient, database: Any) -> None:
    """JSON can hold halves of characters, NUL, numbers beyond all measure and the wrong kinds where a text is expected."""
    key = await database.add_run("r")
    await database.add_summary(key, "loss")
    for value in ("\ud800", "a\0b", 10**400, {"a": "\ud800"}):
        for method, path, body in (
            ("PATCH", "/api/v1/runs/r", {"display_name": value}),
            ("PATCH", "/api/v1/runs/r", {"description": value}),
            ("PATCH", "/api/v1/runs/r", {"tags": {"set": {"k": value}}}),
            ("PATCH", "/api/v1/runs/r", {"tags": {"set": {str(value): "v"}}}),
            ("PATCH", "/api/v1/runs/r", {"tags": {"remove": [value]}}),
            ("PATCH", "/api/v1/runs", {"runs": [value], "changes": {"archived": True}}),
            ("POST", "/api/v1/runs/cancel", {"runs": [value]}),
            ("POST", "/api/v1/runs/delete", {"runs": [value]}),
            ("POST", "/api/v1/views", {"page": "runs", "name": value, "state": {}}),
            ("POST", "/api/v1/views", {"page": value, "state": {"a": value}}),
            ("POST", "/api/v1/tokens", {"name": value, "role": "read"}),
            ("POST", "/api/v1/tokens", {"name": "n", "role": value, "days": value, "workspace": value}),
            ("POST", "/api/v1/sql", {"query": value}),
            ("PUT", "/api/v1/workspaces/w", {"description": value}),
            ("PUT", "/api/v1/workspaces/w", {"tags": {"k": value}}),
            ("PATCH", "/api/v1/experiments/e", {"description": value}),
            ("PATCH", "/api/v1/experiments/e", {"tags": {"k": value}, "remove_tags": [value]}),
            ("POST", "/api/v1/environments", {"name": value, "document": {}}),
            ("POST", "/api/v1/environments", {"name": "e", "version": value, "document": {"x": value}}),
            ("PUT", "/api/v1/environment-labels", {"name": "e", "version": "1", "labels": [value]}),
            (
                "POST",
                "/api/v1/models",
                {"name": "m", "token": str(uuid.uuid4()), "run_id": value, "path": "x"},
            ),
            (
                "POST",
                "/api/v1/models",
                {"name": "m", "token": str(uuid.uuid4()), "run_id": "r", "path": value},
            ),
            (
                "POST",
                "/api/v1/models",
                {"name": "m", "token": str(uuid.uuid4()), "files": [{"path": value, "sha256": "0" * 64}]},
            ),
            (
                "POST",
                "/api/v1/models",
                {"name": "m", "token": value, "description": value, "details": {"x": value}},
            ),
            (
                "PUT",
                "/api/v1/snapshots/" + "0" * 64,
                {"files": [{"path": value, "size": 1, "sha256": "0" * 64}]},
            ),
            (
                "PUT",
                "/api/v1/snapshots/" + "0" * 64,
                {"files": [{"path": "a", "size": value, "sha256": value}]},
            ),
        ):
            answer = await http.request(
                method, path, content=json.dumps(body), headers={"Content-Type": "application/json"}
            )
            assert answer.status_code < 500, (method, path, str(body)[:100], answer.text[:300])
        assert (await http.get("/api/v1/runs?limit=1")).status_code == 200


async def test_sql_injection_through_every_parameter(http: httpx.AsyncClient, database: Any) -> None:
    key = await database.add_run("r")
    await database.add_summary(key, "loss")
    tried = 0
    injections = INJECTIONS if TIMES > 1 else INJECTIONS[:3]
    for template, operations in document()["paths"].items():
        for method, operation in operations.items():
            if template in QUIET or not isinstance(operation, dict):
                continue
            parameters = operation.get("parameters", [])
            paths = [p["name"] for p in parameters if p["in"] == "path"]
            queries = [p["name"] for p in parameters if p["in"] == "query"]
            for number, injection in enumerate(injections):
                path = template
                for name in paths:
                    path = path.replace(f"{{{name}}}", urllib.parse.quote(injection, safe=""))
                # One at a time would be a thousand requests; reading ones get every parameter once with each.
                chosen = queries if method != "get" else queries[number % 3 :: 3]
                query = urllib.parse.urlencode([(name, injection) for name in chosen])
                answer = await http.request(
                    method.upper(), f"{path}?{query}", json={} if method != "get" else None
                )
                assert answer.status_code < 500, (method, path, query, answer.text[:300])
                tried += 1
    assert tried > 50 * len(injections)
    assert await database.pool.fetchval("select count(*) from runs where run_id = 'r'") <= 1
    assert (await http.get("/readyz")).status_code == 200


async def test_a_run_of_another_workspace_is_not_reached_by_a_detour(
    http: httpx.AsyncClient, database: Any
) -> None:
    await database.pool.execute(
        "insert into experiments (workspace, name) values ('here', 'e'), ('other', 'e')"
    )
    await database.pool.execute(
        "insert into runs (run_id, experiment_id, status, created_at) "
        "select workspace || '-run', id, 'Running', now() from experiments"
    )
    secret = "/api/v1/runs/other-run/files/outputs/secret"
    assert (await http.put(secret, content=b"secret")).status_code == 201
    made = await http.post("/api/v1/tokens", json={"name": "n", "role": "admin", "workspace": "here"})
    narrow = {"Authorization": f"Bearer {made.json()['token']}"}
    model = {"name": "m", "token": str(uuid.uuid4()), "run_id": "other-run", "path": "outputs"}
    other = {"runs": ["other-run"]}
    for method, path, body in (
        ("POST", "/api/v1/models", model),
        ("POST", "/api/v1/runs/cancel", other),
        ("POST", "/api/v1/runs/cancel%0A", other),
        ("POST", "/api/v1/runs/delete", {**other, "force": True}),
        ("POST", "/api/v1/runs/delete%0A", {**other, "force": True}),
        ("PATCH", "/api/v1/runs", {**other, "changes": {"display_name": "x"}}),
        ("PATCH", "/api/v1/runs%0A", {**other, "changes": {"display_name": "x"}}),
        ("GET", "/api/v1/runs%0A?workspace=other", None),
        ("GET", "/api/v1/runs?workspace=here&workspace=other", None),
        ("GET", "/api/v1/metrics%0A?run=other-run", None),
        ("GET", "/api/v1/runs/other-run/files%0A", None),
        ("GET", "/api/v1/runs/%6fther-run", None),
        ("GET", "/api/v1/runs//other-run", None),
        ("GET", secret, None),
        ("GET", "/api/v1/runs/other-run/zip", None),
        ("GET", "/api/v1/tokens", None),
        ("POST", "/api/v1/tokens", {"name": "mine", "role": "admin"}),
        ("DELETE", "/api/v1/workspaces/other", None),
        ("GET", "/metrics", None),
    ):
        answer = await http.request(method, path, json=body, headers=narrow)
        if answer.status_code == 200:  # of many runs: done to those it may know of, which are none
            assert not any(answer.json().get(key) for key in ("statuses", "deleted", "changed")), answer.text
            assert body is not None
        else:
            assert (path, answer.status_code in (401, 403, 404, 405)) == (path, True), answer.text
        assert b"secret" not in answer.content
    answer = await http.post("/api/v1/sql", json={"query": "FROM runs SELECT run_id"}, headers=narrow)
    assert answer.json()["rows"] == [["here-run"]]
    record = await database.pool.fetchrow("select status, display_name from runs where run_id = 'other-run'")
    assert dict(record) == {"status": "Running", "display_name": None}


async def test_streams_are_bounded(http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "MOST_STREAMS", 1)
    async with http.stream("GET", "/api/v1/events") as first:
        await anext(first.aiter_bytes())
        assert (await http.get("/api/v1/events")).status_code == 503


async def test_a_page_of_another_origin_changes_nothing_even_without_a_token(database: Any) -> None:
    async with serving(database) as client:
        new = "/api/v1/experiments/new"
        for headers, status in (
            ({"Origin": "http://evil.example"}, 403),
            ({"Origin": "null"}, 403),
            ({"Origin": "http://127.0.0.1:1"}, 403),
            ({"Sec-Fetch-Site": "cross-site"}, 403),
            ({"Sec-Fetch-Site": "same-site"}, 403),
            ({"Sec-Fetch-Site": "same-origin"}, 200),
            ({"Origin": str(client.base_url).rstrip("/")}, 200),
            ({}, 200),
        ):
            assert (headers, (await client.put(new, headers=headers)).status_code) == (headers, status)
        preflight = await client.options(new, headers={"Origin": "http://evil.example"})
        assert "access-control-allow-origin" not in preflight.headers


async def test_names_in_a_zip_stay_in_its_folder(http: httpx.AsyncClient) -> None:
    """And whatever a file is called or says it is, a browser keeps it as a file."""
    page = b"<script>alert(1)</script>"
    shown = {
        "a.html": "text/html",
        "a.svg": "image/svg+xml",
        "a.xhtml": "application/xhtml+xml",
        "a.xml": "text/xml",
    }
    for name, kind in {**shown, "C:evil": "text/html", "..\\x\\evil": None, 'con<>:"|?*': None}.items():
        path = urllib.parse.quote(f"outputs/{name}", safe="/")
        headers = {"Content-Type": kind} if kind else {}
        answer = await http.put(f"/api/v1/runs/r/files/{path}", content=page, headers=headers)
        if ".." in name:
            assert answer.status_code == 400
            continue
        got = await http.get(f"/api/v1/runs/r/files/{path}")
        assert got.content == page
        assert got.headers["content-disposition"].startswith("attachment")
        assert got.headers["x-content-type-options"] == "nosniff"
        assert "sandbox" in got.headers["content-security-policy"]
    archive = await http.get("/api/v1/runs/r/zip")
    assert archive.headers["content-disposition"].startswith("attachment")
    with zipfile.ZipFile(io.BytesIO(archive.content)) as members:
        for member in members.infolist():
            assert member.filename.startswith("outputs/")
            assert ".." not in member.filename.replace("\\", "/").split("/")
            assert member.external_attr >> 28 == 0o10  # a plain file, no link
    outside = ("../x", "/x", "a/../../x", "a\\..\\x", "C:x", "a\nb")
    files = [{"path": path, "size": 1, "sha256": "0" * 64} for path in outside]
    for file in files:
        answer = await http.put("/api/v1/snapshots/" + "0" * 64, json={"files": [file]})
        assert answer.status_code == 400


async def test_what_goes_over_the_wire_is_encrypted(database: Any, tmp_path: Path) -> None:
    certificate, authority = certificate_of_localhost(tmp_path)
    encrypted = replace(database.settings, tls_cert_file=str(certificate), tls_key_file=str(certificate))
    stop, ready = asyncio.Event(), asyncio.get_running_loop().create_future()
    task = asyncio.create_task(run_server(encrypted, stop, token=OWNER, on_ready=ready.set_result))
    try:
        url = await asyncio.wait_for(ready, 60)
        assert url.startswith("https://")
        context = ssl.create_default_context(cafile=str(authority))
        async with httpx.AsyncClient(base_url=url, verify=context, timeout=60) as client:
            answer = await client.get("/api/v1/runs", headers={"Authorization": f"Bearer {OWNER}"})
            assert answer.status_code == 200
        async with httpx.AsyncClient(base_url=url, timeout=60) as stranger:
            with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
                await stranger.get("/healthz")
    finally:
        stop.set()
        await asyncio.wait_for(task, 60)
    wrong = replace(encrypted, tls_cert_file="/nowhere.pem")
    with pytest.raises(ServiceError, match=r"RUNSTREAM_TLS_CERT_FILE='/nowhere.pem'"):
        await run_server(wrong, asyncio.Event())
