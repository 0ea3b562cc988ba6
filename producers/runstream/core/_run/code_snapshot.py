"""The snapshot of a run's source: taken when it starts or by hand, and restored."""

from __future__ import annotations

import logging
import os
import tempfile
import time
import weakref
from pathlib import Path
from typing import TYPE_CHECKING

from runstream_schemas.errors import brief

from ...client.addresses import quoted
from ...client.upload_sources import path_of
from ...exceptions import ServiceException, SnapshotException, UserErrorException
from .handle import RunHandle
from .snapshot_taking import SNAPSHOT_ID, WAIT_SECONDS, SnapshotJob, store, take_later

if TYPE_CHECKING:
    from ...spool.live_runs import LiveRun

_log = logging.getLogger("runstream")


class RunSnapshots(RunHandle):
    """The part of `Run` that is about the snapshot of its source."""

    _source: Path | None = None  # the directory its own snapshot is of

    def take_snapshot(self, file_or_folder_path: str | os.PathLike[str]) -> str:
        """Store a directory or a file as the run's snapshot; while the service is away it is kept and stored later.

        Left out is what `.amlignore` names (`.gitignore` if there is none), git's own directory, and links that lead out.

        Args:
            file_or_folder_path: what to take.

        Returns:
            The snapshot's id; the same content has the same id. Of the directory that `start_logging` took already, its
            id.

        Raises:
            SnapshotException: the run has a snapshot already; or the directory is larger than 300 MB (setting
                `snapshot_limit`) or has more than 2000 files (lifted by the variable `AML_SNAPSHOT_NO_FILE_LIMIT`).
            ServiceException: the service could not store it.
        """
        path = Path(file_or_folder_path).expanduser().absolute()
        if existing := self.get_snapshot_id():
            if self._source is not None and path.resolve() == self._source.resolve():
                return existing  # notebooks call it after start_logging, which once took none
            raise SnapshotException(
                f"run {self._id} has a snapshot already ({existing}), and a run has one; take the next in a run of its own, "
                "or start the run with snapshot_directory=None"
            )
        taken = store(self._client, path)
        self._live().writer.add_property(SNAPSHOT_ID, taken)
        self._record.properties[SNAPSHOT_ID] = taken
        return taken

    def get_snapshot_id(self) -> str | None:
        """The id of the run's snapshot, None when it has none. Waits for one that is being taken.

        Raises:
            ServiceException: the run was not started here, and the service is away.
        """
        self._await_snapshot()
        if self._started_here and SNAPSHOT_ID in self._record.properties:
            return self._record.properties[SNAPSHOT_ID]
        return (self._record if self._started_here else self._refresh()).properties.get(SNAPSHOT_ID)

    def restore_snapshot(
        self, snapshot_id: str | None = None, path: str | os.PathLike[str] | None = None
    ) -> str:
        """Fetch a snapshot as a zip; over an existing file.

        Args:
            snapshot_id: default the run's own.
            path: directory to write `<snapshot id>.zip` to, made if need be; default the system's directory for temporary
                files.

        Returns:
            The absolute path of the zip.

        Raises:
            SnapshotException: the run has no snapshot.
            UserErrorException: `path` is a file, or there is no such snapshot.
            ServiceException: the service is away.
        """
        if snapshot_id is not None and not isinstance(snapshot_id, str):
            raise UserErrorException(f"restore_snapshot: expected an id, got {type(snapshot_id).__name__}")
        snapshot = snapshot_id or self.get_snapshot_id()
        if not snapshot:
            raise SnapshotException(f"run {self._id} has no snapshot; pass snapshot_id")
        folder = Path(path if path is not None else tempfile.gettempdir()).absolute()
        if folder.is_file() or "/" in snapshot or os.sep in snapshot:
            raise UserErrorException(
                f"restore_snapshot: {snapshot!r:.80} cannot be written below {folder}; pass a directory, and an id as "
                "get_snapshot_id() gives it"
            )
        folder.mkdir(parents=True, exist_ok=True)
        target = path_of("snapshot", folder / f"{snapshot}.zip")
        deadline = time.monotonic() + WAIT_SECONDS
        with tempfile.NamedTemporaryFile(dir=folder, prefix=f".{snapshot[:20]}.", delete=False) as stream:
            try:
                while True:
                    try:
                        self._client.download(f"/api/v1/snapshots/{quoted(snapshot)}/zip", stream)
                        break
                    except ServiceException as error:
                        if error.status_code != 404:
                            raise
                        # One of this run's that was kept while the service was away is on its way.
                        if (
                            snapshot != self._record.properties.get(SNAPSHOT_ID)
                            or time.monotonic() > deadline
                        ):
                            raise UserErrorException(
                                f"there is no snapshot {snapshot}"
                                "; it may have been removed: start the run with a source folder"
                            ) from None
                        time.sleep(0.2)
                os.replace(stream.name, target)
            except BaseException:
                Path(stream.name).unlink(missing_ok=True)
                raise
        return str(target)

    def _snapshot_later(self, folder: str | os.PathLike[str], live: LiveRun) -> None:
        """Take the snapshot of a run that starts, in the background."""
        path = self._source = Path(folder)
        properties = self._record.properties
        kept = weakref.ref(self)

        def finished(of_source: dict[str, str]) -> None:
            for key, value in of_source.items():
                if key not in properties:
                    live.writer.add_property(key, value)
                    properties[key] = value
            if (run := kept()) is not None:
                run._record.properties.update(of_source)

        def failed(problem: str) -> None:
            _log.warning(
                "run %s has no snapshot of %s: %s",
                live.run_id,
                brief(str(path), 500),
                problem.encode(errors="backslashreplace").decode(),
            )
            live.writer.status(
                "warning", {"message": f"no snapshot of the source was taken: {problem}"[:1000]}
            )

        # What the run makes itself is no source of it; it would also make every snapshot another one.
        results = (
            *(path / name for name in ("outputs", "logs")),
            *(self._where / name for name in self._outputs),
        )
        self._snapshot_job = SnapshotJob(self._client, path, tuple(dict.fromkeys(results)), finished, failed)
        take_later(self._snapshot_job)
