"""Media of a run as they are read back."""

from __future__ import annotations

import logging
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

from runstream_schemas.errors import CorruptEvent
from runstream_schemas.values.media import Medium, decode_medium

from . import files
from .http import ServiceClient
from .metrics import Series
from .outbox import wait_delivered

_log = logging.getLogger("runstream")


@dataclass(slots=True)
class LoggedMedium(Medium):
    """A medium of `Run.log_media`, as `Run.get_media` returns it.

    Attributes:
        step: its place in the series.
        time: when it was logged, microseconds since the epoch.
        run_id: the id of its run.
    """

    step: int = 0
    time: int = 0
    run_id: str = ""
    _client: ServiceClient | None = field(default=None, repr=False, compare=False)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Fetch its bytes into a file, over an existing one; memory does not grow with them.

        Raises:
            UserErrorException: they are not stored (yet).
            ServiceException: the service is away.
        """
        assert self._client is not None
        wait_delivered(self._client, self.run_id)
        files.download(self._client, self.run_id, self.path, Path(path), True)

    def read(self) -> bytes:
        """Its bytes; see `save`."""
        import tempfile

        with tempfile.TemporaryDirectory() as folder:
            self.save(place := Path(folder) / "content")
            return place.read_bytes()


def logged_media(client: ServiceClient, run_id: str, series: Series) -> list[LoggedMedium]:
    """The media of a series; what is none is left out, with a warning."""
    media: list[LoggedMedium] = []
    for step, time, value in zip(series.steps, series.times, series.values, strict=True):
        try:
            medium = decode_medium(str(value))
        except CorruptEvent as error:
            _log.warning("medium %r at step %d is left out: %s", series.name, step, error)
            continue
        media.append(LoggedMedium(**asdict(medium), step=step, time=time, run_id=run_id, _client=client))
    return media
