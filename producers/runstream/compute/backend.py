"""What a compute target has to offer: four calls, made by the runner of the machine that submitted.

A package adds a kind of target with an entry point of the group `runstream.compute_targets`, whose value is a function
`open(options: Mapping[str, Any]) -> Backend`. Whatever runs a run in the end calls `python -m runstream.wrapper
DIRECTORY` there, which sends logs, keeps the time limit, stores files and ends the run; a backend only brings it about.
"""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any, Protocol

from runstream_schemas.settings import PREFIX, Settings

from .job import Job, read_job

GROUP = "runstream.compute_targets"
"""Entry point group of kinds of compute targets."""

_OF_A_MACHINE = frozenset(
    PREFIX + name
    for name in (
        "HOME",
        "SPOOL",
        "STORE",
        "DATABASE",
        "HOST",
        "PORT",
        "ALERT_RECEIVERS",
        "ALERT_RECEIVERS_FILE",
    )
)


class TargetAway(Exception):
    """The target cannot be asked now (a scheduler that does not answer); the runner tries again later."""


class State(Enum):
    """Where a run is, as its target sees it."""

    NEW = "never handed over"
    QUEUED = "handed over, not begun"
    RUNNING = "begun"
    ENDED = "over, whatever became of it"


@dataclass(frozen=True, slots=True)
class Report:
    """What a target says of a run.

    Attributes:
        state: where it is.
        problem: with the state `ENDED`, why the run's own process could not end it. The run is then Failed with this text.
        code: that error's code.
    """

    state: State
    problem: str = ""
    code: str = "ComputeTargetError"


@dataclass(frozen=True, slots=True)
class Work:
    """One submitted run.

    Attributes:
        run_id: its id.
        directory: its directory on the machine that submitted (see `runstream.compute.job`).
        job: what to run, and how.
    """

    run_id: str
    directory: Path
    job: Job

    @classmethod
    def of(cls, directory: Path) -> Work:
        """The work a run's directory holds.

        Raises:
            OSError: there is no such directory, or no job in it.
        """
        job = read_job(directory)
        return cls(job.run_id, directory, job)

    @property
    def settings(self) -> Settings:
        """Settings of the process that submitted."""
        return Settings.load(self.job.submitter_environment)

    @property
    def wrapper_command(self) -> list[str]:
        """What runs the run, on a machine that sees `directory`."""
        return [self.job.interpreter, "-P", "-m", "runstream.wrapper", str(self.directory)]

    def bundle(self) -> bytes:
        """The directory's job, record and code as a zip file, for a machine that does not see it (see `unpack`).

        Of the environment of the process that submitted, only settings that are not about its machine go along.
        """
        settings = self.settings.with_secrets_in_place().environment()
        elsewhere = {key: value for key, value in settings.items() if key not in _OF_A_MACHINE}
        job = asdict(replace(self.job, submitter_environment=elsewhere))
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            archive.writestr("job.json", json.dumps(job, ensure_ascii=False))
            archive.write(self.directory / "run.json", "run.json")
            for folder, _, names in os.walk(self.directory / "code"):
                for name in names:
                    path = Path(folder, name)
                    archive.write(path, path.relative_to(self.directory).as_posix())
        return buffer.getvalue()


def unpack(bundle: bytes, directory: Path) -> None:
    """Lay out what `Work.bundle` made in a new directory, for the owner only.

    Raises:
        FileExistsError: the directory is there already: this run runs, or ran, somewhere.
    """
    directory.mkdir(parents=True, mode=0o700)
    (directory / "code").mkdir()
    with zipfile.ZipFile(io.BytesIO(bundle)) as archive:
        for item in archive.infolist():
            path = Path(archive.extract(item, directory))  # extract() keeps names inside the directory
            mode = item.external_attr >> 16 & 0o777
            path.chmod(mode or 0o600)


class Backend(Protocol):
    """A compute target at work. All calls come from one thread; each may raise `TargetAway`."""

    concurrency: int | None
    """Runs handed over at once unless the target was attached with a bound of its own; None: all of them."""

    def start(self, work: Work) -> None:
        """Hand a run over; called once for each. An `OSError` or `AzureMLException` fails the run."""

    def report(self, work: Work) -> Report:
        """Where a run is. A run handed over by an earlier runner must be found again."""

    def cancel(self, work: Work) -> None:
        """End a run that was handed over; its status is Canceled already. Called again until it has ended."""

    def close(self) -> None:
        """Give back connections. Runs handed over continue."""


OpenBackend = Callable[[Mapping[str, Any]], Backend]
"""Opens a target of some kind by the options it was attached with."""
