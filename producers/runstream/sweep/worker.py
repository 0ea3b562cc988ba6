"""A process that runs trials of a function, one after the other: `runstream.sweep.local` starts it."""

from __future__ import annotations

import ctypes
import math
import os
import pickle
import signal
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from ..core.run import Run
from ..spool.live_runs import failure_of
from ..stand_in.finder import install
from .messages import Assignment, End, Point
from .trial import STOPPED, Aim, properties_of, tags_of

_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True)
class Task:
    """What a worker needs to know.

    Attributes:
        parent: the sweep's run.
        objective: pickled function of a run and the parameters.
        judged: points of the metric are sent to the driver, and its answer is waited for.
    """

    parent: Run
    objective: bytes
    aim: Aim
    judged: bool


class Stopped(BaseException):
    """Raised by `run.log` in a trial that is to stop. No `Exception`: an objective's own handlers let it through."""


class _Dismissed(BaseException):
    """SIGTERM: the driver is through with this process."""


def main(descriptor: int, driver: int) -> None:
    """Execute what comes through a connection until it is closed."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # without its driver nobody judges a trial
        if os.getppid() != driver:
            return
    signal.signal(signal.SIGTERM, _dismiss)
    connection: Connection[Any, Any] = Connection(descriptor)
    try:
        sys.path[:], sys.argv[:], pickled = connection.recv()
        task: Task = pickle.loads(pickled)  # noqa: S301 - from our own driver
        if task.parent.experiment.workspace._settings.provide_azureml:
            install()
        objective = pickle.loads(task.objective)  # noqa: S301 - as above
        while True:
            connection.send(_Trial(task, connection, connection.recv()).carry_out(objective))
    except (EOFError, ConnectionError, _Dismissed):
        return


def _dismiss(*_: Any) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise _Dismissed


class _Trial:
    """One trial: its run, and the last and the best of its values."""

    def __init__(self, task: Task, connection: Connection[Any, Any], assignment: Assignment) -> None:
        self.task, self.connection, self.assignment = task, connection, assignment
        self.value: float | None = None
        self.steps = 0

    def carry_out(self, objective: Callable[..., Any]) -> End:
        task, number = self.task, self.assignment.number
        run = start_trial(task.parent, self.assignment)
        self._watch(run)
        try:
            value = objective(run, **self.assignment.parameters)
            if value is not None:
                run.log(task.aim.metric, float(value))
            run.complete()
            return End(number, "Completed", self.value)
        except Stopped as stopped:
            run.tag(STOPPED, str(stopped))
            run.cancel()
            return End(number, "Canceled", self.value, stopped=str(stopped))
        except _Dismissed:
            run.cancel()
            raise
        except KeyboardInterrupt:
            run.cancel()
            raise _Dismissed from None
        except BaseException as error:  # sys.exit() in an objective is a failure too
            traceback.print_exc()
            run.fail(error)
            return End(number, "Failed", self.value, error=failure_of(error)["message"])

    def _watch(self, run: Run) -> None:
        """See the metric's values as the run logs them: no request, and no delay."""
        log, log_metrics, metric = run.log, run.log_metrics, self.task.aim.metric

        def seen_log(name: str, value: Any, description: str = "", step: int | None = None) -> None:
            log(name, value, description, step)
            if name == metric:
                self._note(value, step)

        def seen_log_metrics(values: Mapping[str, Any], step: int | None = None) -> None:
            log_metrics(values, step)
            if metric in values:
                self._note(values[metric], step)

        run.__dict__.update(log=seen_log, log_metrics=seen_log_metrics)

    def _note(self, value: Any, step: int | None) -> None:
        value, aim = float(value), self.task.aim
        if self.value is None or aim.scope == "last" or aim.better(value, self.value):
            self.value = value
        step = self.steps if step is None else int(step)
        self.steps = step + 1
        if self.task.judged and not math.isnan(value):
            self.connection.send(Point(self.assignment.number, step, value))
            if reason := self.connection.recv():
                raise Stopped(reason)


def start_trial(parent: Run, assignment: Assignment) -> Run:
    """Start the run of a trial below its sweep's."""
    parameters = assignment.parameters
    run = Run._start(
        parent.experiment,
        name=f"{parent.name or 'run_' + parent.id}>{assignment.number}",
        run_id=assignment.run_id,
        parent=parent,
        tags=tags_of(parameters),
    )
    run._parent = parent
    for key, value in properties_of(parameters).items():
        run._live().writer.add_property(key, value)
        run._record.properties[key] = value
    return run
