"""Alerts over HTTP: rules are made, changed and removed, the log is read, a receiver is tried; each workspace for itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx
import pytest
from tests.query.http.test_api import serving

pytestmark = pytest.mark.attack

OWNER = "the-token-of-this-server"
ADDRESS = "json://user:secret@127.0.0.1:9/path"
FAILED = {"kind": "failed", "receivers": ["web"]}


@pytest.fixture
async def http(database: Any) -> AsyncIterator[httpx.AsyncClient]:
    database.settings = replace(database.settings, alert_receivers=f"web={ADDRESS}")
    async with serving(database, token=OWNER) as client:
        yield client


async def test_rules_are_made_changed_listed_and_removed(http: httpx.AsyncClient) -> None:
    made = (await http.put("/api/v1/alert-rules/a/b c", json=FAILED)).json()
    assert made.pop("created_utc")
    assert made == {
        "name": "a/b c", "workspace": "default", "experiment": None, "kind": "failed", "metric": None, "comparison": None,
        "threshold": None, "seconds": None, "level": "ERROR", "receivers": ["web"], "wait_seconds": 300.0, "enabled": True,
        "created_by": "the server's own token",
    }  # fmt: skip
    changed = {"kind": "metric", "metric": "loss", "comparison": ">", "threshold": 1, "level": "INFO"}
    answer = await http.put("/api/v1/alert-rules/a/b c", json=changed)
    assert answer.json().items() >= changed.items()
    await http.put("/api/v1/alert-rules/other", params={"workspace": "w"}, json=FAILED)
    listed = (await http.get("/api/v1/alert-rules")).json()["rules"]
    assert [(rule["workspace"], rule["name"]) for rule in listed] == [("default", "a/b c"), ("w", "other")]
    assert len((await http.get("/api/v1/alert-rules", params={"workspace": "w"})).json()["rules"]) == 1
    assert (await http.delete("/api/v1/alert-rules/a/b c")).status_code == 204
    gone = await http.delete("/api/v1/alert-rules/a/b c")
    assert (gone.status_code, "list the rules" in gone.text) == (404, True)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"kind": "loud"}, "kind: expected one of metric, nan, silent, failed, ended, alert"),
        ({"kind": "failed", "level": 7}, "level: expected one of INFO, WARN, ERROR or null"),
        ({"kind": "failed", "to": "x"}, "to"),
        ({"kind": "failed", "receivers": ["bob"]}, "receiver 'bob': this server knows web"),
        ({"kind": "failed", "receivers": ["web"] * 200}, "receivers: 200 of them"),
        ({"kind": "metric", "metric": "m"}, "comparison: a rule of kind metric needs it"),
        ({"kind": "metric", "metric": "m\0", "comparison": ">", "threshold": 1}, "metric: the character NUL"),
        ({"kind": "silent", "seconds": 1e30}, "seconds: expected 5 to"),
    ],
)
async def test_what_is_no_rule_is_refused_with_its_field(
    http: httpx.AsyncClient, body: dict[str, Any], says: str
) -> None:
    answer = await http.put("/api/v1/alert-rules/r", json=body)
    assert answer.status_code == 400
    assert says in answer.json()["detail"]
    assert "secret" not in answer.text


async def test_receivers_are_named_and_not_shown(http: httpx.AsyncClient) -> None:
    answer = await http.get("/api/v1/alert-receivers")
    assert answer.json() == {"receivers": [{"name": "web", "kind": "json"}]}
    assert (await http.post("/api/v1/alert-receivers/bob/test")).status_code == 404
    number = (await http.post("/api/v1/alert-receivers/web/test")).json()["id"]
    (alert,) = (await http.get("/api/v1/alerts")).json()["alerts"]
    assert (alert["id"], alert["title"], alert["rule"], alert["run_id"]) == (
        number, "Test of runstream", None, None,
    )  # fmt: skip
    assert [(send["receiver"], send["state"]) for send in alert["sends"]] == [("web", "waiting")]
    assert (await http.get("/api/v1/alerts", params={"workspace": "w"})).json() == {
        "alerts": [],
        "next": None,
    }


async def test_a_token_of_one_workspace_sees_and_changes_only_its_own(http: httpx.AsyncClient) -> None:
    for workspace in ("ada", "bob"):
        await http.put("/api/v1/alert-rules/r", params={"workspace": workspace}, json=FAILED)
        await http.post("/api/v1/alert-receivers/web/test", params={"workspace": workspace})
    given = {"name": "of ada", "role": "write", "workspace": "ada"}
    token = (await http.post("/api/v1/tokens", json=given)).json()["token"]
    bearer = {"Authorization": f"Bearer {token}"}
    rules = (await http.get("/api/v1/alert-rules", headers=bearer)).json()["rules"]
    assert [rule["workspace"] for rule in rules] == ["ada"]
    alerts = (await http.get("/api/v1/alerts", headers=bearer)).json()["alerts"]
    assert [alert["workspace"] for alert in alerts] == ["ada"]
    bobs = {"params": {"workspace": "bob"}, "headers": bearer}
    assert (await http.put("/api/v1/alert-rules/r", json=FAILED, **bobs)).status_code == 403
    assert (await http.delete("/api/v1/alert-rules/r", **bobs)).status_code == 403
    assert (await http.put("/api/v1/alert-rules/new", json=FAILED, headers=bearer)).json()[
        "workspace"
    ] == "ada"
    assert len((await http.get("/api/v1/alert-rules", params={"workspace": "bob"})).json()["rules"]) == 1


async def test_alerts_of_a_run_that_is_not_there(http: httpx.AsyncClient, database: Any) -> None:
    assert (await http.get("/api/v1/runs/nobody/alerts")).status_code == 404
    await database.add_run("r")
    assert (await http.get("/api/v1/runs/r/alerts")).json() == {"alerts": []}
