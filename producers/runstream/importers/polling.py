"""How files that grow are followed: looked at again and again, which works on every filesystem."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

POLL_SECONDS = 0.2
LOOK_SECONDS, LOOK_SHARE = 1.0, 0.1
"""New files are looked for so often, and at most in this share of the time."""


def poll(stop: threading.Event, look: Callable[[], None], take: Callable[[], None]) -> None:
    """Do both, again and again, until `stop` is set.

    Args:
        look: finds what is new; every `LOOK_SECONDS`, more seldom where it takes long.
        take: takes over what has grown; every `POLL_SECONDS`.
    """
    next_look = 0.0
    while not stop.is_set():
        began = time.monotonic()
        if began >= next_look:
            look()
            took = time.monotonic() - began
            next_look = time.monotonic() + max(LOOK_SECONDS, took / LOOK_SHARE)
        take()
        stop.wait(max(0.0, POLL_SECONDS - (time.monotonic() - began)))
