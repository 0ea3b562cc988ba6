"""Files of a run that a script saves: kept under their names, also while the service is away."""

from __future__ import annotations

import glob
import io
import logging
import os
from collections.abc import Mapping
from pathlib import Path

from ..client import outbox
from ..client.folder_contents import contents
from ..core.run import Run
from ..exceptions import AzureMLException, ServiceException, UserErrorException

_log = logging.getLogger("runstream")

Saved = dict[str, tuple[Path, int, int]]
"""Name among the run's files; path, size and time of what was stored."""


def store(run: Run, name: str, source: str | os.PathLike[str] | bytes) -> bool:
    """Store a file under a name, in place of an earlier state; whether it is stored, or kept until it can be."""
    try:
        with io.BytesIO(source) if isinstance(source, bytes) else open(source, "rb") as stream:
            outbox.store_file(run.experiment.workspace._client, run.id, name, stream, captured=True)
        return True
    except (OSError, AzureMLException, ServiceException) as error:
        _log.warning("run %s: %s is not stored: %s", run.id, name, getattr(error, "message", error))
        return False


def save(run: Run, glob_str: str | os.PathLike[str], base_path: str | os.PathLike[str] | None) -> Saved:
    """Store the files that a pattern matches, under their paths below the base.

    Raises:
        UserErrorException: a pattern that leads out of the base.
    """
    pattern = Path(os.path.abspath(os.path.expanduser(glob_str)))
    if base_path is not None:
        base = Path(os.path.abspath(base_path))
    else:
        base = pattern.parent if os.path.isabs(glob_str) else Path.cwd()
    if not pattern.is_relative_to(base):
        raise UserErrorException(
            f"save({str(glob_str)!r:.200}): it does not lie below {base}; give another base_path"
        )
    saved: Saved = {}
    for match in sorted(glob.glob(str(pattern), recursive=True)):
        below = sorted(Path(match).rglob("*")) if os.path.isdir(match) else [Path(match)]
        for path in below:
            name = path.relative_to(base).as_posix()
            if path.is_file() and store(run, name, path):
                status = path.stat()
                saved[name] = (path, status.st_size, status.st_mtime_ns)
    return saved


def save_again(run: Run, saved: Mapping[str, tuple[Path, int, int]]) -> None:
    """Store the files that have changed since."""
    for name, (path, *mark) in saved.items():
        try:
            status = path.stat()
        except OSError:
            continue
        if [status.st_size, status.st_mtime_ns] != mark:
            store(run, name, path)


def save_folder(run: Run, folder: Path) -> None:
    """Store what a script has put into the folder of its run."""
    for name, path in contents(folder, []):
        store(run, name, path)
