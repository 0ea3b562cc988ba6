"""Rewinds leave the spool in their places among the points, however many there are."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.producers.reading import drain, settings_for

from runstream.spool import segment
from runstream.spool.collecting.collector import Collector
from runstream.spool.writing import source_writer
from runstream.spool.writing.writer import RunWriter
from runstream_schemas.wire.event_reading import decode_event
from runstream_schemas.wire.events import MetricsEvent, encode_event
from runstream_schemas.wire.payload_reading import decode_points

REWINDS = 3000


def test_thousands_of_rewinds_leave_the_spool_in_their_places(directory: Path) -> None:
    """Cut apart one within the other, a thousand of them were too deep for Python, and nothing left the node any more."""
    writer = RunWriter(settings_for(directory), "run")
    writer.log("loss", 0.0)
    for i in range(REWINDS):
        writer.rewind(0)
        if i % 3 == 0:
            writer.log("loss", float(i))
    writer.close()
    events = [decode_event(encode_event(event)) for event in drain(Collector(settings_for(directory)))]
    metrics = [event for event in events if isinstance(event, MetricsEvent)]
    rewinds = [event.rewind for event in metrics if event.rewind is not None]
    assert len(rewinds) == REWINDS
    assert {rewind.step for rewind in rewinds} == {0}
    assert [rewind.seq for rewind in rewinds] == sorted({rewind.seq for rewind in rewinds})
    values = [(int(seq), event) for event in metrics for seq in decode_points(event.payload).seqs]
    assert len(values) == 1 + REWINDS // 3
    for seq, event in values:
        assert event.rewind is None or event.rewind.seq < seq
    ends = [event.first + event.count for event in metrics]
    assert [event.first for event in metrics[1:]] == ends[:-1], "no slot twice, none left out"


def test_a_series_without_room_is_numbered_on_once_there_is_some(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fork that began on a full disk raised KeyError."""
    monkeypatch.setattr(source_writer, "_RETRY_SECONDS", 0.0)
    writer = RunWriter(settings_for(directory), "fork")

    def no_room(*_: Any) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(segment, "create_segment", no_room)
        writer.log_array("loss", np.arange(5), np.arange(5))
        writer.number_on("loss", 5)
    for value in (1.0, 2.0):
        writer.log("loss", value)
    metrics = [
        event for event in drain(Collector(settings_for(directory))) if isinstance(event, MetricsEvent)
    ]
    points = [point for event in metrics for point in decode_points(event.payload).steps.tolist()]
    assert points == [5, 6]
    assert metrics[-1].dropped == 5
