"""The pages: what is served to whom, and how a browser gets leave to read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from tests.query.http.test_api import serving

from runstream_query.http import pages

pytestmark = pytest.mark.attack

TOKEN = "the-secret-token-of-it"


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    web = tmp_path / "web"
    (web / "assets").mkdir(parents=True)
    (web / "index.html").write_text("<!doctype html><script src=/assets/a-1.js></script>")
    (web / "viewer.html").write_text("<!doctype html><title>a figure</title>")
    (web / "assets" / "a-1.js").write_text("0;" * 4000)
    (web / "secret.txt").write_text("not for the web")
    monkeypatch.setattr(pages, "_bundle", pages.Bundle(web))
    return web


async def test_every_page_is_one_document(database: Any, bundle: Path) -> None:
    async with serving(database, token=TOKEN) as client:
        client.headers.pop("authorization")
        for path in (
            "/",
            "/runs/a%2Fb?wsid=x",
            "/experiments",
            "/experiments/id/7",
            "/experiments/id/7/notes",
            "/reports",
            "/reports/new",
            "/reports/id/a-b",
            "/compare?runs=a,b",
            "/alerts",
            "/compute",
            "/compute/local",
        ):
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


async def test_the_viewer_of_figures_has_no_origin_and_reaches_nothing(database: Any, bundle: Path) -> None:
    async with serving(database, token=TOKEN) as client:
        client.headers.pop("authorization")
        viewer = await client.get("/viewer.html")
        policy = dict(
            rule.strip().split(" ", 1) for rule in viewer.headers["content-security-policy"].split(";")
        )
        assert policy["sandbox"] == "allow-scripts"
        assert policy["default-src"] == policy["base-uri"] == policy["form-action"] == "'none'"
        assert policy["script-src"] == policy["frame-ancestors"] == "'self'"
        assert policy["connect-src"] == policy["img-src"] == "data: blob:"
        # Our code comes to a frame without an origin; nothing else does.
        frame = {"Origin": "null", "Sec-Fetch-Site": "cross-site"}
        asset = await client.get("/assets/a-1.js", headers=frame)
        assert (asset.status_code, asset.headers["access-control-allow-origin"]) == (200, "*")
        assert asset.headers["cross-origin-resource-policy"] == "cross-origin"
        for path in ("/", "/viewer.html", "/favicon.svg", "/api/v1/runs", "/healthz"):
            answer = await client.get(path, headers=frame)
            assert "access-control-allow-origin" not in answer.headers
            assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        (bundle / "viewer.html").unlink()
        os.utime(bundle / "index.html", (1, 1))
        assert (await client.get("/viewer.html")).status_code == 404


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


OWN = {"Sec-Fetch-Site": "same-origin"}


async def begin(client: Any, **proof: str) -> Any:
    return await client.post("/login", json=proof, headers=OWN)


async def test_a_ticket_opens_once(database: Any, bundle: Path) -> None:
    async with serving(database, token=TOKEN) as client:
        ticket = (await client.post("/api/v1/tickets")).json()["ticket"]
        client.headers.pop("authorization")
        assert (await client.post("/api/v1/tickets")).status_code == 401
        assert (await client.get("/api/v1/runs")).status_code == 401
        page = await client.get("/login", params={"ticket": ticket, "next": "/runs/x?tab=files"})
        assert (page.status_code, page.text[:15]) == (200, "<!doctype html>")
        assert page.headers["referrer-policy"] == "no-referrer"
        session = (await begin(client, ticket=ticket)).json()["session"]
        # No cookie, which every port of the host would be sent.
        assert "set-cookie" not in page.headers
        assert not client.cookies
        signed_in = {"Authorization": f"Bearer {session}"}
        assert (await client.get("/api/v1/runs", headers=signed_in)).status_code == 200
        assert (await client.put("/api/v1/experiments/e", headers=signed_in)).status_code == 200
        assert (await begin(client, ticket=ticket)).status_code == 401
        assert (await begin(client, token=session)).status_code == 401
    async with serving(database, token="another-token-of-another-server") as other:
        assert (await other.get("/api/v1/runs", headers=signed_in)).status_code == 401


async def test_a_ticket_for_a_path_is_good_for_one_get_of_it(database: Any, bundle: Path) -> None:
    async with serving(database, token=TOKEN) as client:
        file = "/api/v1/runs/r/files/outputs/a b.txt"
        await client.put(file, content=b"x")
        tickets = [
            (await client.post("/api/v1/tickets", json={"path": file})).json()["ticket"] for _ in range(3)
        ]
        client.headers.pop("authorization")
        with_ticket = [f"{file}?ticket={ticket}" for ticket in tickets]
        assert (await client.get(f"/api/v1/runs?ticket={tickets[0]}")).status_code == 401
        assert (await client.request("POST", with_ticket[0], headers=OWN, content=b"y")).status_code == 401
        assert (await begin(client, ticket=tickets[0])).status_code == 401
        assert [(await client.get(with_ticket[0])).status_code for _ in range(2)] == [200, 401]
        foreign = await client.get(with_ticket[1], headers={"Sec-Fetch-Site": "cross-site"})
        assert foreign.status_code == 403
        await database.pool.execute("update access_tickets set expires_at = now()")
        assert (await client.get(with_ticket[2])).status_code == 401


async def test_sessions_are_listed_ended_and_run_out(database: Any, bundle: Path) -> None:
    async with serving(database, token=TOKEN) as client:
        owner = {"Authorization": f"Bearer {TOKEN}"}
        made = (await client.post("/api/v1/tokens", json={"name": "n", "role": "read"})).json()["token"]
        client.headers.pop("authorization")
        sessions = [(await begin(client, token=token)).json()["session"] for token in (TOKEN, made, made)]
        for session in sessions:
            assert session not in str(await database.pool.fetch("select s::text from access_sessions s"))
        headers = [{"Authorization": f"Bearer {session}"} for session in sessions]
        listed = (await client.get("/api/v1/sessions", headers=owner)).json()["sessions"]
        assert sorted(session["token"] for session in listed) == ["n", "n", "the server's own token"]
        own = (await client.get("/api/v1/sessions", headers=headers[1])).json()["sessions"]
        assert sorted(session["current"] for session in own) == [False, True]
        theirs = next(session["id"] for session in listed if session["token"] != "n")
        assert (await client.delete(f"/api/v1/sessions/{theirs}", headers=headers[1])).status_code == 404
        other = next(session["id"] for session in own if not session["current"])
        assert (await client.delete(f"/api/v1/sessions/{other}", headers=headers[1])).status_code == 204
        assert (await client.get("/api/v1/runs", headers=headers[2])).status_code == 401
        assert (await client.delete("/api/v1/sessions/current", headers=headers[1])).status_code == 204
        assert (await client.get("/api/v1/runs", headers=headers[1])).status_code == 401
        assert (await client.get("/api/v1/runs", headers=headers[0])).status_code == 200
        await database.pool.execute("update access_sessions set expires_at = now()")
        assert (await client.get("/api/v1/sessions", headers=owner)).json()["sessions"] == []
    async with serving(database, token=TOKEN) as client:
        assert (await client.get("/api/v1/runs", headers=headers[0])).status_code == 401


async def test_nothing_is_asked_or_done_for_pages_of_other_origins(database: Any, bundle: Path) -> None:
    async with serving(database, token=TOKEN) as client:
        await client.put("/api/v1/runs/r/files/outputs/a.txt", content=b"x")
        query = {"query": "select 1 as one"}
        for headers, status in (
            ({"Sec-Fetch-Site": "same-site"}, 403),
            ({"Sec-Fetch-Site": "cross-site"}, 403),
            ({"Origin": "http://127.0.0.1:1"}, 403),
            ({"Origin": "null"}, 403),
            ({"Sec-Fetch-Site": "same-origin"}, 200),
            ({"Sec-Fetch-Site": "none"}, 200),
            ({"Origin": str(client.base_url).rstrip("/")}, 200),
            ({}, 200),
        ):
            for method, path, body in (
                ("POST", "/api/v1/sql", query),
                ("GET", "/api/v1/runs", None),
                ("GET", "/api/v1/runs/r/files/outputs/a.txt", None),
                ("GET", "/api/v1/export/runs", None),
                ("GET", "/api/v1/events", None),
                ("GET", "/api/v1/openapi.json", None),
            ):
                async with client.stream(method, path, json=body, headers=headers) as answer:
                    assert (path, headers, answer.status_code) == (path, headers, status)
                    assert answer.headers["x-content-type-options"] == "nosniff"
                    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
            assert (await client.get("/runs/r", headers=headers)).status_code == 200  # a link to a page
        for path in ("/", "/nothing", "/healthz", "/api/v1/runs#x", "/login"):
            assert (await client.get(path)).headers["cross-origin-resource-policy"] == "same-origin"


async def test_the_token_opens_too(database: Any, bundle: Path) -> None:
    async with serving(database, token=TOKEN) as client:
        client.headers.pop("authorization")
        assert (await begin(client, token="wrong")).status_code == 401
        assert (await client.post("/login", json={"token": TOKEN})).status_code == 403
        assert (await client.post("/login", content=b"x", headers=OWN)).status_code == 415
        assert (await begin(client, token=TOKEN, ticket="x")).status_code == 400
        session = (await begin(client, token=TOKEN)).json()["session"]
        assert (
            await client.get("/api/v1/runs", headers={"Authorization": f"Bearer {session}"})
        ).status_code == 200


@pytest.mark.parametrize(
    "where",
    [
        *(
            "//evil.example",
            "https://evil.example",
            "http://evil.example/",
            "/\\evil.example",
            "/api/v1/runs",
            "\t//x",
        ),
        *(
            "/\t/evil.example",
            "/%0d%0aX: y",
            "/..//evil.example",
            "/runs/\\..",
            "javascript:alert(1)",
            "/runs/\u00e9",
            "",
        ),
    ],
)
async def test_login_leads_to_pages_of_this_server_only(database: Any, bundle: Path, where: str) -> None:
    for token in (TOKEN, None):
        async with serving(database, token=token) as client:
            answer = await client.get("/login", params={"next": where})
            assert (answer.status_code, answer.headers["location"]) == (303, "/")
            good = await client.get("/login", params={"next": "/runs/x?wsid=/a/b#c"})
            assert good.headers["location"] == "/runs/x?wsid=/a/b#c"


async def test_a_ticket_another_page_brings_is_asked_about(database: Any, bundle: Path) -> None:
    """Else what is done here would be done with the token of whoever made that page."""
    async with serving(database, token=TOKEN) as client:
        made = (await client.post("/api/v1/tokens", json={"name": "n", "role": "write"})).json()["token"]
        theirs = (await client.post("/api/v1/tickets", headers={"Authorization": f"Bearer {made}"})).json()[
            "ticket"
        ]
        own = (await client.post("/api/v1/tickets")).json()["ticket"]
        for ticket, site, status in (
            (theirs, "cross-site", 303),
            (theirs, "same-site", 303),
            (theirs, "none", 200),
            (own, "cross-site", 200),  # whoever has the server's own token may do everything anyway
        ):
            headers = {"Sec-Fetch-Site": site}
            asked = {"ticket": ticket, "next": "/runs/r?x=1&y"}
            answer = await client.get("/login", params=asked, headers=headers)
            assert (site, answer.status_code) == (site, status)
            if status == 303:
                assert "ask=1" in answer.headers["location"]
                assert "next=%2Fruns%2Fr%3Fx%3D1%26y" in answer.headers["location"]
                page = await client.get(answer.headers["location"], headers=headers)
                assert page.status_code == 200


async def test_lists_for_the_pages(database: Any, bundle: Path) -> None:
    key = await database.add_run("r")
    await database.add_summary(key, "loss", count=3)
    async with serving(database) as client:
        assert (await client.get("/api/v1/metric-names?q=LO&experiment=e&run=r")).json()["names"] == [
            {"name": "loss", "runs": 1, "text": False, "points": 3}
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
        [(_, counts)] = (await client.get("/api/v1/experiment-counts")).json()["experiments"].items()
        assert counts["statuses"] == {"Running": 1, "Completed": 1, "Failed": 1}
        targets = (await client.get("/api/v1/target-counts")).json()["targets"]
        assert targets["gpu"]["statuses"] == {"Running": 1, "Completed": 1}
        many = "&".join(f"run={n}" for n in range(1001))
        assert (await client.get(f"/api/v1/child-counts?{many}")).status_code == 400
