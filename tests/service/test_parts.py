"""Parts that run side by side: one that crashes comes back, one that cannot continue ends them all."""

from __future__ import annotations

import asyncio
import logging

import pytest

from runstream_schemas.errors import DatabaseError, ServiceError
from runstream_service import supervision
from runstream_service.supervision import run_parts


async def until(stop: asyncio.Event) -> None:
    await stop.wait()


async def test_crashed_part_is_started_again_while_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(supervision, "FIRST_PAUSE", 0.01)
    stop, starts = asyncio.Event(), {"steady": 0, "shaky": 0}

    async def steady() -> None:
        starts["steady"] += 1
        await until(stop)

    async def shaky() -> None:
        starts["shaky"] += 1
        if starts["shaky"] == 4:
            stop.set()
        elif starts["shaky"] == 2:
            return
        raise OSError("the cable")

    with caplog.at_level(logging.ERROR):
        await asyncio.wait_for(run_parts({"steady": steady, "shaky": shaky}, stop), 10)
    assert starts == {"steady": 1, "shaky": 4}
    said = [record.getMessage() for record in caplog.records]
    assert said == [
        "shaky crashed (OSError: the cable); starting it again in 0.0 s",
        "shaky ended by itself; starting it again in 0.0 s",
        "shaky crashed (OSError: the cable); starting it again in 0.0 s",
    ]


@pytest.mark.parametrize(
    ("name", "error"), [("consumer", DatabaseError("too new")), ("server", ServiceError("port"))]
)
async def test_what_no_restart_can_mend_ends_them_all(name: str, error: Exception) -> None:
    stop = asyncio.Event()

    async def hopeless() -> None:
        raise error

    with pytest.raises(type(error)):
        await asyncio.wait_for(run_parts({"other": lambda: until(stop), name: hopeless}, stop), 10)
    assert stop.is_set()


async def test_part_that_does_not_end_is_cancelled(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(supervision, "STOP_SECONDS", 0.1)
    stop = asyncio.Event()
    stop_soon = asyncio.get_running_loop().call_later(0.05, stop.set)
    with caplog.at_level(logging.WARNING):
        # A part that looks away: it never asks whether to stop.
        await asyncio.wait_for(run_parts({"deaf": lambda: asyncio.sleep(3600)}, stop), 10)
    stop_soon.cancel()
    assert "deaf did not end within" in caplog.text
