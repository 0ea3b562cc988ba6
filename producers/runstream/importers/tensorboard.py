"""Takes over event files of TensorBoard, one run a directory. `event_follower` does so for as long as they grow.

Nothing is stored twice: not when the import is repeated, nor after a `kill -9` (see `positions`), nor when two processes are
told to take over one directory. On one machine a lock decides, between homes a property of the run, whose first value stays.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

from runstream_schemas.settings import Settings

from ..client.http import ServiceClient
from ..client.outbox import deliver
from ..client.progress import progress
from ..client.reading import settle
from ..client.records import RunRecord
from ..core._run.starting import creation, wake_service
from ..core.workspace import Workspace
from ..exceptions import UserErrorException
from ..spool.live_runs import open_live
from ..tensorboard.events import decode_event
from ..tensorboard.names import experiment_name
from ..tensorboard.records import RecordFile
from ..tensorboard.wire import WireError
from .event_directories import (
    EventDirectory,
    event_files,
    find,
    identity,
    size_of,
)
from .event_intake import EventIntake
from .positions import Position, PositionFile, claim, home_id, imports_folder, key_of
from .runs import HOME_PROPERTY, Below, RunReport, deleted_before, homes, stored_points

DIRECTORY_PROPERTY = "tensorboard.directory"
"""Property of an imported run: where its event files lay."""

TOGETHER = 100
"""Directories whose runs are made, and asked for, at once."""


class TensorBoardImport:
    """Takes over what lies below a log directory.

    Args:
        workspace: the runs go to.
        logdir: the directory.
        experiment: the runs' experiment; default: the directory's name.
        below: the run that the runs are children of; default: none.

    Attributes:
        logdir: the directory, absolute and without links.
        experiment: the experiment of the runs.

    Raises:
        UserErrorException: there is no such directory.
        ServiceException: the service is away.
    """

    def __init__(
        self, workspace: Workspace, logdir: Path, experiment: str | None = None, *, below: Below | None = None
    ) -> None:
        if not logdir.is_dir():
            raise UserErrorException(f"{logdir}: there is no such directory; name one with event files")
        self._settings: Settings = workspace._settings
        self._workspace = workspace.name
        self.logdir = logdir.resolve()
        self.experiment = experiment or experiment_name(self.logdir)
        self._below = below
        self._client: ServiceClient = workspace._client
        self._folder = imports_folder(self._settings.home_path)
        self._home = home_id(self._folder)
        wake_service(self._settings)

    def once(self) -> Iterator[RunReport]:
        """Take over what the files hold now, and say what became of each directory."""
        directories = find(self.logdir)
        total = sum(_bytes(directory) for directory in directories)
        done = 0
        with progress(f"event files in {self.logdir.name}", total) as show:

            def on_bytes(n: int) -> None:
                nonlocal done
                done += n
                show(done)

            for first in range(0, len(directories), TOGETHER):
                for opened in self.open_directories(directories[first : first + TOGETHER]):
                    if isinstance(opened, RunReport):
                        yield opened
                        continue
                    intake, outcome = opened
                    taken = False
                    try:
                        taken = take_over(intake, on_bytes=on_bytes)
                        intake.close("complete")
                    finally:
                        intake.release()
                    yield report_of(intake, outcome if taken or outcome == "new" else "unchanged")
        self.send_media()

    def send_media(self) -> None:
        """Send the media that are kept in the home to a server elsewhere; the home's own service takes them by itself."""
        if self._settings.url:
            deliver(self._settings)

    # --- runs ---

    def open_directories(
        self, directories: list[EventDirectory]
    ) -> Iterator[tuple[EventIntake, str] | RunReport]:
        """Lock directories, and find or make their runs. Those that cannot be taken over now are reported.

        Yields:
            An intake and whether its run is `new` or `continued`; or why there is none.
        """
        with ExitStack() as stack:
            ready: list[tuple[EventIntake, str]] = []
            reports: list[RunReport] = []
            fresh: dict[str, tuple[EventDirectory, PositionFile]] = {}
            for directory in directories:
                key = key_of(
                    {
                        "tool": "tensorboard",
                        "directory": str(directory.path),
                        "url": self._settings.url,
                        "workspace": self._workspace,
                        "experiment": self.experiment,
                    }
                )
                file = PositionFile(self._folder, key)
                if not file.acquire():
                    owner = file.owner()
                    reports.append(_skipped(directory, f"process {owner} takes it over already"))
                    continue
                stack.callback(file.release)
                position = file.read()
                if position is not None:
                    ready.append((self._intake(directory, file, position), "continued"))
                    continue
                try:
                    files = identity(directory.path)
                    why = "its event files hold no record yet"
                except OSError as error:
                    files, why = None, f"{error.filename}: cannot be read ({error.strerror})"
                if files is None:
                    reports.append(_skipped(directory, why))
                    file.release()
                    continue
                run_id = self._run_id(files)
                if claim(self._folder, run_id, key) != key:
                    reports.append(
                        _skipped(directory, f"it is a copy: its files are in run {run_id} already")
                    )
                    file.release()
                    continue
                fresh[run_id] = (directory, file)
            for made in self._make_runs(fresh):
                if isinstance(made, RunReport):
                    reports.append(made)
                else:
                    ready.append((made, "new"))
            there = homes(self._client, self._workspace, [intake.position.run_id for intake, _ in ready])
            for intake, outcome in list(ready):
                if intake.position.run_id in there:
                    self._resume(intake)
                    continue
                ready.remove((intake, outcome))
                reports.append(_skipped(intake.directory, deleted_before(intake.position.run_id)))
                intake.release()
            stack.pop_all()  # from here on each intake gives its own lock back
        yield from reports
        yield from ready

    def _run_id(self, files: str) -> str:
        scope = {"files": files, "workspace": self._workspace, "experiment": self.experiment}
        return f"tb-{key_of(scope)[:24]}"

    def _intake(self, directory: EventDirectory, file: PositionFile, position: Position) -> EventIntake:
        return EventIntake(
            directory, file, position, open_live(self._settings, position.run_id), self._client
        )

    def _make_runs(
        self, fresh: dict[str, tuple[EventDirectory, PositionFile]]
    ) -> Iterator[EventIntake | RunReport]:
        """Make the runs that are not there, and note in each whose it is; one that another home made is left alone."""
        if not fresh:
            return
        there = homes(self._client, self._workspace, list(fresh))
        for run_id, (directory, _) in fresh.items():
            if run_id not in there:
                self._create(run_id, directory)
        settle(self._client)
        owners = homes(self._client, self._workspace, list(fresh))
        for run_id, (directory, file) in fresh.items():
            owner = owners.get(run_id)
            if owner != self._home:
                file.release()
                why = f"another home ({owner}) takes it over, into run {run_id}"
                yield _skipped(directory, why if run_id in owners else deleted_before(run_id))
                continue
            position = Position(directory=str(directory.path), run_id=run_id, open=True)
            position.status_time = _first_time(directory)
            file.write(position)
            yield self._intake(directory, file, position)

    def _create(self, run_id: str, directory: EventDirectory) -> None:
        record = RunRecord(
            run_id=run_id,
            experiment=self.experiment,
            workspace=self._workspace,
            status="Running",
            parent_run_id=self._below.run_id if self._below else None,
            root_run_id=self._below.root_run_id if self._below else run_id,
            name=directory.name,
            display_name=directory.name,
            target="local",
            details={"host": socket.gethostname(), "directory": str(directory.path)},
        )
        live, when = open_live(self._settings, run_id), _first_time(directory)
        facts = {HOME_PROPERTY: self._home, DIRECTORY_PROPERTY: str(directory.path)}
        # In one record: a run that is there without them is somebody else's.
        live.writer.status("create", {**creation(record), "properties": facts}, when=when)
        live.writer.status("start", when=when)

    def _resume(self, intake: EventIntake) -> None:
        if intake.position.pending:
            intake.resume(stored_points(self._settings, self._client, intake.position.run_id))


def take_over(
    intake: EventIntake, at_once: bool = True, on_bytes: Callable[[int], None] = lambda n: None
) -> bool:
    """Take over what is new of a directory. What cannot be read is said, and the other directories are read all the same."""
    try:
        return intake.take(at_once=at_once, on_bytes=on_bytes)
    except OSError as error:
        note = f"{error.filename or intake.path}: cannot be read ({error.strerror or error})"
        if note not in intake.done.notes:
            intake.done.notes.append(note)
        return False


def _first_time(directory: EventDirectory) -> float:
    """Time of the first values of a directory, else of its first event; seconds since the epoch."""
    first = 0.0
    for name in event_files(directory.path):
        for record in RecordFile(directory.path / name).read():
            try:
                event = decode_event(record)
            except WireError:
                continue
            if event.has_summary:
                return event.wall_time
            first = first or event.wall_time
    return first


def _bytes(directory: EventDirectory) -> int:
    return sum(size_of(directory.path / name, False) for name in event_files(directory.path))


def _skipped(directory: EventDirectory, why: str) -> RunReport:
    return RunReport(str(directory.path), "", directory.name, "skipped", notes=[why])


def report_of(intake: EventIntake, outcome: str) -> RunReport:
    """What became of a directory so far."""
    done = intake.done
    return RunReport(
        os.fspath(intake.path),
        intake.position.run_id,
        intake.directory.name,
        outcome,
        dict(done.points),
        dict(done.left_out),
        list(done.notes),
    )
