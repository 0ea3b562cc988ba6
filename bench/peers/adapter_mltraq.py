"""MLtraq, with a SQLite file. It holds runs in memory until it is told to persist their experiment."""

from __future__ import annotations

import sys
from functools import lru_cache
from pathlib import Path

import measure

IMPORTS = ("mltraq",)
PACKAGES = ("mltraq",)
MANY = "many"
"""The experiment that all of many small runs belong to; persisted once."""


def prepare(home: Path) -> None:
    """Nothing to switch off."""


def open_run(home: Path, name: str) -> measure.Writer:
    """A run whose points are a sequence; of an experiment of its own, unless it is one of many."""
    import mltraq

    small = name.startswith("run_")
    experiment = _experiment(home, MANY if small else name)
    entered = experiment.run()
    run = entered.__enter__()
    log = mltraq.Sequence()
    run.fields.log = log
    append = log.append

    def finish() -> None:
        entered.__exit__(None, None, None)
        if not small:
            experiment.persist(if_exists="replace")

    return measure.Writer(
        lambda step, value: append(step=step, loss=value),
        lambda step, values: append(step=step, **values),
        finish,
    )


def settle(home: Path) -> None:
    """Store the many runs."""
    _experiment(home, MANY).persist(if_exists="replace")


def read(home: Path, name: str) -> int:
    """The metric's values and steps as arrays."""
    for run in _session(home).load_experiment(name).runs.values():
        frame = run.fields.log.df()
        frame["step"].to_numpy()
        return len(frame["loss"].to_numpy())
    return 0


def list_runs(home: Path) -> int:
    """Each run's metrics and their last values."""
    count = 0
    for run in _session(home).load_experiment(MANY).runs.values():
        last = run.fields.log.df().iloc[-1]
        count += sum(name in last for name in measure.NAMES) == measure.LAST_METRICS
    return count


def disk(home: Path) -> int:
    """The database."""
    return sum(measure.allocated(path) for path in home.glob("mltraq.db*"))


@lru_cache
def _session(home: Path):  # type: ignore[no-untyped-def]
    import mltraq

    return mltraq.create_session(f"sqlite:///{home}/mltraq.db")


@lru_cache
def _experiment(home: Path, name: str):  # type: ignore[no-untyped-def]
    return _session(home).create_experiment(name)


if __name__ == "__main__":
    measure.main(sys.modules[__name__])
