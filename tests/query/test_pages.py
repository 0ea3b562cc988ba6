"""The pages: what is served to whom, and how a browser gets leave to read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from tests.query.test_api import serving

from runstream_query.http import browser_access, pages
from runstream_query.http.browser_access import BrowserAccess

TOKEN = "secret-token"


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    web = tmp_path / "web"
    (web / "assets").mkdir(parents=True)
    (web / "index.html").write_text("<!doctype html><script src=/assets/a-1.js></script>")
    (web / "assets" / "a-1.js").write_text("0;" * 4000)
    (web / "secret.txt").write_text("not for the web")
    monkeypatch.setattr(pages, "_bundle", pages.Bundle(web))
    return web


async def test_every_page_is_one_document(database: Any, bundle: Path) -> None:
    async with serving(database, token=TOKEN) as client:
        client.headers.pop("authorization")
        for path in (
            "/", "/runs/a%2Fb?wsid=x", "/experiments", "/experiments/id/7", "/compare?runs=a,b",
            "/compute", "/compute/local",
        ):  # fmt: skip
            answer = await client.get(path)
            assert answer.status_code == 200, path
            assert answer.text.startswith("<!doctype html>")
            assert answer.headers["cache-control"] == "no-cache"
            assert "default-src 'self'" in answer.headers["content-security-policy"]
        again = await client.get("/", headers={"If-None-Match": answer.headers["etag"]})
        assert again.status_code == 304
        asset = await client.get("/assets/a-1.js")
        assert "immutable" in asset.headers["cache-control"]
        assert asset.headers["content-encoding"] == "gzip"
        assert (await client.get("/assets/nothing.js")).status_code == 404
        assert (await client.get("/assets/../secret.txt")).status_code in (401, 404)
        assert (await client.get("/assets/%2e%2e/secret.txt")).status_code == 404


async def test_a_new_build_is_served(database: Any, bundle: Path) -> None:
    async with serving(database) as client:
        await client.get("/")
        (bundle / "index.html").write_text("<!doctype html>new")
        os.utime(bundle / "index.html", (1, 1))
        assert (await client.get("/")).text == "<!doctype html>new"


async def test_without_a_bundle_the_page_says_how_to_build_it(
    database: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "_bundle", pages.Bundle(tmp_path / "none"))
    async with serving(database) as client:
        answer = await client.get("/")
        assert answer.status_code == 503
        assert "make dashboard" in answer.text


async def test_a_ticket_opens_once(database: Any, bundle: Path) -> None:
    async with serving(database, token=TOKEN) as client:
        ticket = (await client.post("/api/v1/tickets")).json()["ticket"]
        client.headers.pop("authorization")
        assert (await client.post("/api/v1/tickets")).status_code == 401
        assert (await client.get("/api/v1/runs")).status_code == 401
        answer = await client.get("/login", params={"ticket": ticket, "next": "/runs/x?tab=files"})
        assert (answer.status_code, answer.headers["location"]) == (303, "/runs/x?tab=files")
        cookie = answer.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=strict" in cookie
        assert TOKEN not in cookie
        assert (await client.get("/api/v1/runs")).status_code == 200
        client.cookies.clear()
        again = await client.get("/login", params={"ticket": ticket})
        assert "set-cookie" not in again.headers
        assert (await client.get("/api/v1/runs")).status_code == 401


async def test_another_page_of_this_machine_cannot_write_with_the_cookie(database: Any, bundle: Path) -> None:
    async with serving(database, token=TOKEN) as client:
        ticket = (await client.post("/api/v1/tickets")).json()["ticket"]
        client.headers.pop("authorization")
        await client.get("/login", params={"ticket": ticket})
        query = {"query": "select 1 as one"}
        for headers, status in (
            ({"Sec-Fetch-Site": "same-site"}, 401),
            ({"Sec-Fetch-Site": "same-origin"}, 200),
            ({"Origin": "http://127.0.0.1:1"}, 401),
            ({}, 401),
        ):
            answer = await client.post("/api/v1/sql", json=query, headers=headers)
            assert answer.status_code == status, headers


async def test_the_token_opens_too(database: Any, bundle: Path) -> None:
    async with serving(database, token=TOKEN) as client:
        client.headers.pop("authorization")
        own = {"Sec-Fetch-Site": "same-origin"}
        assert (await client.post("/login", json={"token": "wrong"}, headers=own)).status_code == 401
        assert (await client.post("/login", json={"token": TOKEN})).status_code == 403
        assert (await client.post("/login", content=b"x", headers=own)).status_code == 400
        assert (await client.post("/login", json={"token": TOKEN}, headers=own)).status_code == 204
        assert (await client.get("/api/v1/runs")).status_code == 200


@pytest.mark.parametrize(
    "where", ["//evil.example", "https://evil.example", "/\\evil.example", "/api/v1/runs"]
)
async def test_login_leads_to_pages_of_this_server_only(database: Any, bundle: Path, where: str) -> None:
    async with serving(database, token=TOKEN) as client:
        answer = await client.get("/login", params={"next": where})
        assert answer.headers["location"] == "/"


def test_a_ticket_is_good_for_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    access = BrowserAccess(TOKEN)
    ticket = access.ticket(0)
    assert access.redeem(ticket[:-1] + ("0" if ticket[-1] != "0" else "1")) is None
    assert BrowserAccess("other").redeem(ticket) is None
    now = browser_access.time.time()
    monkeypatch.setattr(browser_access.time, "time", lambda: now + 61)
    assert access.redeem(ticket) is None


async def test_lists_for_the_pages(database: Any, bundle: Path) -> None:
    key = await database.add_run("r")
    await database.add_summary(key, "loss", count=3)
    async with serving(database) as client:
        assert (await client.get("/api/v1/metric-names?q=LO&experiment=e&run=r")).json()["names"] == [
            {"name": "loss", "runs": 1, "text": False}
        ]
        [run] = (await client.get("/api/v1/runs?q=r&summary=loss&summary=none")).json()["runs"]
        assert list(run["summaries"]) == ["loss"]
        [series] = (await client.get("/api/v1/runs/r/series")).json()["series"]
        assert (series["name"], series["count"], series["cls"]) == ("loss", 3, 0)
        for path in ("/api/v1/runs/none/series", "/api/v1/runs/r/tables/none"):
            assert (await client.get(path)).status_code == 404
        for path in (
            "/api/v1/charts",
            "/api/v1/charts?run=r&name=loss&smooth=x",
            "/api/v1/charts?run=r&name=loss&width=x",
            "/api/v1/runs/r/values",
            "/api/v1/runs/r/values?name=x&cls=99",
            "/api/v1/runs?q=status:odd",
        ):
            answer = await client.get(path)
            assert answer.status_code == 400, path
            assert isinstance(answer.json()["detail"], str)


async def test_counts_for_the_pages(database: Any, bundle: Path) -> None:
    await database.add_run("p", status="Running", target="gpu")
    await database.add_run("a", parent_run_id="p", status="Completed", target="gpu")
    await database.add_run("b", parent_run_id="p", status="Failed")
    async with serving(database) as client:
        counted = (await client.get("/api/v1/child-counts?run=p&run=a&run=none")).json()
        assert counted == {"children": {"p": 2}}
        [(_, one)] = (await client.get("/api/v1/experiment-counts")).json()["experiments"].items()
        assert one["statuses"] == {"Running": 1, "Completed": 1, "Failed": 1}
        targets = (await client.get("/api/v1/target-counts")).json()["targets"]
        assert targets["gpu"]["statuses"] == {"Running": 1, "Completed": 1}
        many = "&".join(f"run={n}" for n in range(1001))
        assert (await client.get(f"/api/v1/child-counts?{many}")).status_code == 400
