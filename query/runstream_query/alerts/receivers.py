"""Who alerts are sent to: names that the operator of the server gave to addresses.

The addresses are a secret setting of the server and nowhere else. A rule names receivers, so whoever may make rules neither
learns a password nor has the server send to an address of his choosing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypedDict

from runstream_schemas.errors import ServiceError

MOST_RECEIVERS = 100
SETTING = "RUNSTREAM_ALERT_RECEIVERS"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*(?=://)")


@dataclass(frozen=True, slots=True)
class Receiver:
    """A receiver. Its address is not shown.

    Attributes:
        kind: the scheme of the address: mailto, slack, json ...
    """

    name: str
    kind: str
    address: str = field(repr=False)


class ReceiverRecord(TypedDict):
    """A receiver as rules may name it."""

    name: str
    kind: str


def parse_receivers(setting: str) -> Mapping[str, Receiver]:
    """Receivers by name, of `name=address name=address`.

    Raises:
        ServiceError: it is not of that form, or a name comes twice. No address is in the message.
    """
    receivers: dict[str, Receiver] = {}
    for place, word in enumerate(setting.split(), 1):
        name, _, address = word.partition("=")
        scheme = _SCHEME.match(address)
        if not _NAME.fullmatch(name) or scheme is None:
            raise ServiceError(
                f"{SETTING}: entry {place} is not of the form name=address; separate entries by spaces, name each with "
                "letters, digits, `-`, `_` and `.`, and write its address as apprise has it, such as "
                "mail=mailto://user:password@example.com (a space in an address is %20)"
            )
        if name in receivers:
            raise ServiceError(f"{SETTING}: the name {name!r} comes twice; give each receiver one of its own")
        receivers[name] = Receiver(name, scheme[0].lower(), address)
    if len(receivers) > MOST_RECEIVERS:
        raise ServiceError(f"{SETTING}: {len(receivers)} receivers, the most is {MOST_RECEIVERS}; name fewer")
    return receivers


def records(receivers: Mapping[str, Receiver]) -> list[ReceiverRecord]:
    """What may be known of them."""
    return [{"name": name, "kind": receivers[name].kind} for name in sorted(receivers)]
