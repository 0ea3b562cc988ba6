"""The way of a point, step 3 of 10: reading the segments of every source on this node, alive or dead, in order, once.

A reader never blocks a writer and is never seen by it, but for the positions it writes into the segment's header and for
the segments it gives back. It may be killed at any instant: what was not noted as stored is read again.
"""

from __future__ import annotations

import logging
import os
import time
import zlib
from bisect import bisect_left
from concurrent.futures import Executor
from functools import lru_cache
from pathlib import Path

import msgpack
import numpy as np
from numpy.typing import NDArray

from runstream_schemas.errors import SpoolError
from runstream_schemas.series import SeriesKey

from .. import segment as seg
from .freeing import Freeing
from .positions import Positions
from .read_segment import ReadSegment
from .series_names import load_names
from .slices import Frame, Slice

logger = logging.getLogger("runstream.spool")

HOLE_GRACE = 30.0
"""Seconds a taken but unwritten slot holds up what was written after it while its process lives and is not stopped. A Ctrl-C
at the wrong instruction leaves one behind; a thread that merely waits for the GIL that long while others write does not
exist."""
_MOST_A_LOOK = 1.0
"""Seconds of it that one look counts at most: this process may have been stopped itself."""

_LOOK_AHEAD = 256
_END = 1 << 62


class SourceReader:
    """Reads one source's directory.

    Attributes:
        header: the header of the first segment found.
        names: series by the number the writer gave them.
        position: seq of the next slot to read.
        stored: how far its events are stored.
        skipped: slots that could not be read (damaged), or whose series is not known.
        reported: slot after the last one a reader used to report for the source.
    """

    def __init__(self, directory: Path, tidier: Executor | None = None) -> None:
        """Open a source.

        Args:
            tidier: does what the disk may take its time for (deleting read segments); None: done at once.

        Raises:
            SpoolError: no segment can be used.
            FileNotFoundError: there is no segment (yet).
        """
        self.directory = directory
        self._freeing = Freeing(directory, tidier)
        self.skipped = 0
        self._segments: list[ReadSegment] = []
        self._seen: set[str] = set()
        self._holes: dict[
            int, tuple[float, float]
        ] = {}  # by seq: seconds it was waited for, and the last look
        self._behind_gap = False
        self._gave_up = False  # on a slot, which its writer may still fill
        self.names: dict[int, SeriesKey] = {}
        if not self._is_one_that_is_closed():
            self.names = load_names(directory)
            if not self._map_segments():
                raise FileNotFoundError(f"{directory} holds no segment")
        self.header = self._segments[0].header
        self.stored = Positions.read([segment.mapped for segment in self._segments])
        self.reported = max(segment.word(seg.REPORTED_AT) for segment in self._segments)
        self.position = self.header.first
        begin = max(self.stored.metrics, self.position)
        while self.position < begin:  # what was stored is read once more for the names it defines
            if self._read(begin) is None:
                break
        self.position = max(self.position, begin)

    # --- what there is ---

    @property
    def state(self) -> int:
        """The writer's flags: `segment.ENDED`, `segment.CLOSED`."""
        return self._segments[-1].word(seg.STATE_AT)

    @property
    def dropped(self) -> int:
        """Points the writer could not keep, and slots we could not read."""
        return self._segments[-1].word(seg.DROPPED_AT) + self.skipped

    @property
    def drop_reason(self) -> str:
        """Why the writer dropped points last, in words; empty if it did not."""
        number = self._segments[-1].word(seg.DROP_REASON_AT)
        return seg.DROP_REASONS[number] if number < len(seg.DROP_REASONS) else f"reason {number}"

    def has_more(self) -> bool:
        """Whether there is something to read. Costs a look at one word while the writer writes nothing."""
        segment = self._segments[0] if len(self._segments) == 1 else self._current()
        slot = self.position - segment.header.first
        if slot < segment.header.slots:
            word = int(segment.words[slot])
            if word & 0xFF not in (0, seg.OPEN):
                return True
            return self._is_waited_for(segment, slot, max(word >> 32, 1))
        if self.state & seg.CLOSED:  # it is the last segment that says so
            return False
        return self._look_for_segments() and self._current().header.first <= self.position

    def segment_full(self) -> bool:
        """Whether the current segment is written to its end."""
        return bool(self._current().words[-1])

    @property
    def is_small(self) -> bool:
        """Whether it is one segment, of the smallest size."""
        return len(self._segments) == 1 and len(self._segments[0].mapped) == seg.SMALLEST

    @property
    def size(self) -> int:
        """Bytes of the segments that are not given back."""
        return sum(len(segment.mapped) for segment in self._segments)

    def look_again(self) -> None:
        """Look for segments the writer has begun since; for a writer that is gone, before the last read."""
        self._look_for_segments()

    def _is_waited_for(self, segment: ReadSegment, slot: int, n: int) -> bool:
        """Whether something waits behind `n` slots that are not written: else they are the end, or a frame under way."""
        return bool(segment.words[slot + n : slot + n + _LOOK_AHEAD].any()) or (
            n > 1 and (segment is not self._segments[-1] or bool(self.state & seg.CLOSED))
        )

    def _current(self) -> ReadSegment:
        for segment in self._segments:
            if self.position < segment.end:
                return segment
        return self._segments[-1]

    def _look_for_segments(self) -> bool:
        """Map segments the writer has begun since; whether there were any."""
        segments = self._map_segments()
        for segment in segments:
            segment.note(self.stored)
            segment.set_word(seg.REPORTED_AT, self.reported)
        return bool(segments)

    def _is_one_that_is_closed(self) -> bool:
        """Whether the first segment is the only one, as it was closed: then it is there, and nothing else is to be found."""
        name = seg.segment_name(0)
        try:
            segment = ReadSegment.open(self.directory / name)
        except (FileNotFoundError, SpoolError):
            return False
        if not segment.copied:
            return False
        self._seen.add(name)
        self._segments.append(segment)
        return True

    def _map_segments(self) -> list[ReadSegment]:
        """Segments that were not known, in order; they are known then."""
        segments = []
        try:
            names = os.listdir(self.directory)
        except FileNotFoundError:
            return []
        for name in names:
            if name.endswith(".seg") and name not in self._seen:
                self._seen.add(name)
                try:
                    segments.append(ReadSegment.open(self.directory / name))
                except FileNotFoundError:
                    continue
                except SpoolError as error:
                    logger.error("runstream: %s", error)
                    damaged = self.directory / (name + ".damaged")
                    os.rename(self.directory / name, damaged)
        segments.sort(key=lambda segment: segment.header.index)
        self._segments += segments
        return segments

    # --- reading ---

    def read(self, *, dead: bool = False) -> Slice | None:
        """The slots written since the last call, of one segment; None when there is nothing.

        Args:
            dead: the writer is gone; slots it took and did not fill are skipped at once.
        """
        while True:
            part = self._read(_END, dead=dead)
            if part is not None:
                return part
            segment = self._current()
            if self.position < segment.end:
                return None
            if self.state & seg.CLOSED or not self._look_for_segments():
                return None
            following = self._current().header.first
            if following > self.position:  # a segment is missing: the consumer will record the gap
                self.position, self._behind_gap = following, True

    def _read(self, until: int, *, dead: bool = False) -> Slice | None:
        """The slots from here on that are written, of one segment, and before seq `until`; None: there are none."""
        segment = self._current()
        base = self.position - segment.header.first
        if base < 0:
            self.position, self._behind_gap = segment.header.first, True
            base = 0
        slots = segment.header.slots
        if base >= slots or until <= self.position:
            return None
        sealed = segment is not self._segments[-1] or bool(self.state & seg.CLOSED)
        limit = int(min(slots, until - segment.header.first))
        pos, frames_at, other = self._scan(segment, base, limit, sealed, dead)
        if pos == base:
            return None
        if seg.settle_seconds:
            time.sleep(seg.settle_seconds)
        data = segment.slots(base, pos)
        is_point = None
        if frames_at or other:
            is_point = np.ones(pos - base, dtype=bool)
            for first, n in other:
                is_point[first - base : first - base + n] = False
        frames = self._frames(segment, frames_at, base, is_point)
        part = Slice(self.position, self.position + (pos - base), data, is_point, frames, self._behind_gap)
        self.position, self._behind_gap = part.end, False
        return part

    def _scan(
        self, segment: ReadSegment, base: int, limit: int, sealed: bool, dead: bool
    ) -> tuple[int, list[tuple[int, int]], list[tuple[int, int]]]:
        """How far the slots from `base` are published: (end, frames as (slot, slots), slots that are nothing)."""
        pos, chunk = base, 128
        frames: list[tuple[int, int]] = []
        other: list[tuple[int, int]] = []
        while pos < limit:
            stop = min(limit, pos + chunk)
            chunk = min(chunk * 4, 16384)
            words = segment.words[pos:stop].copy()
            low = words & np.uint64(0xFF)
            special = np.flatnonzero((low == 0) | (low >= seg.FRAME))
            start = pos
            pos = stop
            # As Python's own numbers: a short run is nearly all frames, and numpy takes ten times as long for one.
            places, firsts = (special + start).tolist(), words[special].tolist()
            i = 0
            while i < len(places):
                at, word = places[i], firsts[i]
                n = word >> 32
                kind = word & 0xFF
                if kind == seg.FRAME and 1 <= n <= segment.header.slots - at:
                    frames.append((at, n))
                elif kind == seg.PAD and 1 <= n <= segment.header.slots - at:
                    other.append((at, n))
                elif kind == seg.OPEN and 1 <= n <= segment.header.slots - at:
                    if not self._give_up(segment, at, n, sealed, dead):
                        return at, frames, other
                    other.append((at, n))
                elif word == 0:
                    if not self._give_up(segment, at, 1, sealed, dead):
                        return at, frames, other
                    n = 1
                    other.append((at, 1))
                else:
                    self.skipped += 1
                    n = 1
                    other.append((at, 1))
                after = at + n
                if after >= stop:
                    pos = after
                    break
                i = bisect_left(places, after, i)
        return min(pos, segment.header.slots), frames, other

    def _give_up(self, segment: ReadSegment, at: int, n: int, sealed: bool, dead: bool) -> bool:
        """Whether to pass over a slot that was taken and not written (or is it just the end?)."""
        words = segment.words
        if dead:
            self._gave_up = True
            return bool(words[at + n :].any()) or n > 1 or sealed
        if not sealed and not words[at + n : at + n + _LOOK_AHEAD].any():
            return False
        seq, now = segment.header.first + at, time.monotonic()
        waited, looked = self._holes.get(seq, (0.0, now))
        if not _is_stopped(segment.header.pid):
            waited += min(now - looked, _MOST_A_LOOK)
        self._holes[seq] = waited, now
        if waited < HOLE_GRACE:
            return False
        del self._holes[seq]
        self._gave_up = True
        logger.warning(
            "runstream: run %s: slot %d was never written; it is passed over", segment.header.run_id, seq
        )
        return True

    def _frames(
        self,
        segment: ReadSegment,
        frames_at: list[tuple[int, int]],
        base: int,
        is_point: NDArray[np.bool_] | None,
    ) -> list[Frame]:
        frames = []
        mapped, before = seg.as_bytes(segment.mapped), (0.0, 0, 0)
        for at, n in frames_at:
            assert is_point is not None
            first = at - base
            is_point[first : first + n] = False
            offset = seg.HEADER_BYTES + seg.SLOT * at
            size, crc, when, kind = seg.FRAME_HEAD.unpack_from(mapped, offset)
            offset += seg.SLOT
            body = bytes(mapped[offset : offset + size])
            if before[:2] != (when, kind):  # those that were written together have the same
                before = (when, kind, seg.frame_crc(b"", when, kind))
            if size > (n - 1) * seg.SLOT or len(body) != size or zlib.crc32(body, before[2]) != crc:
                self.skipped += n
                logger.error("runstream: %s: the record at slot %d is damaged and left out", segment.path, at)
                continue
            if kind == seg.SERIES:
                number, key = _definition(body)
                self.names[number] = key
                segment.definitions[body] = None
            else:
                frames.append(Frame(first, kind, when, body))
        return frames

    # --- what was stored ---

    def note_stored(self, positions: Positions) -> None:
        """All events made of the source up to `positions` are stored: note it, and give back the segments before it."""
        positions.latest_step = max(positions.latest_step, self.stored.latest_step)
        self.stored = positions
        while len(self._segments) > 1 and self._segments[0].end <= positions.metrics:
            segment = self._segments.pop(0)
            reuse = len(segment.mapped) == seg.LARGEST and not self.state & seg.CLOSED
            self._freeing.free_segment(segment, reuse)
            del segment
        for segment in self._segments:
            segment.note(positions)

    def note_reported(self, next_: int, latest_step: int) -> None:
        """Slots below `next_` were used to report for the source (see `encoder.agent_source`).

        Args:
            latest_step: the latest time of a status, in microseconds since the epoch.
        """
        self.reported, self.stored.latest_step = next_, latest_step
        for segment in self._segments:
            segment.set_word(seg.REPORTED_AT, next_)
            segment.set_word(seg.LATEST_STEP_AT, latest_step)

    def remove(self, *, keep: bool = False) -> bool:
        """Take the source's directory out of the spool: the writer is done with it and everything is stored.

        Args:
            keep: whether to keep it for another source, if it can be.

        Returns:
            whether it is kept; else `Leftovers.delete_gone` deletes it.
        """
        # Who has closed it writes no more; of a slot it took and never filled that is not so sure.
        over = bool(self.state & seg.CLOSED) and not self._gave_up and not self.skipped
        keep = keep and over and self.is_small
        self._segments = self._segments[:1]
        return self._freeing.remove_source(keep=keep)


@lru_cache(1024)
def _definition(body: bytes) -> tuple[int, SeriesKey]:
    """Number and key of a series; runs of a sweep have the same ones."""
    number, cls, name, column = msgpack.unpackb(body)
    return number, SeriesKey(cls, name, column)


def _is_stopped(pid: int) -> bool:
    """Whether a process is stopped (SIGSTOP, a debugger): it writes nothing, and will continue where it was."""
    import psutil

    try:
        return bool(psutil.Process(pid).status() in (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP))
    except psutil.Error:  # of another container, say
        return False
