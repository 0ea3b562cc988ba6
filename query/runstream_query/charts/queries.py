"""The SQL of what only the pages ask for, by what it answers."""

from __future__ import annotations

from typing import Final

from ..queries import SUMMARY_COLUMNS

NAMED_SUMMARIES: Final = f"""
select {SUMMARY_COLUMNS}
from series s join summaries m on m.series_id = s.id
where s.cls = 0 and s.name = any($2::text[]) and m.run_key = any($1::int8[])
order by m.run_key, m.series_id
"""

# Of these runs and some of their children. The first runs count more; else in the order first logged anywhere.
COMMON_METRICS: Final = """
with given as (select key, 1.0 / (place + 1) as weight from unnest($1::int8[]) with ordinality g (key, place)),
looked_at as (
    select key, weight from given
    union all
    (select child.key, given.weight / 20
    from given join runs parent using (key) join runs child on child.parent_run_id = parent.run_id
    where same_workspace(child.experiment_id, parent.experiment_id) limit 20)
)
select s.name
from looked_at l join summaries m on m.run_key = l.key join series s on s.id = m.series_id
where s.cls = 0 and m.kind <> 3
group by s.id, s.name
order by sum(l.weight) desc, s.id
limit $2
"""

SERIES_COUNTS: Final = """
select r.run_id, s.name, m.count, m.last_position
from runs r join summaries m on m.run_key = r.key join series s on s.id = m.series_id
where r.run_id = any($1::text[]) and s.cls = 0 and s.name = any($2::text[])
"""

POSITIONS: Final = """
select r.run_id, s.key, s.next, isempty(s.ahead) as whole
from runs r join sources s on s.run_key = r.key and s.topic = 'metrics'
where r.run_id = any($1::text[])
"""

METRIC_NAMES: Final = """
select s.name, count(*) as runs, bool_and(m.kind = 3) as text
from series s join summaries m on m.series_id = s.id
where s.cls = 0 and ($1::text is null or strpos(lower(s.name), lower($1)) > 0)
    and ($2::text is null or m.run_key in (
        select r.key from runs r join experiments e on e.id = r.experiment_id where e.name = $2))
    and ($5::text is null or m.run_key in (
        select r.key from runs r join experiments e on e.id = r.experiment_id where e.workspace = $5))
    and ($3::text[] is null or m.run_key in (select key from runs where run_id = any($3)))
group by s.name
order by runs desc, s.name
limit $4
"""

LONG_SERIES: Final = """
select r.run_id, s.name, m.count
from runs r join summaries m on m.run_key = r.key join series s on s.id = m.series_id
where r.run_id = any($1::text[]) and s.cls = 0 and s.name = any($2::text[]) and m.count >= $3
"""

WITHOUT_CHUNKS: Final = """
select key, run_id from runs r
where run_id = any($1::text[]) and not exists (select from chunks c where c.run_key = r.key)
"""
