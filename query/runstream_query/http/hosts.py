"""Which names a server answers to. A name of somebody else may point to any address, this machine's too (DNS rebinding)."""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass

_LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})


def name_of(host: str) -> str:
    """The name in a header Host, without the port, in small letters."""
    return (host if host.endswith("]") else host.rpartition(":")[0] or host).lower()


def is_local(host: str) -> bool:
    """Whether a header Host names this machine by its loopback."""
    name = name_of(host)
    address = _address(name)
    return name in _LOCAL_NAMES or (address is not None and address.is_loopback)


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return None


@dataclass(frozen=True, slots=True)
class Hosts:
    """What is accepted as Host.

    Attributes:
        allowed: names beside those below, from the setting `allowed_hosts`.
        local_only: the server listens on loopback: only this machine's names.
        guarded: it wants a token. Else, as anyone may do anything, only addresses and this machine's own name are accepted,
            which nobody else can have point here.
    """

    allowed: frozenset[str]
    local_only: bool
    guarded: bool

    def refusal(self, host: str) -> str:
        """Why a request for that Host is refused; '': it is not."""
        name = name_of(host)
        if name in self.allowed or is_local(host):
            return ""
        if self.local_only:
            return (
                f"Host {host!r:.80} is not this machine; use 127.0.0.1, name it in RUNSTREAM_ALLOWED_HOSTS, or set "
                "RUNSTREAM_HOST to serve others"
            )
        if self.allowed or not self.guarded:
            own = {socket.gethostname().lower(), socket.getfqdn().lower()}
            if not self.allowed and (_address(name) is not None or name in own):
                return ""
            return f"Host {host!r:.80} is not one this server answers to; name it in RUNSTREAM_ALLOWED_HOSTS"
        return ""


def allowed_hosts(setting: str) -> frozenset[str]:
    """The names in the setting `allowed_hosts`."""
    return frozenset(name.strip().lower() for name in setting.split(",") if name.strip())
