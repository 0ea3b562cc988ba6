"""Snapshots of source folders over HTTP: content once, names that stay inside, a zip."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from runstream_query.http.app import create_app
from runstream_query.http.context import Server
from runstream_schemas.source_snapshot import SourceFile, snapshot_id

pytestmark = pytest.mark.attack

CONTENTS = {"train.py": b"print(1)\n", "lib/ü b.py": b"x" * 3_000_000, "copy.py": b"print(1)\n", "empty": b""}


@pytest.fixture
async def http(database: Any) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(Server(database.pool, database.store, database.settings))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client:
        yield client


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def listed(contents: dict[str, bytes]) -> tuple[str, dict[str, Any]]:
    files = [SourceFile(path, len(c), digest(c), path == "train.py") for path, c in contents.items()]
    document = [
        {"path": f.path, "size": f.size, "sha256": f.sha256, "executable": f.executable} for f in files
    ]
    return snapshot_id(files), {"files": document}


async def test_a_snapshot_is_stored_once_and_read_back(http: httpx.AsyncClient, database: Any) -> None:
    snapshot, document = listed(CONTENTS)
    url = f"/api/v1/snapshots/{snapshot}"
    lacking = await http.put(url, json=document)
    assert lacking.status_code == 409
    assert lacking.json()["missing"] == sorted({digest(content) for content in CONTENTS.values()})
    assert (await http.get(url)).status_code == 404
    for content in CONTENTS.values():
        assert (await http.put(f"/api/v1/blobs/{digest(content)}", content=content)).status_code in (200, 201)
    assert (await http.put(url, json=document)).status_code == 201
    assert (await http.put(url, json=document)).status_code == 200
    assert await database.pool.fetchval("select count(*) from blobs") == 3

    got = (await http.get(url)).json()
    assert (got["id"], got["size"]) == (snapshot, sum(map(len, CONTENTS.values())))
    assert [file["path"] for file in got["files"]] == sorted(CONTENTS)
    part = await http.get(f"{url}/files/lib/ü b.py", headers={"Range": "bytes=0-9"})
    assert (part.status_code, part.content) == (206, b"x" * 10)
    assert (await http.get(f"{url}/files/none")).status_code == 404
    answer = await http.get(f"{url}/zip")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == CONTENTS
        assert archive.getinfo("train.py").external_attr >> 16 == 0o100755
    assert (await http.get(f"{url}/zip")).content == answer.content


@pytest.mark.parametrize("path", ["../a", "/a", "a/../b", "a\\b", "C:/a", "", "a//b", "x" * 300, "a\nb"])
async def test_a_name_that_leads_out_is_refused(http: httpx.AsyncClient, path: str) -> None:
    snapshot, document = listed({path: b""})
    answer = await http.put(f"/api/v1/snapshots/{snapshot}", json=document)
    assert answer.status_code == 400
    assert "snapshot file" in answer.json()["detail"]


async def test_wrong_digests_are_refused(http: httpx.AsyncClient) -> None:
    snapshot, _ = listed({"a": b"a"})
    _, other = listed({"b": b"b"})
    assert (await http.put(f"/api/v1/snapshots/{snapshot}", json=other)).status_code == 400
    assert (await http.put(f"/api/v1/blobs/{digest(b'a')}", content=b"b")).status_code == 400
    assert (await http.put("/api/v1/blobs/..%2fa", content=b"b")).status_code in (400, 404)


async def test_files_of_a_run_as_a_zip(http: httpx.AsyncClient, database: Any) -> None:
    await database.add_run("zipped")
    for path in ("outputs/a", "outputs/b/c", "logs/d"):
        await http.put(f"/api/v1/runs/zipped/files/{path}", content=path.encode())
    answer = await http.get("/api/v1/runs/zipped/zip", params={"prefix": "outputs"})
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.namelist() == ["outputs/a", "outputs/b/c"]
        assert archive.read("outputs/b/c") == b"outputs/b/c"
    assert (await http.get("/api/v1/runs/zipped/zip", params={"prefix": "out"})).status_code == 404
