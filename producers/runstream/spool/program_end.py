"""How the program ends: the exception, or the `sys.exit` other than 0, that nobody caught."""

from __future__ import annotations

import contextlib
import sys
import threading
from types import TracebackType
from typing import Any, NoReturn

_escaped: BaseException | None = None
_watching = False


def escaped() -> BaseException | None:
    """What ends the program, asked for at its exit; None: it ends well."""
    return _escaped


def watch() -> None:
    """Note what will end the program, from now on."""
    global _watching
    if _watching:
        return
    _watching = True
    chained = sys.excepthook

    def note_and_go_on(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        global _escaped
        _escaped = error
        chained(kind, error, trace)

    sys.excepthook = note_and_go_on
    sys.exit = _exit


def keep_the_signal() -> None:
    """Have the interpreter end by SIGINT after a Ctrl-C that nobody caught. Called last of what runs at exit.

    It notes such an end in a flag, which code that is run from a text clears: a `dataclass` or `namedtuple` made by a module
    that is first imported while the process ends (`run_eval_code_obj` in CPython's pythonrun.c). A script stopped by
    Ctrl-C then ended with 1, as if it had failed, and shells went on with their loops.
    """
    if isinstance(_escaped, KeyboardInterrupt):
        with contextlib.suppress(KeyboardInterrupt):
            exec("raise KeyboardInterrupt")  # noqa: S102 - a text is the point


class _Exit(SystemExit):
    """The interpreter tells nobody of a `SystemExit` that ends it, and at exit it is gone. But when it drops one, no frame
    of the program is left; one that was caught goes while whoever caught it is at work."""

    def __del__(self) -> None:
        global _escaped
        if (
            self.code not in (None, 0)
            and sys._getframe().f_back is None
            and threading.current_thread() is threading.main_thread()
        ):
            _escaped = self


_Exit.__name__ = _Exit.__qualname__ = "SystemExit"  # in messages


def _exit(status: Any = None, /) -> NoReturn:
    raise _Exit(status)
