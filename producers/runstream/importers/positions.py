"""How far a directory was taken over: a document in the home for each, and the lock that makes its reader the only one.

    $RUNSTREAM_HOME/imports/
        id              of this home: which of two homes that see one directory has taken it over
        <key>.json      one directory: its run, how far its files are read, how many points each series has
        <key>.lock      held by the process that reads it
        claim-<run>     the key of the directory a run came from; another directory of the same files is a copy

A batch is written down before it goes to the spool, and again, as done, with the next one. So whoever finds a batch that was
begun asks how many points of each series are stored, takes the same bytes again and leaves out as many: nothing is lost by a
kill, and nothing stored twice.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from runstream_schemas.errors import ServiceError
from runstream_schemas.locks import take, write_owner
from runstream_schemas.ownership import make_private

VERSION = 1
"""Of the document below. A newer one is refused."""


@dataclass(slots=True)
class Position:
    """How far a directory was taken over.

    Attributes:
        directory: its path, absolute and without links.
        run_id: the run it became.
        files: name to where reading continues.
        pending: what was begun and perhaps not finished: name, start and end; empty: nothing.
        void_from: the first step that a restart behind it made void, of all tags (under "") and of single ones.
        counts: points of each series, by `class/name`, without those of `pending`.
        plugins: which plugin shows a tag.
        file_version: the version of the event files, the number behind `brain.Event:`.
        latest_time: seconds since the epoch, of the newest event.
        latest_step: the highest one.
        status_time: seconds since the epoch, of the last status that was written.
        open: the run was started and not ended.
        left_out: reason to number of values.
        state: what a tool's reader keeps from batch to batch: as it was before the pending one.
    """

    directory: str = ""
    run_id: str = ""
    files: dict[str, int] = field(default_factory=dict)
    pending: tuple[str, int, int] | tuple[()] = ()
    void_from: dict[str, int] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    plugins: dict[str, str] = field(default_factory=dict)
    file_version: float = 0.0
    latest_time: float = 0.0
    latest_step: int = -1
    status_time: float = 0.0
    open: bool = False
    left_out: dict[str, int] = field(default_factory=dict)
    state: dict[str, Any] = field(default_factory=dict)
    version: int = VERSION

    def read_to(self) -> dict[str, int]:
        """Name to where reading continues for who has taken what is pending."""
        if not self.pending:
            return self.files
        name, _, end = self.pending
        return self.files | {name: end}


class PositionFile:
    """The document of one directory, locked while it is open."""

    def __init__(self, folder: Path, key: str) -> None:
        self._path, self._lock = folder / f"{key}.json", folder / f"{key}.lock"
        self._descriptor: int | None = None

    def acquire(self) -> bool:
        """Take the lock; False: another process has it."""
        self._descriptor = take(self._lock)
        if self._descriptor is None:
            return False
        write_owner(self._descriptor)
        return True

    def owner(self) -> str:
        """Process that took the lock last."""
        with suppress(OSError):
            return self._lock.read_text().strip()
        return ""

    def release(self) -> None:
        """Give the lock back."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def read(self) -> Position | None:
        """What was written down; None: nothing yet.

        Raises:
            ServiceError: it cannot be read, or a newer runstream wrote it.
        """
        try:
            document = json.loads(self._path.read_text(encoding="utf-8"))
            if document["version"] > VERSION:
                raise ServiceError(
                    f"{self._path} was written by a newer runstream; upgrade with `pip install -U runstream`"
                )
            known = {item.name: document[item.name] for item in fields(Position) if item.name in document}
            position = Position(**known)
            position.pending = tuple(position.pending)  # type: ignore[assignment]  # JSON has lists only
            return position
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ServiceError(
                f"{self._path}: cannot be read ({error}); restore it, or remove it together with the run it is about"
            ) from None

    def write(self, position: Position) -> None:
        """Write it down: a reader finds the old document or the new one, also after a kill."""
        draft = self._path.with_suffix(f".{os.getpid()}.draft")
        draft.write_text(json.dumps(asdict(position)), encoding="utf-8")
        os.replace(draft, self._path)


def imports_folder(home: Path) -> Path:
    """Where a home keeps positions; made if need be."""
    folder = home / "imports"
    make_private(folder)
    return folder


def home_id(folder: Path) -> str:
    """The home's own random id."""
    path = folder / "id"
    with suppress(FileExistsError):
        with open(path, "x", encoding="ascii") as stream:
            stream.write(secrets.token_hex(8))
    return path.read_text(encoding="ascii")


def key_of(scope: Mapping[str, Any]) -> str:
    """Name of a document: by what is taken over, and where to."""
    text = json.dumps(scope, sort_keys=True)
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:32]


def claim(folder: Path, run_id: str, key: str) -> str:
    """Note that the directory of `key` is where a run comes from; the key that was noted first."""
    path = folder / f"claim-{run_id}"
    draft = folder / f".claim-{run_id}.{os.getpid()}"
    draft.write_text(key, encoding="ascii")
    try:
        os.link(draft, path)  # with its content, or not at all
    except FileExistsError:
        pass
    finally:
        draft.unlink()
    return path.read_text(encoding="ascii")
