"""The history of a run: rows by step, by W&B's rules of `commit` and `step`.

A row is written when it is committed: at once without a `step`, with one when a later step begins. So a value that is logged
twice in one row is recorded once, the last time. Without `step` and with numbers only, `log` is one call of the spool.
"""

from __future__ import annotations

import logging
import operator
import os
import threading
import time
from collections.abc import Mapping
from functools import partial
from typing import Any
from weakref import WeakSet

from runstream_schemas.errors import LimitExceeded

from ..core._run.alerting import checked_alert
from ..core.run import Run
from ..exceptions import AzureMLException
from ..spool.values import is_name
from .definitions import Definitions, Metric
from .mapping import INTERNAL, put_at
from .recorded import Listed, Path, Rows, Typed, Value, recorded

_log = logging.getLogger("runstream")
_PLAIN = frozenset({float, int, bool})
_are_numbers = _PLAIN.issuperset
_SOON = 1.0  # seconds; a row that waited longer is recorded with its own time, not with that of the write
_INT64 = range(-(1 << 63), 1 << 63)

_all: WeakSet[History] = WeakSet()


def _after_fork() -> None:
    """A forked child may have been made while another thread held a lock."""
    for history in list(_all):
        history._lock = threading.RLock()


os.register_at_fork(after_in_child=_after_fork)


class History:
    """Rows of a run.

    Args:
        run: it.
        definitions: what `define_metric` says.
        tree: the summary.
        step: the first step.

    Attributes:
        step: the step of the row that is being filled.
        written: the last step that is written; -1: none.
        logged: names of the metrics that have values.
    """

    def __init__(self, run: Run, definitions: Definitions, tree: dict[str, Any], step: int = 0) -> None:
        self.step, self.written = step, step - 1
        self.logged: set[str] = set()
        self._run, self._definitions, self._tree = run, definitions, tree
        self._writer = run._live().writer
        # A sweep looks at what a trial logs by methods in place of the run's.
        self._judged = "log_metrics" in vars(run)
        self._log_metrics = run.log_metrics if self._judged else self._writer.log_metrics
        self._lock = threading.RLock()
        self._row: dict[Path, Value] = {}
        self._numbers: dict[
            str, Any
        ] = {}  # the row, as long as it holds nothing but numbers of which nothing was said
        self._row_time = 0.0
        self._plain: set[str] = set()  # metrics of which nothing was said, and that were numbers before
        self._said: set[str] = set()
        _all.add(self)

    def log(self, data: Mapping[str, Any], step: int | None = None, commit: bool | None = None) -> None:
        """As `Run.log`."""
        if type(data) is dict and self._plain.issuperset(data) and _are_numbers(map(type, data.values())):
            with self._lock:
                if not self._row:
                    if step is None and commit is not False and not self._numbers:
                        self.written = at = self.step
                        self.step = at + 1
                        try:
                            self._log_metrics(data, at)
                        except LimitExceeded:
                            self._one_by_one(data, at)
                        self._tree.update(data)
                        return
                    if type(step) is int and step >= self.step:
                        if step > self.step:
                            self._flush_numbers()
                            self.step = step
                        self._numbers.update(data)
                        self._row_time = time.time()
                        if commit:
                            self._flush_numbers()
                            self.written = step
                            self.step += 1
                        return
        self._log_any(data, step, commit)

    def _flush_numbers(self) -> None:
        """Write the row that is being filled, which holds nothing but numbers of which nothing was said."""
        if self._numbers:
            numbers, self._numbers = self._numbers, {}
            if self._is_late():
                self.written = self.step
                for name, value in numbers.items():
                    self._number_or_text(name, value, self.step, self._row_time)
                self._tree.update(numbers)
            else:
                self._write_numbers(numbers)

    def _write_numbers(self, numbers: dict[str, Any]) -> None:
        self.written = self.step
        try:
            self._log_metrics(numbers, self.step)
        except LimitExceeded:
            self._one_by_one(numbers, self.step)
        self._tree.update(numbers)

    def _is_late(self) -> bool:
        return not self._judged and time.time() - self._row_time > _SOON

    def _log_any(self, data: Mapping[str, Any], step: int | None, commit: bool | None) -> None:
        if not isinstance(data, Mapping):
            raise TypeError("wandb.log must be passed a dictionary; give names and values")
        if any(not isinstance(key, str) for key in data):
            raise TypeError("Key values passed to `wandb.log` must be strings; convert them with str()")
        if step is not None:
            step = operator.index(step)
        values = {
            path: value
            for path, value in recorded(self._run, data, self.step if step is None else step)
            if path[0] not in INTERNAL
        }
        with self._lock:
            if step is not None:
                if step < self.step:
                    _log.warning(
                        "Tried to log to step %d that is less than the current step %d. Steps must be monotonically "
                        "increasing, so this data will be ignored.",
                        step,
                        self.step,
                    )
                    return
                if step > self.step:
                    self.flush()
                    self.step = step
            self._row.update({(name,): value for name, value in self._numbers.items()})
            self._numbers.clear()
            self._row.update(values)
            self._row_time = time.time()
            if step is None if commit is None else commit:
                self.flush()
                self.written = self.step
                self.step += 1

    def flush(self) -> None:
        """Write the row that is being filled, if it holds anything."""
        with self._lock:
            if not self._row:
                self._flush_numbers()
                return
            row, self._row = self._row, {}
            names = {".".join(path): value for path, value in row.items()}
            for name, value in self._definitions.complete(names).items():
                names[name] = value
                row[name,] = value
            self.written = self.step
            self._write(names)
            for path, value in row.items():
                self._summarise(path, value)

    def defined(self, metric: Metric) -> None:
        """Something was said of metrics: look at each again, and keep it with the run."""
        self._plain.clear()
        self._quietly(metric.name, lambda: self._writer.define_metric(metric.name, metric.document()))

    def text(self, name: str, text: str) -> None:
        """Record a text at the last step that is written, outside of any row."""
        self._quietly(name, lambda: self._writer.text(name, text, max(0, self.written)))

    def alert(self, title: str, text: str, level: str) -> None:
        """Give an alert, which rules of the server may send on."""
        self._quietly("alert", lambda: self._writer.alert(*checked_alert(title, text, level)))

    def rest_of_summary(self, name: str, value: Any) -> None:
        """Record what only the summary has, at the last step that is written."""
        self._number_or_text(name, value, max(0, self.written), None)

    def _write(self, row: Mapping[str, Value]) -> None:
        """Write a row at the step that is being filled."""
        late = self._is_late()
        numbers: dict[str, Any] = {}
        for name, value in row.items():
            if value is None:
                continue
            if isinstance(value, Typed):
                self._quietly(
                    name, partial(self._writer.typed, value.cls, name, value.texts, self.step, self._row_time)
                )
            elif isinstance(value, Rows):
                if value.columns:
                    self._quietly(name, partial(self._writer.log_table, name, value.columns, self._row_time))
            else:
                self.logged.add(name)
                if type(value) in _PLAIN and _holds(value) and is_name(name):
                    if not late:
                        numbers[name] = value
                    if "." not in name and self._definitions.is_plain(name):
                        self._plain.add(name)
                if name not in numbers:
                    text_or_number = value.text if isinstance(value, Listed) else value
                    self._number_or_text(name, text_or_number, self.step, self._row_time)
        self._log_metrics(numbers, self.step)

    def _one_by_one(self, values: Mapping[str, Any], step: int) -> None:
        """What a call has refused because of an integer beyond 64 bits; what stood before that is recorded."""
        refused = False
        for name, value in values.items():
            refused = refused or not _holds(value)
            if refused:
                self._number_or_text(name, value, step, None)

    def _number_or_text(self, name: str, value: Any, step: int, when: float | None) -> None:
        if isinstance(value, int) and not isinstance(value, bool) and value not in _INT64:
            value = float(value)
        if isinstance(value, (bool, int, float)):
            if when is None:
                self._quietly(name, lambda: self._writer.log(name, value, "", step))
            else:
                self._quietly(name, lambda: self._writer.log_array(name, [value], [step], [when]))
        else:
            self._quietly(name, lambda: self._writer.text(name, str(value), step, when=when))

    def _quietly(self, name: str, write: Any) -> None:
        """A value that cannot be held costs a warning, once a name: W&B's `log` does not end a training either."""
        try:
            write()
        except (AzureMLException, UnicodeError, OSError) as error:
            if name not in self._said:
                self._said.add(name)
                _log.warning(
                    "wandb: a value of %r is not recorded: %s", name[:80], getattr(error, "message", error)
                )

    def _summarise(self, path: Path, value: Value) -> None:
        plain = value.summary if isinstance(value, (Typed, Rows, Listed)) else value
        shown, summary = self._definitions.note(".".join(path), plain)
        if shown and plain is not None:
            put_at(self._tree, path, summary)


def _holds(value: Any) -> bool:
    """Whether a metric can have a number: integers have 64 bits."""
    return type(value) is not int or value in _INT64
