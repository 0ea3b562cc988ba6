"""What a workspace keeps beside runs, over HTTP: experiments' changes, workspaces, environments, models."""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from tests.query.http.test_api import serving

from runstream_query.runs.models import place

W = {"workspace": "w"}


@pytest.fixture
async def http(database: Any) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(database) as client:
        yield client


async def test_experiments_change(http: httpx.AsyncClient, database: Any) -> None:
    async def patch(**document: Any) -> dict[str, Any]:
        answer = await http.patch("/api/v1/experiments/e", json=document)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    assert (await patch(tags={"a": "1", "b": None}))["tags"] == {"a": "1", "b": None}
    assert (await patch(tags={"a": "2"}, remove_tags=["b", "unknown"]))["tags"] == {"a": "2"}
    first = (await patch(archived=True, description="old"))["archived_utc"]
    assert first
    again = await patch(archived=True)
    assert (again["archived_utc"], again["description"]) == (first, "old")
    await database.add_run("r")
    for parameters, expected in (({}, []), ({"experiment": "e"}, ["r"]), ({"archived": "1"}, ["r"])):
        runs = (await http.get("/api/v1/runs", params=parameters)).json()["runs"]
        assert [run["run_id"] for run in runs] == expected
    assert (await patch(archived=False))["archived_utc"] is None
    assert (await http.delete("/api/v1/experiments/e")).status_code == 409
    assert (await http.delete("/api/v1/experiments/nobody")).status_code == 404
    await http.put("/api/v1/experiments/empty")
    assert (await http.delete("/api/v1/experiments/empty")).status_code == 204


async def test_workspaces(http: httpx.AsyncClient) -> None:
    await http.put("/api/v1/experiments/e", params=W)
    assert (await http.put("/api/v1/workspaces/made", json={"tags": {"team": "x"}})).json()["tags"] == {
        "team": "x"
    }
    assert (await http.put("/api/v1/workspaces/made", json={"description": "d"})).json()["tags"] == {
        "team": "x"
    }
    workspaces = (await http.get("/api/v1/workspaces")).json()["workspaces"]
    assert [workspace["name"] for workspace in workspaces] == ["made", "w"]


async def test_environments_keep_a_version_while_their_content_stays(http: httpx.AsyncClient) -> None:
    async def register(content: int, version: str | None = None) -> httpx.Response:
        body = {"name": "env", "version": version, "document": {"content": content, "name": "other"}}
        return await http.post("/api/v1/environments", params=W, json=body)

    versions = [(await register(content)).json()["version"] for content in (1, 1, 2, 2, 1)]
    assert versions == ["1", "1", "2", "2", "3"]
    assert (await register(5, "mine")).json()["version"] == "mine"
    assert (await register(6, "mine")).status_code == 409
    answers = await asyncio.gather(*(register(content) for content in range(10, 18)))
    assert len({answer.json()["version"] for answer in answers}) == 8

    label = {"name": "env", "version": "2", "labels": ["good", "best"]}
    assert (await http.put("/api/v1/environment-labels", params=W, json=label)).status_code == 204
    label = {"name": "env", "version": "3", "labels": ["best"]}
    await http.put("/api/v1/environment-labels", params=W, json=label)
    environments = (await http.get("/api/v1/environments", params={**W, "label": "best"})).json()[
        "environments"
    ]
    assert [(environment["version"], environment["labels"]) for environment in environments] == [
        ("3", ["best"])
    ]
    label["version"] = "nobody"
    assert (await http.put("/api/v1/environment-labels", params=W, json=label)).status_code == 404
    newest = (await http.get("/api/v1/environments", params={**W, "latest": "1"})).json()["environments"]
    assert len(newest) == 1


async def put(http: httpx.AsyncClient, content: bytes) -> str:
    digest = hashlib.sha256(content).hexdigest()
    answer = await http.put(f"/api/v1/model-content/{digest}", content=content)
    assert answer.json() == {"sha256": digest, "size": len(content)}
    return digest


async def test_models_from_content(http: httpx.AsyncClient, database: Any) -> None:
    digest = await put(http, b"weights")

    async def register(name: str = "m", **more: Any) -> httpx.Response:
        body = {"name": name, "token": str(uuid.uuid4()), "files": [{"path": "a/b.bin", "sha256": digest}]}
        return await http.post("/api/v1/models", params=W, json={**body, **more})

    answers = await asyncio.gather(*(register(tags={"a": "b"}) for _ in range(8)))
    assert sorted(answer.json()["version"] for answer in answers) == list(range(1, 9))
    token = str(uuid.uuid4())
    twice = [await register("other", token=token) for _ in range(2)]
    assert [answer.json()["version"] for answer in twice] == [1, 1]
    answer = await http.get("/api/v1/models/m/3/files/a/b.bin", params=W, headers={"Range": "bytes=3-"})
    assert (answer.status_code, answer.content) == (206, b"ghts")
    newest = (await http.get("/api/v1/models", params={**W, "name": "m", "latest": "1"})).json()["models"]
    assert [environment["version"] for environment in newest] == [8]

    async def delete(name: str, version: int) -> int:
        return (await http.delete(f"/api/v1/models/{name}/{version}", params=W)).status_code

    assert await delete("m", 8) == 204
    assert await delete("m", 8) == 404
    assert (await register()).json()["version"] == 9
    for version in (1, 2, 3, 4, 5, 6, 7, 9):
        assert database.store.exists(place(digest))
        await delete("m", version)
    assert database.store.exists(place(digest))
    await delete("other", 1)
    assert not database.store.exists(place(digest))


async def test_models_of_a_run_outlive_its_files_names(http: httpx.AsyncClient, database: Any) -> None:
    await database.add_run("r")
    for path in ("outputs/model/a.bin", "outputs/model/deep/b.bin", "outputs/model.txt"):
        await http.put(f"/api/v1/runs/r/files/{path}", content=path.encode())

    async def register(path: str) -> dict[str, Any]:
        body = {"name": "m", "token": str(uuid.uuid4()), "run_id": "r", "path": path}
        return dict((await http.post("/api/v1/models", params=W, json=body)).json())

    folder = await register("outputs/model")
    assert [file["path"] for file in folder["files"]] == ["model/a.bin", "model/deep/b.bin"]
    assert (folder["run_id"], folder["experiment"]) == ("r", "e")
    assert [file["path"] for file in (await register("outputs/model.txt"))["files"]] == ["model.txt"]
    assert (await register("nothing"))["status"] == 404
    answer = await http.get("/api/v1/models/m/1/files/model/deep/b.bin", params=W)
    assert answer.content == b"outputs/model/deep/b.bin"
    changed = await http.patch(
        "/api/v1/models/m/1", params=W, json={"tags": {"a": None}, "properties": {"p": "1"}}
    )
    assert (changed.json()["tags"], changed.json()["properties"]) == ({"a": None}, {"p": "1"})
    refused = await http.patch("/api/v1/models/m/1", params=W, json={"properties": {"p": "2"}})
    assert refused.status_code == 400


Call = Callable[[httpx.AsyncClient], Any]


@pytest.mark.parametrize(
    ("method", "path", "document", "said"),
    [
        ("PATCH", "/api/v1/experiments/e", {"tags": {"a": 1}}, "tags: expected an object of texts"),
        ("PATCH", "/api/v1/experiments/e", {"archived": "yes"}, "archived"),
        ("PATCH", "/api/v1/experiments/e", [1], "the body is no JSON object; send one"),
        ("PATCH", f"/api/v1/experiments/{'e' * 2000}", {}, "experiment name"),
        ("PATCH", "/api/v1/experiments/e", {"tags": {"a\0": "x"}}, "NUL"),
        ("POST", "/api/v1/environments", {"document": {}}, "name is missing; send it"),
        ("POST", "/api/v1/environments", {"name": "n"}, "document"),
        ("PUT", "/api/v1/environment-labels", {"name": "n", "version": "1", "labels": "x"}, "labels"),
        ("POST", "/api/v1/models", {"name": "m", "token": "x"}, "token"),
        ("POST", "/api/v1/models", {"name": "a b", "token": str(uuid.uuid4())}, "model name"),
        ("POST", "/api/v1/models", {"name": "m", "token": str(uuid.uuid4())}, "at least one file"),
        ("PATCH", "/api/v1/models/m/x", {}, "whole number"),
        ("PUT", "/api/v1/model-content/x", {}, "hexadecimal"),
    ],
)
async def test_wrong_requests_are_named(
    http: httpx.AsyncClient, method: str, path: str, document: Any, said: str
) -> None:
    answer = await http.request(method, path, json=document)
    assert answer.status_code == 400, answer.text
    assert said in answer.json()["detail"]


async def test_damaged_content_is_refused_and_leaves_nothing(http: httpx.AsyncClient, database: Any) -> None:
    digest = "0" * 64
    answer = await http.put(f"/api/v1/model-content/{digest}", content=b"other")
    assert answer.status_code == 400
    assert not database.store.exists(place(digest))
