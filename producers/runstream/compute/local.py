"""The target `local`: each run is a process of its own on this machine."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runstream_schemas.locks import is_held

from .backend import Report, State, Work
from .job import STARTED

LEAST_RUNS = 4
"""Runs that run at once also on a machine of fewer processors."""

_TAIL = 2000


class LocalBackend:
    """Starts wrappers as background processes, each in a session of its own: they outlive this process too."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.concurrency: int | None = max(os.cpu_count() or 1, LEAST_RUNS)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, work: Work) -> None:
        """Start the wrapper of a run, with the environment of the process that submitted."""
        with (work.directory / "wrapper.log").open("ab") as log:
            self._processes[work.run_id] = subprocess.Popen(
                work.wrapper_command,
                env=work.job.submitter_environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def report(self, work: Work) -> Report:
        """Running while the wrapper's process lives."""
        process = self._processes.get(work.run_id)
        if process is None:
            return Report(State.RUNNING if wrapper_alive(work.directory) else self._earlier(work))
        if process.poll() is None:
            return Report(State.RUNNING)
        del self._processes[work.run_id]
        if process.returncode == 0:
            return Report(State.ENDED)
        if process.returncode < 0 and (work.directory / STARTED).exists():
            return Report(
                State.ENDED
            )  # killed: it owned the run, which is marked Failed as that of any dead process
        return Report(State.ENDED, f"the run's process could not carry it out: {_tail(work.directory)}")

    def _earlier(self, work: Work) -> State:
        return State.ENDED if (work.directory / STARTED).exists() else State.NEW

    def cancel(self, work: Work) -> None:
        """The wrapper sees the request in its directory."""

    def close(self) -> None:
        """Nothing is held."""


def wrapper_alive(directory: Path) -> bool:
    """Whether the wrapper of a run lives: it holds a lock as long."""
    return is_held(directory / STARTED)


def _tail(directory: Path) -> str:
    try:
        return (directory / "wrapper.log").read_text(errors="replace")[-_TAIL:].strip()
    except OSError as error:
        return str(error)
