"""A bar on the terminal while something large goes up, down or over."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Literal

SHOWN_FROM = 32 << 20
"""Bytes; smaller files are through before a bar could be read."""
VALUES_SHOWN_FROM = 100_000
"""The same of values."""


@contextlib.contextmanager
def progress(
    name: str, size: int, of: Literal["bytes", "values"] = "bytes"
) -> Iterator[Callable[[int], None]]:
    """A bar on stderr until the end of the block: not for what is small, where stderr is no terminal, or without rich.

    Args:
        name: what is moving.
        size: bytes, or values, in all.
        of: which of them.

    Yields:
        A function that takes how many have moved so far.
    """
    if (
        size < (SHOWN_FROM if of == "bytes" else VALUES_SHOWN_FROM)
        or sys.stderr is None
        or not sys.stderr.isatty()
    ):
        yield lambda done: None
        return
    try:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            MofNCompleteColumn,
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
        *((DownloadColumn(True), TransferSpeedColumn()) if of == "bytes" else (MofNCompleteColumn(),)),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(name.replace("[", "\\["), total=size)
        yield lambda done: bar.update(task, completed=done)
