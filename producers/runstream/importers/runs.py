"""Runs that are taken over: whose they are, what of them is stored, and what became of them."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field

from runstream_schemas.series import SeriesClass
from runstream_schemas.settings import Settings

from ..client.addresses import quoted
from ..client.http import ServiceClient
from ..client.records import RunRecord, list_records
from ..client.waits import as_text
from ..exceptions import ServiceException
from ..spool.node import NodeSpool

HOME_PROPERTY = "runstream.import.home"
"""Property of an imported run: id of the home that took it over."""

_STORED_SECONDS = 600.0


@dataclass(slots=True)
class RunReport:
    """What became of one run, or of what should have been one.

    Attributes:
        directory: its path.
        run_id: the id of its run; empty when there is none.
        name: the name of its run.
        outcome: `new`, `continued`, `unchanged` or `skipped`.
        points: values taken over, by the plugin that shows them.
        left_out: reason to number of values that were not taken over.
        notes: what else is to be known.
    """

    directory: str
    run_id: str
    name: str
    outcome: str
    points: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Below:
    """The run that runs which are taken over are children of.

    Attributes:
        run_id: its id.
        root_run_id: the id of the run at the root of the tree.
    """

    run_id: str
    root_run_id: str


def homes(client: ServiceClient, workspace_name: str, run_ids: list[str]) -> dict[str, str | None]:
    """Of those runs that are there: which home took each over."""
    if not run_ids:
        return {}
    params = [("run", run_id) for run_id in run_ids]
    workspace = ("workspace", workspace_name)
    return {
        record.run_id: record.properties.get(HOME_PROPERTY)
        for record in list_records(client, [workspace, ("archived", "all"), *params])
    }


def record_of(client: ServiceClient, run_id: str) -> RunRecord | None:
    """What the service knows of a run, in whatever workspace; None: there is none."""
    try:
        return RunRecord.from_json(client.get_json(f"/api/v1/runs/{quoted(run_id)}"))
    except ServiceException as error:
        if error.status_code != 404:
            raise
        return None


def stored_points(settings: Settings, client: ServiceClient, run_id: str) -> Counter[str]:
    """Points of each series of a run, when all that was recorded on this machine is stored."""
    node = NodeSpool(settings.spool_path)
    deadline = time.monotonic() + _STORED_SECONDS
    for written in {each.source: each for each in [*node.delivered(run_id), *node.written(run_id)]}.values():
        wait = as_text(written.positions())
        while wait and not client.get_json("/api/v1/stored", [("wait", wait), ("timeout", "20")])["stored"]:
            if time.monotonic() > deadline:
                raise ServiceException(
                    f"run {run_id}: what was taken over before is not stored yet; see `runstream doctor`, "
                    "then try again",
                    503,
                )
    counts: Counter[str] = Counter()
    answer = client.get_json(f"/api/v1/runs/{quoted(run_id)}/series")
    for series in answer["series"]:
        key = f"{series['cls']}/{series['name']}"
        if series["cls"] == SeriesClass.TABLE:
            counts[key] = max(counts[key], series["count"])
        else:
            counts[key] += series["count"]
    return counts


def deleted_before(run_id: str) -> str:
    """Why a run that is gone is not made again."""
    return f"its run {run_id} was deleted; name another experiment to take it over again"
