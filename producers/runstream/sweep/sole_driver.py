"""One driver a sweep: two at once would both run its trials, and each take the other's for lost."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator

from runstream_schemas.locks import take, write_owner
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
        descriptor = take(path)
        if descriptor is None:
            try:
                who = path.read_text().strip() or "unknown"
            except FileNotFoundError:
                continue
            raise UserErrorException(
                f"sweep {run_id} is at work in process {who}; end that one first, or wait for it"
            )
        try:
            if not path.exists() or path.stat().st_ino != os.fstat(descriptor).st_ino:
                continue  # its last driver has just left, and taken the file away
            write_owner(descriptor)
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
            return
        finally:
            os.close(descriptor)
