"""What a new run is created with, and the service it wakes."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Iterable, Mapping
from typing import Any

from runstream_schemas.errors import brief
from runstream_schemas.settings import Settings

from ...client.records import RunRecord
from ...exceptions import UserErrorException

_log = logging.getLogger("runstream")

_WAKE_SECONDS = 5.0
_PYTHON = sys.version.split()[0]
_woken: dict[Settings, float] = {}


def checked_run_id(run_id: Any) -> str:
    """A run id as somebody chose it.

    Raises:
        UserErrorException: no text, or one that cannot be part of an address or a path.
    """
    if not isinstance(run_id, str) or "/" in run_id or not run_id.isprintable() or run_id in (".", ".."):
        raise UserErrorException(
            f"run id {brief(run_id)}: expected a string of printable characters without slashes, and neither . nor .."
        )
    return str.__str__(run_id)


def creation(record: RunRecord) -> dict[str, Any]:
    """Data of the `create` status of a new run."""
    details = {
        "workspace": record.workspace,
        "experiment": record.experiment,
        "parent_run_id": record.parent_run_id,
        "root_run_id": record.root_run_id,
        "name": record.name,
        "display_name": record.display_name,
        "description": record.description,
        "type": record.type,
        "target": record.target,
        "details": record.details,
    }
    return {key: value for key, value in details.items() if value is not None}


def origin(snapshot_directory: str | None) -> dict[str, Any]:
    """Where a run comes from, for its page."""
    return {
        "host": os.uname().nodename,
        "pid": os.getpid(),
        "python": _PYTHON,
        "script": sys.argv[0] if sys.argv else "",
        "directory": absolute(snapshot_directory or "."),
    }


def author() -> str:
    """Who this process works for: user, machine and process."""
    import getpass

    try:
        user = getpass.getuser()
    except (OSError, KeyError, ImportError):  # an id without a name
        user = str(os.getuid())
    return f"{user}@{os.uname().nodename}, process {os.getpid()}"


def absolute(path: str | os.PathLike[str]) -> str:
    """A path from the root on; as it stands when the working directory was deleted."""
    try:
        return os.path.abspath(os.path.expanduser(path))
    except OSError:
        return os.fspath(path)


def output_folders(outputs: Any, default: list[str]) -> list[str]:
    """Directories meant by an `outputs` argument: None takes `default`, True `./outputs`, False none.

    Raises:
        UserErrorException: something else than a path, several, a truth value or None.
    """
    if outputs is None:
        return list(default)
    if isinstance(outputs, bool):
        return ["./outputs"] if outputs else []
    folders = [outputs] if isinstance(outputs, (str, os.PathLike)) else outputs
    try:
        paths = [os.fsdecode(os.fsencode(_path(folder))) for folder in folders]
    except Exception:  # no list, no paths, or what a class of somebody else's raises
        paths = [""]
    if any(not path or "\0" in path for path in paths):
        raise UserErrorException(f"outputs={brief(outputs)}: expected a directory, or a list of directories")
    return paths


def make_folders(run_id: str, folders: Iterable[str]) -> None:
    """Make a run's output folders; one that cannot be made costs a warning."""
    for folder in folders:
        try:
            os.makedirs(folder, exist_ok=True)
        except OSError as error:
            _log.warning("run %s: the output folder %s cannot be made (%s)", run_id, folder, error)


def _path(folder: Any) -> str:
    path = str.__str__(folder) if isinstance(folder, str) else os.fspath(folder)
    if not isinstance(path, str):
        raise TypeError
    return path


def wake_service(settings: Settings) -> None:
    """Have the service of this machine started if need be; it never keeps a run from starting."""
    now = time.monotonic()
    if not settings.autostart or now - _woken.get(settings, -_WAKE_SECONDS) < _WAKE_SECONDS:
        return
    _woken[settings] = now
    from ...home.autostart import ensure_service

    ensure_service(settings)


def submit_options(kwargs: Mapping[str, Any]) -> str | None:
    """The run id among the keywords of `submit`.

    Raises:
        TypeError: a keyword it does not have.
    """
    for name in kwargs:
        if name not in ("run_id", "credential_passthrough"):
            raise TypeError(f"submit() got an unexpected keyword argument {name!r}")
    return kwargs.get("run_id")
