"""`sweep` and `agent` on `runstream.sweep`: a sweep is a run, its trials are the runs that the function's `init` returns."""

from __future__ import annotations

import json
import logging
import os
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..core.experiment import Experiment
from ..core.run import Run as CoreRun
from ..core.workspace import Workspace
from ..exceptions import UserErrorException
from ..home.layout import with_local_spool
from ..sweep import Choice, Halving, Integer, LogNormal, LogUniform, Normal, Quantized, Uniform
from ..sweep.start import run as run_sweep
from . import active
from .errors import UsageError
from .mapping import experiment_of
from .run_config import config_of

_METHODS = {"grid": "grid", "random": "random", "bayes": "optuna"}
_log = logging.getLogger("runstream")


def sweep(sweep: Any, entity: str | None = None, project: str | None = None, prior_runs: Any = None) -> str:
    """Note a sweep, and return its id, with which `agent` executes it.

    Args:
        sweep: W&B's configuration of a sweep, a dictionary or the path of a YAML file: `method` (`grid`, `random`, `bayes`),
            `metric`, `parameters`, `early_terminate` (`hyperband`), `run_cap`, `name`.
        entity: accepted.
        project: default: that of the configuration, else `uncategorized`.
        prior_runs: accepted.

    Raises:
        UsageError: a configuration that cannot be executed here.
    """
    document = config_of(sweep() if callable(sweep) else sweep)
    document["project"] = (
        project or document.get("project") or os.environ.get("WANDB_PROJECT") or "uncategorized"
    )
    space_of(document.get("parameters") or {})  # refuses now what agent() could not execute
    _method(document)
    sweep_id = secrets.token_hex(4)
    path = _place(sweep_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, default=str), encoding="utf-8")
    return sweep_id


def agent(
    sweep_id: str,
    function: Callable[[], Any] | None = None,
    entity: str | None = None,
    project: str | None = None,
    count: int | None = None,
    forward_signals: bool | None = None,
) -> None:
    """Execute trials of a sweep, one after the other, in a process of its own; returns when they have ended.

    Args:
        sweep_id: what `sweep` returned, in this home.
        function: a trial: its `init` gets the parameters as config.
        entity, project: accepted; the sweep knows its project.
        count: how many trials; default: `run_cap` of the sweep, or all of a grid. A later agent continues with as many more.
        forward_signals: accepted.

    Raises:
        UsageError: an unknown sweep, no function, or no count for what has no end of its own.
    """
    path = _place(sweep_id.rsplit("/", 1)[-1])
    if not path.is_file():
        raise UsageError(f"sweep {sweep_id}: it is not known in this home; make it with sweep() first")
    if function is None:
        raise UsageError(
            "agent(): give a function; programs are swept by runstream.sweep with a ScriptRunConfig"
        )
    document = json.loads(path.read_text(encoding="utf-8"))
    metric = document.get("metric") or {}
    method = _method(document)
    trials = count if count is not None else document.get("run_cap")
    if trials is None and method != "grid":
        raise UsageError(f"agent({sweep_id}): {method} has no end; give count=, or run_cap in the sweep")
    before = document.get("begun", 0)
    document["begun"] = before + (trials or 0)
    path.write_text(json.dumps(document), encoding="utf-8")
    experiment = Experiment(Workspace.from_config(), experiment_of(document["project"]))
    run_sweep(
        experiment,
        _Objective(function, path.stem),
        space_of(document["parameters"]),
        metric=metric.get("name", "loss"),
        goal="maximize" if metric.get("goal") == "maximize" else "minimize",
        method=method,
        trials=None if trials is None else document["begun"],
        concurrency=1,
        stop=_stop(document.get("early_terminate")),
        run_id=f"sweep-{path.stem}",
        name=document.get("name"),
    )


class _Objective:
    """A trial in the process that executes it."""

    def __init__(self, function: Callable[[], Any], sweep_id: str) -> None:
        self._function, self._sweep_id = function, sweep_id

    def __call__(self, run: CoreRun, **parameters: Any) -> None:
        nested: dict[str, Any] = {}
        for name, value in parameters.items():
            node = nested
            *outer, last = name.split(".")
            for key in outer:
                node = node.setdefault(key, {})
            node[last] = value
        active.trial = active.Trial(run, nested, self._sweep_id)
        try:
            self._function()
        finally:
            if (current := active.current()) is not None:
                current.finish()
            active.trial = None


def _place(sweep_id: str) -> Path:
    """Where a sweep is noted in the home."""
    home = with_local_spool(Workspace.from_config()._settings).home_path
    return home / "wandb-sweeps" / f"{sweep_id}.json"


def _method(document: Mapping[str, Any]) -> str:
    name = document.get("method", "random")
    if name not in _METHODS:
        raise UsageError(f"sweep: method {name!r:.80}: expected grid, random or bayes")
    return _METHODS[name]


def _stop(given: Mapping[str, Any] | None) -> Halving | None:
    """Hyperband as successive halving without waiting, which is what W&B's is."""
    if not given:
        return None
    if given.get("type") != "hyperband":
        raise UsageError(f"sweep: early_terminate {given.get('type')!r:.80}: expected hyperband")
    factor = int(given.get("eta", 3))
    first = given.get("min_iter")
    if first is None:
        first = max(1, int(given.get("max_iter", 27)) // factor ** int(given.get("s", 2)))
    return Halving(first=int(first), factor=factor)


def space_of(parameters: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A space of `runstream.sweep` from W&B's parameters; nested ones are joined with `.`.

    Raises:
        UsageError: a distribution there is none for here.
    """
    space: dict[str, Any] = {}
    for key, given in parameters.items():
        name = f"{prefix}{key}"
        if not isinstance(given, Mapping):
            raise UsageError(
                f"sweep: parameter {name}: expected value, values or a distribution, got {given!r:.80}"
            )
        if "parameters" in given:
            space |= space_of(given["parameters"], f"{name}.")
        else:
            space[name] = _distribution(name, given)
    return space


def _distribution(name: str, given: Mapping[str, Any]) -> Any:
    kind = given.get("distribution")
    if "value" in given:
        return Choice([given["value"]])
    if "values" in given:
        if given.get("probabilities"):
            _log.warning(
                "sweep: parameter %s: its probabilities are not heeded: all values are as likely", name
            )
        return Choice(given["values"])
    low, high = given.get("min"), given.get("max")
    quantum = given.get("q", 1)
    if kind is None:
        kind = "int_uniform" if isinstance(low, int) and isinstance(high, int) else "uniform"
    mean, deviation = given.get("mu", 0.0), given.get("sigma", 1.0)
    try:
        if kind == "int_uniform":
            return Integer(int(low), int(high))  # type: ignore[arg-type]
        made: dict[str, Callable[[], Any]] = {
            "uniform": lambda: Uniform(float(low), float(high)),  # type: ignore[arg-type]
            "log_uniform": lambda: LogUniform(_exp(low), _exp(high)),
            "log_uniform_values": lambda: LogUniform(float(low), float(high)),  # type: ignore[arg-type]
            "normal": lambda: Normal(mean, deviation),
            "log_normal": lambda: LogNormal(mean, deviation),
        }
        plain = kind.removeprefix("q_")
        distribution = made[plain]()
        return Quantized(distribution, quantum) if plain != kind else distribution
    except KeyError:
        raise UsageError(
            f"sweep: parameter {name}: distribution {kind!r:.80} is not known here; use {', '.join(_KNOWN)}"
        ) from None
    except (TypeError, UserErrorException) as error:
        raise UsageError(
            f"sweep: parameter {name}: {getattr(error, 'message', error)}; give min and max"
        ) from None


_KNOWN = (
    "uniform",
    "int_uniform",
    "log_uniform",
    "log_uniform_values",
    "normal",
    "log_normal",
    "and these with q_",
)


def _exp(value: Any) -> float:
    import math

    return math.exp(float(value))
