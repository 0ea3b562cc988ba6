"""The way of a point, step 2: reading the segments of every source on this node, alive or dead, in order, once.

A reader never blocks a writer and is never seen by it, but for the positions it writes into the segment's header and for
the segments it gives back. It may be killed at any instant: what was not noted as stored is read again.
"""

from __future__ import annotations

import errno
import logging
import os
import struct
import time
import zlib
from collections import deque
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
from numpy.typing import NDArray

from runstream_schemas.errors import SpoolError
from runstream_schemas.series import SeriesKey

from . import segment as seg

logger = logging.getLogger("runstream.spool")

HOLE_GRACE = 30.0
"""Seconds a taken but unwritten slot holds up what was written after it while its process lives. A Ctrl-C at the wrong
instruction leaves one behind; a thread that merely waits for the GIL that long while others write does not exist."""

SPARE_SEGMENTS = 2
"""Read segments kept for the writer to use again."""

_COUNTER = struct.Struct("<Q")
_NAMES_ENTRY = struct.Struct("<II")
_LOOK_AHEAD = 256


@dataclass(slots=True)
class Frame:
    """A record of several slots: `at` is its first slot within the slice, `time` in seconds since the epoch."""

    at: int
    kind: int
    time: float
    body: bytes


@dataclass(slots=True)
class Slice:
    """Consecutive slots of one source, copied.

    Attributes:
        slots: shape (n, 4), int64: the slots' words; those of frames and skipped slots are not `points`.
        is_point: shape (n,), or None when every slot is a point.
        behind_gap: a segment before it is missing: its first slot is not the one after the last slice.
        unknown: points and frames of series whose definition was lost with a damaged segment; counted when they are encoded.
    """

    first: int
    end: int
    slots: NDArray[np.int64]
    is_point: NDArray[np.bool_] | None
    frames: list[Frame]
    behind_gap: bool = False
    unknown: int = 0

    def halves(self) -> tuple[Slice, Slice] | None:
        """It in two, between two records; None when it is one slot, or one record."""
        n = self.end - self.first
        cut = n // 2
        for frame in self.frames:
            end = frame.at + 1 - (-len(frame.body) // seg.SLOT)
            if frame.at < cut < end:
                cut = frame.at or end
                break
        return None if not 0 < cut < n else (self._between(0, cut), self._between(cut, n))

    def _between(self, start: int, end: int) -> Slice:
        frames = [
            Frame(frame.at - start, frame.kind, frame.time, frame.body)
            for frame in self.frames
            if start <= frame.at < end
        ]
        is_point = None if self.is_point is None else self.is_point[start:end]
        return Slice(self.first + start, self.first + end, self.slots[start:end], is_point, frames)


@dataclass(slots=True)
class _Segment:
    header: seg.Header
    path: Path
    mapped: Any
    words: NDArray[np.uint64]
    definitions: list[bytes] = field(default_factory=list)


class SourceReader:
    """Reads one source's directory.

    Attributes:
        header: of the first segment found.
        names: series by the number the writer gave them.
        position: seq of the next slot to read.
        stored: per topic, the seq up to which its events are stored (tags and status: the end of the last event).
        skipped: slots that could not be read (damaged), or whose series is not known.
        spoken: slot after the last one a reader used to speak for the source.
        latest: the latest time of the points that are stored, in microseconds since the epoch; 0: none is.
        latest_step: the same of the statuses, those spoken for the source too.
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
        self._tidier = tidier
        self.names: dict[int, SeriesKey] = {}
        self.skipped = 0
        self.stored = {"metrics": 0, "tags": 0, "status": 0}
        self._segments: list[_Segment] = []
        self._seen: set[str] = set()
        self._holes: dict[int, float] = {}
        self._behind_gap = False
        self._gave_up = False  # on a slot, which its writer may still fill
        self._to_free: deque[tuple[Path, list[bytes], bool]] = deque()
        self._load_names()
        if not self._look_for_segments():
            raise FileNotFoundError(f"{directory} holds no segment")
        self.header = self._segments[0].header
        for segment in self._segments:
            for topic, at in seg.ACKED_AT.items():
                self.stored[topic] = max(self.stored[topic], _COUNTER.unpack_from(segment.mapped, at)[0])
        self.spoken = max(_COUNTER.unpack_from(s.mapped, seg.SPOKEN_AT)[0] for s in self._segments)
        self.latest: int = max(_COUNTER.unpack_from(s.mapped, seg.LATEST_AT)[0] for s in self._segments)
        self.latest_step: int = max(
            _COUNTER.unpack_from(s.mapped, seg.LATEST_STEP_AT)[0] for s in self._segments
        )
        self.position = self._segments[0].header.first
        begin = max(self.stored["metrics"], self.position)
        while self.position < begin:  # what was stored is read once more for the names it defines
            if self._read(begin - self.position) is None:
                break
        self.position = max(self.position, begin)

    # --- what there is ---

    @property
    def state(self) -> int:
        """The writer's flags: `segment.ENDED`, `segment.CLOSED`."""
        return int(_COUNTER.unpack_from(self._segments[-1].mapped, seg.STATE_AT)[0])

    @property
    def dropped(self) -> int:
        """Points the writer could not keep, and slots we could not read."""
        return int(_COUNTER.unpack_from(self._segments[-1].mapped, seg.DROPPED_AT)[0]) + self.skipped

    @property
    def drop_reason(self) -> str:
        """Why the writer dropped points last, in words; empty if it did not."""
        number = int(_COUNTER.unpack_from(self._segments[-1].mapped, seg.DROP_REASON_AT)[0])
        return seg.DROP_REASONS[number] if number < len(seg.DROP_REASONS) else f"reason {number}"

    def has_more(self) -> bool:
        """Whether there is something to read. Costs a look at one word while the writer writes nothing."""
        segment = self._segments[0] if len(self._segments) == 1 else self._current()
        slot = self.position - segment.header.first
        if slot < segment.header.slots:
            return bool(segment.words[slot]) or self._hole_before_more(segment, slot)
        if self.state & seg.CLOSED:  # it is the last segment that says so
            return False
        return self._look_for_segments() and self._current().header.first <= self.position

    def segment_full(self) -> bool:
        """Whether the current segment is written to its end."""
        return bool(self._current().words[-1])

    @property
    def size(self) -> int:
        """Bytes of the segments that are not given back."""
        return sum(len(segment.mapped) for segment in self._segments)

    def look_again(self) -> None:
        """Look for segments the writer has begun since; for a writer that is gone, before the last read."""
        self._look_for_segments()

    def _hole_before_more(self, segment: _Segment, slot: int) -> bool:
        return bool(segment.words[slot + 1 : slot + _LOOK_AHEAD].any())

    def _current(self) -> _Segment:
        for segment in self._segments:
            if self.position < segment.header.first + segment.header.slots:
                return segment
        return self._segments[-1]

    def _look_for_segments(self) -> bool:
        """Map segments that were not known; whether there were any."""
        found = []
        try:
            names = os.listdir(self.directory)
        except FileNotFoundError:
            return False
        for name in names:
            if name.endswith(".seg") and name not in self._seen:
                self._seen.add(name)
                try:
                    found.append(_open_segment(self.directory / name))
                except FileNotFoundError:
                    continue
                except SpoolError as error:
                    logger.error("runstream: %s", error)
                    damaged = self.directory / (name + ".damaged")
                    os.rename(self.directory / name, damaged)
        found.sort(key=lambda segment: segment.header.index)
        for segment in found:
            if self._segments:
                for topic, at in seg.ACKED_AT.items():
                    if hasattr(self, "header"):
                        _COUNTER.pack_into(segment.mapped, at, self.stored[topic])
                if hasattr(self, "header"):
                    _COUNTER.pack_into(segment.mapped, seg.SPOKEN_AT, self.spoken)
                    _COUNTER.pack_into(segment.mapped, seg.LATEST_AT, self.latest)
                    _COUNTER.pack_into(segment.mapped, seg.LATEST_STEP_AT, self.latest_step)
            self._segments.append(segment)
        return bool(found)

    # --- reading ---

    def read(self, *, dead: bool = False) -> Slice | None:
        """The slots written since the last call, of one segment; None when there is nothing.

        Args:
            dead: the writer is gone; slots it took and did not fill are skipped at once.
        """
        while True:
            part = self._read(1 << 62, dead=dead)
            if part is not None:
                return part
            segment = self._current()
            if self.position < segment.header.first + segment.header.slots:
                return None
            if self.state & seg.CLOSED or not self._look_for_segments():
                return None
            following = self._current().header.first
            if following > self.position:  # a segment is missing: the consumer will record the gap
                self.position, self._behind_gap = following, True

    def _read(self, most: int, *, dead: bool = False) -> Slice | None:
        segment = self._current()
        base = self.position - segment.header.first
        if base < 0:
            self.position, self._behind_gap = segment.header.first, True
            base = 0
        slots = segment.header.slots
        if base >= slots:
            return None
        sealed = segment is not self._segments[-1] or bool(self.state & seg.CLOSED)
        limit = int(min(slots, base + most))
        pos, frames_at, other = self._scan(segment, base, limit, sealed, dead)
        if pos == base:
            return None
        if seg.settle_seconds:
            time.sleep(seg.settle_seconds)
        raw = np.frombuffer(
            seg.as_bytes(segment.mapped),
            dtype=np.int64,
            count=4 * (pos - base),
            offset=seg.HEADER_BYTES + seg.SLOT * base,
        )
        data = raw.reshape(-1, 4)  # of the mapping itself: it is encoded before the segment is given back
        is_point = None
        if frames_at or other:
            is_point = np.ones(pos - base, dtype=bool)
            for first, n in other:
                is_point[first - base : first - base + n] = False
        frames = self._frames(segment, data, frames_at, base, is_point)
        part = Slice(self.position, self.position + (pos - base), data, is_point, frames, self._behind_gap)
        self.position, self._behind_gap = part.end, False
        return part

    def _scan(
        self, segment: _Segment, base: int, limit: int, sealed: bool, dead: bool
    ) -> tuple[int, list[tuple[int, int]], list[tuple[int, int]]]:
        """How far the slots from `base` are published: (end, frames as (slot, slots), slots that are nothing)."""
        pos, chunk = base, 1024
        frames: list[tuple[int, int]] = []
        other: list[tuple[int, int]] = []
        while pos < limit:
            stop = min(limit, pos + chunk)
            chunk = min(chunk * 4, 16384)
            words = segment.words[pos:stop].copy()
            low = words & np.uint64(0xFF)
            special = np.flatnonzero((low == 0) | (low >= seg.FRAME)) + pos
            start = pos
            pos = stop
            i = 0
            while i < len(special):
                at = int(special[i])
                word = int(words[at - start])
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
                i = int(np.searchsorted(special, after))
        return min(pos, segment.header.slots), frames, other

    def _give_up(self, segment: _Segment, at: int, n: int, sealed: bool, dead: bool) -> bool:
        """Whether to go on behind a slot that was taken and not written (or is it just the end?)."""
        words = segment.words
        if dead:
            self._gave_up = True
            return bool(words[at + n :].any()) or n > 1 or sealed
        if not sealed and n == 1 and not words[at + 1 : at + _LOOK_AHEAD].any():
            return False
        seq = segment.header.first + at
        since = self._holes.setdefault(seq, time.monotonic())
        if time.monotonic() - since < HOLE_GRACE:
            return False
        del self._holes[seq]
        self._gave_up = True
        logger.warning(
            "runstream: run %s: slot %d was never written; going on behind it", segment.header.run_id, seq
        )
        return True

    def _frames(
        self,
        segment: _Segment,
        data: NDArray[np.int64],
        frames_at: list[tuple[int, int]],
        base: int,
        is_point: NDArray[np.bool_] | None,
    ) -> list[Frame]:
        frames = []
        for at, n in frames_at:
            assert is_point is not None
            first = at - base
            is_point[first : first + n] = False
            size, crc, when, kind = seg.FRAME_HEAD.unpack_from(data[first].tobytes())
            if first + n > len(data):  # the slice ends inside: take it from the segment
                offset = seg.HEADER_BYTES + seg.SLOT * (at + 1)
                body = bytes(segment.mapped[offset : offset + size])
            else:
                body = data[first + 1 : first + n].tobytes()[:size]
            if len(body) != size or seg.frame_crc(body, when, kind) != crc:
                self.skipped += n
                logger.error("runstream: %s: the record at slot %d is damaged and left out", segment.path, at)
                continue
            if kind == seg.SERIES:
                number, cls, name, column = msgpack.unpackb(body)
                self.names[number] = SeriesKey(cls, name, column)
                if body not in segment.definitions:
                    segment.definitions.append(body)
            else:
                frames.append(Frame(first, kind, when, body))
        return frames

    # --- what was stored ---

    def note_stored(self, end: int, tags: int, status: int, latest: int, latest_step: int) -> None:
        """All events made of slots below `end` are stored, and cover them: note it, and give back the segments before it.

        Args:
            tags, status: end of the last event on those topics.
            latest: the latest time of a point in the slots below `end`, in microseconds since the epoch.
            latest_step: the same of a status.
        """
        self.latest, self.latest_step = latest, max(self.latest_step, latest_step)
        self.stored = {"metrics": end, "tags": tags, "status": status}
        while len(self._segments) > 1:
            segment = self._segments[0]
            if segment.header.first + segment.header.slots > end:
                break
            self._segments.pop(0)
            reuse = len(segment.mapped) == seg.LARGEST and not self.state & seg.CLOSED
            if self._tidier is None:
                self._give_back(segment, reuse)
            else:
                self._tidier.submit(self._give_back, segment, reuse)
            del segment
        for segment in self._segments:
            for topic, at in seg.ACKED_AT.items():
                _COUNTER.pack_into(segment.mapped, at, self.stored[topic])
            _COUNTER.pack_into(segment.mapped, seg.LATEST_AT, self.latest)
            _COUNTER.pack_into(segment.mapped, seg.LATEST_STEP_AT, self.latest_step)

    def note_spoken(self, next_: int, latest_step: int) -> None:
        """Slots below `next_` were used to speak for the source (see `encoder.agent_source`).

        Args:
            latest_step: the latest time of a status, in microseconds since the epoch.
        """
        self.spoken, self.latest_step = next_, latest_step
        for segment in self._segments:
            _COUNTER.pack_into(segment.mapped, seg.SPOKEN_AT, next_)
            _COUNTER.pack_into(segment.mapped, seg.LATEST_STEP_AT, latest_step)

    def remove(self, *, keep: bool = False) -> bool:
        """Take the source's directory out of the spool: the writer is done with it and everything is stored.

        Args:
            keep: for another source, if it can be.

        Returns:
            whether it is kept.
        """
        import shutil

        size = self.size
        # Who has closed it writes no more; of a slot it took and never filled that is not so sure.
        over = bool(self.state & seg.CLOSED) and not self._gave_up and not self.skipped
        self._segments = self._segments[:1]
        try:
            gone = seg.give_back_source(
                self.directory.parent, self.directory, keep=keep and over and size == seg.SMALLEST
            )
        except OSError:  # somebody else removed it
            gone = self.directory
        if gone is None:
            return True
        if self._tidier is None:
            shutil.rmtree(gone, ignore_errors=True)
        else:
            self._tidier.submit(shutil.rmtree, gone, ignore_errors=True)
        return False

    def _give_back(self, segment: _Segment, reuse: bool) -> None:
        """Free the file, and those that a full disk kept from it.

        The memory goes with the last reference to `segment`, which costs as much.
        """
        self._to_free.append((segment.path, segment.definitions, reuse))
        for _ in range(len(self._to_free)):
            path, definitions, reuse = self._to_free.popleft()
            try:
                self._save_names(definitions)
                spare = (
                    sum(1 for name in os.listdir(self.directory) if name.endswith(".free")) if reuse else 0
                )
                if reuse and spare < SPARE_SEGMENTS:
                    os.rename(path, path.with_suffix(".free"))
                else:
                    os.unlink(path)
            except FileNotFoundError:  # the whole source was removed meanwhile
                pass
            except OSError:  # no room for the names: others may be freed first
                self._to_free.append((path, definitions, reuse))

    def _load_names(self) -> None:
        if not os.path.exists(f"{self.directory}/names"):  # most often
            return
        data = (self.directory / "names").read_bytes()
        at = 0
        while at + _NAMES_ENTRY.size <= len(data):
            size, crc = _NAMES_ENTRY.unpack_from(data, at)
            body = data[at + _NAMES_ENTRY.size : at + _NAMES_ENTRY.size + size]
            if len(body) != size or zlib.crc32(body) != crc:
                break  # killed while appending: the segment is still there and defines them again
            number, cls, name, column = msgpack.unpackb(body)
            self.names[number] = SeriesKey(cls, name, column)
            at += _NAMES_ENTRY.size + size
        if at < len(data):
            with open(self.directory / "names", "r+b") as file:
                file.truncate(at)

    def _save_names(self, definitions: list[bytes]) -> None:
        """Before a segment goes, what it defines has to be on disk elsewhere."""
        if not definitions:
            return
        entries = b"".join(_NAMES_ENTRY.pack(len(body), zlib.crc32(body)) + body for body in definitions)
        with open(self.directory / "names", "ab", buffering=0) as file:
            size = file.tell()
            try:
                if file.write(entries) < len(entries):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fsync(file.fileno())
            except OSError:
                file.truncate(size)  # half an entry would hide the ones after it
                raise


def _open_segment(path: Path) -> _Segment:
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        size = os.fstat(descriptor).st_size
        header = seg.read_header(os.pread(descriptor, seg.HEADER_BYTES, 0), str(path))
        if size < seg.HEADER_BYTES + header.slots * seg.SLOT:
            raise SpoolError(
                f"{path}: cut at {size} bytes, its header promises {header.slots} slots; the file is damaged"
            )
        mapped = seg.map_file(descriptor, size)
    finally:
        os.close(descriptor)
    words = np.frombuffer(
        seg.as_bytes(mapped), dtype=np.uint64, count=4 * header.slots, offset=seg.HEADER_BYTES
    ).reshape(-1, 4)[:, 3]
    return _Segment(header, path, mapped, words)
