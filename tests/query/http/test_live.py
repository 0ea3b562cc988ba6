"""Live changes: merged, resumed where a browser was, and told to start anew when that cannot be."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from runstream_query.http.endpoints import live
from runstream_query.http.endpoints.live import merge_changes
from runstream_query.points import watermark
from runstream_query.points.watermark import Notifications
from runstream_schemas.settings import Settings


def notice(topic: str, *runs: str) -> str:
    return json.dumps({"topic": topic, "runs": list(runs)})


def test_merged_by_topic() -> None:
    payloads = [notice("metrics", "a", "b"), notice("metrics", "b", "c"), notice("status", "a")]
    assert merge_changes(payloads) == {"metrics": ["a", "b", "c"], "status": ["a"]}
    assert merge_changes(payloads, {"c"}) == {"metrics": ["c"]}


def test_too_many_to_name_concerns_everyone() -> None:
    payloads = [notice("metrics", "a"), '{"topic": "metrics", "runs": null}', notice("metrics", "b")]
    assert merge_changes(payloads) == {"metrics": None}
    assert merge_changes(payloads, {"z"}) == {"metrics": None}


@pytest.fixture
async def notifications() -> Notifications:
    return Notifications(Settings())


def hear(notifications: Notifications, payload: str) -> None:
    notifications._notified(None, 0, "", payload)


async def _good() -> bool:
    return True


async def follow(notifications: Notifications, after: str = "") -> AsyncIterator[tuple[str, str, Any]]:
    async for text in live._follow(notifications, after, (), None, _good):
        fields = dict(
            line.split(": ", 1) for line in text.decode().splitlines() if ": " in line and line[0] != ":"
        )
        if "event" in fields:
            yield fields["id"], fields["event"], json.loads(fields["data"])


async def test_nothing_is_missed_between_two_looks(notifications: Notifications) -> None:
    events = follow(notifications)
    assert (await anext(events))[1] == "hello"
    for run in "abc":
        hear(notifications, notice("metrics", run))
    assert (await anext(events))[1:] == ("change", {"metrics": ["a", "b", "c"]})


async def test_a_browser_that_comes_back_gets_what_it_missed(notifications: Notifications) -> None:
    events = follow(notifications)
    here, _, _ = await anext(events)
    hear(notifications, notice("status", "a"))
    again = follow(notifications, here)
    assert (await anext(again))[1:] == ("change", {"status": ["a"]})


async def test_reset_when_what_was_missed_is_unknown(
    notifications: Notifications, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (await anext(follow(notifications, "otherserver-5")))[1] == "reset"
    hear(notifications, notice("metrics", "a"))
    notifications._record(None)  # the listening connection was lost meanwhile
    assert (await anext(follow(notifications, f"{notifications.epoch}-0")))[1] == "reset"
    for _ in range(watermark.HISTORY):
        hear(notifications, notice("metrics", "b"))
    assert notifications.since(1) is None
    assert (await anext(follow(notifications, f"{notifications.epoch}-1")))[1] == "reset"


async def test_a_quiet_stream_gives_signs_of_life(
    notifications: Notifications, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "HEARTBEAT", 0.01)
    texts = live._follow(notifications, "", (), None, _good)
    assert [await anext(texts) for _ in range(3)][2].startswith(b":")
