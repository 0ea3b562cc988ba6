"""Takes over what W&B's offline mode has written, a run of it as a run here. `wandb_follower` does so as long as it grows.

Nothing is stored twice: not when the import is repeated, nor after a `kill -9` (see `positions`), nor when two processes are
told to take over one run.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from runstream_schemas.settings import Settings

from ..client.http import ServiceClient
from ..client.outbox import deliver
from ..client.progress import progress
from ..client.reading import settle
from ..client.records import RunRecord
from ..core._run.starting import checked_run_id, creation, wake_service
from ..core.workspace import Workspace
from ..exceptions import UserErrorException
from ..spool.live_runs import open_live
from ..tensorboard.wire import WireError
from ..wandb.mapping import experiment_of
from . import wandb_records
from .positions import Position, PositionFile, home_id, imports_folder, key_of
from .runs import HOME_PROPERTY, Below, RunReport, deleted_before, homes, record_of, stored_points
from .wandb_files import WandbFile, find
from .wandb_intake import WandbIntake
from .wandb_records import RunInfo, WandbRun

KEY_PROPERTY = "wandb.key"
"""Property of an imported run: what was taken over into it, and where to."""
STILL_SECONDS = 300.0
"""A file without an end that has not grown for so long: its process was killed."""
_FIRST_BYTES = 1 << 20  # of a file, in which the record of its run lies


class WandbImport:
    """Takes over what lies below a directory.

    Args:
        workspace: the runs go to.
        directory: with `.wandb` files at any depth.
        experiment: the runs' experiment; default: their project's name.
        below: the run that the runs are children of; default: none.
        since: files that have not changed since, seconds since the epoch, are passed over.

    Attributes:
        directory: absolute and without links.

    Raises:
        UserErrorException: there is no such directory.
        ServiceException: the service is away.
    """

    def __init__(
        self,
        workspace: Workspace,
        directory: Path,
        experiment: str | None = None,
        *,
        below: Below | None = None,
        since: float = 0.0,
    ) -> None:
        if not directory.is_dir():
            raise UserErrorException(f"{directory}: there is no such directory; name one with .wandb files")
        self._settings: Settings = workspace._settings
        self._workspace = workspace.name
        self.directory = directory.resolve()
        self._experiment, self._below, self._since = experiment, below, since
        self._client: ServiceClient = workspace._client
        self._folder = imports_folder(self._settings.home_path)
        self._home = home_id(self._folder)
        wake_service(self._settings)

    def once(self, still: float = STILL_SECONDS) -> Iterator[RunReport]:
        """Take over what the files hold now, and say what became of each run.

        Args:
            still: seconds after which a file without an end, that has not grown, is one of a process that was killed.
        """
        runs, reports = self.look()
        yield from reports
        total = sum(path.stat().st_size for run in runs for path in run.parts.values())
        done = 0
        with progress(f".wandb files in {self.directory.name}", total) as show:

            def on_bytes(n: int) -> None:
                nonlocal done
                done += n
                show(done)

            for run in runs:
                opened = self.open(run)
                if isinstance(opened, RunReport):
                    yield opened
                    continue
                intake, outcome = opened
                try:
                    taken = take_over(intake, on_bytes=on_bytes)
                    intake.close(ending_of(intake, still))
                finally:
                    intake.release()
                yield report_of(intake, outcome if taken or outcome == "new" else "unchanged")
        self.send_media()

    def send_media(self) -> None:
        """Send the media that are kept in the home to a server elsewhere; the home's own service takes them by itself."""
        if self._settings.url:
            deliver(self._settings)

    def look(self) -> tuple[list[WandbRun], list[RunReport]]:
        """The runs that have files here, and a report of each file that is of none.

        Raises:
            OSError: the directory cannot be listed.
        """
        runs: dict[tuple[str, str, str], WandbRun] = {}
        reports: list[RunReport] = []
        parts: list[tuple[RunInfo, str, Path]] = []
        for path in find(self.directory):
            try:
                if self._since and path.stat().st_mtime < self._since:
                    continue
                info, identity = _identify(path)
            except (OSError, WireError, ValueError) as error:
                why = getattr(error, "strerror", None) or error
                reports.append(RunReport(str(path), "", path.stem, "skipped", notes=[f"{path.name}: {why}"]))
                continue
            parts.append((info, identity, path))
        for info, identity, path in sorted(parts, key=lambda part: (part[0].started, str(part[2]))):
            run = runs.setdefault((info.entity, info.project, info.run_id), WandbRun(info))
            other = run.parts.setdefault(identity, path)
            if other is not path:
                larger, smaller = sorted((other, path), key=lambda file: -file.stat().st_size)
                run.parts[identity] = larger
                reports.append(_skipped(smaller, run.name, f"it is a copy of {larger}"))
        return list(runs.values()), reports

    def open(self, run: WandbRun) -> tuple[WandbIntake, str] | RunReport:
        """Lock a run, and find or make where it goes.

        Returns:
            An intake, and whether its run is `new` or `continued`; or why there is none.
        """
        info = run.info
        experiment = self._experiment or experiment_of(info.project)
        scope = {"entity": info.entity, "project": info.project, "run": info.run_id, "experiment": experiment}
        key = key_of({"tool": "wandb", "url": self._settings.url, "workspace": self._workspace, **scope})
        file = PositionFile(self._folder, key)
        if not file.acquire():
            return _skipped(run.directory, run.name, f"process {file.owner()} takes it over already")
        try:
            position, outcome = file.read(), "continued"
            if position is None:
                made = self._make(run, experiment, key)
                if isinstance(made, RunReport):
                    file.release()
                    return made
                position, outcome = made, "new"
                file.write(position)
            elif position.run_id not in homes(self._client, self._workspace, [position.run_id]):
                file.release()
                return _skipped(run.directory, run.name, deleted_before(position.run_id))
            live = open_live(self._settings, position.run_id)
            intake = WandbIntake(run, file, position, live, self._client)
            if position.pending:
                intake.resume(stored_points(self._settings, self._client, position.run_id))
            return intake, outcome
        except FileNotFoundError as error:
            file.release()
            return _skipped(run.directory, run.name, f"{error.filename}: {error.strerror}")
        except BaseException:
            file.release()
            raise

    def _make(self, run: WandbRun, experiment: str, key: str) -> Position | RunReport:
        """Make the run, under W&B's id where that is free, and note in it whose it is."""
        for run_id in _ids(run.info.run_id, key):
            record = record_of(self._client, run_id)
            if record is None:
                self._create(run_id, run, experiment, key)
                settle(self._client)
                record = record_of(self._client, run_id)
            if record is None:
                return _skipped(run.directory, run.name, deleted_before(run_id))
            if record.properties.get(KEY_PROPERTY) != key:
                continue  # another run of that id
            owner = record.properties.get(HOME_PROPERTY)
            if owner != self._home:
                why = f"another home ({owner}) takes it over, into run {run_id}"
                return _skipped(run.directory, run.name, why)
            position = Position(directory=str(run.directory), run_id=run_id, open=True)
            position.status_time = run.info.started
            return position
        return _skipped(run.directory, run.name, f"its id {run.info.run_id} is taken by another run")

    def _create(self, run_id: str, run: WandbRun, experiment: str, key: str) -> None:
        info = run.info
        record = RunRecord(
            run_id=run_id,
            experiment=experiment,
            workspace=self._workspace,
            status="Running",
            parent_run_id=self._below.run_id if self._below else None,
            root_run_id=self._below.root_run_id if self._below else run_id,
            name=run.name,
            display_name=run.name,
            target="local",
            details={"host": info.host, "directory": str(run.directory)},
        )
        facts = {
            HOME_PROPERTY: self._home, KEY_PROPERTY: key, "wandb.directory": str(run.directory),
            "wandb.run_id": info.run_id, "wandb.project": info.project, "wandb.entity": info.entity,
        }  # fmt: skip
        live = open_live(self._settings, run_id)
        # In one record: a run that is there without them is somebody else's.
        properties = {name: value for name, value in facts.items() if value}
        live.writer.status("create", {**creation(record), "properties": properties}, when=info.started)
        live.writer.status("start", when=info.started)


def take_over(
    intake: WandbIntake, at_once: bool = True, on_bytes: Callable[[int], None] = lambda n: None
) -> bool:
    """Take over what is new of a run. What cannot be read is said, and the other runs are read all the same."""
    try:
        taken = intake.take(at_once=at_once, on_bytes=on_bytes)
        if at_once:
            intake.keep_files()
        return taken
    except OSError as error:
        note = f"{error.filename or intake.run.directory}: cannot be read ({error.strerror or error})"
        if note not in intake.done.notes:
            intake.done.notes.append(note)
        return False


def ending_of(intake: WandbIntake, still: float = STILL_SECONDS) -> str | None:
    """How a run that is read to its end has ended; without a record of that: killed, once nothing is written to it."""
    if intake.ended is not None or not intake.position.open:
        return intake.ended
    latest = max(path.stat().st_mtime for path in intake.run.parts.values())
    if time.time() - latest < still:
        intake.done.notes.append(
            f"{intake.run.name}: it has no end yet and stays Running; import it again, or use --follow"
        )
        return None
    intake.done.notes.append(f"{intake.run.name}: its process was killed: no exit status is recorded")
    return "fail"


def report_of(intake: WandbIntake, outcome: str) -> RunReport:
    """What became of a run so far."""
    done, run = intake.done, intake.run
    return RunReport(
        str(run.directory),
        intake.position.run_id,
        run.name,
        outcome,
        {name: n for name, n in done.points.items() if n},
        dict(done.left_out),
        list(done.notes),
    )


def _identify(path: Path) -> tuple[RunInfo, str]:
    """What a file's run is, and what tells this file from others, wherever it lies.

    Raises:
        ValueError: it is no `.wandb` file, or says nothing of a run (yet).
    """
    file = WandbFile(path)
    if not file.begins_right():
        raise ValueError("it does not begin as a .wandb file does")
    for record in file.read(size=_FIRST_BYTES):
        kind, message = wandb_records.decode_record(record)
        if kind == wandb_records.RUN:
            info = wandb_records.decode_run(message)
            if info.run_id:
                return info, hashlib.sha256(message).hexdigest()[:16]
    raise ValueError("it does not say yet which run it is of")


def _ids(run_id: str, key: str) -> list[str]:
    """The ids a run may get: W&B's own, else that with a suffix."""
    try:
        return [checked_run_id(run_id), checked_run_id(f"{run_id}-{key[:8]}")]
    except UserErrorException:
        return [f"wandb-{key[:24]}"]


def _skipped(path: Path, name: str, why: str) -> RunReport:
    return RunReport(str(path), "", name, "skipped", notes=[why])
