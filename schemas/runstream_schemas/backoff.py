"""Growing pauses: between attempts while something is away, and between looks at what is not there yet."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Backoff:
    """An endless iterator of seconds to wait: `first`, then each `factor` times the one before, at most `most`.

    for pause in Backoff(0.2, 5.0):
        try:
            return attempt()
        except OSError:
            time.sleep(pause)
    """

    first: float
    most: float
    factor: float = 2.0
    _next: float | None = None

    def __iter__(self) -> Backoff:
        return self

    def __next__(self) -> float:
        pause = self.first if self._next is None else self._next
        self._next = min(pause * self.factor, self.most)
        return pause

    def reset(self) -> None:
        """Begin again: what was waited for was there meanwhile."""
        self._next = None
