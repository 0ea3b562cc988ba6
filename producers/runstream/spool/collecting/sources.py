"""The sources of a spool that its collector knows: by directory, and by run, in the order in which they began."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from itertools import takewhile

from .collected import CollectedSource


class Sources(dict[str, CollectedSource]):
    """Sources by the names of their directories."""

    def __init__(self) -> None:
        super().__init__()
        self._by_run: dict[str, list[CollectedSource]] = {}
        # By run, in order, those that may have handed out no points.
        self._beginning: dict[str, deque[CollectedSource]] = {}

    def add(self, source: CollectedSource) -> None:
        """Of a run, in order of beginning."""
        self[source.name] = source
        self._by_run.setdefault(source.run_id, []).append(source)
        self._beginning.setdefault(source.run_id, deque()).append(source)

    def remove(self, source: CollectedSource) -> bool:
        """Whether it was among them: else it was forgotten meanwhile."""
        if self.get(source.name) is not source:
            return False
        del self[source.name]
        family = self._by_run[source.run_id]
        family.remove(source)
        if not family:
            del self._by_run[source.run_id]
            self._beginning.pop(source.run_id, None)
        return True

    def clear(self) -> None:
        """Forget all."""
        super().clear()
        self._by_run.clear()
        self._beginning.clear()

    def of_run(self, run_id: str) -> list[CollectedSource]:
        """Those of a run that are not finished."""
        return [source for source in self._by_run.get(run_id, ()) if not source.finished]

    def others(self, source: CollectedSource) -> list[CollectedSource]:
        """The other sources of its run that are not finished."""
        return [other for other in self.of_run(source.run_id) if other is not source]

    def before(self, source: CollectedSource) -> list[CollectedSource]:
        """Sources of the run that logged before this one, wait, and have handed out no points, as this one has not."""
        line = self._beginning.get(source.run_id)
        if source.has_points or line is None:
            return []
        while line and (line[0].has_points or line[0].finished):
            line.popleft()
        earlier = takewhile(lambda other: other is not source, line)
        return [other for other in earlier if not other.has_points and other.reader.has_more()]

    def ends(self, run_id: str) -> dict[str, object]:
        """Until where each source of a run has to be stored before the run is settled."""
        return ends_of(self._by_run.get(run_id, ()))

    def latest_step(self, source: CollectedSource) -> int:
        """Time of the latest status that is known of the source's run."""
        return max(other.positions.latest_step for other in (source, *self.of_run(source.run_id)))


def ends_of(sources: Iterable[CollectedSource]) -> dict[str, object]:
    """Until where each has to be stored; by topic: they overtake one another."""
    ends = {source.reader.header.source.hex(): source.positions for source in sources}
    return {
        "ends": {source: positions.metrics for source, positions in ends.items()},
        "tag_ends": {source: positions.tags for source, positions in ends.items() if positions.tags},
    }
