"""Who of this machine is at the other end of a connection: Linux says which user a socket of the loopback belongs to.

`/proc/net/tcp` and `tcp6` list every socket of the network namespace with the user that made it. So a service of one user
can tell that user's browser from anybody else's without a secret, which other programs on the same host name would be sent.

What is held against being fooled:

- Only an established socket that some process holds is believed. One that was just closed is listed with user 0: a
  stranger who sends a request and hangs up would be taken for root, so root is believed only when a second look shows the
  same socket.
- In a user namespace the users of others are not shown, and what brings connections into a container from outside runs as
  its user. There, and where `/proc` does not list sockets, nothing is known.
"""

from __future__ import annotations

import os
import sys
from ipaddress import IPv6Address, ip_address
from pathlib import Path

_TABLES = ("tcp", "tcp6")
_ESTABLISHED = "01"
Address = tuple[str, int]


def why_unknown(proc: Path = Path("/proc")) -> str:
    """Why the owners of connections cannot be known here; '': they can."""
    if not sys.platform.startswith("linux"):
        return f"{sys.platform} does not list the owners of connections"
    try:
        mapping = (proc / "self" / "uid_map").read_text().split()
        (proc / "net" / "tcp").read_text()
    except OSError as error:
        return f"/proc cannot be read ({error.strerror})"
    if mapping != ["0", "0", str(2**32 - 1)]:
        return "this is a user namespace, where connections from outside look like the owner's"
    return ""


def owner(local: Address, peer: Address, proc: Path = Path("/proc")) -> int | None:
    """The user whose socket is the other end of a connection; None: that is not known.

    Args:
        local: address and port of the accepted socket.
        peer: those of its other end; not on the loopback: nobody of this machine.
    """
    owner = _look(local, peer, proc)
    if owner is None or owner[0] != 0:
        return None if owner is None else owner[0]
    return 0 if _look(local, peer, proc) == owner else None


def owner_may_enter(user: int | None) -> bool:
    """Whether a connection of that user is let in to a service of this process's user: its own, and root, who may all."""
    return user is not None and user in (os.geteuid(), 0)


def _look(local: Address, peer: Address, proc: Path) -> tuple[int, str] | None:
    """User and inode of the socket at `peer` that is connected to `local`."""
    here, there = ip_address(local[0]), ip_address(peer[0])
    if not (there.is_loopback or _mapped_loopback(there)):
        return None
    ends = {(_shown(a, peer[1]), _shown(b, local[1])) for a in _forms(there) for b in _forms(here)}
    for table in _TABLES:
        try:
            lines = (proc / "net" / table).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if (fields[1], fields[2]) in ends and fields[3] == _ESTABLISHED and fields[9] != "0":
                return int(fields[7]), fields[9]
    return None


def _mapped_loopback(address: object) -> bool:
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped is not None and mapped.is_loopback


def _forms(address: object) -> list[bytes]:
    """An address as sockets of either family have it."""
    packed: bytes = address.packed  # type: ignore[attr-defined]
    if len(packed) == 4:
        return [packed, bytes(10) + b"\xff\xff" + packed]
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return [packed, mapped.packed] if mapped is not None else [packed]


def _shown(packed: bytes, port: int) -> str:
    """As the tables show it: words of the machine's order in hexadecimal, and the port."""
    words = [packed[at : at + 4] for at in range(0, len(packed), 4)]
    return "".join(f"{int.from_bytes(word, sys.byteorder):08X}" for word in words) + f":{port:04X}"
