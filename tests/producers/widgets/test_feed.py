"""What the widget is fed with: pushed changes, and answers to what the page asks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from runstream.core import Experiment, Run
from runstream.widgets import frontend, run_details
from runstream.widgets.feed import Feed, refresh_seconds
from runstream.widgets.model import reply


@pytest.fixture
def run(experiment: Experiment) -> Run:
    run = experiment.start_logging(outputs=False, snapshot_directory=None)
    assert run.get_status() == "Running"  # asked for, and so stored
    return run


def feed_of(run: Run) -> tuple[Feed, dict[str, Any]]:
    pushed: dict[str, Any] = {}
    return Feed(run._client, run.id, pushed.__setitem__), pushed


def test_everything_that_is_shown_is_pushed(run: Run, tmp_path: Path) -> None:
    for step in range(5):
        run.log("loss", step)
    run.log("note", "text")
    (tmp_path / "log").write_text("a line\n")
    run.upload_file("logs/train.txt", str(tmp_path / "log"))
    child = run.child_run()
    child.log("loss", 1.0)
    child.complete()
    run.complete()
    assert run.get_metrics()["loss"] == [0, 1, 2, 3, 4]  # read, and so stored
    feed, pushed = feed_of(run)
    points, _ = feed.refresh()
    assert points == len(pushed["charts"]) > 0
    assert pushed["run"]["status"] == "Completed"
    assert [series["name"] for series in pushed["series"]] == ["loss", "note"]
    assert b'"name":"loss"' in pushed["charts"]
    assert pushed["logs"]["chosen"] == "logs/train.txt"
    assert pushed["logs"]["text"] == "a line\n"
    assert pushed["logs"]["note"] == "Run is completed."
    assert [run["run_id"] for run in pushed["children"]["runs"]] == [child.id]
    assert pushed["page"].endswith(f"/runs/{run.id}")


def test_the_page_asks_for_parts_of_the_api_and_only_reads(run: Run) -> None:
    feed, _ = feed_of(run)
    answer, body = reply(feed, {"what": "get", "path": f"/api/v1/runs/{run.id}", "params": []})
    assert answer["status"] == 200
    assert json.loads(body)["run_id"] == run.id
    answer, body = reply(feed, {"what": "get", "path": "/api/v1/runs/nosuchrun", "params": []})
    assert answer["status"] == 404
    assert "nosuchrun" in json.loads(body)["detail"]
    for path in ("/metrics", "http://elsewhere/", "/api/v1/../../metrics"):
        assert reply(feed, {"what": "get", "path": path})[0]["status"] == 400
    answer, body = reply(feed, {"what": "page"})
    # Where the service knows its owner by the connection the link needs no ticket.
    assert urlsplit(body.decode()).path == f"/runs/{run.id}"
    run.complete()


def test_a_run_is_canceled_from_the_widget(run: Run) -> None:
    feed, _ = feed_of(run)
    assert reply(feed, {"what": "cancel"})[0]["status"] == 200
    assert run.get_status() in ("CancelRequested", "Canceled")
    run.cancel()


def test_a_run_nobody_knows_yet_is_waited_for(run: Run) -> None:
    feed = Feed(run._client, "nosuchrun", lambda name, value: None)
    with pytest.raises(Exception, match="nosuchrun"):
        feed.refresh()
    run.complete()


@pytest.mark.parametrize(("text", "seconds"), [("2.5", 2.5), ("", None), ("soon", None), ("-1", None)])
def test_the_time_between_updates_can_be_set(
    text: str, seconds: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZUREML_OVERRIDE_ALL_WIDGET_REFRESH_TIME", text)
    assert refresh_seconds() == seconds


def test_without_anywidget_there_is_a_table_that_says_what_to_install(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[dict[str, str]] = []
    monkeypatch.setattr(frontend, "find_spec", lambda name: None)
    monkeypatch.setattr(run_details, "surroundings", lambda: "jupyter")
    monkeypatch.setattr("IPython.display.display", lambda data, raw: shown.append(data))
    run_details.RunDetails(run).show()
    [data] = shown
    assert "pip install &#x27;runstream[notebook]&#x27;" in data["text/html"]
    assert f'href="{run.get_portal_url()}"' in data["text/html"]
    run.complete()
