"""A run that begins with the points of another one: they are written into it, so that it needs the other no more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from runstream_schemas.errors import brief
from runstream_schemas.runs.branches import FORK_RUN, FORK_STEP

from ...client.branches import fetch_prefix
from ...client.metrics import Series
from ...client.reading import fetch_record, settle
from ...exceptions import ServiceException, UserErrorException
from ...spool.live_runs import LiveRun
from ...spool.values import convert_step
from ...spool.writing.writer import RunWriter
from ...workspace_type import Workspace
from .handle import RunHandle

STORED_SECONDS = 30.0
"""So long what this process logged may take to be stored, before it is copied."""

_KIND_OF = {float: "float64", int: "int64", bool: "bool"}


@dataclass(frozen=True, slots=True)
class Origin:
    """What a fork begins with: the metrics of a run up to a step."""

    workspace: Workspace
    run_id: str
    step: int

    def write(self, live: LiveRun) -> dict[str, str]:
        """Note where the run was forked, and write the points it begins with; returns the properties.

        Raises:
            ServiceException: the service is away. The run fails then.
        """
        properties = {FORK_RUN: self.run_id, FORK_STEP: str(self.step)}
        for key, value in properties.items():
            live.writer.add_property(key, value)
        try:
            for series in fetch_prefix(self.workspace._client, self.run_id, self.step):
                _write(live.writer, series)
        except BaseException as error:
            message = f"what the run begins with could not be read of run {self.run_id}: {error!r:.500}"
            live.writer.status("error", {"error": {"code": "ForkFailed", "message": message}})
            live.end("fail")
            raise
        return properties


def checked_origin(workspace: Workspace, fork_from: Any, run_id: str | None) -> Origin | None:
    """What a fork begins with, of what a caller gave.

    Args:
        workspace: the one the fork belongs to.
        run_id: its id, if it was given one.

    Raises:
        UserErrorException: no run and step, a run of another workspace, or an id that a run has.
        ServiceException: there is no such run (status_code 404), the service is away, or has not stored yet what this
            process logged to it: a fork begins with what it has.
    """
    if fork_from is None:
        return None
    if not isinstance(fork_from, Sequence) or isinstance(fork_from, (str, bytes)) or len(fork_from) != 2:
        raise UserErrorException(
            f"fork_from={brief(fork_from)}: expected a run, or the id of one, and a step: fork_from=(run, 1000)"
        )
    run, step = fork_from[0], convert_step("fork_from", fork_from[1])
    if isinstance(run, RunHandle):
        if run._settings != workspace._settings:
            raise UserErrorException(
                f"fork_from: run {run._id} belongs to another service; export it, and import it here"
            )
        run = run._id
    if not isinstance(run, str) or not run:
        raise UserErrorException(f"fork_from: {brief(run)} is no run; give a Run, or the id of one")
    record = fetch_record(workspace._client, run)
    # None: of a run's records only points are stored so far.
    if record.workspace not in (None, workspace.name):
        raise UserErrorException(
            f"fork_from: run {run} belongs to workspace {record.workspace!r}, the fork to {workspace.name!r}; fork it there"
        )
    if run_id is not None:
        try:
            fetch_record(workspace._client, run_id)
        except ServiceException as error:
            if error.status_code != 404:
                raise
        else:
            raise UserErrorException(
                f"run_id={run_id!r:.80}: there is such a run, and a fork is a new one; leave it out"
            )
    if not settle(workspace._client, run, STORED_SECONDS):
        raise ServiceException(
            f"fork_from: the service has not stored yet all that this process logged to run {run}, and a fork is a copy of "
            "what it has; look at `runstream status`, and fork again"
        )
    return Origin(workspace, run, step)


def _write(writer: RunWriter, series: Series) -> None:
    """Write points as they are, with their steps and times; values without a step are numbered on behind them."""
    if not series.values:
        return
    import numpy as np

    end = 0
    for kind, values in groupby(series.values, type):
        start, end = end, end + sum(1 for _ in values)
        part = series.values[start:end]
        steps, times = series.steps[start:end], [time / 1e6 for time in series.times[start:end]]
        if kind in _KIND_OF:
            array = np.array(part, dtype=_KIND_OF[kind])
            writer.log_array(series.name, array, np.array(steps, dtype=np.int64), np.array(times))
        elif kind is str:
            for text, step, when in zip(part, steps, times, strict=True):
                writer.text(series.name, str(text), step, when=when)
        else:
            for step, when in zip(steps, times, strict=True):
                writer.none_at(series.name, step, when)
    writer.number_on(series.name, max(0, max(series.steps) + 1))
