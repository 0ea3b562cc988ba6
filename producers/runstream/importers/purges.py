"""Which values of event files a restart has made void, found before they are taken over.

A writer that resumes at step 1,000 after a crash says so (session log START); what was written before of steps from 1,000
on no longer holds. TensorBoard leaves it out, and so does an import. Files of version 1 have no such record: there a step
that goes back says it, for the tags that come with it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..tensorboard.events import decode_event
from ..tensorboard.records import FRAME_BYTES, RecordFile
from ..tensorboard.wire import WireError

_SUMMARY, _STEP = 0x2A, 0x10
_VERSION = re.compile(r"brain\.Event:(\d+(?:\.\d+)?)")


@dataclass(frozen=True, slots=True)
class Part:
    """Bytes of a file that are to be taken over.

    Attributes:
        name: the name of the file.
        start, end: the first byte, and the one behind the last whole record.
    """

    name: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Purge:
    """A restart: values that were read before it and have its step or a later one are void.

    Attributes:
        part: place of its file among the parts.
        offset: the offset of its record.
        step: the first step that is void.
        tags: only of these; None: of all.
    """

    part: int
    offset: int
    step: int
    tags: frozenset[str] | None = None


@dataclass(slots=True)
class Survey:
    """What is to be taken over of a directory.

    Attributes:
        parts: in the order they are read.
        purges: in that order too.
        file_version: the version of the last file that said one.
        first_time: seconds since the epoch, of the first summary.
    """

    parts: list[Part] = field(default_factory=list)
    purges: list[Purge] = field(default_factory=list)
    file_version: float = 0.0
    first_time: float | None = None
    _newest_step: int = -(1 << 63)

    def look(self, part: int, record: bytes, offset: int) -> None:
        """Note what one record says of restarts."""
        if self.file_version >= 2 and self.first_time is not None and _is_summary(record):
            return
        try:
            event = decode_event(record)
        except WireError:
            return
        if self.first_time is None and event.has_summary:
            self.first_time = event.wall_time
        if event.file_version:
            self.file_version = version_of(event.file_version)
        if self.file_version >= 2:
            if event.restart:
                self.purges.append(Purge(part, offset, event.step))
        elif event.has_summary and event.step < self._newest_step:
            tags = frozenset(value.tag for value in event.values)
            self.purges.append(Purge(part, offset, event.step, tags))
        else:
            self._newest_step = event.step

    def cuts(self, part: int) -> list[int]:
        """Where in a part the reading stops, because what is before it is judged otherwise than what follows."""
        cuts = {purge.offset for purge in self.purges if purge.part == part}
        return sorted(cuts | {self.parts[part].end})

    def void_from(self, part: int, end: int) -> dict[str, int]:
        """The first step that restarts at `end` of a part, and behind it, make void of what is before: of all tags (under
        "") and of single ones."""
        steps: dict[str, int] = {}
        for purge in self.purges:
            if (purge.part, purge.offset) >= (part, end):
                for tag in purge.tags if purge.tags is not None else ("",):
                    steps[tag] = min(purge.step, steps.get(tag, purge.step))
        return steps


def survey(
    directory: Path,
    starts: Mapping[str, int],
    names: Iterable[str],
    file_version: float,
    past_damage: Callable[[str, int], bool],
) -> Survey:
    """Look through what is new in the files of a directory; nothing is kept of it but restarts.

    Args:
        starts: name to where reading continues.
        names: the files, in the order they are read.
        file_version: as the document of the directory has it.
        past_damage: whether to continue behind damage at a position of a file; see `RecordFile.read`.

    Raises:
        OSError: a file cannot be read.
    """
    surveyed = Survey(file_version=file_version)
    for name in names:
        file = RecordFile(directory / name, starts.get(name, 0))
        start = file.position
        while records := file.read() if past_damage(name, file.position) else file.read(past_damage=False):
            offset = file.position - sum(len(record) + FRAME_BYTES for record in records)
            for record in records:
                surveyed.look(len(surveyed.parts), record, offset)
                offset += len(record) + FRAME_BYTES
        if file.position > start:
            surveyed.parts.append(Part(name, start, file.position))
    return surveyed


def _is_summary(record: bytes) -> bool:
    """Whether a record is nothing but time, step and summary, by its first bytes."""
    if len(record) < 12 or record[0] != 0x09:
        return False
    if record[9] == _SUMMARY:
        return True
    if record[9] != _STEP:
        return False
    at = 10
    while at < len(record) - 1 and record[at] >= 0x80:
        at += 1
    return record[at + 1 : at + 2] == b"\x2a"


def version_of(text: str) -> float:
    """The number in `brain.Event:2`; 0 when there is none."""
    match = _VERSION.match(text)
    return float(match[1]) if match else 0.0
