"""Accelerate: `Accelerator(log_with=RunstreamTracker())`, or `log_with="runstream"` once this module is imported."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from accelerate import tracking as accelerate_tracking
from accelerate.tracking import GeneralTracker, on_main_process

from ..core.run import Run
from .tracking import Tracking


class RunstreamTracker(GeneralTracker):
    """Records what `accelerator.log` is given, and the configuration of `init_trackers`, in the main process only.

    Args:
        run_name: the experiment of a run that is started: `init_trackers` gives the project's name.
        run: see `Tracking`.
        **kwargs: those of `Tracking`.
    """

    name = "runstream"
    requires_logging_directory = False
    main_process_only = True

    @on_main_process
    def __init__(self, run_name: str | None = None, run: Run | None = None, **kwargs: Any) -> None:
        super().__init__()
        kwargs.setdefault("experiment", run_name)
        self._tracking = Tracking(run, first=True, **kwargs)

    @property
    def tracker(self) -> Run | None:
        """The run."""
        return self._tracking.run

    @on_main_process
    def start(self) -> None:
        """Start the run."""
        assert self._tracking.run is not None

    @on_main_process
    def store_init_configuration(self, values: Mapping[str, Any]) -> None:
        """Record the configuration as parameters."""
        self._tracking.params(values)

    @on_main_process
    def log(self, values: Mapping[str, Any], step: int | None = None, **kwargs: Any) -> None:
        """Record metrics; texts become texts of the run."""
        self._tracking.metrics(values, step)
        run = self._tracking.run
        for name, value in values.items():
            if isinstance(value, str) and run is not None:
                run.log(name, value, step=step)

    @on_main_process
    def log_images(self, values: Mapping[str, Any], step: int | None = None, **kwargs: Any) -> None:
        """Record lists of images."""
        run = self._tracking.run
        for name, images in values.items():
            if run is not None:
                run.log_media(name, list(images), step)

    @on_main_process
    def finish(self) -> None:
        """End the run, if it was started here."""
        self._tracking.finish()


if hasattr(accelerate_tracking, "LOGGER_TYPE_TO_CLASS"):
    accelerate_tracking.LOGGER_TYPE_TO_CLASS.setdefault("runstream", RunstreamTracker)
