"""Which processes of this machine belong to a home: found again and again, so that none is asked twice what it is."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

SURE_SECONDS = 1.0
"""A process that has been somebody else's for so long stays it: by then it runs its own program."""

KNOWN = -math.inf


@dataclass(slots=True)
class Others:
    """The processes that are known to be of no concern.

    Attributes:
        since: of each, by pid and the inode of its directory (a pid that is used again has another), when it was first seen;
            KNOWN once it was looked at after that time.
    """

    since: dict[tuple[str, int], float] = field(default_factory=dict)

    def processes(self, home: Path) -> Iterator[tuple[int, str]]:
        """Pid and command line of each process that has a home in its environment or its command line, but this one."""
        now, seen = time.monotonic(), self.since
        self.since = {}
        variable, words = f"RUNSTREAM_HOME={home}\0".encode(), str(home).encode()
        with os.scandir("/proc") as entries:
            for entry in entries:
                if not entry.name.isdigit() or int(entry.name) == os.getpid():
                    continue
                key = (entry.name, entry.inode())
                since = seen.get(key, now)
                if since != KNOWN:
                    try:
                        line = Path(entry.path, "cmdline").read_bytes()
                        mine = words in line or variable in Path(entry.path, "environ").read_bytes()
                    except OSError:
                        continue
                    if mine:
                        yield int(entry.name), line.replace(b"\0", b" ").decode(errors="replace")
                        continue
                self.since[key] = KNOWN if now - since >= SURE_SECONDS else since
