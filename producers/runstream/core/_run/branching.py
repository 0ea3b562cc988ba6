"""Rewinding a run, and looking at its branches."""

from __future__ import annotations

from typing import Any

from runstream_schemas.series import SeriesClass

from ...client.branches import RunBranches, fetch_branches
from ...client.metrics import Series, shape_metrics
from ...client.reading import fetch_metrics
from ...spool.values import convert_step
from .handle import RunHandle


class Branching(RunHandle):
    """The part of `Run` that rewinds, and tells of branches."""

    def rewind(self, step: int) -> None:
        """Go back to a step: what was logged before this call, of a step beyond it, leaves the run's metrics.

        Nothing is erased: it stays readable as a former branch (`get_former_metrics`). Metrics, charts, lists, SQL and
        exports show what was logged up to the step, and what is logged from now on; values that are logged without a step
        are numbered on behind it. Tables, images, media, histograms and system metrics stay as they are.

        "Before" is told by the order of the run's points, not by a clock: of several processes that log to the run, all
        that began before this one, and what they log later too. Let one of them rewind, and the others begin after it.

        Args:
            step: the last step that stays; -1: none does.

        Raises:
            UserErrorException: no integer, or one beyond 64 bits.
            AzureMLException: there is no room in the spool to write it. Nothing changes then.
        """
        self._live().writer.rewind(convert_step("rewind", step))

    def get_branches(self) -> RunBranches:
        """Which run this one was forked from, where it was rewound, and which runs were forked from it.

        Raises:
            ServiceException: the service is away.
        """
        return fetch_branches(self._client, self._id)

    def get_former_metrics(self) -> dict[int, dict[str, Any]]:
        """What rewinds have cut off, by the number of the branch: `{1: {name: value}}`, values as of `get_metrics`.

        Raises:
            ServiceException: the service is away.
        """
        waits = self._live_run.unconfirmed() if self._live_run else {}
        fetched = fetch_metrics(self._client, [self._id], classes=(SeriesClass.FORMER,), waits=waits)
        branches: dict[int, list[Series]] = {}
        for series in fetched.get(self._id, []):
            plain = Series(
                SeriesClass.METRIC, series.name, "", series.kind, series.values, series.steps, series.times
            )
            branches.setdefault(int(series.column), []).append(plain)
        return {number: dict(shape_metrics(branches[number])) for number in sorted(branches)}
