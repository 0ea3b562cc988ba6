"""A token of one workspace gets nothing beyond it where borders are easily forgotten: content known by its digest only, runs
nobody knows yet, families that cross from one workspace to another."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from runstream_consumers.compaction.purge import CHILDREN, LATE_CHILDREN
from runstream_consumers.storing.run_states import Changes, store_changes
from runstream_query.http.app import create_app
from runstream_query.http.context import Server
from runstream_schemas.events import StatusOp
from runstream_schemas.series import Kind, SeriesKey

OWNER = "the-token-of-this-server"
CONTENT = b"weights of the victim"
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@dataclass
class Client:
    """Asks with one token."""

    http: httpx.AsyncClient
    token: str

    async def __call__(self, method: str, path: str, document: Any = None, **more: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.token}"}
        return await self.http.request(method, f"/api/v1/{path}", json=document, headers=headers, **more)


@dataclass
class World:
    """A server of two workspaces, with a token of each and its owner's."""

    database: Any
    owner: Client
    victim: Client
    stranger: Client


@pytest.fixture
async def world(database: Any) -> AsyncIterator[World]:
    app = create_app(Server(database.pool, database.store, database.settings), token=OWNER, local_only=True)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
        owner = Client(http, OWNER)
        tokens = []
        for workspace in ("victim", "mine"):
            made = {"name": workspace, "role": "admin", "workspace": workspace}
            tokens.append((await owner("POST", "tokens", made)).json()["token"])
        yield World(database, owner, *(Client(http, token) for token in tokens))


async def created(world: World, run_id: str, workspace: str, **more: Any) -> int:
    """What a training process of that workspace reports; the run's key."""
    key: int = await world.database.pool.fetchval(
        "insert into runs (run_id) values ($1) on conflict (run_id) do update set run_id = excluded.run_id returning key",
        run_id,
    )
    changes = Changes()
    data = {"experiment": "e", "workspace": workspace, **more}
    changes.add_status(key, uuid.uuid4().bytes, StatusOp(0, 1_700_000_000_000_000, "create", data))
    async with world.database.pool.acquire() as connection, connection.transaction():
        await store_changes(connection, changes)
    return key


async def model_of(
    client: Client, workspace: str, digest: str, token: uuid.UUID | None = None
) -> httpx.Response:
    files = [{"path": "weights", "sha256": digest}]
    document = {"name": "m", "token": str(token or uuid.uuid4()), "files": files}
    return await client("POST", f"models?workspace={workspace}", document)


# --- content ---------------------------------------------------------------------------------------------------------


async def test_a_digest_is_no_proof_of_having_the_content(world: World) -> None:
    assert (await world.victim("PUT", f"model-content/{DIGEST}", content=CONTENT)).status_code == 200
    assert (await model_of(world.victim, "victim", DIGEST)).status_code == 200
    refused = await model_of(world.stranger, "mine", DIGEST)
    assert refused.status_code == 404
    assert f"content {DIGEST} of weights is not stored; send it first" in refused.json()["detail"]
    assert (await model_of(world.victim, "victim", DIGEST)).status_code == 200
    assert (await world.stranger("PUT", f"model-content/{DIGEST}", content=CONTENT)).status_code == 200
    assert (await model_of(world.stranger, "mine", DIGEST)).status_code == 200  # who has it may
    assert (await model_of(world.owner, "third", DIGEST)).status_code == 200


async def test_a_registration_of_another_workspace_is_not_shown_by_its_id(world: World) -> None:
    token = uuid.uuid4()
    assert (await world.victim("PUT", f"model-content/{DIGEST}", content=CONTENT)).status_code == 200
    made = await model_of(world.victim, "victim", DIGEST, token)
    assert (await model_of(world.victim, "victim", DIGEST, token)).json() == made.json()  # repeated: the same
    assert (await model_of(world.stranger, "mine", DIGEST, token)).status_code == 404
    other = hashlib.sha256(b"own").hexdigest()
    await world.stranger("PUT", f"model-content/{other}", content=b"own")
    own = (await model_of(world.stranger, "mine", other, token)).json()
    assert (own["workspace"], own["files"][0]["sha256"]) == ("mine", other)


async def test_uploads_of_others_are_neither_spoiled_nor_taken(world: World) -> None:
    await created(world, "theirs", "victim")
    await created(world, "own", "mine")
    half = CONTENT[:10]
    assert (await world.victim("PATCH", f"uploads/{DIGEST}?offset=0", content=half)).json() == {"offset": 10}
    spoiled = await world.stranger("PATCH", f"uploads/{DIGEST}?offset=10", content=b"x" * len(CONTENT[10:]))
    assert (spoiled.status_code, spoiled.json()["offset"]) == (409, 0)  # there is nothing of theirs here
    rest = await world.victim("PATCH", f"uploads/{DIGEST}?offset=10", content=CONTENT[10:])
    assert rest.json() == {"offset": len(CONTENT)}
    named = f"outputs/a?upload={DIGEST}&size={len(CONTENT)}"
    assert (await world.stranger("PUT", f"runs/own/files/{named}")).status_code == 409
    assert (await world.victim("PUT", f"runs/theirs/files/{named}")).status_code == 201
    assert (await world.victim("GET", "runs/theirs/files/outputs/a")).content == CONTENT


# --- runs nobody knows yet -------------------------------------------------------------------------------------------


async def test_a_file_for_an_unknown_run_goes_when_the_run_is_anothers(world: World) -> None:
    for path in ("outputs/planted", "outputs/second"):
        assert (await world.stranger("PUT", f"runs/r/files/{path}", content=b"planted")).status_code == 201
    grown = await world.stranger("POST", "runs/r/files/logs/planted?append_at=0", content=b"planted")
    assert grown.status_code == 200
    # The victim's own upload came before the run's creation, too.
    assert (await world.victim("PUT", "runs/r/files/outputs/own", content=b"own")).status_code == 201
    taken = await world.victim("PUT", "runs/r/files/outputs/planted", content=b"own")
    assert taken.status_code == 409
    assert "was stored by somebody else before run r was known" in taken.json()["detail"]
    appended = await world.victim("POST", "runs/r/files/logs/planted?append_at=7", content=b"own")
    assert appended.status_code == 409
    for client in (world.victim, world.stranger):  # until it is known it is nobody's to read
        assert (await client("GET", "runs/r/files")).status_code == 403
    await created(world, "r", "victim")
    listed = (await world.victim("GET", "runs/r/files")).json()["files"]
    assert [file["path"] for file in listed] == ["outputs/own"]
    assert (await world.victim("PUT", "runs/r/files/outputs/planted", content=b"own")).status_code == 201
    assert (await world.victim("GET", "runs/r/files/outputs/planted")).content == b"own"
    assert (await world.stranger("PUT", "runs/r/files/outputs/late", content=b"planted")).status_code == 403


async def test_a_file_for_an_unknown_run_stays_when_the_run_is_its_senders(world: World) -> None:
    assert (await world.victim("PUT", "runs/r/files/outputs/own", content=b"own")).status_code == 201
    assert (await world.owner("PUT", "runs/r/files/outputs/from-agent", content=b"any")).status_code == 201
    await created(world, "r", "victim")
    listed = (await world.victim("GET", "runs/r/files")).json()["files"]
    assert [file["path"] for file in listed] == ["outputs/from-agent", "outputs/own"]
    again = await world.owner("PUT", "runs/r/files/outputs/own", content=b"own")
    assert again.status_code == 200  # no claim is left


# --- families that cross a border ------------------------------------------------------------------------------------


async def test_no_walk_over_a_family_leaves_the_workspace(world: World) -> None:
    await created(world, "parent", "mine")
    own = await created(world, "own", "mine", parent_run_id="parent")
    theirs = await created(world, "theirs", "victim", parent_run_id="parent")
    below = await created(world, "below", "mine", parent_run_id="theirs")
    for key, run in ((own, b"o"), (theirs, b"t"), (below, b"b")):
        await world.database.add_chunk(key, run * 16, [(SeriesKey(0, "loss"), Kind.FLOAT, 0, 0, 0, 1.0)])
    for client in (world.stranger, world.owner):
        read = await client("GET", "metrics?run=parent&recursive=1")
        assert (b"own" in read.content, b"theirs" in read.content, b"below" in read.content) == (
            True,
            False,
            False,
        )
        assert (await client("GET", "child-counts?run=parent")).json() == {"children": {"parent": 1}}
    listed = (await world.stranger("GET", "runs?q=under:parent")).json()
    assert "theirs" not in str(listed)
    await world.stranger("POST", "runs/parent/cancel")
    assert (await world.victim("GET", "runs/theirs")).json()["status"] == "NotStarted"
    await world.stranger("POST", "runs/own/cancel")
    deleted = await world.stranger("DELETE", "runs/parent?force=1")
    assert deleted.status_code < 300, deleted.text
    assert (await world.victim("GET", "runs/theirs")).status_code == 200
    assert (await world.owner("GET", "runs/own")).status_code == 404
    late = await created(world, "late", "mine", parent_run_id="parent")
    found = [row["key"] for row in await world.database.pool.fetch(CHILDREN, LATE_CHILDREN)]
    assert found == [late]
