"""Runs that live and log nothing: told by this process's own monotonic clock, which begins anew when it starts.

What is counted are the points that are stored of a run, without what machines report of it (system metrics): those go
on as long as its process lives. Runs are counted a few times in the span of a rule, so that silence is told after the
span and at most a quarter of it later.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from runstream_schemas.runs.alerts import Alert, title_of
from runstream_schemas.runs.status import TERMINAL_SQL

from ..runs.runs import Connection
from .conditions import Occurrence, of_row

SILENT: Final = "silent"
"""The kind of rules that are held here."""
LOOKS = 4
"""Looks in the shortest span of a rule."""
SLICE = 5000
"""Rows of one statement."""

# Slots of the run's points less the points of machines; or the points of the one metric.
_COUNTS: Final = f"""
with machines as materialized (select array_agg(id) as ids from series where cls = 9)
select u.id as rule_id, u.name as rule, u.workspace, u.level, u.receivers, u.metric, u.seconds, r.key as run_key,
    case when u.metric is null then
        coalesce((select sum(s.next) from sources s where s.run_key = r.key and s.topic = 'metrics'), 0)
        - coalesce((select sum(m.count) from live_summaries m
                    where m.run_key = r.key and m.series_id = any((select ids from machines)::int8[])), 0)
    else
        coalesce((select m.count from series s join live_summaries m on m.series_id = s.id
            where s.cls = 0 and md5(s.name) = md5(u.metric) and s.name = u.metric and md5(s."column") = md5('')
                and m.run_key = r.key), 0)
    end::int8 as points
from alert_rules u
join experiments e on e.workspace = u.workspace and (u.experiment is null or e.name = u.experiment)
join runs r on r.experiment_id = e.id and r.status not in {TERMINAL_SQL} and r.start_time is not null
where u.enabled and u.kind = 'silent' and (u.id, r.key) > ($1::int8, $2::int8)
    and not exists (select from alerts a where a.rule_id = u.id and a.run_key = r.key)
order by u.id, r.key
limit $3"""


@dataclass(slots=True)
class Silence:
    """How long runs have logged nothing.

    Attributes:
        heard: by rule and run: the points there were, and since when there are no more.
    """

    heard: dict[tuple[int, int], tuple[int, float]] = field(default_factory=dict)

    async def look(self, connection: Connection, now: float) -> list[Occurrence]:
        """Which runs have been silent for the span of a rule, and were not told of.

        Args:
            now: seconds of a clock that nobody sets.
        """
        heard: dict[tuple[int, int], tuple[int, float]] = {}
        silent: list[Occurrence] = []
        after, rows = (0, 0), [None]
        while rows:
            rows = await connection.fetch(_COUNTS, *after, SLICE)
            for row in rows:
                after = row["rule_id"], row["run_key"]
                points, since = self.heard.get(after, (-1, now))
                if points != row["points"]:
                    since = now
                heard[after] = row["points"], since
                if now - since >= row["seconds"]:
                    silent.append(of_row(row, _told(row)))
        self.heard = heard
        return silent


def _told(row: Any) -> Alert:
    what = "any metric" if row["metric"] is None else row["metric"]
    title = title_of(f"{row['rule']}: no new point of {what} for {row['seconds']:g} s")
    points = (
        f"{row['points']:,} points of it are stored."
        if row["metric"] is not None
        else "The run has not ended."
    )
    return Alert(title, points, row["level"])
