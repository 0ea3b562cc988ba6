"""`import runstream.wandb as wandb`: scripts written for W&B, with runs that survive a `kill -9`.

>>> import runstream.wandb as wandb
>>> run = wandb.init(project="ridge", config={"lr": 0.1})
>>> wandb.log({"loss": 0.3})
>>> wandb.finish()

Nothing of W&B is needed. What maps to what: docs/how-to/wandb.md.
"""

from __future__ import annotations

from ..lazy import TYPE_CHECKING, attributes

__all__ = [
    "AlertLevel",
    "Api",
    "Artifact",
    "Audio",
    "CommError",
    "Config",
    "Error",
    "Histogram",
    "Html",
    "Image",
    "Molecule",
    "Object3D",
    "Plotly",
    "Run",
    "Settings",
    "Table",
    "UsageError",
    "Video",
    "agent",
    "alert",
    "config",
    "define_metric",
    "finish",
    "init",
    "link_model",
    "log",
    "log_artifact",
    "log_model",
    "login",
    "mark_preempting",
    "pin_config_keys",
    "plot",
    "plot_table",
    "run",
    "save",
    "setup",
    "summary",
    "sweep",
    "teardown",
    "unwatch",
    "use_artifact",
    "use_model",
    "watch",
]

_TYPES = ("Audio", "Histogram", "Html", "Image", "Molecule", "Object3D", "Plotly", "Table", "Video")

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from . import plot
    from .api import Api
    from .artifact import Artifact
    from .data_types import Audio, Histogram, Html, Image, Molecule, Object3D, Plotly, Table, Video
    from .errors import CommError, Error, UsageError
    from .plot import plot_table
    from .recording_run import AlertLevel, Run
    from .run_config import Config
    from .run_summary import SummaryTree
    from .settings import Settings
    from .starting import finish, init
    from .sweeps import agent, sweep

    run: Run | None
    config: Config
    summary: SummaryTree
    alert: Callable[..., None]
    define_metric: Callable[..., Any]
    link_model: Callable[..., Artifact]
    log: Callable[..., None]
    log_artifact: Callable[..., Artifact]
    log_model: Callable[..., Artifact]
    mark_preempting: Callable[[], None]
    pin_config_keys: Callable[..., None]
    save: Callable[..., list[str]]
    unwatch: Callable[..., None]
    use_artifact: Callable[..., Artifact]
    use_model: Callable[..., str]
    watch: Callable[..., None]
else:
    from .active import set_current as _set_current

    # `run`, `config`, `summary`, `log` and the like: names of this module that `init` and `finish` set.
    _set_current(None)
    __getattr__, __dir__ = attributes(
        __name__,
        {
            "AlertLevel": "runstream.wandb.recording_run",
            "Api": "runstream.wandb.api",
            "Artifact": "runstream.wandb.artifact",
            "CommError": "runstream.wandb.errors",
            "Config": "runstream.wandb.run_config",
            "Error": "runstream.wandb.errors",
            "Run": "runstream.wandb.recording_run",
            "Settings": "runstream.wandb.settings",
            "UsageError": "runstream.wandb.errors",
            "agent": "runstream.wandb.sweeps",
            "finish": "runstream.wandb.starting",
            "init": "runstream.wandb.starting",
            "plot": "runstream.wandb.plot",
            "plot_table": "runstream.wandb.plot",
            "sweep": "runstream.wandb.sweeps",
            **dict.fromkeys(_TYPES, "runstream.wandb.data_types"),
        },
    )


def login(*args: object, **kwargs: object) -> bool:
    """True: nobody has to sign in."""
    return True


def setup(settings: object = None) -> None:
    """Accepted: there is nothing to be set up."""


def teardown(exit_code: int | None = None) -> None:
    """End the run, if there is one."""
    finish(exit_code)
