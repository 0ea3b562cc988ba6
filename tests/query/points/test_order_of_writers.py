"""Real spool writers, whose clocks are set while they log: what compaction finds is what the summaries said."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import pytest
from tests.producers.reading import drain, settings_for

from runstream.spool.collecting.collector import Collector
from runstream.spool.writing import writer as spool
from runstream_consumers.compaction.role import compact_once
from runstream_consumers.sources.source import Fetched, Partition
from runstream_consumers.storing.writer import Writer


async def test_many_series_logged_at_once_need_no_correction(
    database: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """`log_metrics` of thousands of series: batches end in the middle of a call, and the clock goes back between calls."""
    settings = settings_for(tmp_path / "spool")
    await database.add_run("run")
    await database.pool.execute("update runs set settled_at = now()")
    storing, at = Writer(database.pool, database.settings), 0
    clock = [1_790_000_000.0]
    collector = Collector(settings)
    monkeypatch.setattr(time, "time", lambda: clock[0])
    for process in range(2):  # started again with a clock that is an hour behind
        clock[0] -= 3600.0 * process
        writer = spool.RunWriter(settings, "run")
        for step in range(4):
            clock[0] += (7.0, -3.0)[step % 2]
            writer.log_metrics({f"layer/{i}": step + i / 8 for i in range(6000)})
            if step % 2:
                events = [event for event in drain(collector) if hasattr(event, "summary")]
                assert len(events) > 1
                await storing.store(
                    [Fetched(Partition("cluster", "topic", "metrics", 0), at, at + len(events), events)]
                )
                at += len(events)
        writer.close()
    assert await database.pool.fetchval("select count(*) from summaries") == 6000
    with caplog.at_level(logging.WARNING):
        report = await compact_once(database.pool, database.store, database.settings, now=True)
    assert (report.points, report.summaries_corrected) == (2 * 4 * 6000, 0)
    assert "summaries" not in caplog.text
    (series,) = (await database.query.vectors(["run"], names=["layer/0"])).series
    assert series.floats().tolist() == [0.0, 1.0, 2.0, 3.0] * 2
