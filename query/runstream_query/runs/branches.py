"""How a run branches: which run it was forked from, where it was rewound, and which runs were forked from it."""

from __future__ import annotations

from typing import Any, Final, NotRequired, TypedDict

from runstream_schemas.runs.branches import FORK_RUN, FORK_STEP

from ..json_values import utc
from .runs import Connection

MOST_FORKS = 1000
"""Forks of a run that are listed, the newest."""

_RUN: Final = "select key, experiment_id from runs where run_id = $1"
_REWINDS: Final = """
select w.number, w.step, timestamptz 'epoch' + w.time_us * interval '1 microsecond' as time,
     coalesce(c.points, 0) as points, coalesce(c.metrics, 0) as metrics, c.last_step
from rewinds w left join (
    select s."column" as branch, sum(m.count)::bigint as points, count(*) as metrics,
        max(m.last_step) as last_step
    from summaries m join series s on s.id = m.series_id where m.run_key = $1 and s.cls = 10 group by 1
) c on c.branch = w.number::text
where w.run_key = $1 order by w.position"""
_PROPERTIES: Final = "select key, value from properties where run_key = $1 and key = any($2::text[])"
# Runs of another workspace are nobody's forks: what their properties say may be anything.
_FORKED_FROM: Final = """
select run_id, display_name, status from runs where run_id = $1 and same_workspace(experiment_id, $2)"""
_FORKS: Final = f"""
select r.run_id, r.display_name, r.status, s.value as step
from properties p join runs r on r.key = p.run_key
left join properties s on s.run_key = r.key and s.key = '{FORK_STEP}'
where p.key = '{FORK_RUN}' and left(p.value, 200) = left($1, 200) and p.value = $1
    and same_workspace(r.experiment_id, $2)
order by r.key desc limit {MOST_FORKS}"""


class RewindRecord(TypedDict):
    """A rewind; `number`: of the former branch, which has so many points of so many metrics, the last at `last_step`."""

    number: int
    step: int
    time_utc: str
    points: int
    metrics: int
    last_step: int | None


class ForkRecord(TypedDict):
    """A run at the other end of a fork, and the step up to which both are alike; without `status` it is no longer there."""

    run_id: str
    step: int | None
    display_name: NotRequired[str | None]
    status: NotRequired[str]


class Branches(TypedDict):
    """The branches of a run; `forked_from`: null if it was not forked from any."""

    run_id: str
    forked_from: ForkRecord | None
    rewinds: list[RewindRecord]
    forks: list[ForkRecord]


async def branches_of(connection: Connection, run_id: str) -> Branches | None:
    """The branches of a run; None: there is no such run."""
    run = await connection.fetchrow(_RUN, run_id)
    if run is None:
        return None
    key, experiment = run
    rows = await connection.fetch(_PROPERTIES, key, [FORK_RUN, FORK_STEP])
    said = {row["key"]: row["value"] for row in rows}
    origin: ForkRecord | None = None
    if (parent := said.get(FORK_RUN)) is not None:
        parent_row = await connection.fetchrow(_FORKED_FROM, parent, experiment)
        origin = _fork(parent, said.get(FORK_STEP), parent_row)
    return {
        "run_id": run_id,
        "forked_from": origin,
        "rewinds": [
            {
                "number": row["number"],
                "step": row["step"],
                "time_utc": utc(row["time"]),
                "points": row["points"],
                "metrics": row["metrics"],
                "last_step": row["last_step"],
            }
            for row in await connection.fetch(_REWINDS, key)
        ],
        "forks": [
            _fork(row["run_id"], row["step"], row)
            for row in await connection.fetch(_FORKS, run_id, experiment)
        ],
    }


def _fork(run_id: str, step: str | None, row: Any) -> ForkRecord:
    fork: ForkRecord = {"run_id": run_id, "step": _number(step)}
    if row is not None:
        fork["display_name"], fork["status"] = row["display_name"], row["status"]
    return fork


def _number(text: str | None) -> int | None:
    """A step as a property has it; None: somebody wrote something else."""
    try:
        return None if text is None or len(text) > 20 else int(text)
    except ValueError:
        return None
