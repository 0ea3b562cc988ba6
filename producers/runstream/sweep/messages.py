"""What is said of trials while they are at work: points and ends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Assignment:
    """A trial to run.

    Attributes:
        number: the number of the trial.
        run_id: its run is to have.
        parameters: it is given.
    """

    number: int
    run_id: str
    parameters: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Point:
    """A value of the metric was logged; an answer is waited for."""

    number: int
    step: int
    value: float


@dataclass(frozen=True, slots=True)
class End:
    """A trial has ended: see `runstream.sweep.trial.Trial`. `lost` ones are to be run again."""

    number: int
    status: str
    value: float | None = None
    stopped: str = ""
    error: str = ""
    lost: bool = False


class Crew(Protocol):
    """Who runs trials."""

    def begin(self, assignment: Assignment) -> None:
        """Begin a trial; there are never more at once than the crew was made for."""

    def wait(self, seconds: float) -> list[Point | End]:
        """What has happened; waits at most so long for the first."""

    def answer(self, number: int, stop: str) -> None:
        """Answer to a point: why its trial is to stop, or ''."""

    def dismiss(self) -> None:
        """Cancel what is at work."""

    def close(self) -> None:
        """Nothing is at work any more."""
