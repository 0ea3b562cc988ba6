"""How runs branch, read over HTTP: where one was forked and rewound, and the points a fork begins with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from runstream_schemas.series import SeriesClass

from .http import ServiceClient
from .metrics import Series, decode_series
from .reading import fetch_of_run

POINTS_AT_ONCE: Final = 1_000_000
"""Points of a fork's beginning that are fetched at once, or one series: they lie in memory."""
_NAMES_AT_ONCE: Final = 50


@dataclass(frozen=True, slots=True)
class Rewind:
    """A rewind of a run.

    Attributes:
        branch: number of the former branch it left, from 1.
        step: what was logged before it and has a step beyond this one is on that branch.
        time_utc: when it was, ISO 8601 UTC.
        points: points of metrics on that branch.
    """

    branch: int
    step: int
    time_utc: str
    points: int


@dataclass(frozen=True, slots=True)
class Fork:
    """The run at the other end of a fork.

    Attributes:
        run_id: its id.
        step: the step up to which both runs are the same; None: its properties do not say.
    """

    run_id: str
    step: int | None


@dataclass(frozen=True, slots=True)
class RunBranches:
    """How a run branches.

    Attributes:
        forked_from: the run it was forked from, or None.
        rewinds: in the order of the run's points.
        forks: the runs that were forked from it, newest first.
    """

    forked_from: Fork | None
    rewinds: list[Rewind]
    forks: list[Fork]


def fetch_branches(client: ServiceClient, run_id: str) -> RunBranches:
    """How a run branches, after the service has stored what this process wrote to the run.

    Raises:
        ServiceException: no such run (status_code 404), or the service is away.
    """
    document = fetch_of_run(client, run_id, "/branches")
    origin = document["forked_from"]
    rewinds = [
        Rewind(item["number"], item["step"], item["time_utc"], item["points"]) for item in document["rewinds"]
    ]
    forks = [Fork(item["run_id"], item["step"]) for item in document["forks"]]
    return RunBranches(None if origin is None else Fork(origin["run_id"], origin["step"]), rewinds, forks)


def fetch_prefix(client: ServiceClient, run_id: str, step: int) -> Iterator[Series]:
    """The metrics of a run up to a step, some at a time, in the order first logged.

    Raises:
        ServiceException: the service is away.
    """
    import msgpack

    summaries: list[dict[str, Any]] = fetch_of_run(client, run_id, "/series")["series"]
    names: list[str] = []
    points = 0
    for summary in [*(item for item in summaries if item["cls"] == SeriesClass.METRIC), None]:
        if names and (
            summary is None or points + summary["count"] > POINTS_AT_ONCE or len(names) == _NAMES_AT_ONCE
        ):
            params = [("run", run_id), ("cls", str(int(SeriesClass.METRIC))), ("to_step", str(step))]
            answer = client.request("GET", "/api/v1/metrics", [*params, *(("name", name) for name in names)])
            for run in msgpack.unpackb(answer.body, strict_map_key=False)["runs"]:
                yield from (decode_series(series) for series in run["series"])
            names, points = [], 0
        if summary is not None:
            names.append(summary["name"])
            points += summary["count"]
