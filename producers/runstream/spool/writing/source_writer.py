"""A source: the slots of one run that one process writes, segment by segment, and what becomes of it without room.

Threads: a slot is taken by one call into C (`next` of a range iterator, or a slice of it for a frame), which the GIL makes
atomic; a build without the GIL takes a lock instead. Forks: a child starts a source of its own at its first record.
"""

from __future__ import annotations

import logging
import os
import struct
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from operator import length_hint
from typing import TYPE_CHECKING, Any

from runstream_schemas.limits import MAX_RUN_ID_BYTES
from runstream_schemas.settings import Settings

from ...exceptions import UserErrorException
from .. import process_lock
from .. import segment as seg
from . import room
from .frames import slots_of, write_frames
from .room import NO_ROOM, QuotaReached, Vanished, bytes_spooled, drop_reason, note_spooled
from .turns import Turns

if TYPE_CHECKING:
    import ctypes

logger = logging.getLogger("runstream")

_RETRY_SECONDS = 1.0
_MOST_HELD_BACK = 1000
_patience = 5.0  # seconds this process may still wait for room when its runs end
_FRAME = struct.Struct("<IIdQQ")
_COUNTER = struct.Struct("<Q")

EXHAUSTED = iter(()).__next__
"""What takes a slot where there is no segment."""


class SourceWriter:
    """Takes slots and fills them with frames; `RunWriter` knows what they mean. From any thread, and after a fork.

    Attributes:
        run_id: the run.
        dropped: points this process could not keep.
    """

    _set_current: Callable[..., None]
    """Tells the hot path where slots are taken now, and the mapping they lie in."""

    def __init__(self, settings: Settings, run_id: str, *, owner: bool) -> None:
        if not 0 < len(run_id.encode()) <= MAX_RUN_ID_BYTES:
            raise UserErrorException(
                f"run id {run_id[:40]!r}: expected 1 to {MAX_RUN_ID_BYTES} bytes of UTF-8"
            )
        self.run_id = run_id
        self.dropped = 0
        self._spool = str(settings.spool_path)
        self._quota = settings.spool_quota
        self._owner = owner
        self._begin_turns()
        self._positions: dict[str, int] = {}
        self._held_back: deque[tuple[int, bytes, float | None]] = deque()
        self._releasing = False
        self._control_time = 0.0  # of the latest tag or status; never goes back
        self._dropped_before = 0  # told to readers through the header of an earlier source
        self._map: ctypes.Array[ctypes.c_char] | None = None
        self._forget_source()
        self._retry_at = 0.0
        self._reason = 0
        _writers.add(self)

    def _begin_turns(self) -> None:
        turns = Turns()
        self._lock, self._in_turn = turns.lock, turns.take

    def _forget_source(self) -> None:
        """As before the first record: no source, no segment."""
        if self._map is not None:
            self._dropped_before = self.dropped
        self._source = b""
        self._next_source = b""  # has its directory, and no segment yet
        self._index = -1
        self._end = 0  # seq after the current segment's last slot
        self._slots: Iterable[int] = iter(())
        self._map = None
        self._path = ""
        self._state = 0
        self._control_end = 0
        self._metrics_end = 0

    # --- where we are ---

    def positions(self) -> dict[str, int]:
        """How far this process has written, as a watermark for readers: source id (hex) to the next seq for its metrics,
        `<id>.tags` and `<id>.status` for the other two topics."""
        self._in_turn(self._update_positions)
        with self._lock:
            return dict(self._positions)

    def _update_positions(self) -> None:
        self._release_held_back()
        self._note_position()

    def close(self) -> None:
        """End the source; a later record starts another one. A source that owns its run stays until the run has ended: who
        reads it tells by it that the run lives, and that its process has died."""
        self._in_turn(self._close)

    def _close(self) -> None:
        # A run that never had room may find it now: its life waits here to be written.
        self._release_held_back()
        if self._owner and self._map is not None and not self._state & seg.ENDED:
            return
        self._wait_for_room()
        if self._map is None:
            self._say_what_is_lost()
            return
        self._note_position()
        rest = tuple(self._slots)  # nobody can take them any more
        if rest:
            seg.WORD.pack_into(self._map, rest[0] + 24, seg.PAD | len(rest) << 32)
        if not os.path.exists(self._path):
            self._fail(self._vanished(), time.monotonic())
        # The last store: from now on the segment may become another source's.
        _COUNTER.pack_into(self._map, seg.STATE_AT, self._state | seg.CLOSED)
        if self._state & seg.ENDED:
            self._owner = False
        self._set_current(EXHAUSTED, None)
        self._forget_source()

    def _note_position(self) -> None:
        if self._map is not None:
            now = self._end - length_hint(self._slots)
            self._positions[self._source.hex()] = self._metrics_end if now == self._control_end else now

    def _mark_control(self, kind: int, first: int, end: int) -> None:
        """Metrics are written up to here, unless only tags and statuses follow: those are on topics of their own."""
        if first != self._control_end:
            self._metrics_end = first
        self._control_end = end
        self._positions[self._source.hex() + (".tags" if kind == seg.TAG else ".status")] = first + 1

    # --- slots ---

    def _take(self, n: int) -> int | None:
        """Take `n` slots in a row; their offset, or None when nothing can be written. Call with the lock held."""
        while True:
            taken = tuple(islice(self._slots, n))
            if len(taken) == n:
                return taken[0]
            if taken:
                seg.WORD.pack_into(self._mapping(), taken[0] + 24, seg.PAD | len(taken) << 32)
            if not self._roll(n):
                return None

    def _mapping(self) -> ctypes.Array[ctypes.c_char]:
        assert self._map is not None, "a slot was taken, so there is a segment"
        return self._map

    def _frame(self, kind: int, body: bytes, when: float | None = None) -> bool:
        """Write a frame; False when nothing can be written.

        Args:
            when: seconds since the epoch, of what is taken over from elsewhere; default: now.
        """
        with self._lock:
            n = 1 - (-len(body) // seg.SLOT)
            at = self._take(n)
            if at is None:
                return False
            mapped = self._mapping()
            seg.WORD.pack_into(mapped, at + 24, seg.OPEN | n << 32)
            try:
                view = memoryview(mapped).cast("B")
                view[at + seg.SLOT : at + seg.SLOT + len(body)] = body
                if when is None:
                    when = time.time()
                    if kind in seg.CONTROL_FRAMES:
                        # The latest write of a tag holds, by time: a clock that is set back must not make it an older one.
                        when = self._control_time = max(when, self._control_time)
                crc = seg.frame_crc(body, when, kind)
                _FRAME.pack_into(mapped, at, len(body), crc, when, kind, seg.FRAME | n << 32)
            except BaseException:
                seg.WORD.pack_into(mapped, at + 24, seg.PAD | n << 32)
                raise
            if kind in seg.CONTROL_FRAMES:
                first = self._end - (len(mapped) - at) // seg.SLOT
                self._mark_control(kind, first, first + n)
            if self._state:
                _COUNTER.pack_into(mapped, seg.STATE_AT, self._state)
            return True

    def _series_frames(self, bodies: Sequence[bytes]) -> bool:
        """Write several definitions of series at once; False when nothing can be written."""
        with self._lock:
            at = self._take(sum(map(slots_of, bodies)))
            if at is None:
                return False
            mapped = self._mapping()
            write_frames(mapped, at, seg.SERIES, bodies, time.time())
            if self._state:
                _COUNTER.pack_into(mapped, seg.STATE_AT, self._state)
            return True

    # --- tags and statuses ---

    def _control(self, kind: int, body: bytes, when: float | None = None) -> None:
        """Write a tag or a status, or keep it until there is room. In turn."""
        if self._held_back or not self._frame(kind, body, when):
            if len(self._held_back) < _MOST_HELD_BACK:
                self._held_back.append((kind, body, when))
            else:
                self._count_drop(1)

    def _say_ending_is_lost(self, lost: bool) -> None:
        """Tell the reader, in a word that is always there, that the last status had no room (or has found it since)."""
        self._state = self._state | seg.ENDING_LOST if lost else self._state & ~seg.ENDING_LOST
        if self._map is not None:
            _COUNTER.pack_into(self._map, seg.STATE_AT, self._state)

    def _release_held_back(self) -> None:
        if self._releasing:  # by the first of these that found a new segment: they keep their order
            return
        self._releasing = True
        try:
            while self._held_back:
                if not self._frame(*self._held_back[0]):
                    return
                self._held_back.popleft()
        finally:
            self._releasing = False
        if self._state & seg.ENDING_LOST:
            self._say_ending_is_lost(False)

    def _wait_for_room(self) -> None:
        """At the end of a run the spool may be full: tags and the last status are worth some seconds of a process."""
        global _patience
        while self._held_back and _patience > 0.0:
            time.sleep(_RETRY_SECONDS)
            _patience -= _RETRY_SECONDS
            self._release_held_back()
        if self._held_back:
            self._count_drop(len(self._held_back))
            self._held_back.clear()

    def _say_what_is_lost(self) -> None:
        """No segment is there that could tell a reader of the drops: so tell the user."""
        lost = self.dropped - self._dropped_before
        if lost:
            logger.warning(
                "runstream: run %s: %s in %s until the end; what it recorded since (%d points, tags and statuses) is lost",
                self.run_id,
                seg.DROP_REASONS[self._reason],
                self._spool,
                lost,
            )
            self._dropped_before = self.dropped

    # --- segments ---

    def _roll(self, needed: int) -> bool:
        """Continue in a new segment with room for `needed` slots; False when there is none to be had."""
        with self._lock:
            if self._map is not None and length_hint(self._slots) >= needed:
                return True  # another thread was here before
            now = time.monotonic()
            if now < self._retry_at:
                return False
            try:
                self._next_segment(needed)
            except OSError as error:
                self._fail(error, now)
                return False
            if self._retry_at:
                self._retry_at = 0.0
                logger.warning(
                    "runstream: the spool %s can be written again; %d points were dropped",
                    self._spool,
                    self.dropped,
                )
            self._release_held_back()
            return True

    def _next_segment(self, needed: int) -> None:
        if self._map is not None and not os.path.exists(self._path):
            error = self._vanished()
            self._forget_source()
            raise error
        least = seg.SMALLEST
        while least < seg.HEADER_BYTES + seg.SLOT * (needed + 1):
            least *= 2
        size = max(least, min(seg.LARGEST, seg.SMALLEST << (self._index + 1)))
        known = self._source or self._next_source  # a new id has no directory
        source = self._next_source = known or os.urandom(16)
        while True:
            try:
                mapped, slots = self._create_segment(source, size, is_new=not known)
                break
            except OSError as error:
                if size == least or not (isinstance(error, QuotaReached) or error.errno in NO_ROOM):
                    raise
                size, known = size // 2, source  # there may be room for less
        note_spooled(self._spool, size)
        self._source = source
        self._index += 1
        self._end += slots
        self._path = os.path.join(self._spool, source.hex(), seg.segment_name(self._index))
        self._map = mapped
        if self.dropped:
            self._write_drops()
        if self._state:
            _COUNTER.pack_into(mapped, seg.STATE_AT, self._state)
        self._slots = iter(range(seg.HEADER_BYTES, seg.HEADER_BYTES + slots * seg.SLOT, seg.SLOT))
        self._set_current(self._slots.__next__, mapped)

    def _create_segment(self, source: bytes, size: int, *, is_new: bool) -> tuple[Any, int]:
        """The mapping of a new segment, and its slots."""
        if bytes_spooled(self._spool) + size > self._quota:
            raise QuotaReached(f"the spool holds its quota of {self._quota} bytes")
        directory = os.path.join(self._spool, source.hex())
        token = process_lock.own_token(self._spool)
        if is_new or (not self._source and not os.path.exists(directory)):
            seg.make_source(self._spool, directory)
        slots = (size - seg.HEADER_BYTES) // seg.SLOT
        header = seg.Header(
            source,
            self._index + 1,
            self._end,
            slots,
            self.run_id,
            self._owner,
            os.getpid(),
            time.time(),
            token,
        )
        return seg.create_segment(directory, header, size), slots

    def _vanished(self) -> Vanished:
        assert self._map is not None
        self.dropped += (len(self._map) - seg.HEADER_BYTES) // seg.SLOT  # all of it: who knows what was read
        return Vanished(f"{self._path} is gone: was the spool directory removed?")

    # --- without room, and after a fork ---

    def _fail(self, error: OSError, now: float) -> None:
        first_time = not self._retry_at
        self._retry_at = now if isinstance(error, Vanished) else now + _RETRY_SECONDS
        self._reason = drop_reason(error)
        if first_time:
            logger.warning(
                "runstream: %s (%s). The training continues; points are dropped and counted until there is room in %s.",
                seg.DROP_REASONS[self._reason],
                error,
                self._spool,
            )

    def _count_drop(self, n: int) -> None:
        """Note that `n` points could not be kept, where the reader sees it even if we are killed now."""
        with self._lock:
            self.dropped += n
            self._write_drops()

    def _write_drops(self) -> None:
        if self._map is not None:
            _COUNTER.pack_into(self._map, seg.DROPPED_AT, self.dropped - self._dropped_before)
            _COUNTER.pack_into(self._map, seg.DROP_REASON_AT, self._reason)

    def _after_fork(self) -> None:
        self._begin_turns()
        self._owner = False
        self._positions.clear()
        self._held_back.clear()
        self._releasing = False
        self._map = None
        self.dropped = self._dropped_before = 0
        self._set_current(EXHAUSTED, None)
        self._forget_source()


_writers: weakref.WeakSet[SourceWriter] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    process_lock.forget_tokens()
    room.forget()
    for writer in list(_writers):
        writer._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
