"""Files of submitted runs, and waiting for them."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from runstream.core import Run

DRIVER = "azureml-logs/70_driver_log.txt"


def text(run: Run, name: str, tmp_path: Path) -> str:
    run.download_file(name, tmp_path / "downloaded")
    return (tmp_path / "downloaded").read_text()


def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
