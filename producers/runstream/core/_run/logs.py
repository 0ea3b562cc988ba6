"""A run's logs: read whole, written to a directory, or followed while the run is live."""

from __future__ import annotations

import io
import json
import os
import re
import time
from pathlib import Path
from typing import Any

from runstream_schemas.backoff import Backoff

from ...client import files
from ...client.addresses import quoted
from ...client.records import TERMINAL
from ...client.upload_sources import path_of
from ...exceptions import ExperimentExecutionException, UserErrorException
from ...printable import say
from .facts import RunFacts, is_log

_STREAMED = re.compile(r"azureml-logs/\d\d.*\.txt|user_logs/std_log.*\.txt")
_SHORTEST, _LONGEST = 0.25, 2.0  # seconds between two looks at a run's logs


class RunLogs(RunFacts):
    """The part of `Run` that is about its logs."""

    def get_details_with_logs(self) -> dict[str, Any]:
        """What `get_details` returns, with the logs' contents in place of their addresses.

        Raises:
            ServiceException: the service is away.
        """
        details = self.get_details()
        details["logFiles"] = {
            name: self._read(name).decode(errors="replace") for name in details["logFiles"]
        }
        return details

    def get_all_logs(self, destination: str | os.PathLike[str] | None = None) -> list[str]:
        """Write the run's logs to a directory.

        Args:
            destination: default `assets/<run id>` in the current one; made if need be.

        Returns:
            The paths written.

        Raises:
            UserErrorException: the destination is a file.
            ServiceException: the service is away.
        """
        target = path_of("destination", Path("assets", self._id) if destination is None else destination)
        if target.is_file():
            raise UserErrorException(f"get_all_logs: {target} is a file; pass a directory")
        target.mkdir(parents=True, exist_ok=True)
        written = []
        for name in self._log_names():
            files.download(self._client, self._id, name, files.inside(target, name))
            written.append(str(target / name))
        return written

    def _log_names(self) -> list[str]:
        return [file["path"] for file in files.list_files(self._client, self._id) if is_log(file["path"])]

    def _read(self, name: str, start: int = 0) -> bytes:
        whole = f"/api/v1/runs/{quoted(self._id)}/files/{quoted(name)}"
        if not start:
            content = io.BytesIO()
            self._client.download(whole, content)
            return content.getvalue()
        return self._client.request("GET", whole, headers={"Range": f"bytes={start}-"}).body

    def _stream_logs(self) -> None:
        """Print new lines of the run's active log until the run has ended and all of it is printed."""
        say(f"RunId: {self._id}\nWeb View: {self.get_portal_url()}")
        shown: dict[str, int] = {}
        active, pauses = "", Backoff(_SHORTEST, _LONGEST, 1.3)
        try:
            while True:
                over = self.get_status() in TERMINAL
                sizes = {
                    file["path"]: file["size"]
                    for file in files.list_files(self._client, self._id)
                    if _STREAMED.fullmatch(file["path"])
                }
                news = False
                for name in _in_order(sizes):
                    if sizes[name] <= shown.get(name, 0):
                        continue
                    if name != active:
                        say(f"\nStreaming {name}\n{'=' * (len(name) + 10)}\n")
                        active = name
                    piece = self._read(name, shown.get(name, 0))
                    cut = len(piece) if over else piece.rfind(b"\n") + 1
                    say(piece[:cut].decode(errors="replace"), end="")
                    shown[name] = shown.get(name, 0) + cut
                    news = news or cut > 0
                if over:
                    return
                if news:
                    pauses.reset()
                time.sleep(next(pauses))
        except KeyboardInterrupt:
            raise ExperimentExecutionException(
                "The output streaming for the run interrupted.\n"
                "But the run is still executing on the compute target. "
                f"Cancel it with run.cancel() or `runstream run cancel -r {self._id}`"
            ) from None

    def _print_summary(self, details: dict[str, Any], with_error: bool) -> None:
        say(f"\nExecution Summary\n=================\nRunId: {self._id}\nWeb View: {self.get_portal_url()}\n")
        for warning in details.get("warnings") or ():
            say(f"Warning: {warning.get('message', warning) if isinstance(warning, dict) else warning}")
        if with_error and details.get("error") and details["status"] == "Failed":
            say(f"Error:\n{json.dumps(details['error'], indent=4)}\n")


def _in_order(names: Any) -> list[str]:
    """The logs to show: by name; the alias of the driver log only when it is alone."""
    ordered = sorted(names)
    numbered = [name for name in ordered if name.startswith("azureml-logs/")]
    return numbered or ordered
