"""What people change over HTTP, beside what training processes write."""

from __future__ import annotations

import uuid
from typing import Any

from tests.query.http.test_api import serving

from runstream_consumers.storing.run_states import RunChanges, store_run_changes
from runstream_schemas.wire.events import TagOp


async def test_runs_are_edited_one_by_one_and_many_at_once(database: Any) -> None:
    for name in ("a", "b"):
        await database.add_run(name)
    async with serving(database) as http:
        body = {
            "display_name": "A",
            "description": "d",
            "tags": {"set": {"k": "v", "n": None}},
            "archived": True,
        }
        record = (await http.patch("/api/v1/runs/a", json=body)).json()
        assert (record["display_name"], record["description"]) == ("A", "d")
        assert record["tags"] == {"k": "v", "n": None}
        assert record["archived_utc"]
        many = {"runs": ["a", "b", "none"], "changes": {"tags": {"remove": ["k"]}, "archived": False}}
        assert (await http.patch("/api/v1/runs", json=many)).json()["missing"] == ["none"]
        record = (await http.get("/api/v1/runs/a")).json()
        assert (record["tags"], record["archived_utc"]) == ({"n": None}, None)
        assert (await http.patch("/api/v1/runs/none", json={"archived": True})).status_code == 404
        for wrong in ({}, {"tag": 1}, {"tags": {"set": {"k": 1}}}, {"archived": "yes"}, {"description": 3}):
            assert (await http.patch("/api/v1/runs/a", json=wrong)).status_code == 400
        assert (await http.patch("/api/v1/runs/a", content="{}")).status_code == 415


async def test_an_edit_is_later_than_what_was_seen_and_earlier_than_what_follows(database: Any) -> None:
    run = await database.add_run("a")
    source, ahead = uuid.uuid4().bytes, 1 << 52  # a clock far in the future

    async def log(time_us: int, seq: int) -> None:
        changes = RunChanges()
        changes.add_tag(run, source, TagOp(seq, time_us, "set", "k", f"logged {seq}"))
        async with database.pool.acquire() as connection, connection.transaction():
            await store_run_changes(connection, changes)

    async with serving(database) as http:
        await log(ahead, 0)
        await http.patch("/api/v1/runs/a", json={"tags": {"set": {"k": "edited"}}})
        await log(ahead, 0)  # sent again
        assert (await http.get("/api/v1/runs/a")).json()["tags"] == {"k": "edited"}
        await log(ahead + 1000, 1)
        assert (await http.get("/api/v1/runs/a")).json()["tags"] == {"k": "logged 1"}


async def test_cancel_asks_those_that_are_looked_after_and_ends_the_others(database: Any) -> None:
    await database.add_run("p", status="Running", type="azureml.scriptrun")
    await database.add_run("c", status="Running", parent_run_id="p")
    await database.add_run("done", parent_run_id="p")
    async with serving(database) as http:
        first = (await http.post("/api/v1/runs/p/cancel")).json()["statuses"]
        assert first == {"p": "CancelRequested", "c": "Canceled"}
        again = (await http.post("/api/v1/runs/cancel", json={"runs": ["p"]})).json()["statuses"]
        assert again == {"p": "Canceled"}
        assert (await http.post("/api/v1/runs/none/cancel")).status_code == 404


async def test_views_are_kept(database: Any) -> None:
    async with serving(database) as http:
        named = {"page": "runs", "name": "best", "state": {"q": "loss<1", "runs": ["\0", "ü"]}}
        made = await http.post("/api/v1/views", json=named)
        assert made.status_code == 201
        address = f"/api/v1/views/{made.json()['id']}"
        assert (await http.get(address)).json()["state"] == named["state"]
        assert (await http.post("/api/v1/views", json=named)).status_code == 409
        shared = {"page": "compare", "state": {"runs": ["r"] * 5000}}
        ids = [(await http.post("/api/v1/views", json=shared)).json()["id"] for _ in range(2)]
        assert ids[0] == ids[1]
        assert [view["name"] for view in (await http.get("/api/v1/views")).json()["views"]] == ["best"]
        changed = (await http.patch(address, json={"name": "better"})).json()
        assert (changed["name"], changed["state"]) == ("better", named["state"])
        assert (await http.delete(address)).status_code == 204
        assert (await http.get(address)).status_code == 404


async def test_a_deleted_run_is_gone_for_every_reader_and_takes_nothing_any_more(database: Any) -> None:
    key = await database.add_run("r")
    await database.add_run("child", parent_run_id="r")
    await database.add_run("live", status="Running")
    await database.add_run("other")
    await database.add_summary(key, "loss")
    async with serving(database) as http:
        assert (await http.put("/api/v1/runs/r/files/model", content=b"x")).status_code == 201
        asked = {"runs": ["r", "live", "nobody"]}
        held = (await http.post("/api/v1/runs/delete", json={**asked, "dry_run": True})).json()
        assert held == {"runs": 2, "descendants": 1, "active": 1, "points": 1, "files": 1, "bytes": 1}
        refused = await http.post("/api/v1/runs/delete", json=asked)
        assert refused.status_code == 409
        assert "live" in refused.json()["detail"]
        assert (await http.delete("/api/v1/runs/r")).json() == {"deleted": ["r", "child"]}
        assert (await http.delete("/api/v1/runs/r")).status_code == 404
        assert (await http.get("/api/v1/runs/r")).status_code == 404
        assert (await http.get("/api/v1/metric-names")).json() == {"names": []}
        assert (await http.get("/api/v1/runs/r/files")).json() == {"files": []}
        for answer in (
            await http.put("/api/v1/runs/r/files/again", content=b"x"),
            await http.post("/api/v1/runs/r/files/log?append_at=0", content=b"x"),
        ):
            assert answer.status_code == 410
            assert answer.headers["content-type"] == "application/problem+json"
        answer = await http.post("/api/v1/runs/delete", json={**asked, "force": True})
        assert answer.json() == {"deleted": ["live"], "missing": ["r", "nobody"]}
        assert [run["run_id"] for run in (await http.get("/api/v1/runs")).json()["runs"]] == ["other"]
