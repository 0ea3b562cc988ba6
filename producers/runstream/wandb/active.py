"""The run that `log()`, `config` and the like of the module mean."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from .errors import UsageError

if TYPE_CHECKING:
    from ..core.run import Run as CoreRun

MODULE = "runstream.wandb"
METHODS = (
    "log", "alert", "define_metric", "link_model", "log_artifact", "log_model", "mark_preempting", "pin_config_keys", "save",
    "unwatch", "use_artifact", "use_model", "watch",
)  # fmt: skip
"""Functions of the module that are methods of the run."""


class Trial:
    """A trial of a sweep that this process executes: its run, and its parameters."""

    def __init__(self, run: CoreRun, parameters: Mapping[str, Any], sweep_id: str) -> None:
        self.run, self.parameters, self.sweep_id = run, parameters, sweep_id


trial: Trial | None = None


def current() -> Any:
    """The run; None before `init` and after `finish`."""
    return vars(sys.modules[MODULE]).get("run")


def set_current(run: Any) -> None:
    """Have the module mean a run, or none; `log` is the run's own, with nothing before it."""
    names = vars(sys.modules[MODULE])
    names["run"] = run
    names["config"] = Before("wandb.config") if run is None else run.config
    names["summary"] = Before("wandb.summary") if run is None else run.summary
    for name in METHODS:
        names[name] = before(name) if run is None else getattr(run, name)


class Before:
    """What `config` and `summary` are before `init`."""

    def __init__(self, name: str) -> None:
        self.__dict__["_name"] = name

    def _refuse(self) -> UsageError:
        return UsageError(f"You must call wandb.init() before {self._name}")

    def __getattr__(self, key: str) -> Any:
        if key.startswith("__"):
            raise AttributeError(key)
        raise self._refuse()

    def __setattr__(self, key: str, value: Any) -> None:
        raise self._refuse()

    def __getitem__(self, key: str) -> Any:
        raise self._refuse()

    def __setitem__(self, key: str, value: Any) -> None:
        raise self._refuse()


def before(name: str) -> Callable[..., Any]:
    """A function of the module before `init`; one that was imported by name finds the run that came later."""

    def call(*args: Any, **kwargs: Any) -> Any:
        run = current()
        if run is None:
            raise UsageError(f"You must call wandb.init() before wandb.{name}()")
        return getattr(run, name)(*args, **kwargs)

    call.__name__ = name
    return call
