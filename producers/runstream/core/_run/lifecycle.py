"""A run's life: it starts, and ends completed, failed or canceled, by a call or by leaving its `with` block."""

from __future__ import annotations

import json
import logging
import os
import shutil
import time
import traceback
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from runstream_schemas.backoff import Backoff
from runstream_schemas.runs.status import ENDINGS

from ...client.reading import settle
from ...client.records import SCRIPT_RUN, TERMINAL
from ...compute.job import request_cancel, run_directory
from ...consoles import capture
from ...exceptions import (
    ActivityFailedException,
    AzureMLException,
    ServiceException,
    UserErrorException,
)
from ...spool.fitting import cut
from ...spool.live_runs import failure_of, open_live
from .handle import working_directory
from .logs import RunLogs
from .output_capture import OutputCapture

if TYPE_CHECKING:
    from .log_shipping import LogShipping
    from .output_collection import OutputCollection

_log = logging.getLogger("runstream")
_Self = TypeVar("_Self", bound="Lifecycle")


class Lifecycle(RunLogs):
    """The part of `Run` that changes its status."""

    _capture: OutputCapture | None = None
    _shipping: LogShipping | None = None
    _collection: OutputCollection | None = None
    _opened_by = 0  # process that is in the `with` block

    def start(self) -> None:
        """Set the run Running; one that has ended is opened again."""
        live = open_live(self._settings, self._id, owner=True)
        self._attach(live)
        live.start()
        capture.start(self._settings, self._id, self._record.parent_run_id)
        self._record.status = "Running"

    def complete(self, _set_status: bool = True) -> None:
        """End the run as Completed. Its output folders are stored first; if they cannot be, it completes with a warning.

        Completing twice changes nothing; completing a failed or canceled run is ignored, with a warning.

        Args:
            _set_status: False does everything but the change of status.
        """
        self._store_outputs()
        if _set_status:
            self._end("complete")

    def fail(
        self,
        error_details: str | BaseException | None = None,
        error_code: str | None = None,
        _set_status: bool = True,
    ) -> None:
        """End the run as Failed, also when it had ended otherwise.

        Args:
            error_details: what happened: text, or an exception.
            error_code: default `UserError`.
            _set_status: False records the error but does not change the status.

        Raises:
            TypeError: details of another type; nothing is changed.
        """
        body = error_body(error_details, error_code)
        live = self._live()
        live.writer.status("error", {"error": body})
        self._record.error = body
        self._store_outputs()
        if _set_status:
            self._end("fail")

    def cancel(self) -> None:
        """End the run as Canceled. A run that has ended otherwise stays as it is, with a warning.

        A submitted run's processes on this machine are ended with it.
        """
        if self._record.type == SCRIPT_RUN:
            self._cancel_job()
        self._end("cancel")
        self._store_outputs()

    def _end(self, kind: str) -> None:
        status = ENDINGS[kind]
        if self._record.status in TERMINAL and kind != "fail":
            if self._record.status != status:
                _log.warning("run %s is %s already; %s() is ignored", self._id, self._record.status, kind)
            return
        if self._record.status == status == "Failed":
            return
        self._await_snapshot()
        capture.stop(self._id)
        self._live().end(kind)
        self._record.status = status

    def _cancel_job(self) -> None:
        try:
            self.get_status()
        except ServiceException as error:
            _log.warning("run %s: %s", self._id, error.message)
        if self._record.status not in TERMINAL and not request_cancel(self._settings, self._id):
            _log.warning(
                "run %s: its directory is not on this machine; its processes end when they hear of it",
                self._id,
            )

    def clean(self) -> list[str]:
        """Remove what a submitted run left on this machine: its copy of the source directory, and its logs.

        What it stored (metrics, logs, outputs, the snapshot) stays.

        Returns:
            Paths of the removed files; none when it was not submitted here.

        Raises:
            UserErrorException: the run has not ended.
            ServiceException: the service is away.
        """
        directory = run_directory(self._settings, self._id)
        if not directory.is_dir():
            return []
        if self._record.status not in TERMINAL and self._refresh().status not in TERMINAL:
            raise UserErrorException(
                f"run {self._id} is {self._record.status}; wait for its end, or cancel it, before its files are removed"
            )
        files = [str(path) for path in sorted(directory.rglob("*")) if not path.is_dir()]
        shutil.rmtree(directory)
        return files

    def _store_outputs(self) -> None:
        if not self._outputs:
            return
        if self._collection is None:
            from .output_collection import OutputCollection

            self._collection = OutputCollection(self._client, self._id, self._outputs, self._where)
        try:
            self._collection.finish()
        except Exception as error:  # whatever it is, the run ends as it would have
            message = f"files of {', '.join(self._outputs)} were not stored ({getattr(error, 'message', '') or error})"
            self._warn(message, "; upload_folder() stores them later")
        if left_out := self._collection.left_out:
            self._warn(f"of {', '.join(self._outputs)} these were not stored: {'; '.join(left_out[:20])}")

    def _warn(self, message: str, more: str = "") -> None:
        """Note something on the run's page, and in this process's log."""
        _log.warning("run %s: %s%s", self._id, message, more)
        self._live().writer.status("warning", {"message": message[:1000]})

    def _store_logs(self) -> None:
        """Store what is left of the logs of a `with` block."""
        if self._shipping is None:
            return
        self._shipping.stop()
        try:
            self._shipping.finish()
        except Exception as error:
            _log.warning(
                "run %s: its logs were not all stored (%s)", self._id, getattr(error, "message", "") or error
            )
        self._shipping = None

    def __enter__(self: _Self) -> _Self:
        from .log_shipping import LogShipping
        from .output_collection import OutputCollection

        self._opened_by = os.getpid()
        self._where = working_directory()
        logs = self._where / "logs"
        self._capture = OutputCapture(logs)
        capture.pause(self._id, True)  # what the block prints is kept there
        self._capture.start()
        self._collection = OutputCollection(self._client, self._id, self._outputs, self._where, [logs])
        begins = {self._capture.file: self._capture.begin}  # earlier runs have printed there too
        self._shipping = LogShipping(
            self._client, self._id, {logs: "logs"}, self._collection.look, begins, [self._capture.file]
        )
        self._shipping.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        if os.getpid() != self._opened_by:
            # A forked child leaves its copy of the block: the run is its parent's to end, the child ends as it wants to.
            if self._capture is not None:
                self._capture.stop()
            return False
        # sys.exit(0) says that all went well: the run completes, and as in the original the exit goes no further.
        clean = error is None or (isinstance(error, SystemExit) and error.code in (None, 0))
        if error is not None and not clean and self._capture is not None:
            self._capture.write(_traceback(error))
        if self._capture is not None:
            self._capture.stop()
        capture.pause(self._id, False)
        self._store_logs()
        if clean:
            self.complete()
        else:
            self.fail(error)
        return clean and error is not None

    def flush(self, timeout_seconds: float = 300) -> None:
        """Wait until the service has stored everything this process recorded for the run. Nothing is lost without it.

        Args:
            timeout_seconds: longest wait.

        Raises:
            AzureMLException: not stored within that time.
            ServiceException: the service is away.
        """
        self._await_snapshot()
        if not settle(self._client, self._id, timeout_seconds):
            raise AzureMLException(
                f"Failed to flush task queue within {timeout_seconds} seconds"
                "; wait longer with timeout_seconds=, and see that the service runs"
            )

    def wait_for_completion(
        self, show_output: bool = False, wait_post_processing: bool = False, raise_on_error: bool = True
    ) -> dict[str, Any]:
        """Wait until the run has ended.

        Args:
            show_output: print the run's id and page, its log while it is written, and a summary at the end.
            wait_post_processing: wait out Finalizing and CancelRequested too; of a submitted run they are always waited
                out, for only its end tells whether it failed.
            raise_on_error: raise if it failed.

        Returns:
            What `get_details` returns.

        Raises:
            ExperimentExecutionException: interrupted by Ctrl-C while the log is printed; the run continues.
            ActivityFailedException: it failed and `raise_on_error` is set. A canceled run never raises.
            ServiceException: the service is away.
        """
        to_the_end = wait_post_processing or show_output or self._record.type == SCRIPT_RUN
        over = TERMINAL if to_the_end else TERMINAL | {"Finalizing", "CancelRequested"}
        if show_output:
            self._stream_logs()
        pauses = Backoff(0.1, 2.0, 1.5)
        while self.get_status() not in over:
            time.sleep(next(pauses))
        details = self.get_details()
        if show_output:
            self._print_summary(details, with_error=not raise_on_error)
        if self._record.status == "Failed" and raise_on_error:
            error = details.get("error")
            raise ActivityFailedException(
                json.dumps(error, indent=4)
                if error
                else "Detailed error not set on the Run. Please check the logs for details."
            )
        return details


def _traceback(error: BaseException) -> str:
    try:
        return "".join(traceback.format_exception(error))
    except Exception:  # exceptions may be anything, with a cause that is itself, and notes that are no text
        return f"{failure_of(error)['message']}\n"


def error_body(details: str | BaseException | None, code: str | None) -> dict[str, Any]:
    """The body of an error: `code` and, if there are details, `message`.

    Raises:
        TypeError: details of another type than text or an exception.
    """
    if isinstance(details, BaseException):
        body = failure_of(details)
    elif details is None:
        body = {}
    elif isinstance(details, str):
        body = {"message": cut(str.__str__(details))}
    else:
        raise TypeError(f"error_details: expected text or an exception, got {type(details).__name__}")
    body["code"] = code or "UserError"
    return body
