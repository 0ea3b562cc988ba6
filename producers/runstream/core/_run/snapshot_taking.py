"""Takes the snapshots of runs: at once where a call asks for it, in the background for a run that starts.

Nothing of it slows or fails a training. A snapshot's id is written to its run once its contents are safe: with the service,
or in the outbox. Runs started in the same directory meanwhile share one reading of it.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ...client.http import ServiceClient
from ...exceptions import AuthenticationException, ServiceException, SnapshotException

SNAPSHOT_ID = "ContentSnapshotId"
"""Property of a run: the id of the snapshot of its source."""

DIFF_ID = "runstream.git.diff"
"""Property of a run: the id of a snapshot of one file, what its source has that its commit has not."""

WAIT_SECONDS = 30.0
"""Longest wait for a snapshot being taken: by whoever asks for it, and by the end of the run or of the process."""

_TRIES = 3

_log = logging.getLogger("runstream")


@dataclass(slots=True, eq=False)
class SnapshotJob:
    """A snapshot that is being taken in the background.

    Attributes:
        client: the client of the service it goes to.
        folder: the directory.
        leave_out: directories in it that do not belong to it.
        finished: called with the properties it gives the run.
        failed: called with what to tell people, when there is none.
        done: set at the end, however that was.
    """

    client: ServiceClient
    folder: Path
    leave_out: tuple[Path, ...]
    finished: Callable[[dict[str, str]], None]
    failed: Callable[[str], None]
    done: threading.Event = field(default_factory=threading.Event)

    def wait(self) -> None:
        """Wait for the end, at most `WAIT_SECONDS`."""
        self.done.wait(WAIT_SECONDS)


_jobs: list[SnapshotJob] = []
_lock = threading.RLock()
_worker: threading.Thread | None = None
_watching = False


def source_properties(
    client: ServiceClient, folder: Path, leave_out: tuple[Path, ...] = ()
) -> dict[str, str]:
    """Take a snapshot of a directory or file, make it safe, and ask git: the properties a run gets from its source.

    Raises:
        SnapshotException: it is too large, has too many files, or changes all the time.
        ServiceException: the service could not store it.
        OSError: the service is away, and the snapshot cannot be kept either.
    """
    from ...client.git_facts import git_properties

    properties = {SNAPSHOT_ID: store(client, folder, leave_out), **git_properties(folder)}
    commit = properties.get("azureml.git.commit", "")
    if client.settings.git_diff and commit and properties.get("azureml.git.dirty", "").lower() == "true":
        try:
            properties.update(_diff_property(client, folder, commit, leave_out))
        except Exception as error:  # a run without it is worth more than none
            _log.info("the changes of %s against commit %s are not kept: %s", folder, commit[:12], error)
    return properties


def _diff_property(
    client: ServiceClient, folder: Path, commit: str, leave_out: tuple[Path, ...]
) -> dict[str, str]:
    from ...client.git_diff import DIFF_FILE, git_diff

    text = git_diff(folder, commit, leave_out)
    if not text:
        return {}
    with tempfile.TemporaryDirectory(prefix="runstream-") as place:
        file = Path(place, DIFF_FILE)
        file.write_bytes(text)
        return {DIFF_ID: store(client, file)}


def store(client: ServiceClient, path: Path, leave_out: tuple[Path, ...] = ()) -> str:
    """Take a snapshot of a directory or file and make it safe; returns its id. Raises as `source_properties`."""
    from ...client.code_snapshots import ContentChanged, take
    from ...client.outbox import store_snapshot

    with contextlib.ExitStack() as leaving:
        copies = None
        for _ in range(_TRIES):
            snapshot = take(path, client.settings, leave_out, copies)
            try:
                store_snapshot(client, snapshot)
                return snapshot.id
            except ContentChanged:  # a log that grows, a notebook that saves itself
                if copies is None:
                    copies = Path(leaving.enter_context(tempfile.TemporaryDirectory(prefix="runstream-")))
                time.sleep(0.1)
    raise SnapshotException(
        f"{path} changed while a snapshot of it was taken, {_TRIES} times; name what changes in .amlignore"
    )


def take_later(job: SnapshotJob) -> None:
    """Take a snapshot in the background."""
    global _worker, _watching
    with _lock:
        _jobs.append(job)
        if not _watching:
            _watching = True
            atexit.register(_finish)
            if hasattr(os, "register_at_fork"):
                os.register_at_fork(after_in_child=_forget)
        if _worker is None:
            _worker = threading.Thread(target=_work, name="runstream snapshots", daemon=True)
            _worker.start()


def _work() -> None:
    global _worker
    while True:
        with _lock:
            if not _jobs:
                _worker = None
                return
            first = _jobs[0]
            alike = [
                job
                for job in _jobs
                if (job.client, job.folder, job.leave_out) == (first.client, first.folder, first.leave_out)
            ]
            _jobs[:] = [job for job in _jobs if job not in alike]
        properties: dict[str, str] = {}
        problem = ""
        try:
            properties = source_properties(first.client, first.folder, first.leave_out)
        except (SnapshotException, ServiceException, AuthenticationException, OSError) as error:
            problem = getattr(error, "message", "") or str(error)
        except Exception as error:  # a thread's traceback in the middle of a training helps nobody
            problem = f"{type(error).__name__}: {error}"
        finally:
            first.client.close()
        for job in alike:
            try:
                if problem:
                    job.failed(problem)
                else:
                    job.finished(properties)
            finally:
                job.done.set()


def _finish() -> None:
    """At the end of the process: wait for what is being taken."""
    worker = _worker
    if worker is not None:
        worker.join(WAIT_SECONDS)
        if worker.is_alive():
            _log.warning("the process ends before the snapshot of its source was taken")


def _forget() -> None:
    """In a forked child: the jobs are the parent's."""
    global _lock, _worker
    _lock = threading.RLock()
    _jobs.clear()
    _worker = None
