"""Notes over HTTP: of runs, experiments and workspaces; nobody's words are lost; each workspace for itself."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from tests.query.http.test_api import serving

pytestmark = pytest.mark.attack

OWNER = "the-token-of-this-server"
RUN = "/api/v1/runs/r/note"
EXPERIMENT = "/api/v1/experiment-notes/a/b c"
REPORT = "/api/v1/reports/weekly"


@pytest.fixture
async def http(database: Any) -> AsyncIterator[httpx.AsyncClient]:
    await database.add_run("r", "a/b c", type="t")
    async with serving(database, token=OWNER) as client:
        yield client


def versions_of(path: str) -> str:
    """The address of a note's versions."""
    if path == REPORT:
        return f"{path}/versions"
    return (
        path.replace("/note", "/note-versions") if path == RUN else path.replace("-notes", "-note-versions")
    )


@pytest.mark.parametrize("path", [RUN, EXPERIMENT, REPORT])
async def test_a_note_is_written_changed_and_read_in_all_its_versions(
    http: httpx.AsyncClient, path: str
) -> None:
    if path != REPORT:
        assert (await http.get(path)).json() == {
            "id": "", "title": "", "version": 0, "author": "", "created_utc": None, "changed_utc": None, "text": "",
        }  # fmt: skip
        assert (await http.get(versions_of(path))).json() == {"versions": []}
    first = (await http.put(path, json={"text": "# One\n", "version": 0, "title": "T"})).json()
    assert first == {
        **first,
        "version": 1,
        "title": "T",
        "text": "# One\n",
        "author": "the server's own token",
    }
    second = (await http.put(path, json={"text": "two ☃", "version": 1})).json()
    assert (second["version"], second["title"], second["id"]) == (2, "", first["id"])
    assert (await http.get(path)).json() == second
    assert (await http.get(path, params={"version": 1})).json() == first
    assert (await http.get(path, params={"version": 2})).json() == second
    versions = (await http.get(versions_of(path))).json()["versions"]
    assert [(version["version"], version["bytes"]) for version in versions] == [(2, 7), (1, 6)]
    assert (await http.get(path, params={"version": 3})).status_code == 404


@pytest.mark.parametrize("path", [RUN, EXPERIMENT, REPORT])
async def test_who_read_an_older_version_is_told_and_changes_nothing(
    http: httpx.AsyncClient, path: str
) -> None:
    await http.put(path, json={"text": "mine", "version": 0})
    late = await http.put(path, json={"text": "theirs", "version": 0})
    assert late.status_code == 409
    assert "its version is 1" in late.json()["detail"]
    assert (await http.get(path)).json()["text"] == "mine"
    # A request that came twice, as its answer was lost, is no conflict; nor is what changes nothing a version.
    for version in (0, 1):
        again = await http.put(path, json={"text": "mine", "version": version})
        assert (again.status_code, again.json()["version"]) == (200, 1)


async def test_of_many_who_write_at_once_one_succeeds_each_time(http: httpx.AsyncClient) -> None:
    for version in range(3):
        writing = [http.put(RUN, json={"text": f"{version}.{i}", "version": version}) for i in range(8)]
        answers = await asyncio.gather(*writing)
        assert sorted(answer.status_code for answer in answers) == [200] + [409] * 7
        (kept,) = [answer.json() for answer in answers if answer.status_code == 200]
        assert (await http.get(RUN)).json() == kept


async def test_reports_are_listed_and_deleted(http: httpx.AsyncClient) -> None:
    for name in ("first", "second"):
        await http.put(f"/api/v1/reports/{name}", json={"text": "x", "version": 0, "title": name})
    await http.put("/api/v1/reports/first", json={"text": "more", "version": 1, "title": "first"})
    listed = (await http.get("/api/v1/reports")).json()["reports"]
    assert [(report["id"], report["version"], report["bytes"]) for report in listed] == [
        ("first", 2, 4),
        ("second", 1, 1),
    ]
    assert "text" not in listed[0]
    assert (await http.delete("/api/v1/reports/first")).status_code == 204
    assert (await http.delete("/api/v1/reports/first")).status_code == 404
    gone = await http.get("/api/v1/reports/first")
    assert (gone.status_code, "list those there are" in gone.text) == (404, True)
    changed = await http.put("/api/v1/reports/first", json={"text": "again", "version": 2})
    assert changed.status_code == 404


@pytest.mark.parametrize(
    ("path", "body", "status", "says"),
    [
        (RUN, {"text": "x" * (1 << 20) + "y", "version": 0}, 400, "1,048,577 bytes"),
        (RUN, {"text": "a\0b", "version": 0}, 400, "NUL"),
        (RUN, {"text": "half \ud83d", "version": 0}, 400, "half a surrogate pair"),
        (REPORT, {"text": "a", "version": 0, "title": "half \ud83d"}, 400, "half a surrogate pair"),
        (RUN, {"text": "a", "version": -1}, 404, "no run"),
        (RUN, {"text": "a", "version": 0, "title": "t" * 2000}, 400, "title"),
        (RUN, {"text": "a"}, 400, "version"),
        (RUN, {"text": 7, "version": 0}, 400, "text"),
        ("/api/v1/runs/nobody/note", {"text": "a", "version": 0}, 404, "no run"),
        ("/api/v1/experiment-notes/none", {"text": "a", "version": 0}, 404, "no experiment 'none'"),
        ("/api/v1/reports/a b", {"text": "a", "version": 0}, 400, "letters, digits"),
        ("/api/v1/reports/" + "a" * 65, {"text": "a", "version": 0}, 400, "letters, digits"),
    ],
)
async def test_what_cannot_be_kept_is_refused_with_its_reason(
    http: httpx.AsyncClient, path: str, body: dict[str, Any], status: int, says: str
) -> None:
    sent = json.dumps(body).encode()  # ASCII: also half a surrogate pair
    answer = await http.put(path, content=sent, headers={"Content-Type": "application/json"})
    assert (answer.status_code, says in answer.json()["detail"]) == (status, True), answer.text


async def test_notes_go_with_what_they_are_of(http: httpx.AsyncClient, database: Any) -> None:
    for path in (RUN, EXPERIMENT, REPORT):
        for version in range(2):
            await http.put(path, json={"text": str(version), "version": version})
    await database.pool.execute("delete from runs")
    assert await database.pool.fetchval("select count(*) from notes where run_key is not null") == 0
    await database.pool.execute("delete from experiments")
    assert await database.pool.fetchval("select count(*) from notes") == 1
    assert await database.pool.fetchval("select count(*) from former_notes") == 1


async def test_a_token_of_one_workspace_finds_no_notes_of_another(
    http: httpx.AsyncClient, database: Any
) -> None:
    await database.pool.execute("insert into experiments (name, workspace) values ('e', 'bob'), ('e', 'ada')")
    for workspace in ("ada", "bob"):
        for path in ("/api/v1/experiment-notes/e", REPORT + workspace):
            body = {"text": workspace, "version": 0}
            assert (await http.put(path, params={"workspace": workspace}, json=body)).status_code == 200
    made = await http.post("/api/v1/tokens", json={"name": "ada's", "role": "write", "workspace": "ada"})
    bearer = {"Authorization": f"Bearer {made.json()['token']}"}
    assert (await http.get("/api/v1/experiment-notes/e", headers=bearer)).json()["text"] == "ada"
    listed = (await http.get("/api/v1/reports", headers=bearer)).json()["reports"]
    assert [report["id"] for report in listed] == ["weeklyada"]
    assert (await http.get(REPORT + "bob", headers=bearer)).status_code == 404
    assert (await http.get(REPORT + "bob", headers=bearer, params={"workspace": "bob"})).status_code == 403
    taken = await http.put(REPORT + "bob", headers=bearer, json={"text": "mine", "version": 0})
    assert taken.json()["version"] == 1  # each workspace has ids of its own
    assert (await http.get(RUN, headers=bearer)).status_code == 404
    assert (await http.put(RUN, headers=bearer, json={"text": "mine", "version": 0})).status_code == 404


async def test_the_newest_versions_are_kept(http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runstream_query.runs.notes.MOST_VERSIONS", 3)
    for version in range(6):
        await http.put(RUN, json={"text": str(version), "version": version})
    versions = (await http.get(versions_of(RUN))).json()["versions"]
    assert [version["version"] for version in versions] == [6, 5, 4]
    assert (await http.get(RUN, params={"version": 4})).json()["text"] == "3"
