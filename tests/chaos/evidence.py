"""What is kept of a trial that did not hold: enough to find out why without doing it again."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

from runstream_service.servers.postgres_programs import binaries

if TYPE_CHECKING:
    from .trial import Trial


def machine() -> str:
    """This machine in a few words."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, {memory:.0f} GB"


def keep(trial: Trial, error: BaseException, directory: Path) -> None:
    """Write the evidence into a directory: message, what was done, logs, the spool, the database, the store, notes.

    It is made while the home is still as it failed, with its services.
    """
    directory.mkdir(parents=True, exist_ok=True)
    about = {
        "seed": trial.seed,
        "kind": trial.kind,
        "seconds": trial.seconds,
        "date": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "commit": _commit(),
        "machine": machine(),
    }
    (directory / "trial.json").write_text(json.dumps(about, indent=1) + "\n")
    (directory / "message.txt").write_text(f"{error}\n\n" + "\n".join(trial.done) + "\n")
    if trial.neighbour:
        keep(trial.neighbour, error, directory / "neighbour")
    home = trial.home
    for part in ("log", "spool", "store"):
        with contextlib.suppress(OSError, shutil.Error):  # what moves away meanwhile is not there to keep
            shutil.copytree(home / part, directory / part, dirs_exist_ok=True)
    for path in [
        *home.glob("*.progress"),
        *home.glob("*.script"),
        *home.glob("wrong*"),
        *home.glob("*.log"),
        *home.glob("*/*.log"),
    ]:
        with contextlib.suppress(OSError):
            shutil.copy(path, directory / path.name)
    _dump(trial, directory)


def _dump(trial: Trial, directory: Path) -> None:
    """The database as SQL; where it cannot be had, why."""
    try:
        command = [str(binaries() / "pg_dump"), "--no-owner", "--file", str(directory / "database.sql")]
        done = subprocess.run(
            [*command, trial.settings.database], capture_output=True, text=True, timeout=120, check=False
        )
        problem = done.stderr
    except Exception as error:  # the evidence that there is must be kept
        problem = repr(error)
    if problem:
        (directory / "no_database.txt").write_text(problem)


def _commit() -> str:
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False).stdout.strip()
    except OSError:
        return ""
