"""The queue of submitted runs: one small file a run, from its submission until its end. What is queued survives everything.

<home>/compute/
    jobs/           one file a run, named by the time of its submission: first come, first served
    targets.json    attached targets (see `runstream.compute.registry`)
    wake            touched when the runner should look
    runner.lock     held (flock) by the one runner of this home
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from runstream_schemas.locks import is_held, take
from runstream_schemas.ownership import make_private
from runstream_schemas.settings import Settings

from ..home.autostart import environment, log_file
from ..home.layout import open_home

_IN_BACKGROUND = 'log=$1; shift; "$@" </dev/null >>"$log" 2>&1 &'


@dataclass(frozen=True, slots=True)
class Entry:
    """A run in the queue.

    Attributes:
        run_id: its id.
        parent: id of the run it is a child of, or ''.
        directory: name of its directory below `runs` of the home.
        workspace, target: where it is to run.
    """

    run_id: str
    parent: str
    directory: str
    workspace: str
    target: str


def compute_directory(settings: Settings) -> Path:
    """The directory above, whether or not it is there."""
    return settings.home_path / "compute"


def enqueue(settings: Settings, entry: Entry) -> Path:
    """Add a run at the end of the queue; it is in it as soon as this returns, and after a crash too.

    Raises:
        OSError: it cannot be written.
    """
    jobs = compute_directory(settings) / "jobs"
    make_private(jobs)
    path = jobs / f"{time.time_ns():020d}-{entry.directory}"
    draft = jobs / f".{path.name}"
    with draft.open("w", encoding="utf-8") as stream:
        json.dump(asdict(entry), stream, ensure_ascii=False)
        stream.flush()
        os.fsync(stream.fileno())
    draft.rename(path)
    wake(settings)
    return path


def entries(settings: Settings, known: dict[str, Entry] | None = None) -> dict[str, Entry]:
    """The queue in its order, by file name.

    Args:
        known: entries read before, which are not read again.
    """
    jobs = compute_directory(settings) / "jobs"
    try:
        names = sorted(name for name in os.listdir(jobs) if not name.startswith("."))
    except FileNotFoundError:
        return {}
    entries: dict[str, Entry] = {}
    for name in names:
        if known is not None and name in known:
            entries[name] = known[name]
            continue
        with contextlib.suppress(FileNotFoundError, ValueError, TypeError):
            entries[name] = Entry(**json.loads((jobs / name).read_text(encoding="utf-8")))
    return entries


def remove(settings: Settings, name: str) -> None:
    """Take a run that has ended out of the queue."""
    with contextlib.suppress(FileNotFoundError):
        (compute_directory(settings) / "jobs" / name).unlink()


def wake(settings: Settings) -> None:
    """Have the runner look now."""
    with contextlib.suppress(FileNotFoundError):
        path = compute_directory(settings) / "wake"
        path.touch()
        os.utime(path)


def ensure_runner(settings: Settings) -> None:
    """Have a process that runs the queue of this home, unless there is one or nothing is queued.

    It is a process of its own, which outlives this one and ends by itself when the queue is empty.

    Raises:
        OSError: it cannot be started.
    """
    if runner_alive(settings) or not entries(settings):
        return
    import sys

    log = log_file(open_home(settings), "runner")
    argv = [
        "/bin/sh", "-c", _IN_BACKGROUND, "runstream", str(log),
        sys.executable, "-P", "-m", "runstream.compute.runner",
    ]  # fmt: skip
    variables = {key: value for key, value in environment(settings).items() if not key.startswith("AZUREML_")}
    child = os.posix_spawn(argv[0], argv, variables)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(child, 0)


def runner_alive(settings: Settings) -> bool:
    """Whether a runner serves this home."""
    return is_held(compute_directory(settings) / "runner.lock")


@contextlib.contextmanager
def sole_runner(settings: Settings) -> Iterator[bool]:
    """Hold the runner's lock in the block; False when another process does."""
    path = compute_directory(settings)
    make_private(path)
    descriptor = take(path / "runner.lock", patience=0.1)  # somebody may just be asking whether it is held
    try:
        yield descriptor is not None
    finally:
        if descriptor is not None:
            os.close(descriptor)
