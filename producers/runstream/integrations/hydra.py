"""Hydra: a callback that records each job, named in the configuration.

hydra:
  callbacks:
    runstream:
      _target_: runstream.integrations.hydra.RunstreamCallback
"""

from __future__ import annotations

from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from ..core.run import Run
from .tracking import Tracking


class RunstreamCallback(Callback):
    """Starts a run for each job, with its configuration as parameters and what was overridden as the tag `overrides`; of a
    multirun they are runs below one of the whole. A script finds the run by `runstream_run()`.

    Args:
        experiment: the experiment; default: the job's name.
        **kwargs: those of `Tracking`.
    """

    def __init__(self, experiment: str | None = None, **kwargs: Any) -> None:
        self._experiment, self._kwargs = experiment, kwargs
        self._whole: Tracking | None = None

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Start the run of the whole."""
        self._whole = self._tracking(config, f"multirun of {config.hydra.job.name}")
        if self._whole.run is not None:
            self._whole.tags({"overrides": " ".join(config.hydra.overrides.task)})

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """End it."""
        if self._whole is not None:
            self._whole.finish()

    def on_job_start(self, config: DictConfig, *, task_function: Any = None, **kwargs: Any) -> None:
        """Start the run of a job."""
        global _tracking
        parent = self._whole.run if self._whole else None
        hydra = HydraConfig.get()
        name = f"{hydra.job.name} {hydra.job.num}" if parent else hydra.job.name
        if parent is not None:
            _tracking = Tracking(parent.child_run(name), **self._kwargs)
            _tracking.owns = True
        else:
            _tracking = self._tracking(config, name, hydra)
        own = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
        plain = OmegaConf.to_container(own, resolve=True, throw_on_missing=False)
        assert isinstance(plain, dict)
        _tracking.params({str(key): value for key, value in plain.items()})
        if hydra.overrides.task:
            _tracking.tags({"overrides": " ".join(hydra.overrides.task)})

    def on_job_end(self, config: DictConfig, job_return: Any, **kwargs: Any) -> None:
        """End the run of a job, as the job has ended."""
        global _tracking
        if _tracking is not None:
            failed = job_return.status.name == "FAILED"
            _tracking.finish(job_return._return_value if failed else None)
        _tracking = None

    def _tracking(self, config: DictConfig, name: str, hydra: Any = None) -> Tracking:
        job = (hydra or config.hydra).job
        return Tracking(experiment=self._experiment or job.name, name=name, **self._kwargs)


_tracking: Tracking | None = None


def runstream_run() -> Run | None:
    """The run of the job that is under way; None: there is none, or this process does not record."""
    return _tracking.run if _tracking is not None else None
