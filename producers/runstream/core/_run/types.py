"""Which class stands for a run that is looked up: by its type."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ...client.records import SCRIPT_RUN, RunRecord

if TYPE_CHECKING:
    from ..experiment import Experiment
    from ..run import Run

RunFactory = Callable[["Experiment", RunRecord], "Run"]

_factories: dict[str, RunFactory] = {}


def add_type(runtype: str, factory: RunFactory) -> None:
    """Have runs of a type made by `factory(experiment, record)` in this process.

    Raises:
        TypeError: it cannot be called.
    """
    if not callable(factory):
        raise TypeError(
            f"run_factory: expected a function (experiment, record), got {type(factory).__name__}"
        )
    _factories[runtype] = factory


def rehydrated(experiment: Experiment, record: RunRecord) -> Any:
    """The run of a record."""
    if record.type is not None and record.type in _factories:
        return _factories[record.type](experiment, record)
    if record.type == SCRIPT_RUN:
        from ..script_run import ScriptRun

        return ScriptRun._of(experiment, record)
    from ..run import Run

    return Run._of(experiment, record)
