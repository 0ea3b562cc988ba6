"""What room a spool has: how much lies in it, against the quota its writers keep to, and why there is none."""

from __future__ import annotations

import errno
import os

from runstream_schemas.settings import Settings

NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


class QuotaReached(OSError):
    """The spool holds its quota; to a writer it is as full as a disk that is."""


class Vanished(OSError):
    """A segment that is being written was deleted."""


def drop_reason(error: OSError) -> int:
    """Why points are dropped, as a number of `segment.DROP_REASONS`."""
    if isinstance(error, QuotaReached):
        return 2
    if isinstance(error, Vanished):
        return 4
    return 1 if error.errno in NO_ROOM else 3


_usage: dict[str, tuple[float, int, int]] = {}


def bytes_spooled(spool: str) -> int:
    """Bytes in the spool: what the reader last counted (file `usage`), and what this process has added since."""
    try:
        status = os.stat(os.path.join(spool, "usage"))
    except OSError:
        return _usage.get(spool, (0.0, 0, 0))[2]
    known = _usage.get(spool)
    if known is None or known[0] != status.st_mtime:
        try:
            with open(os.path.join(spool, "usage")) as file:
                counted = int(file.read() or 0)
        except (OSError, ValueError):
            counted = 0
        known = _usage[spool] = (status.st_mtime, counted, 0)
    return known[1] + known[2]


def spool_room(settings: Settings) -> int:
    """Bytes that may be written to a spool before its quota is reached; as far as its reader last counted."""
    return settings.spool_quota - bytes_spooled(str(settings.spool_path))


def note_spooled(spool: str, size: int) -> None:
    """This process has added a segment of so many bytes."""
    when, counted, added = _usage.get(spool, (0.0, 0, 0))
    _usage[spool] = (when, counted, added + size)


def forget() -> None:
    """In a forked child: what the parent has added is not ours."""
    _usage.clear()
