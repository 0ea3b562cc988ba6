"""Which user the embedded Postgres can be: it refuses root, and initdb refuses a user without a name."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

from runstream_schemas.errors import DatabaseError

OWN_USERS = range(64738, 64638, -1)
"""Numbers of which the first without a name is the server's where it may not run as root: a user nobody else is."""


def identities() -> list[str]:
    """Ways to become a user Postgres accepts, best first."""
    if os.geteuid() == 0:
        return ["namespace", "drop"]
    try:
        pwd.getpwuid(os.geteuid())
    except KeyError:
        return ["namespace"]  # a container started with a bare number as its user
    return ["plain"]


def cannot_become() -> str:
    """What is wrong where no identity is possible, and what to do."""
    caller = f"user {os.geteuid()}, who has no name" if os.geteuid() else "root"
    return (
        f"Postgres does not run as {caller}, and this system allows neither a user namespace nor another user; run as a "
        "normal user, or allow one of them (containers: the capabilities SETUID, SETGID and CHOWN), or set "
        "RUNSTREAM_DATABASE to a server"
    )


def named_user() -> tuple[int, int]:
    """User and group number of somebody who has a name, which initdb wants, and is not root: `nobody` if possible."""
    others = sorted(
        (entry for entry in pwd.getpwall() if entry.pw_uid), key=lambda entry: entry.pw_name != "nobody"
    )
    if not others:
        raise DatabaseError(
            "Postgres does not run as root, and /etc/passwd names nobody else; set RUNSTREAM_DATABASE"
        )
    spans = _numbers()
    chosen = next((entry for entry in others if any(entry.pw_uid in span for span in spans)), others[0])
    return chosen.pw_uid, chosen.pw_gid


def server_user() -> int:
    """Number of a user nobody else is, so that nobody else can read the data; else that of the named one."""
    taken, spans = {entry.pw_uid for entry in pwd.getpwall()}, _numbers()
    free = (number for number in OWN_USERS if number not in taken and any(number in span for span in spans))
    return next(free, named_user()[0])


def _numbers() -> list[range]:
    """Numbers of users there can be in here: a container may have few."""
    try:
        lines = Path("/proc/self/uid_map").read_text().splitlines()
    except OSError:  # no Linux
        return [range(1 << 32)]
    spans = [[int(word) for word in line.split()] for line in lines]
    return [range(first, first + count) for first, _, count in spans]
