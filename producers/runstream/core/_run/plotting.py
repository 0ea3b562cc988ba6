"""`Run.plot`: metrics of a run with matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from runstream_schemas.series import Kind, SeriesClass

from ...client.addresses import quoted
from ...client.reading import settle
from ...exceptions import ServiceException, UserErrorException
from .handle import RunHandle

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH = 2000
"""Buckets a metric is thinned out to, each by its first, last, lowest and highest point."""
MOST = 30
AXES = ("step", "time", "relative")


class Plotting(RunHandle):
    """Its metrics as a figure."""

    def plot(
        self,
        *names: str,
        x: str = "step",
        ax: Axes | None = None,
        subplots: bool = False,
        log: bool = False,
        **kwargs: Any,
    ) -> Axes | list[Axes]:
        """Draw metrics with matplotlib (extra `plot`). Long ones are thinned out by the service: no spike is lost.

        Args:
            names: metrics; none: every numeric one, at most 30.
            x: `step`, `time` (UTC), or `relative` (seconds since the metric's first point).
            ax: where to draw; default a new figure.
            subplots: one chart a metric, below one another.
            log: a logarithmic y axis.
            kwargs: passed on to `Axes.plot`.

        Returns:
            The axes; a list of them with `subplots`. Their figure is `axes.figure`.

        Raises:
            ImportError: there is no matplotlib; says how to get it.
            UserErrorException: no such metric, nothing to draw, or arguments that make no sense.
            ServiceException: the service is away.
        """
        return draw(self, names, x=x, ax=ax, subplots=subplots, log=log, **kwargs)


def draw(
    run: RunHandle, names: Sequence[str], *, x: str, ax: Axes | None, subplots: bool, log: bool, **kwargs: Any
) -> Axes | list[Axes]:
    """Draw metrics of a run; see `Run.plot`."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError("Run.plot needs matplotlib: pip install 'runstream[plot]'") from error
    if x not in AXES:
        raise UserErrorException(f"plot: x={x!r:.60}: expected one of {', '.join(AXES)}")
    if ax is not None and subplots:
        raise UserErrorException("plot: pass ax= or subplots=True, not both; leave one out")
    settle(run._client, run.id)
    names = list(names) or _numeric(run)
    if not names:
        raise UserErrorException(f"plot: run {run.id} has no numeric metric yet; log one, or wait for it")
    if len(names) > MOST:
        raise UserErrorException(
            f"plot: {len(names)} metrics are too many for one figure; name at most {MOST}"
        )
    lines = [_points(run, name, x) for name in names]
    if subplots:
        _, grid = plt.subplots(len(names), 1, sharex=True, squeeze=False, figsize=(6.4, 2.4 * len(names)))
        axes = list(grid[:, 0])
    else:
        axes = [ax if ax is not None else plt.subplots()[1]] * len(names)
    for axis, name, (xs, values) in zip(axes, names, lines, strict=True):
        axis.plot(xs, values, **{"label": name, "marker": "" if len(xs) > 1 else "o", **kwargs})
        if log:
            axis.set_yscale("log")
        if subplots or len(names) == 1:
            axis.set_ylabel(name)
    axes[-1].set_xlabel({"step": "step", "time": "time (UTC)", "relative": "seconds"}[x])
    if not subplots and len(names) > 1:
        axes[0].legend()
    return axes if subplots else axes[0]


def _numeric(run: RunHandle) -> list[str]:
    series = run._client.get_json(f"/api/v1/runs/{quoted(run.id)}/series")["series"]
    return [
        metric["name"]
        for metric in series
        if metric["cls"] == SeriesClass.METRIC and metric["kind"] not in (Kind.TEXT, Kind.NULL)
    ]


def _points(run: RunHandle, name: str, x: str) -> tuple[list[Any], list[float]]:
    try:
        answer = run._client.get_json(
            "/api/v1/series", [("run", run.id), ("name", name), ("width", str(WIDTH))]
        )
    except ServiceException as error:
        if error.status_code != 404:
            raise
        raise UserErrorException(
            f"plot: run {run.id} has no metric {name!r}; run.get_metrics() names them"
        ) from None
    values = [float(value) for value in answer["values"]]  # NaN and infinities come as text
    times = answer["times"]
    if x == "step":
        return answer["steps"], values
    if x == "relative":
        return [(time - min(times)) / 1e6 for time in times], values
    return [datetime.fromtimestamp(time / 1e6, UTC) for time in times], values
