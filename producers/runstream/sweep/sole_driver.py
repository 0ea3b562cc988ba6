"""One driver a sweep: two at once would both run its trials, and each take the other's for lost."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
from collections.abc import Iterator

from runstream_schemas.settings import Settings

from ..exceptions import UserErrorException


@contextlib.contextmanager
def sole_driver(settings: Settings, run_id: str) -> Iterator[None]:
    """Be the one that drives a sweep on this machine; the system frees the lock when the process ends, however it ends.

    Raises:
        UserErrorException: another process drives it.
    """
    folder = settings.home_path / "sweeps"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / hashlib.sha256(run_id.encode()).hexdigest()[:32]
    while True:
        with path.open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                who = file.read().strip() or "unknown"
                raise UserErrorException(
                    f"sweep {run_id} is at work in process {who}; end that one first, or wait for it"
                ) from None
            if not path.exists() or path.stat().st_ino != os.fstat(file.fileno()).st_ino:
                continue  # its last driver has just left, and taken the file away
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
            return
