"""The SQL of what only the pages ask for, by what it answers."""

from __future__ import annotations

from typing import Final

SERIES_COUNTS: Final = """
select r.run_id, s.name, m.count, m.last_position, r.settled_at is not null as settled,
    (select count(*) from rewinds w where w.run_key = r.key) as rewinds
from runs r cross join lateral (select * from summaries m where m.run_key = r.key offset 0) m
join series s on s.id = m.series_id
where r.run_id = any($1::text[]) and s.cls = 0 and s.name = any($2::text[])
"""

POSITIONS: Final = """
select r.run_id, s.key, s.next, isempty(s.ahead) as whole
from runs r join sources s on s.run_key = r.key and s.topic = 'metrics'
where r.run_id = any($1::text[])
"""

METRIC_NAMES: Final = """
select s.name, count(*) as runs, bool_and(m.kind = 3) as text, max(m.count) as points
from series s join (
    select run_key, series_id, kind, count from live_summaries
    union all
    select run_key, series_id, coalesce(kind, kinds[1]), coalesce(count, counts[1])
    from (
        select run_key, unnest(series_ids) as series_id, unnest(kinds) as kind, kinds, unnest(counts) as count, counts
        from packed_summaries
    ) p
) m on m.series_id = s.id
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

WITHOUT_CHUNKS: Final = """
select key, run_id from runs r
where run_id = any($1::text[]) and not exists (select from chunks c where c.run_key = r.key)
"""
