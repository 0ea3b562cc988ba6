"""Threads whose work others need not wait for."""

from __future__ import annotations

import contextlib
import os
import sys
import threading


def be_nice() -> None:
    """Let other threads and processes go before this thread, where priority is a property of the thread."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)
