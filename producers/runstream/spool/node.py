"""What all processes of this node have recorded, as the spool tells: the watermark of a read that sees all of it.

Only looks: another process reads the spool and delivers it. What that one noted as delivered stands in the segments'
headers; sources that were delivered as a whole are gone. With Kafka between, delivered is not yet stored: a list has them.
"""

from __future__ import annotations

import mmap
import os
import struct
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from runstream_schemas.errors import SpoolError

from . import segment as seg

DELIVERED = "delivered"
"""File of a spool: a line for each source that was sent as a whole, the newest last."""
KEPT = 400
"""Delivered sources a read waits for, the newest: those before them lie before them in the topics too."""
_DELIVERED_BYTES = 64 << 10
_SETTLED = 0.05  # seconds after which another change of a directory moves its time
_ACKED = struct.Struct("<QQQ")


@dataclass(frozen=True, slots=True)
class Written:
    """How far a source was written: ends of the last point, the last tag and the last status; 0: none is known."""

    source: str
    run_id: str
    metrics: int
    tags: int
    status: int

    def positions(self) -> dict[str, int]:
        """As the service is told to wait for them; see `LiveRun.unconfirmed`."""
        from urllib.parse import quote

        topics = (("", self.metrics), (".tags", self.tags), (".status", self.status))
        run = quote(self.run_id, safe="")  # one that was deleted is not waited for
        return {f"{self.source}{topic}@{run}": end for topic, end in topics if end}


@dataclass(frozen=True, slots=True)
class _Listing:
    """What one look at the spool directory found.

    Attributes:
        runs: source to its run.
        mtime: when the directory had changed last before that look, nanoseconds; -1: it has to be looked at again.
        since, listed: seconds of the monotonic clock; when that mtime was first seen, and when the look was taken.
    """

    runs: dict[str, str]
    mtime: int
    since: float
    listed: float


class NodeSpool:
    """The sources in a spool directory."""

    def __init__(self, spool: Path) -> None:
        self.spool = spool
        self._listing = _Listing({}, -1, 0.0, 0.0)

    def written(self, run_id: str | None = None) -> list[Written]:
        """What lies in the spool now.

        Args:
            run_id: only of this run.
        """
        looks = [
            self._look(name, run) for name, run in self._list().items() if run_id is None or run == run_id
        ]
        return [look for look in looks if look is not None]

    def undelivered(self, sources: list[Written]) -> list[Written]:
        """Those of the sources of which something was not delivered when one looks now."""
        return [source for source in sources if not self._is_delivered(source)]

    def delivered(self, run_id: str | None = None) -> list[Written]:
        """The sources that were delivered last, and are gone from the spool.

        Args:
            run_id: only of this run.
        """
        lines: list[str] = []
        for name in (f"{DELIVERED}.1", DELIVERED):
            with suppress(FileNotFoundError):
                lines += (self.spool / name).read_text().splitlines()
        written = []
        for line in lines[-KEPT:]:
            words = line.split(" ", 4)
            if len(words) == 5 and (run_id is None or words[4] == run_id):
                with suppress(ValueError):
                    written.append(Written(words[0], words[4], int(words[1]), int(words[2]), int(words[3])))
        return written

    def _list(self) -> dict[str, str]:
        """The sources that are there, and the run of each. Several threads may ask at once: each replaces the whole listing,
        once it is made."""
        before = self._listing
        try:
            mtime = os.stat(self.spool).st_mtime_ns
        except FileNotFoundError:
            self._listing = _Listing({}, -1, 0.0, 0.0)
            return {}
        now = time.monotonic()
        since = before.since
        if mtime != before.mtime:
            since = now
        elif before.listed - since > _SETTLED:
            return before.runs
        runs = {}
        for name in os.listdir(self.spool):
            if len(name) == 32:
                run = before.runs.get(name) or self._run_of(name)
                if run is not None:
                    runs[name] = run
                else:
                    mtime = -1  # its first segment is being made
        self._listing = _Listing(runs, mtime, since, now)
        return runs

    def _run_of(self, name: str) -> str | None:
        for path in self._segments(name):
            with suppress(OSError, SpoolError), open(path, "rb") as file:
                return seg.read_header(file.read(seg.HEADER_BYTES), path).run_id
        return None

    def _segments(self, name: str) -> list[str]:
        directory = os.path.join(self.spool, name)
        with suppress(FileNotFoundError):
            return sorted(
                os.path.join(directory, name) for name in os.listdir(directory) if name.endswith(".seg")
            )
        return []

    def _look(self, name: str, run: str) -> Written | None:
        ends = [0, 0, 0]
        for path in self._segments(name):
            with suppress(OSError, SpoolError, ValueError):
                for topic, end in enumerate(_ends(path)):
                    ends[topic] = max(ends[topic], end)
        return Written(name, run, *ends) if any(ends) else None

    def _is_delivered(self, source: Written) -> bool:
        segments = self._segments(source.source)
        for path in segments:  # a new one says nothing before its reader has come to it
            with suppress(OSError, struct.error), open(path, "rb") as file:
                noted = _ACKED.unpack(os.pread(file.fileno(), _ACKED.size, seg.ACKED_AT["metrics"]))
                if noted[0] >= source.metrics and noted[1] >= source.tags and noted[2] >= source.status:
                    return True
        return not segments  # it is gone


def note_delivered(spool: Path, source: Written) -> None:
    """Add a source to the list, before it is taken out of the spool."""
    path = spool / DELIVERED
    with suppress(FileNotFoundError):
        if path.stat().st_size > _DELIVERED_BYTES:
            os.replace(path, f"{path}.1")
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        os.write(
            descriptor,
            f"{source.source} {source.metrics} {source.tags} {source.status} {source.run_id}\n".encode(),
        )
    finally:
        os.close(descriptor)


def _ends(path: str) -> tuple[int, int, int]:
    """Where the last point, tag and status of a segment end; of what was delivered only how far."""
    with open(path, "rb") as file:
        data = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
        try:
            header = seg.read_header(data[: seg.HEADER_BYTES], path)
            metrics, tags, status = _ACKED.unpack_from(data, seg.ACKED_AT["metrics"])
            skipped = min(max(metrics - header.first, 0), header.slots)
            with memoryview(data) as bytes_, bytes_[seg.HEADER_BYTES + seg.SLOT * skipped :] as rest:
                with rest.cast("Q") as words:
                    first = header.first + skipped
                    metrics, tags, status = _parse(words, first, metrics, tags, status)
            return metrics, tags, status
        finally:
            data.close()


def _parse(words: memoryview, first: int, metrics: int, tags: int, status: int) -> tuple[int, int, int]:
    published = words[3::4].tolist()
    end = len(published)
    while end and not published[end - 1]:
        end -= 1
    at = 0
    while at < end:
        word = published[at]
        kind, n = word & 0xFF, 1
        if kind in (seg.FRAME, seg.OPEN, seg.PAD):
            n = word >> 32
            if not 1 <= n <= len(published) - at:
                break
            record = words[4 * at + 2] if kind == seg.FRAME else seg.SERIES
            if record == seg.TAG:
                tags = max(tags, first + at + 1)
            elif record == seg.STATUS:
                status = max(status, first + at + 1)
            elif record != seg.SERIES:
                metrics = max(metrics, first + at + n)
        elif word:
            metrics = max(metrics, first + at + 1)
        at += n
    return metrics, tags, status
