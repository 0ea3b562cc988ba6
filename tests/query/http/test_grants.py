"""Whatever three tokens do in two workspaces, nothing one of them reads or changes lies outside its grant.

A random sequence of everything there is to do is sent to a real server of each kind. The oracle knows nothing of routes or
of how they are held to a workspace. It knows which run, file, model and environment belongs to whom, as it was made; that
every text of a workspace holds that workspace's mark, and no other does; and what the database holds of each. After each
request: no other workspace's mark was answered, nothing of another workspace changed, nothing at all changed by a token that
may not, and lists show exactly what is the asker's own.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from tests.query.http.granted import MARKS, MODELS, PATHS, Token, World
from tests.seeds import new_random

from runstream_consumers.compaction.role import compact_once
from runstream_consumers.storing.run_states import RunChanges, store_run_changes
from runstream_schemas.runs.deletion import run_folder
from runstream_schemas.series import Kind, SeriesKey
from runstream_schemas.wire.events import StatusOp

from .kinds import KINDS, server_of
from .test_openapi import TIMES

pytestmark = pytest.mark.attack

STEPS = 220


# --- what the server's owner and training processes do ---------------------------------------------------------------


async def grant(world: World, slot: int) -> None:
    """Give a token out, in place of an earlier one of that slot."""
    name = f"token-{slot}-{uuid.uuid4().hex[:6]}"
    workspace, role = world.dice.choice(tuple(MARKS)), world.dice.choice(("read", "write", "admin", "admin"))
    if slot < 2:  # two are always of different workspaces
        workspace = tuple(MARKS)[slot]
    made = await world._send(
        world.owner, "POST", "tokens", {"name": name, "role": role, "workspace": workspace}
    )
    assert made.status_code == 201, made.text
    new = Token(name, role, workspace, made.json()["token"])
    world.done.append(f"granted {name}: {role} of {workspace}")
    if slot < len(world.tokens):
        old, world.tokens[slot] = world.tokens[slot], new
        world.lost += [old.secret, *([old.session] if old.session else [])]
        assert (await world._send(world.owner, "DELETE", f"tokens/{old.name}")).status_code == 204
    else:
        world.tokens.append(new)


async def grants_change(world: World) -> None:
    token = world.token()
    how = world.dice.choice(("again", "rotate", "session"))
    if how == "again":
        return await grant(world, world.tokens.index(token))
    if how == "rotate":
        made = await world._send(world.owner, "POST", f"tokens/{token.name}", {"keep_minutes": 0})
        world.lost += [token.secret, *([token.session] if token.session else [])]
        token.secret, token.session = made.json()["token"], None
        world.done.append(f"rotated {token.name}")
    else:
        headers = {"Sec-Fetch-Site": "same-origin"}
        made = await world.http.post("/login", json={"token": token.secret}, headers=headers)
        token.session = made.json()["session"]


async def lost_secrets_open_nothing(world: World) -> None:
    for secret in world.lost[-4:]:
        answer = await world._send(secret, "GET", "runs")
        assert answer.status_code in (401, 429), answer.text


async def a_run_is_created(world: World) -> None:
    """As a training process reports it, by a way that knows no tokens; perhaps below a run of the other workspace."""
    run, workspace = world.dice.choice(world.coming), world.dice.choice(tuple(MARKS))
    world.coming.remove(run)
    world.coming.append(f"run-{len(world.runs) + len(world.gone) + len(world.coming) + 1}")
    data = {
        "experiment": world.dice.choice("ef"),
        "workspace": workspace,
        "tags": {"t": world.text(workspace)},
    }
    if world.dice.random() < 0.6:
        world.parents[run] = data["parent_run_id"] = world.dice.choice([*world.runs, *world.coming])
    pool = world.database.pool
    await pool.execute("insert into runs (run_id) values ($1) on conflict do nothing", run)
    key = await pool.fetchval("select key from runs where run_id = $1", run)
    changes = RunChanges()
    changes.add_status(key, uuid.uuid4().bytes, StatusOp(0, 1_700_000_000_000_000, "create", data))
    if world.dice.random() < 0.5:
        changes.add_status(key, uuid.uuid4().bytes, StatusOp(1, 1_700_000_001_000_000, "complete", {}))
    async with pool.acquire() as connection, connection.transaction():
        await store_run_changes(connection, changes)
    world.runs[run] = workspace
    world.done.append(f"created {run} in {workspace} below {world.parents.get(run)}")
    # Files that came before it was known stay if they are its workspace's.
    for file, (whose, _) in list(world.files.items()):
        if file[0] == run and whose != workspace:
            del world.files[file]
    name = world.text(workspace)
    await world.database.add_summary(key, name)
    points = world.dice.randrange(1, 5)
    rows = [(SeriesKey(0, name), Kind.FLOAT, number, number, number, 1.0) for number in range(points)]
    await world.database.add_chunk(key, uuid.uuid4().bytes, rows)
    world.points[run] = points


async def points_move(world: World) -> None:
    await compact_once(world.database.pool, world.database.store, world.database.settings, now=True)


# --- what the three do -----------------------------------------------------------------------------------------------


async def a_file_is_sent(world: World) -> None:
    token, run, path = world.token(), world.run(), world.dice.choice(PATHS)
    owner = world.workspace_of(run)
    content = world.text(token.workspace).encode()
    may = token.may("write") and owner in (None, token.workspace)
    how = world.dice.choice(("put", "upload", "append"))
    target = f"runs/{run}/files/{path}"
    if how == "upload":
        digest = hashlib.sha256(content).hexdigest()
        await world.ask(token, "PATCH", f"uploads/{digest}?offset=0", raw=content, may=token.may("write"))
        target += f"?upload={digest}&size={len(content)}"
        answer = await world.ask(token, "PUT", target, raw=b"", may=may)
    elif how == "append":
        path = f"logs/{path.rpartition('/')[2]}"
        answer = await world.ask(token, "POST", f"runs/{run}/files/{path}?append_at=0", raw=content, may=may)
    else:
        answer = await world.ask(token, "PUT", target, raw=content, may=may)
    if may and answer.status_code < 300:
        # What was appended gives way to what a call stores, to its own workspace's only.
        before = world.files.get((run, path))
        assert before is None or ((run, path) in world.grown and before[0] == token.workspace), (
            "took its place"
        )
        world.files[run, path] = token.workspace, content
        world.grown = world.grown | {(run, path)} if how == "append" else world.grown - {(run, path)}
    elif may and run not in world.gone:
        assert (run, path) in world.files, answer.text


async def an_upload_is_spoiled_or_taken(world: World) -> None:
    """One begins, another continues it or takes it: each has its own."""
    first, second = world.dice.sample(world.tokens, 2)
    content = world.text(first.workspace).encode()
    digest = hashlib.sha256(content).hexdigest()
    begun = await world.ask(
        first, "PATCH", f"uploads/{digest}?offset=0", raw=content[:5], may=first.may("write")
    )
    await world.ask(second, "PATCH", f"uploads/{digest}?offset=5", raw=b"poison", may=second.may("write"))
    run = world.run()
    may = second.may("write") and world.workspace_of(run) in (None, second.workspace)
    taken = await world.ask(
        second, "PUT", f"runs/{run}/files/outputs/taken?upload={digest}&size=11", raw=b"", may=may
    )
    assert taken.status_code >= 400
    if begun.status_code == 200:
        rest = await world.ask(first, "PATCH", f"uploads/{digest}?offset=5", raw=content[5:], may=True)
        assert rest.json() == {"offset": len(content)}


async def a_run_is_changed(world: World) -> None:
    token, run = world.token(), world.run()
    change = {
        "display_name": world.text(token.workspace),
        "tags": {"set": {"u": world.text(token.workspace)}},
    }
    may = token.may("write") and world.workspace_of(run) == token.workspace
    answer = await world.ask(token, "PATCH", f"runs/{run}", change, may=may)
    assert may == (answer.status_code == 200)


async def many_runs_are_changed(world: World) -> None:
    token = world.token()
    runs = list({world.run() for _ in range(world.dice.randrange(1, 4))})
    role, method, path, body = world.dice.choice(
        (
            ("write", "PATCH", "runs", {"changes": {"description": world.text(token.workspace)}}),
            ("write", "POST", "runs/cancel", {}),
            ("admin", "POST", "runs/delete", {"dry_run": True}),
            ("admin", "POST", "runs/delete", {"force": True}),
        )
    )
    own = {run for run in runs if world.workspace_of(run) == token.workspace}
    may = token.may(role)
    answer = await world.ask(token, method, path, {"runs": runs, **body}, may=may)
    if may:
        assert answer.status_code == 200, answer.text
    if may and "changes" in body:
        assert (set(answer.json()["changed"]), set(answer.json()["missing"])) == (own, set(runs) - own)
    if may and body == {"force": True}:
        family = world.family(own)
        assert set(answer.json()["deleted"]) == family
        world.forget(family)


async def a_run_is_deleted_or_canceled(world: World) -> None:
    token, run = world.token(), world.run()
    own = world.workspace_of(run) == token.workspace
    if world.dice.random() < 0.6:
        await world.ask(token, "POST", f"runs/{run}/cancel", may=token.may("write") and own)
        return
    may = token.may("admin") and own
    answer = await world.ask(token, "DELETE", f"runs/{run}?force=1", may=may)
    if may:
        assert set(answer.json()["deleted"]) == world.family({run})
        world.forget(world.family({run}))


async def a_model_is_registered(world: World) -> None:
    token, name = world.token(), world.dice.choice(MODELS)
    query, own = world.query(token)
    body: dict[str, Any] = {"name": name, "description": world.text(token.workspace)}
    if world.registrations and world.dice.random() < 0.3:
        body["token"] = world.dice.choice(world.registrations)  # perhaps another workspace's
    else:
        body["token"] = str(uuid.uuid4())
        world.registrations.append(body["token"])
    may = token.may("write") and own
    if world.dice.random() < 0.5 and world.files:
        run, path = world.dice.choice(list(world.files))
        body |= {"run_id": run, "path": path}
        may = may and world.workspace_of(run) == token.workspace
    else:
        if not world.contents or world.dice.random() < 0.5:
            # Both may have the same, so that a digest is known to the other.
            content = world.dice.choice((b"shared by both", world.text(token.workspace).encode()))
            digest = hashlib.sha256(content).hexdigest()
            await world.ask(token, "PUT", f"model-content/{digest}", raw=content, may=token.may("write"))
            world.contents[digest] = content
        digest = world.dice.choice(list(world.contents))
        body["files"] = [{"path": "w", "sha256": digest}]
        foreign = next(mark for workspace, mark in MARKS.items() if workspace != token.workspace).encode()
        may = may and foreign not in world.contents[digest]
    answer = await world.ask(token, "POST", f"models?{query}", body, may=may or (token.may("write") and own))
    if answer.status_code == 200 and not may:
        # The same registration again is shown as it was made.
        assert answer.json()["workspace"] == token.workspace


async def a_model_is_changed(world: World) -> None:
    token, name = world.token(), world.dice.choice(MODELS)
    query, own = world.query(token)
    target = f"models/{name}/{world.dice.randrange(1, 4)}"
    if world.dice.random() < 0.5:
        body = {"description": world.text(token.workspace)}
        await world.ask(token, "PATCH", f"{target}?{query}", body, may=token.may("write") and own)
    else:
        await world.ask(token, "DELETE", f"{target}?{query}", may=token.may("admin") and own)


async def the_registry_is_changed(world: World) -> None:
    token = world.token()
    query, own = world.query(token)
    text, name = world.text(token.workspace), world.dice.choice("efg")
    other = world.dice.choice(tuple(MARKS))
    role, method, path, body = world.dice.choice(
        (
            ("write", "PUT", f"experiments/{name}?{query}", None),
            ("write", "PATCH", f"experiments/{name}?{query}", {"description": text, "tags": {"a": text}}),
            ("admin", "DELETE", f"experiments/{name}?{query}", None),
            ("write", "POST", f"environments?{query}", {"name": name, "document": {"packages": [text]}}),
            ("write", "PUT", f"environment-labels?{query}", {"name": name, "version": "1", "labels": ["l"]}),
            ("never", "PUT", f"workspaces/{other}", {"description": text}),
            ("never", "DELETE", f"workspaces/{other}", None),
            ("never", "POST", "views", {"page": "runs", "name": text, "state": {}}),
            ("never", "POST", "tokens", {"name": text, "role": "admin"}),
            ("never", "POST", f"tokens/{world.token().name}", {"keep_minutes": 0}),
            ("never", "DELETE", f"tokens/{world.token().name}", None),
        )
    )
    await world.ask(token, method, path, body, may=role != "never" and token.may(role) and own)


async def a_file_is_read(world: World) -> None:
    token, run = world.token(), world.run()
    own = world.workspace_of(run) == token.workspace
    path = world.dice.choice(PATHS)
    answer = await world.ask(token, "GET", f"runs/{run}/files/{path}", may=own)
    if own and (run, path) in world.files:
        assert answer.content == world.files[run, path][1]
    listed = await world.ask(token, "GET", f"runs/{run}/files", may=own)
    if own:
        expected = sorted(place for of, place in world.files if of == run)
        assert [file["path"] for file in listed.json()["files"]] == expected
    await world.ask(token, "GET", f"runs/{run}/zip", may=own)


async def a_run_is_read(world: World) -> None:
    token, run, other = world.token(), world.run(), world.run()
    own = world.workspace_of(run) == token.workspace
    either = own or world.workspace_of(other) == token.workspace
    path, may = world.dice.choice((
        (f"runs/{run}?summaries=1", own),
        (f"runs/{run}?wait={uuid.uuid4().hex}:5&timeout=0.05", own),
        (f"runs/{run}/series", own), (f"runs/{run}/values?name=x", own), (f"runs/{run}/tables/t", own),
        (f"metrics?run={run}&recursive=1", own), (f"metrics?run={run}&run={other}", either),
        (f"charts?run={run}&run={other}&name=x", either), (f"series?run={run}&name=x", own),
        (f"child-counts?run={run}", own), (f"param-importance?name=m&run={run}", True),
        (f"export/points?run={run}&run={other}&format=csv", either),
        (f"export/table?run={run}&name=t&format=csv", own), (f"runs?parent={run}&archived=all", True),
        (f"metric-names?run={run}&run={other}", True), (f"models?run={run}", True),
    ))  # fmt: skip
    await world.ask(token, "GET", path, may=may)


async def everything_is_listed(world: World) -> None:
    """What a token finds is what is its own: all of it, and nothing else."""
    token = world.token()
    mine = {run for run, workspace in world.runs.items() if workspace == token.workspace}

    async def sent(method: str, path: str, body: Any = None) -> httpx.Response:
        answer = await world.ask(token, method, path, body, may=True)
        assert answer.status_code == 200, answer.text
        return answer

    listed = (await sent("GET", "runs?archived=all&limit=100&count=1")).json()
    assert {run["run_id"] for run in listed["runs"]} == mine
    answer = await sent("POST", "sql", {"query": "select run_id from runs"})
    assert {row[0] for row in answer.json()["rows"]} == mine
    answer = await sent("POST", "sql", {"query": "select run_id, count(*) from metrics group by run_id"})
    assert dict(answer.json()["rows"]) == {run: world.points[run] for run in mine}
    await sent("POST", "sql", {"query": "select * from summaries"})
    exported = (await sent("GET", "export/runs?archived=all&column=run_id")).text
    assert set(exported.replace('"', "").split()) - {"run_id"} == mine
    for path, key, name in (
        ("models", "models", "workspace"),
        ("environments", "environments", "workspace"),
        ("experiments", "experiments", "workspace"),
        ("workspaces", "workspaces", "name"),
    ):
        records = (await sent("GET", path)).json()[key]
        assert {record.get(name, token.workspace) for record in records} <= {token.workspace}
    for path in ("experiment-counts", "target-counts", "metric-names", "access"):
        await sent("GET", path)
    below = (await sent("GET", f"runs?archived=all&limit=100&ancestor={world.run()}")).json()
    assert {run["run_id"] for run in below["runs"]} <= mine


async def models_are_read(world: World) -> None:
    token, name = world.token(), world.dice.choice(MODELS)
    query, own = world.query(token)
    target = f"models/{name}/{world.dice.randrange(1, 4)}/files/{world.dice.choice(('w', 'a', 'b'))}"
    await world.ask(token, "GET", f"{target}?{query}", may=own)
    await world.ask(token, "GET", f"models?name={name}&{query}", may=own)
    await world.ask(token, "GET", f"environments?{query}&latest=1", may=own)
    other = next(workspace for workspace in MARKS if workspace != token.workspace)
    for path in ("views", "tokens", f"snapshots/{'0' * 64}", f"runs?workspace={other}"):
        await world.ask(token, "GET", path, may=False)


ACTIONS: dict[Callable[[World], Awaitable[None]], int] = {
    grants_change: 3, lost_secrets_open_nothing: 1, a_run_is_created: 5, points_move: 1, a_file_is_sent: 6,
    an_upload_is_spoiled_or_taken: 2, a_run_is_changed: 4, many_runs_are_changed: 4, a_run_is_deleted_or_canceled: 1,
    a_model_is_registered: 5, a_model_is_changed: 2, the_registry_is_changed: 6, a_file_is_read: 4, a_run_is_read: 6,
    everything_is_listed: 2, models_are_read: 3,
}  # fmt: skip


async def files_are_there(world: World) -> None:
    """The store holds of each file what its row says, whoever tried to change it."""
    for row in await world.database.pool.fetch(
        "select r.run_id, a.path, a.sha256 from artifacts a join runs r on r.key = a.run_key"
    ):
        with world.database.store.open_input(f"{run_folder(row['run_id'])}/{row['path']}") as file:
            assert hashlib.sha256(bytes(file.read())).hexdigest() == row["sha256"], dict(row)
    known = await world.database.pool.fetch(
        "select r.run_id, e.workspace from runs r join experiments e on e.id = r.experiment_id"
    )
    assert {row["run_id"]: row["workspace"] for row in known} == world.runs


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.timeout(150 + 150 * TIMES)
async def test_nothing_a_token_reads_or_changes_lies_outside_its_grant(database: Any, kind: str) -> None:
    dice = new_random(KINDS.index(kind))
    async with (
        server_of(kind, database) as (base, owner),
        httpx.AsyncClient(base_url=base, timeout=30) as http,
    ):
        world = World(http, database, owner, dice)
        for slot in range(3):
            await grant(world, slot)
        actions, weights = list(ACTIONS), list(ACTIONS.values())
        try:
            for number in range(STEPS * TIMES):
                await dice.choices(actions, weights)[0](world)
                if number % 20 == 0:
                    await files_are_there(world)
        except AssertionError as error:
            raise AssertionError("\n".join([str(error), *world.done[-25:]])) from error
        assert world.allowed > len(world.done) / 5  # it did things, not only tried
