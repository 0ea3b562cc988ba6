"""A bar on the terminal while a large file goes up or down."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator

SHOWN_FROM = 32 << 20
"""Bytes; smaller files are through before a bar could be read."""


@contextlib.contextmanager
def progress(name: str, size: int) -> Iterator[Callable[[int], None]]:
    """A bar on stderr until the end of the block: not for a small file, where stderr is no terminal, or without rich.

    Args:
        name: what is moving.
        size: bytes in all.

    Yields:
        A function that takes the bytes moved so far.
    """
    if size < SHOWN_FROM or sys.stderr is None or not sys.stderr.isatty():
        yield lambda done: None
        return
    try:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )
    except ImportError:
        yield lambda done: None
        return
    columns = (
        "{task.description}",
        BarColumn(),
        DownloadColumn(True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(name.replace("[", "\\["), total=size)
        yield lambda done: bar.update(task, completed=done)
