"""Trials of a function in processes of this machine. They are no forks and import no main module: a sweep in a script needs
no `if __name__ == "__main__"`, and one in a notebook works too."""

from __future__ import annotations

import os
import pickle
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

from ..core.run import Run
from ..exceptions import UserErrorException
from ..stand_in.finder import add_to_path
from .messages import Assignment, End, Point
from .trial import Aim
from .worker import Task

_LEAVE_SECONDS = 5.0
_MAIN = "import sys; from runstream.sweep.worker import main; main(int(sys.argv[1]), int(sys.argv[2]))"


@dataclass(slots=True)
class _Worker:
    process: subprocess.Popen[bytes]
    connection: Connection[Any, Any]
    number: int | None = None  # of the trial it is at


class LocalCrew:
    """Processes that run trials.

    Args:
        parent: the sweep's run.
        objective: function of a run and the parameters.
        aim: the aim of the sweep.
        judged: a rule or a pruner looks at the points.
        size: how many processes; each is started when it is needed.

    Raises:
        UserErrorException: the function cannot be pickled.
    """

    def __init__(self, parent: Run, objective: Callable[..., Any], aim: Aim, judged: bool, size: int) -> None:
        self._task = pickle.dumps(Task(parent, _pickled(objective), aim, judged))
        settings = parent.experiment.workspace._settings
        self._environment = {**os.environ, **settings.environment()}
        if settings.provide_azureml:
            add_to_path(self._environment)  # for what trials start
        self._size = size
        self._workers: list[_Worker] = []

    def begin(self, assignment: Assignment) -> None:
        """See `Crew`."""
        worker = next((idle for idle in self._workers if idle.number is None), None) or self._hire()
        worker.number = assignment.number
        try:
            worker.connection.send(assignment)
        except OSError:
            pass  # it is gone; `wait` says so

    def wait(self, seconds: float) -> list[Point | End]:
        """See `Crew`."""
        by_connection = {worker.connection: worker for worker in self._workers}
        messages: list[Point | End] = []
        for ready in wait(list(by_connection), seconds):
            worker = by_connection[ready]  # type: ignore[index]
            try:
                message: Point | End = worker.connection.recv()
            except (EOFError, OSError):
                self._workers.remove(worker)
                worker.connection.close()
                worker.process.wait()
                if worker.number is not None:
                    error = f"the process that carried it out ended with {worker.process.returncode}"
                    messages.append(End(worker.number, "Failed", error=error, lost=True))
                continue
            if isinstance(message, End):
                worker.number = None
            messages.append(message)
        return messages

    def answer(self, number: int, stop: str) -> None:
        """See `Crew`."""
        for worker in self._workers:
            if worker.number == number:
                try:
                    worker.connection.send(stop)
                except OSError:
                    pass  # it is gone; `wait` says so

    def dismiss(self) -> None:
        """See `Crew`: each process cancels its trial and ends."""
        for worker in self._workers:
            worker.process.terminate()
        self.close()

    def close(self) -> None:
        """See `Crew`."""
        for worker in self._workers:
            worker.connection.close()
        deadline = time.monotonic() + _LEAVE_SECONDS
        for worker in self._workers:
            try:
                worker.process.wait(max(deadline - time.monotonic(), 0.0))
            except subprocess.TimeoutExpired:
                worker.process.kill()
                worker.process.wait()
        self._workers.clear()

    def _hire(self) -> _Worker:
        ours, theirs = socket.socketpair()
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-c", _MAIN, str(theirs.fileno()), str(os.getpid())],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,  # a Ctrl-C is the driver's to answer
            )
        connection: Connection[Any, Any] = Connection(ours.detach())
        connection.send((sys.path, sys.argv, self._task))
        worker = _Worker(process, connection)
        self._workers.append(worker)
        return worker


def _pickled(objective: Callable[..., Any]) -> bytes:
    try:
        import cloudpickle
    except ImportError:
        if getattr(objective, "__module__", "") == "__main__":
            raise UserErrorException(
                "an objective of the script itself needs cloudpickle: pip install 'runstream[sweep]', or put it into a "
                "module"
            ) from None
        cloudpickle = pickle
    try:
        return bytes(cloudpickle.dumps(objective))
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        raise UserErrorException(
            f"the objective cannot be sent to another process ({error}); open files, locks and the like inside of it"
        ) from error
