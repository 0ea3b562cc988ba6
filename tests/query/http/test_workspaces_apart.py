"""A token of one workspace gets nothing beyond it where borders are easily forgotten: content known by its digest only, runs
nobody knows yet, families that cross from one workspace to another."""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from runstream_consumers.compaction.purge import CHILDREN, LATE_CHILDREN
from runstream_consumers.storing.run_states import RunChanges, store_run_changes
from runstream_query.http.app import create_app
from runstream_query.http.context import Server
from runstream_query.not_there import no_run
from runstream_query.runs.models import place
from runstream_schemas.series import Kind, SeriesKey
from runstream_schemas.wire.events import StatusOp

pytestmark = pytest.mark.attack

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
    changes = RunChanges()
    data = {"experiment": "e", "workspace": workspace, **more}
    changes.add_status(key, uuid.uuid4().bytes, StatusOp(0, 1_700_000_000_000_000, "create", data))
    async with world.database.pool.acquire() as connection, connection.transaction():
        await store_run_changes(connection, changes)
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


async def test_content_another_workspace_sent_stays_when_a_model_that_held_it_goes(world: World) -> None:
    for client in (world.victim, world.stranger):
        assert (await client("PUT", f"model-content/{DIGEST}", content=CONTENT)).status_code == 200
    assert (await model_of(world.stranger, "mine", DIGEST)).status_code == 200
    assert (await world.stranger("DELETE", "models/m/1?workspace=mine")).status_code == 204
    assert (await model_of(world.stranger, "mine", DIGEST)).status_code == 404
    assert (await model_of(world.victim, "victim", DIGEST)).status_code == 200
    assert (await world.victim("GET", "models/m/1/files/weights?workspace=victim")).content == CONTENT
    assert (await world.victim("DELETE", "models/m/1?workspace=victim")).status_code == 204
    assert not await asyncio.to_thread(world.database.store.exists, place(DIGEST))


# --- runs nobody knows yet -------------------------------------------------------------------------------------------


async def test_a_file_for_an_unknown_run_goes_when_the_run_is_anothers(world: World) -> None:
    for path in ("outputs/planted", "outputs/second"):
        assert (await world.stranger("PUT", f"runs/r/files/{path}", content=b"planted")).status_code == 201
    grown = await world.stranger("POST", "runs/r/files/logs/planted?append_at=0", content=b"planted")
    assert grown.status_code == 200
    assert (await world.stranger("PATCH", f"uploads/{DIGEST}?offset=0", content=CONTENT)).status_code == 200
    uploaded = f"runs/r/files/outputs/uploaded?upload={DIGEST}&size={len(CONTENT)}"
    assert (await world.stranger("PUT", uploaded)).status_code == 201
    # The victim's own upload came before the run's creation, too.
    assert (await world.victim("PUT", "runs/r/files/outputs/own", content=b"own")).status_code == 201
    taken = await world.victim("PUT", "runs/r/files/outputs/planted", content=b"own")
    assert taken.status_code == 409
    assert "was stored by somebody else before run r was known" in taken.json()["detail"]
    appended = await world.victim("POST", "runs/r/files/logs/planted?append_at=7", content=b"own")
    assert appended.status_code == 409
    for client in (world.victim, world.stranger):  # until it is known it is nobody's to read
        assert (await client("GET", "runs/r/files")).status_code == 404
    await created(world, "r", "victim")
    listed = (await world.victim("GET", "runs/r/files")).json()["files"]
    assert [file["path"] for file in listed] == ["outputs/own"]
    assert (await world.victim("PUT", "runs/r/files/outputs/planted", content=b"own")).status_code == 201
    assert (await world.victim("GET", "runs/r/files/outputs/planted")).content == b"own"
    assert (await world.stranger("PUT", "runs/r/files/outputs/late", content=b"planted")).status_code == 404


async def test_a_file_for_an_unknown_run_stays_when_the_run_is_its_senders(world: World) -> None:
    assert (await world.victim("PUT", "runs/r/files/outputs/own", content=b"own")).status_code == 201
    assert (await world.owner("PUT", "runs/r/files/outputs/from-agent", content=b"any")).status_code == 201
    await created(world, "r", "victim")
    listed = (await world.victim("GET", "runs/r/files")).json()["files"]
    assert [file["path"] for file in listed] == ["outputs/from-agent", "outputs/own"]
    again = await world.owner("PUT", "runs/r/files/outputs/own", content=b"own")
    assert again.status_code == 200  # no claim is left


async def while_it_sends(
    world: World, client: Client, method: str, path: str, run_id: str, body: bytes, **headers: str
) -> httpx.Response:
    """An answer to a request in the midst of whose body the run is created in the workspace `victim`."""

    async def slowly() -> AsyncIterator[bytes]:
        yield body[:1]
        await created(world, run_id, "victim")
        yield body[1:]

    headers = {"Authorization": f"Bearer {client.token}", **headers}
    return await client.http.request(method, f"/api/v1/{path}", content=slowly(), headers=headers)


async def test_a_run_that_becomes_anothers_while_a_file_is_sent_takes_none(world: World) -> None:
    for number, (method, path) in enumerate(
        (("PUT", "outputs/planted"), ("POST", "logs/planted?append_at=0"))
    ):
        run = f"r{number}"
        refused = await while_it_sends(
            world, world.stranger, method, f"runs/{run}/files/{path}", run, b"planted"
        )
        assert (refused.status_code, refused.json()["detail"]) == (404, str(no_run(run)))
        assert (await world.victim("GET", f"runs/{run}/files")).json()["files"] == []
        taken = await while_it_sends(
            world, world.victim, method, f"runs/{run}x/files/{path}", f"{run}x", b"own"
        )
        assert taken.status_code < 300


async def test_a_run_that_becomes_anothers_while_a_change_is_sent_stays_as_it_is(world: World) -> None:
    json_type = {"Content-Type": "application/json"}
    change = b'{"display_name": "taken", "tags": {"set": {"a": "b"}}}'
    refused = await while_it_sends(world, world.stranger, "PATCH", "runs/r", "r", change, **json_type)
    assert refused.status_code == 404  # at once, whatever the body would have said
    for path, body in (
        ("runs", b'{"runs": ["r2"], "changes": ' + change + b"}"),
        ("runs/cancel", b'{"runs": ["r2"]}'),
        ("runs/delete", b'{"runs": ["r2"], "force": true}'),
        (
            "models",
            b'{"name": "m", "run_id": "r2", "path": "outputs", "token": "%s"}' % str(uuid.uuid4()).encode(),
        ),
    ):
        method = "PATCH" if path == "runs" else "POST"
        run = f"r-{path}"
        body = body.replace(b"r2", run.encode())
        refused = await while_it_sends(world, world.stranger, method, path, run, body, **json_type)
        assert (path, refused.status_code) == (path, 404 if path == "models" else 200), refused.text
        assert run not in str(refused.json().get("changed", refused.json().get("deleted", "")))
    for run in ("r-runs", "r-runs/cancel", "r-runs/delete"):
        record = (await world.owner("GET", "runs", params={"run": run})).json()["runs"][0]
        assert (record["display_name"], record["tags"], record["status"]) == (None, {}, "NotStarted")


async def test_a_run_that_becomes_anothers_while_it_is_waited_for_is_not_shown(world: World) -> None:
    source = uuid.uuid4().hex
    for number, path in enumerate(("runs/{}?", "metrics?run={}&", "series?run={}&name=loss&")):
        run = f"r{number}"
        asked = path.format(run) + f"wait={source}:9&timeout=2"
        reading = asyncio.create_task(world.stranger("GET", asked))
        await asyncio.sleep(0.5)
        key = await created(world, run, "victim", description="zebra")
        loss = [(SeriesKey(0, "loss"), Kind.FLOAT, 0, 0, 0, 1.0)]
        await world.database.add_chunk(key, bytes([number + 1]) * 16, loss)
        answer = await reading
        assert (path, answer.status_code, b"zebra" in answer.content) == (path, 404, False)
        # Whoever creates it waits for it as before.
        own = await world.victim("GET", path.format(run) + f"wait={source}:9&timeout=0.1")
        assert own.status_code == 200


async def test_names_of_files_held_for_another_workspace_are_not_told(world: World) -> None:
    await world.victim("PUT", "runs/r/files/outputs/zebra", content=b"own")
    refused = await world.stranger("PUT", "runs/r/files/outputs", content=b"planted")
    assert (refused.status_code, "zebra" in refused.text) == (409, False)
    told = await world.victim("PUT", "runs/r/files/outputs", content=b"own")
    assert "beside outputs/zebra" in told.json()["detail"]


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
    listed = (await world.stranger("GET", "runs?ancestor=parent")).json()["runs"]
    assert {run["run_id"] for run in listed} == {"own"}
    listed = (await world.owner("GET", "runs?ancestor=parent")).json()["runs"]
    assert {run["run_id"] for run in listed} == {"own"}
    await world.stranger("POST", "runs/parent/cancel")
    assert (await world.victim("GET", "runs/theirs")).json()["status"] == "NotStarted"
    await world.stranger("POST", "runs/own/cancel")
    deleted = await world.stranger("DELETE", "runs/parent?force=1")
    assert deleted.status_code < 300, deleted.text
    assert (await world.victim("GET", "runs/theirs")).status_code == 200
    assert (await world.owner("GET", "runs/own")).status_code == 404
    late = await created(world, "late", "mine", parent_run_id="parent")
    keys = [row["key"] for row in await world.database.pool.fetch(CHILDREN, LATE_CHILDREN)]
    assert keys == [late]


async def test_no_list_or_count_tells_what_another_workspace_logs(world: World) -> None:
    parent = await created(world, "parent", "mine")
    theirs = await created(world, "theirs", "victim", parent_run_id="parent")
    for key, name in ((parent, "loss"), (theirs, "zebra")):
        await world.database.add_summary(key, name)
    await world.database.pool.execute("update runs set target = 'zebra' where key = $1", theirs)
    assert (await world.victim("PUT", f"model-content/{DIGEST}", content=CONTENT)).status_code == 200
    assert (await model_of(world.victim, "victim", DIGEST)).status_code == 200
    for path, own, count in (
        ("runs?summary_common=20", "metrics", 1),
        ("metric-names", "names", 1),
        ("target-counts", "targets", 0),
        ("models", "models", 0),
        ("experiment-counts", "experiments", 1),
    ):
        answer = await world.stranger("GET", path)
        assert (path, b"zebra" in answer.content, len(answer.json()[own])) == (path, False, count), (
            answer.text
        )
        told = await world.victim("GET", path)
        assert (path, len(told.json()[own])) == (path, 1), told.text
    common = (await world.owner("GET", "runs?run=parent&summary_common=20")).json()["metrics"]
    assert common == ["loss"]
