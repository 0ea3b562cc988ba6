"""What lies in a run's output folders is stored: files that rest while the run is live, everything at its end.

What a call stored under a name stays; what was collected before gives way to the file's last state.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ...client.files import folder_files, list_files, put
from ...client.http import ServiceClient
from ...client.outbox import is_away, note_away, patience, store_file
from ...client.upload_sources import open_regular
from ...exceptions import AuthenticationException, AzureMLException, ServiceException

IGNORED = frozenset({"azureml.log"})
"""Files that are left out."""

REST_SECONDS = 10.0
"""A file that was not written for so long is taken to be whole, while the run is live."""

LOOK_SECONDS = 1.0
_LOOK_SHARE = 20  # of the time: folders with very many files are looked at more rarely
_BYTES_A_SECOND = 20 << 20  # a large file that changes again and again is not sent every time
_END_SECONDS = 3600.0
_AGAIN_SECONDS = 30.0  # until a file that was refused is tried again

_State = tuple[int, int]  # size, time of the last change


class OutputCollection:
    """The output folders of one run.

    Args:
        client: the client of the run's service.
        run_id: the run.
        folders: as the user named them, relative to `where`. Their names among the run's files are those, or for a folder
            that does not lie below `where` its last part.
        where: the run's working directory.
        leave_out: folders in them that somebody else sends.

    Attributes:
        left_out: what was passed over, with the reason, when it was looked at last.
    """

    def __init__(
        self,
        client: ServiceClient,
        run_id: str,
        folders: Sequence[str],
        where: Path,
        leave_out: Sequence[Path] = (),
    ) -> None:
        self._client, self._run_id = client, run_id
        self._folders = {(where / folder): _name(folder, where) for folder in folders}
        self._leave_out = tuple(path.resolve() for path in leave_out)
        self._sent: dict[Path, _State] = {}
        self.left_out: list[str] = []
        self._next_look = 0.0
        self._next: dict[Path, float] = {}

    def look(self) -> None:
        """Store files that have come to rest since the last look; for a thread beside the run, called as often as one likes.

        Raises:
            ServiceException: the service is away, or could not store one.
        """
        now = time.monotonic()
        if now < self._next_look:
            return
        try:
            self._send_rested(now)
        finally:
            self._next_look = time.monotonic() + max(LOOK_SECONDS, (time.monotonic() - now) * _LOOK_SHARE)

    def _send_rested(self, now: float) -> None:
        problems = []
        for name, path in self._files():
            state = _state(path)
            if state is None or self._sent.get(path) == state or now < self._next.get(path, 0.0):
                continue
            # A file of a later time than now was written before the clock was set back.
            if abs(time.time() - state[1] / 1e9) < REST_SECONDS:
                continue
            try:
                with open_regular(path) as stream:
                    put(self._client, self._run_id, name, stream, captured=True, patience=0.0)
            except FileNotFoundError:
                continue
            except (ServiceException, AuthenticationException, AzureMLException, OSError) as error:
                if is_away(error):
                    raise
                # Each for itself; the end of the run tries once more, and says what it was.
                problems.append(f"{name}: {getattr(error, 'message', '') or error}")
            else:
                if _state(path) == state:  # else it was written meanwhile, and goes again
                    self._sent[path] = state
            self._next[path] = time.monotonic() + max(
                _AGAIN_SECONDS * bool(problems), state[0] / _BYTES_A_SECOND
            )
        if problems:
            raise AzureMLException("; ".join(problems[:5]))

    def finish(self) -> None:
        """Store all there is; a file that cannot be does not keep the others from it. Gives up after an hour, or after the
        seconds in the environment variable `AZUREML_OUTPUT_UPLOAD_TIMEOUT_SEC`.

        Raises:
            AzureMLException: files were not stored; names them.
        """
        deadline = time.monotonic() + _end_seconds()
        waiting = [
            (name, path) for name, path in self._files() if self._sent.get(path) != (_state(path) or (-1, -1))
        ]
        if not waiting:
            return
        stored = self._stored()
        problems = []
        for name, path in waiting:
            if time.monotonic() > deadline:
                problems.append("the time for it is over (AZUREML_OUTPUT_UPLOAD_TIMEOUT_SEC)")
                break
            have = stored.get(name)
            if have is not None and not have.get("captured"):
                continue
            try:
                with open_regular(path) as stream:
                    store_file(self._client, self._run_id, name, stream, captured=True)
            except FileNotFoundError:
                continue  # gone since it was listed
            except (ServiceException, AuthenticationException, AzureMLException, OSError) as error:
                problems.append(f"{name}: {getattr(error, 'message', '') or error}")
        if problems:
            raise AzureMLException("; ".join(problems[:5]))

    def _stored(self) -> dict[str, dict[str, Any]]:
        try:
            files = list_files(self._client, self._run_id, patience(self._client))
        except ServiceException as error:
            if not is_away(error):
                raise
            note_away(self._client)
            return {}  # they are kept in the outbox, and the service compares
        return {file["path"]: file for file in files}

    def _files(self) -> Iterator[tuple[str, Path]]:
        self.left_out.clear()
        for folder, name in self._folders.items():
            for file, path in folder_files(name, folder, self.left_out):
                if path.name in IGNORED:
                    continue
                if any(path.resolve().is_relative_to(other) for other in self._leave_out):
                    continue
                yield file, path


def _end_seconds() -> float:
    try:
        return float(os.environ.get("AZUREML_OUTPUT_UPLOAD_TIMEOUT_SEC") or _END_SECONDS)
    except ValueError:
        return _END_SECONDS


def _name(folder: str, where: Path) -> str:
    path = Path(os.path.normpath(where / folder))
    if path.is_relative_to(where) and path != where:
        return path.relative_to(where).as_posix()
    return path.name or "outputs"


def _state(path: Path) -> _State | None:
    try:
        known = path.stat()
    except OSError:
        return None
    return known.st_size, known.st_mtime_ns
