"""What `Run.get_context()` gives a script that runs outside of any run: it prints what would have been recorded."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any

from runstream_schemas.errors import brief

from ...printable import say
from ...spool.param_values import convert_params
from ...spool.values import NotADictionary, convert_step
from .alerting import checked_alert
from .defining import checked_definition


def _text(value: object) -> str:
    try:
        return str(value)
    except Exception:  # of a class of somebody else's, or nested too deep
        return brief(value)


class _OfflineRun:
    """A stand-in for a submitted run. Deliberately no `Run`: scripts ask with `isinstance`, or by its id.

    Source: `azureml.core.run._OfflineRun`.
    """

    def __init__(self, parent_id: str | None = None, name: str | None = None) -> None:
        own = str(uuid.uuid4()) if name is None or name == "" else _text(name)
        self._id = f"{parent_id}.{own}" if parent_id else f"OfflineRun_{uuid.uuid4()}"

    @property
    def id(self) -> str:
        """`OfflineRun_<uuid4>`; of a child `<parent id>.<name>`."""
        return self._id

    def log(self, name: str, value: Any, description: str = "", step: int | None = None) -> None:
        """Print a value."""
        self._metric("scalar", name, value)

    def log_list(self, name: str, value: Iterable[Any], description: str = "") -> None:
        """Print several values."""
        self._metric("list", name, value)

    def log_row(self, name: str, description: str | None = None, **kwargs: Any) -> None:
        """Print a row."""
        self._metric("row", name, kwargs)

    def log_table(self, name: str, value: Mapping[str, Any], description: str = "") -> None:
        """Print a table."""
        self._metric("table", name, value)

    def log_histogram(
        self, name: str, values: Any, step: int | None = None, *, bins: int = 64, description: str = ""
    ) -> None:
        """Print what a histogram would be made of."""
        self._metric("histogram", name, values)

    def log_media(
        self,
        name: str,
        data: Any,
        step: int | None = None,
        *,
        caption: str | None = None,
        description: str = "",
    ) -> None:
        """Print what would have been kept."""
        self._metric("media", name, data)

    def log_image(self, name: str, path: Any = None, plot: Any = None, description: str = "") -> None:
        """Print an image's path or figure."""
        self._metric("image", name, path if path is not None else plot)

    def log_residuals(self, name: str, value: Any, description: str | None = None) -> None:
        """Print residuals."""
        self._metric("residual", name, value)

    def log_predictions(self, name: str, value: Any, description: str | None = None) -> None:
        """Print predictions."""
        self._metric("predictions", name, value)

    def log_accuracy_table(self, name: str, value: Any, description: str | None = None) -> None:
        """Print an accuracy table."""
        self._metric("accuracy_table", name, value)

    def log_confusion_matrix(self, name: str, value: Any, description: str | None = None) -> None:
        """Print a confusion matrix."""
        self._metric("confusion_matrix", name, value)

    def log_metrics(self, values: Mapping[str, Any], step: int | None = None) -> None:
        """Print values of several series."""
        if not isinstance(values, Mapping):
            raise NotADictionary(f"log_metrics: expected a dictionary, got {type(values).__name__}")
        for name, value in values.items():
            self.log(name, value)

    def log_array(self, name: str, values: Any, steps: Any = None, times: Any = None) -> None:
        """Print a vector."""
        self._metric("list", name, values)

    def log_params(self, params: Any, *, overwrite: bool = False) -> None:
        """Print parameters."""
        for name, value in convert_params("log_params", params).items():
            say(f"Attempted to log parameter {name}: {value}")

    def log_args(self, args: Any, *, overwrite: bool = False) -> None:
        """Print arguments."""
        for name, value in convert_params("log_args", args).items():
            say(f"Attempted to log parameter {name}: {value}")

    def define_metric(
        self,
        name: str,
        step_metric: str | None = None,
        summary: str | None = None,
        goal: str | None = None,
    ) -> None:
        """Print what was said of a metric."""
        defined = checked_definition(name, step_metric, summary, goal)
        say(f"Attempted to define metric {name}: {dict(defined)}")

    def alert(self, title: str, text: str = "", level: Any = "INFO") -> None:
        """Print an alert."""
        alert = checked_alert(title, text, level)
        say(f"Attempted to give an alert of level {alert.level}: {alert.title}\n{alert.text}")

    def rewind(self, step: int) -> None:
        """Print that the run goes back."""
        say(f"Attempted to rewind to step {convert_step('rewind', step)}")

    def tag(self, name: str, value: Any = None) -> None:
        """Print a tag."""
        say(f"Attempted to add tag {_text(name)} with value {_text(value)}")

    def set_tags(self, tags: Mapping[str, Any] | str) -> None:
        """Print tags."""
        say(f"Attempted to set tags {_text(tags)}")

    def remove_tags(self, tags: Sequence[str] | str) -> None:
        """Print names of tags."""
        say(f"Attempted to remove tags {_text(tags)}")

    def add_properties(self, properties: Mapping[str, Any]) -> None:
        """Print properties."""
        say(f"Attempted to add properties {_text(properties)}")

    def upload_file(self, name: str, path_or_stream: Any, datastore_name: str | None = None) -> None:
        """Print a file's name and path."""
        say(f"Attempted to track file {_text(name)} at {_text(path_or_stream)}")

    def upload_files(
        self,
        names: Sequence[str],
        paths: Sequence[Any],
        return_artifacts: bool = False,
        timeout_seconds: float | None = None,
        datastore_name: str | None = None,
    ) -> None:
        """Print files' names and paths."""
        say(f"Attempted to track files {_text(names)} at {_text(paths)}")

    def upload_folder(self, name: str, path: Any, datastore_name: str | None = None) -> None:
        """Print a folder's name and path."""
        say(f"Attempted to track folder {_text(name)} at {_text(path)}")

    def child_run(
        self, name: str | None = None, run_id: str | None = None, outputs: Any = None
    ) -> _OfflineRun:
        """A run of this kind, with id `<id>.<name, or a uuid4>`."""
        return _OfflineRun(self._id, name)

    def start(self) -> None:
        """Does nothing."""

    def flush(self, timeout_seconds: float = 300) -> None:
        """Print that it was asked for."""
        say(f"Attempted to flush run with id {self._id}")

    def complete(self, _set_status: bool = True) -> None:
        """Does nothing."""

    def cancel(self) -> None:
        """Does nothing."""

    def fail(
        self, error_details: Any = None, error_code: str | None = None, _set_status: bool = True
    ) -> None:
        """Print an error."""
        say(f"Run failed with error code {_text(error_code)}:\n{_text(error_details)}")

    def __enter__(self) -> _OfflineRun:
        say(f"[START] Run {self._id} context")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        say(f"[STOP] Run {self._id} context")

    @staticmethod
    def _metric(kind: str, name: str, value: Any) -> None:
        say(f"Attempted to log {kind} metric {_text(name)}:\n{_text(value)}")
