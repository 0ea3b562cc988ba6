"""What sources have written, as events in the order in which they have to be stored: before a run's end all it counts."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgpack

from runstream_schemas.wire.events import Event, MetricsEvent, summarize
from runstream_schemas.wire.payload import encode_points
from runstream_schemas.wire.points import build_points

from ..reading.encoder import Encoded, encode_slice, encode_slices
from ..reading.slices import Slice
from .collected import Collected, CollectedSource
from .sources import Sources

logger = logging.getLogger("runstream.collector")

ENDING_KINDS = frozenset({"complete", "fail", "cancel"})


class SourceEvents:
    """Hands out the events of sources.

    Args:
        dead_letters: directory for records that cannot be sent.
    """

    def __init__(self, sources: Sources, dead_letters: Path) -> None:
        self._sources = sources
        self._dead_letters = dead_letters

    def next(self, source: CollectedSource) -> Iterator[Collected]:
        """One slice of a source; before an ending status, everything the run has written elsewhere on this node."""
        part = source.reader.read(dead=source.dead)
        if part is None:
            return
        for encoded in encode_slice(source.reader, part, source.positions):
            yield from self._of_slice(source, encoded)

    def of_many(self, slices: Sequence[tuple[CollectedSource, Slice]]) -> Iterator[Collected]:
        """What was read of sources that are the only ones of their runs: short ones that are alike are encoded together."""
        parts = [(source.reader, part, source.positions) for source, part in slices]
        for (source, _), encoded in zip(slices, encode_slices(parts), strict=True):
            for some in encoded:
                yield from self._of_slice(source, some)

    def rest(self, source: CollectedSource) -> Iterator[Collected]:
        """All slices of a source."""
        while items := list(self.next(source)):
            yield from items

    def of_others(self, source: CollectedSource) -> Iterator[Collected]:
        """What the other sources of a run have, before its end is told."""
        for other in self._sources.others(source):
            while other.reader.has_more() and (items := list(self.next(other))):
                yield from items

    def drops(self, source: CollectedSource) -> Iterator[Collected]:
        """Drops are told with the next points; when there are none for a second, with an event that carries only them."""
        reader = source.reader
        if reader.has_more():
            return
        empty = build_points([])
        source.dropped = reader.dropped
        event = MetricsEvent(
            source.run_id,
            reader.header.source,
            source.positions.metrics,
            0,
            0,
            [],
            summarize(empty),
            encode_points(empty),
            reader.dropped,
        )
        yield source.hand_out([event])
        why = reader.drop_reason or "records were damaged"
        yield self._warning(source, f"{reader.dropped} points could not be kept: {why}")

    def _of_slice(self, source: CollectedSource, encoded: Encoded) -> Iterator[Collected]:
        events: list[Event] = []
        if encoded.metrics is not None:
            events.append(encoded.metrics)
            source.has_points = True
            source.dropped = encoded.metrics.dropped
            times = encoded.metrics.summary.last_time
            if len(times):
                source.last_point_us = int(times.max())
        if encoded.tags is not None:
            events.append(encoded.tags)
        if encoded.status is not None:
            endings = [op for op in encoded.status.ops if op.kind in ENDING_KINDS]
            if endings:
                if events and self._sources.others(source):
                    # First what this source logged: the others may have begun later. Noted with the end, or read again.
                    yield source.hand_out(events)
                    events = []
                yield from self.of_others(source)
                for op in endings:
                    op.data.update(self._sources.ends(source.run_id))
            events.append(encoded.status)
        if encoded.left_out is not None:
            yield self._leave_out(source, encoded)
        yield source.hand_out(events, encoded.positions)

    def _leave_out(self, source: CollectedSource, encoded: Encoded) -> Collected:
        """Keep a record that cannot be sent, and say so on its run."""
        assert encoded.left_out is not None
        slot, record, reason = encoded.left_out
        letter = {
            "reason": reason,
            "topic": "spool",
            "run": source.run_id,
            "end": encoded.positions.metrics,
            "value": record,
        }
        path = self._dead_letters / f"spool-{source.reader.header.source.hex()}-{slot}.msgpack"
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.write_bytes(msgpack.packb(letter))
            kept = f"it is kept in {path}"
        except OSError as error:
            kept = f"it could not be kept ({error})"
        logger.error("runstream: run %s: a record cannot be sent: %s; %s", source.run_id, reason, kept)
        message = f"A record of {len(record):,} bytes cannot be sent and is left out: {reason:.300}; {kept}."
        return self._warning(source, message)

    def _warning(self, source: CollectedSource, message: str) -> Collected:
        return source.report([("warning", {"message": message})], self._sources.latest_step(source))
