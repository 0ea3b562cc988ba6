"""Reads a spool the way the agent does, for tests that compare what was logged with what comes out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from runstream.spool.collecting.collector import Collector
from runstream_schemas.settings import Settings
from runstream_schemas.wire.events import Event, MetricsEvent, StatusEvent, TagsEvent
from runstream_schemas.wire.payload_reading import decode_points


def settings_for(spool: Path, **more: Any) -> Settings:
    """Settings of a spool of its own."""
    return Settings.load({}, spool=str(spool), home=str(spool.parent / "home"), **more)


def drain(collector: Collector, rounds: int = 200) -> list[Event]:
    """Everything that lies in the spool, told stored."""
    events: list[Event] = []
    listed = False
    for _ in range(rounds):
        items = collector.collect(1 << 20, now=True)
        for item in items:
            events.extend(item.events)
            collector.stored(item)
        if items or collector.busy:
            listed = False
        elif listed:
            break
        else:  # directories are listed only so often: what appeared since the last time is there as well
            listed = True
            collector._discovery.look_again()
    collector.tidy()
    return events


def logged(events: list[Event]) -> dict[tuple[str, str, str], list[Any]]:
    """(run, series, column) to values in order of logging, sources one after the other."""
    recorded: dict[tuple[str, str, str], list[tuple[bytes, int, int, Any]]] = {}
    for event in events:
        if not isinstance(event, MetricsEvent):
            continue
        points = decode_points(event.payload)
        values = [value for i in range(len(points.series)) for value in points.python_values(i)]
        for at, position in enumerate(points.permutation().tolist()):
            key, _ = points.series[int(points.order[position])]
            entry = (event.source, int(points.seqs[position]), position, values[at])
            recorded.setdefault((event.run_id, key.name, key.column), []).append(entry)
    return {name: [e[3] for e in sorted(entries, key=lambda e: e[:3])] for name, entries in recorded.items()}


def steps_of_life(events: list[Event]) -> list[tuple[str, str, dict[str, Any]]]:
    """(run, kind, data) of every status operation."""
    return [(e.run_id, op.kind, op.data) for e in events if isinstance(e, StatusEvent) for op in e.ops]


def tags_of(events: list[Event]) -> list[tuple[str, str, str | None]]:
    """(operation, key, value) of every operation on tags."""
    return [(op.op, op.key, op.value) for e in events if isinstance(e, TagsEvent) for op in e.ops]


def values_of(directory: Path, name: str, column: str = "") -> list[Any]:
    recorded = logged(drain(Collector(settings_for(directory))))
    return [
        value
        for (_, series, col), values in recorded.items()
        if (series, col) == (name, column)
        for value in values
    ]
