"""Signing in where the connection does not say whose browser it is; and what pages elsewhere get of it, in Chromium."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.service.conftest import Shell

pytestmark = pytest.mark.attack

TRAINING = """
from runstream import Experiment, Workspace
run = Experiment(Workspace.from_config(), "e").start_logging(outputs=False, snapshot_directory=None, display_name="run-0")
run.log("loss", 1.0)
import io
run.upload_file("outputs/a.txt", io.BytesIO(b"of the owner"))
run.complete()
print(run.id, run.get_portal_url())
"""


@pytest.fixture
def service(tmp_path: Any, chromium: str) -> Iterator[tuple[Shell, str, str, str]]:
    """A service that wants sessions: its shell, its address, a run, and a link to that run."""
    shell = Shell(tmp_path / "home")
    shell.variables["RUNSTREAM_OWNER_ACCESS"] = "0"
    try:
        shell.run("up")
        url = json.loads((shell.root / "service.json").read_text())["url"]
        run, link = shell.python(TRAINING).stdout.split()
        yield shell, url, run, link
    finally:
        shell.close()


@pytest.fixture
def context(browser: Any) -> Iterator[Any]:
    made = browser.new_context()
    made.set_default_timeout(60_000)
    yield made
    made.close()


def test_with_a_link_or_the_token_and_out_again(service: Any, context: Any, tmp_path: Any) -> None:
    shell, url, run, link = service
    page = context.new_page()
    page.goto(url)
    page.get_by_text("runstream open").wait_for()
    page.get_by_label("Token").fill("wrong")
    page.get_by_role("button", name="Open").click()
    page.get_by_text("not a token of this server").wait_for()
    page.get_by_label("Token").fill((shell.root / "token").read_text())
    page.get_by_role("button", name="Open").click()
    page.get_by_role("link", name="run-0").wait_for()
    page.get_by_text("live", exact=True).wait_for()  # the event stream, which is asked for without headers
    page.goto(f"{url}/runs/{run}?tab=files")
    page.get_by_role("button", name="a.txt").or_(page.get_by_role("link", name="a.txt")).first.click()
    with page.expect_download() as downloaded:
        page.get_by_role("link", name="Download", exact=True).click()
    assert downloaded.value.path().read_text() == "of the owner"
    assert context.cookies() == []
    page.keyboard.press("Control+k")
    page.get_by_text("Sign this browser out").click()
    page.get_by_text("runstream open").wait_for()
    assert shell.json("token", "sessions") == []
    page.goto(link)
    page.wait_for_url(f"{url}/runs/{run}**")
    page.get_by_role("heading", name="run-0").wait_for()
    assert len(shell.json("token", "sessions")) == 1


class _Elsewhere(BaseHTTPRequestHandler):
    """Another port of this machine: it keeps what browsers send it."""

    seen: list[str] = []

    def do_GET(self) -> None:
        self.seen.append(f"{self.path} {dict(self.headers)}")
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>elsewhere</title>")

    def log_message(self, *_: Any) -> None:
        pass


ASK = """async ([url, run]) => {
  const got = {};
  const file = `${url}/api/v1/runs/${run}/files/outputs/a.txt`;
  for (const [name, path, init] of [
    ["list", `${url}/api/v1/runs`, {}], ["file", file, {}], ["blind", `${url}/api/v1/runs`, { mode: "no-cors" }],
    ["with", `${url}/api/v1/runs`, { credentials: "include" }],
    ["change", `${url}/api/v1/runs/cancel`, { method: "POST", mode: "no-cors", body: "{}" }],
    ["append", `${file}x?append_at=0`, { method: "POST", mode: "no-cors", body: "x" }],
    ["token", `${url}/api/v1/tokens`, { method: "POST", headers: { "Content-Type": "application/json" }, body: "{}" }],
  ]) {
    try { const answer = await fetch(path, init); got[name] = answer.type + (await answer.text()).slice(0, 80); }
    catch (error) { got[name] = "refused"; }
  }
  for (const tag of ["img", "script", "iframe"]) {
    got[tag] = await new Promise((resolve) => {
      const one = document.createElement(tag);
      one.onload = () => resolve(tag === "iframe" ? (one.contentDocument ? "read" : "closed") : "loaded");
      one.onerror = () => resolve("refused");
      one.src = `${url}/api/v1/runs`;
      document.body.append(one);
    });
  }
  return got;
}"""


@pytest.mark.parametrize("signed_in", ["by a session", "by the connection"])
def test_a_page_of_another_port_gets_nothing(
    signed_in: str, context: Any, tmp_path: Any, chromium: str
) -> None:
    shell = Shell(tmp_path / "home")
    if signed_in == "by a session":
        shell.variables["RUNSTREAM_OWNER_ACCESS"] = "0"
    other = ThreadingHTTPServer(("127.0.0.1", 0), _Elsewhere)
    threading.Thread(target=other.serve_forever, daemon=True).start()
    _Elsewhere.seen.clear()
    try:
        shell.run("up")
        url = json.loads((shell.root / "service.json").read_text())["url"]
        run, link = shell.python(TRAINING).stdout.split()
        page = context.new_page()
        page.goto(link)
        page.get_by_role("heading", name="run-0").wait_for()
        secret = page.evaluate("localStorage.getItem('runstream-session')")
        assert (secret is None) == (signed_in == "by the connection")
        for name in ("127.0.0.1", "localhost"):
            page.goto(f"http://{name}:{other.server_port}/")
            assert page.evaluate("localStorage.length") == 0
            got = page.evaluate(ASK, [url, run])
            for asked in ("blind", "change", "append"):
                assert got.pop(asked) in (
                    "opaque",
                    "refused",
                )  # sent, and answered with nothing that can be read
            assert set(got.values()) <= {"refused", "closed"}, got
        assert _Elsewhere.seen
        assert not any(
            "runstream" in request.lower() or (secret or "rss_") in request for request in _Elsewhere.seen
        )
        files = page.request.get(
            f"{url}/api/v1/runs/{run}/files",
            headers={"Authorization": f"Bearer {(shell.root / 'token').read_text().strip()}"},
        ).json()["files"]
        assert [file["path"] for file in files] == ["outputs/a.txt"]
    finally:
        other.shutdown()
        other.server_close()
        shell.close()
