"""The records of one source, one after the other, also where a signal handler records something in the midst of one."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from ...exceptions import AzureMLException

logger = logging.getLogger("runstream")


class Turns:
    """Whose turn it is.

    Attributes:
        lock: held while a record is made.
    """

    __slots__ = ("_interrupting", "_recording", "lock")

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._recording = False  # by the thread that has the lock
        self._interrupting: deque[Callable[[], Any]] = deque()

    def take(self, record: Callable[[], Any], later: Callable[[], Any] | None = None) -> None:
        """Do `record` with the lock held. A signal handler may come at any instruction of it, in the same thread: what that
        one records is done after it, in a turn of its own.

        Args:
            later: what to do then instead; it takes its turn itself.
        """
        outermost = not self.lock._is_owned()  # type: ignore[attr-defined]  # as threading.Condition asks it
        with self.lock:
            if outermost:
                self._recording = False  # Ctrl-C may have come before the last record's end had said so
            if self._recording:
                self._interrupting.append(later or partial(self.take, record))
                return
            try:
                self._recording = True
                record()
            finally:
                self._recording = False
                while self._interrupting:
                    _catch_up(self._interrupting.popleft())


def _catch_up(record: Callable[[], Any]) -> None:
    try:
        record()
    except AzureMLException as error:  # of the handler's call, which has returned long since
        logger.warning("runstream: what a signal handler recorded was refused: %s", error)
