"""Nothing a run can be called is ever more than text: not to the page, not to the database."""

from __future__ import annotations

import urllib.parse
from collections.abc import Callable
from typing import Any

import pytest

from .conftest import Site

pytestmark = pytest.mark.attack

Open = Callable[..., Any]

HOSTILE = (
    '<img src=x onerror="window.hit=1">\'"; drop table runs; --{{7*7}}</script><script>window.hit=1</script>'
)

TRAINING = f"""import os, tempfile
from runstream.core import Experiment, Workspace

name = {HOSTILE!r}
run = Experiment(Workspace.from_config(), "hostile").start_logging(
    outputs=None, snapshot_directory=None, display_name=name, tags={{name: name}}
)
run.add_properties({{name: name}})
for step in range(3):
    run.log(name, step)
run.log("text", name)
run.log_row(name, **{{name: name}})
with tempfile.NamedTemporaryFile("w", suffix=".html", delete=False) as file:
    file.write("<script>window.hit=1</script>")
run.upload_file("outputs/" + "<img src=x onerror=window.hit=1>.html", file.name)
os.unlink(file.name)
run.fail(error_details=name, error_code=name)
print(run.id)
"""


def test_hostile_names_are_shown_as_they_are(open_page: Open, site: Site) -> None:
    run_id = site.shell.python(TRAINING).stdout.strip()
    site.shell.wait_until(lambda: site.is_settled(run_id), 60, "the run")
    record = site.api(f"/api/v1/runs/{run_id}")
    assert record["tags"] == {HOSTILE: HOSTILE}
    assert record["display_name"] == HOSTILE

    page = open_page("/")
    page.locator(f'a[href="/runs/{run_id}"]').wait_for()
    assert page.evaluate("window.hit") is None
    page = open_page(f"/runs/{run_id}")
    page.get_by_role("heading", name="onerror").first.wait_for()
    for tab in page.get_by_role("tab").all():
        tab.click()
        assert page.evaluate("window.hit") is None
    page = open_page(f"/compare?runs={run_id},{site.runs[0]}")
    page.get_by_text("onerror").filter(visible=True).first.wait_for()
    assert page.evaluate("window.hit") is None


def test_an_uploaded_page_is_no_page_of_ours(site: Site) -> None:
    import http.client

    run_id = site.shell.python(TRAINING).stdout.strip()
    host = urllib.parse.urlsplit(site.url)
    connection = http.client.HTTPConnection(host.hostname or "", host.port or 0, timeout=20)
    token = (site.shell.root / "token").read_text().strip()
    path = urllib.parse.quote("outputs/<img src=x onerror=window.hit=1>.html")
    connection.request(
        "GET", f"/api/v1/runs/{run_id}/files/{path}", headers={"Authorization": f"Bearer {token}"}
    )
    answer = connection.getresponse()
    assert answer.read() == b"<script>window.hit=1</script>"
    assert answer.headers["Content-Disposition"] == "attachment"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Security-Policy"] == "sandbox"
    connection.close()
