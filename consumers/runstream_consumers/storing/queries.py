"""The writer's SQL, each statement named by what it does. All take arrays: a commit is few statements, whatever it holds."""

from __future__ import annotations

from runstream_schemas.runs.status import TERMINAL_SQL

LOAD_OFFSETS = """
select o.cluster, o.topic, o.partition, o.next
from offsets o join unnest($1::text[], $2::text[], $3::int[]) u(cluster, topic, partition) using (cluster, topic, partition)
"""

MOVE_OFFSETS = """
update offsets o set next = u.next, topic_name = u.topic_name, updated_at = now()
from unnest($1::text[], $2::text[], $3::int[], $4::bigint[], $5::bigint[], $6::text[])
     u(cluster, topic, partition, start, next, topic_name)
where o.cluster = u.cluster and o.topic = u.topic and o.partition = u.partition and o.next = u.start
returning o.cluster, o.topic, o.partition
"""

BEGIN_OFFSETS = """
insert into offsets (cluster, topic, partition, next, topic_name)
select * from unnest($1::text[], $2::text[], $3::int[], $4::bigint[], $5::text[])
on conflict do nothing
returning cluster, topic, partition
"""

RECORD_LOST_OFFSETS = """
insert into gaps (first, next, reason, cluster, topic, partition)
select * from unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::int[])
"""

# A deleted run does not come back.
ADD_RUNS = """
insert into runs (run_id) select run_id from unnest($1::text[]) u(run_id)
where not exists (select from deleted_runs d where d.run_id = u.run_id)
on conflict (run_id) do nothing
"""

FIND_RUNS = "select run_id, key from runs where run_id = any($1::text[])"

FIND_SOURCES = """
select s.source, s.topic, s.key, s.ordinal, s.next, s.ahead::text as ahead, s.dropped
from sources s join unnest($1::uuid[], $2::text[]) u(source, topic) using (source, topic)
"""

COUNT_SOURCES = """
select run_key, topic, max(ordinal) + 1 as n from sources where run_key = any($1::bigint[]) group by run_key, topic
"""

ADD_SOURCES = """
insert into sources (source, topic, run_key, ordinal, next, ahead, dropped)
select source, topic, run_key, ordinal, next, ahead::int8multirange, dropped
from unnest($1::uuid[], $2::text[], $3::bigint[], $4::int[], $5::bigint[], $6::text[], $7::bigint[])
     u(source, topic, run_key, ordinal, next, ahead, dropped)
on conflict do nothing
returning source, topic, key
"""

MOVE_SOURCES = """
update sources s set next = u.next, ahead = u.ahead::int8multirange, dropped = greatest(s.dropped, u.dropped)
from unnest($1::bigint[], $2::bigint[], $3::text[], $4::bigint[], $5::text[], $6::bigint[])
     u(key, old_next, old_ahead, next, ahead, dropped)
where s.key = u.key and s.next = u.old_next and s.ahead = u.old_ahead::int8multirange
"""

FORGET_HOLES = """
delete from gaps g using unnest($1::uuid[], $2::text[]) u(source, topic)
where g.run_key = any($3::bigint[]) and g.reason = 'sequence' and g.source = u.source and g.topic = u.topic
"""

RECORD_HOLES = """
insert into gaps (run_key, source, topic, first, next, reason)
select run_key, source, topic, first, next, 'sequence'
from unnest($1::bigint[], $2::uuid[], $3::text[], $4::bigint[], $5::bigint[]) u(run_key, source, topic, first, next)
"""

ADD_SERIES = """
insert into series (cls, name, "column")
select * from unnest($1::smallint[], $2::text[], $3::text[])
on conflict do nothing
returning id, cls, name, "column"
"""

FIND_SERIES = """
select s.id, s.cls, s.name, s."column"
from unnest($1::smallint[], $2::text[], $3::text[]) u(cls, name, "column")
join series s on s.cls = u.cls and md5(s.name) = md5(u.name) and md5(s."column") = md5(u."column")
    and s.name = u.name and s."column" = u."column"
"""

CHUNK_COLUMNS = ("run_key", "source_key", "first", "count", "points", "payload")

# Merging summaries. Positions tell which value is the first and which the last (runstream_schemas.order): no two batches
# have the same. A sum beyond the range of float64 becomes infinite; Postgres would refuse it.
_MERGED = """
    count = s.count + {new}.count,
    finite = s.finite + {new}.finite,
    min = least(s.min, {new_min}),
    max = greatest(s.max, {new_max}),
    sum = case when (s.sum > 0) = ({new}.sum > 0) and abs(s.sum) > 1.7976931348623157e308::float8 - abs({new}.sum)
               then case when s.sum > 0 then 'Infinity'::float8 else '-Infinity'::float8 end
               else s.sum + {new}.sum end,
    first = case when {new}.first_position < s.first_position then {new}.first else s.first end,
    first_time = case when {new}.first_position < s.first_position then {new}.first_time else s.first_time end,
    first_position = least(s.first_position, {new}.first_position),
    kind = case when {new}.last_position > s.last_position then {new}.kind else s.kind end,
    last = case when {new}.last_position > s.last_position then {new}.last else s.last end,
    last_step = case when {new}.last_position > s.last_position then {new}.last_step else s.last_step end,
    last_text = case when {new}.last_position > s.last_position then {new_text} else s.last_text end,
    last_time = case when {new}.last_position > s.last_position then {new}.last_time else s.last_time end,
    last_position = greatest(s.last_position, {new}.last_position)
"""

UPSERT_SUMMARIES = """
insert into live_summaries as s (run_key, series_id, kind, count, finite, first, last, min, max, sum,
                            first_time, last_step, last_time, first_position, last_position, last_text)
select run_key, series_id, kind, count, finite, first, last, nullif(min, 'NaN'), nullif(max, 'NaN'), sum,
       first_time, last_step, last_time, first_position, last_position, last_text
from unnest($1::bigint[], $2::bigint[], $3::smallint[], $4::bigint[], $5::bigint[], $6::float8[], $7::float8[],
            $8::float8[], $9::float8[], $10::float8[], $11::bigint[], $12::bigint[], $13::bigint[], $14::bigint[],
            $15::bigint[], $16::text[])
     u(run_key, series_id, kind, count, finite, first, last, min, max, sum, first_time, last_step, last_time,
       first_position, last_position, last_text)
on conflict (run_key, series_id) do update set""" + _MERGED.replace("{new_min}", "excluded.min").replace(
    "{new_max}", "excluded.max"
).replace("{new_text}", "excluded.last_text").replace("{new}", "excluded")

# For many rows: COPY and MERGE take a third of the time of unnest and ON CONFLICT, for few rows four times as long. The
# planner knows nothing about the staging table, and too little of the summaries: counted just after runs were packed, there
# were none. Each staged row is looked up by index; kept aside whole, or read through for each, they cost seconds a batch.
STAGE_SUMMARIES = """
create temporary table if not exists staged_summaries (
    run_key bigint, series_id bigint, kind smallint, count bigint, finite bigint, first float8, last float8, min float8,
    max float8, sum float8, first_time bigint, last_step bigint, last_time bigint, first_position bigint,
    last_position bigint
) on commit delete rows;
set local enable_hashjoin = off;
set local enable_mergejoin = off;
set local enable_seqscan = off;
set local enable_material = off
"""
UNSTAGE_SUMMARIES = """
truncate staged_summaries;
set local enable_hashjoin = on;
set local enable_mergejoin = on;
set local enable_seqscan = on;
set local enable_material = on
"""

MERGE_STAGED = """
merge into live_summaries s using staged_summaries n on s.run_key = n.run_key and s.series_id = n.series_id
when not matched then insert (run_key, series_id, kind, count, finite, first, last, min, max, sum,
                              first_time, last_step, last_time, first_position, last_position)
    values (n.run_key, n.series_id, n.kind, n.count, n.finite, n.first, n.last, nullif(n.min, 'NaN'), nullif(n.max, 'NaN'),
            n.sum, n.first_time, n.last_step, n.last_time, n.first_position, n.last_position)
when matched then update set""" + _MERGED.replace("{new_min}", "nullif(n.min, 'NaN')").replace(
    "{new_max}", "nullif(n.max, 'NaN')"
).replace("{new_text}", "null").replace("{new}", "n")

ADD_PROPERTIES = """
insert into properties as p (run_key, key, value, time_us, source, seq)
select * from unnest($1::bigint[], $2::text[], $3::text[], $4::bigint[], $5::uuid[], $6::bigint[])
on conflict (run_key, key) do update set
    value = excluded.value, time_us = excluded.time_us, source = excluded.source, seq = excluded.seq
where (excluded.time_us, excluded.source, excluded.seq) < (p.time_us, p.source, p.seq)
"""

SEEN = """
with seen as (
    update runs r set seen_up = uptime(),
        last_seen = greatest(r.last_seen, timestamptz 'epoch' + u.time_us * interval '1 microsecond')
    from unnest($1::bigint[], $2::bigint[]) u(key, time_us)
    where r.key = u.key
    returning r.key, r.status, r.error
)
select key from seen where status = 'NotResponding' or (status = 'Failed' and error ->> 'code' = 'ProcessDied')
"""

ADD_EXPERIMENTS = """
insert into experiments (workspace, name) select * from unnest($1::text[], $2::text[]) on conflict do nothing
"""

LOCK_EXPERIMENTS = """
select e.id, e.workspace, e.name, e.run_count
from experiments e join unnest($1::text[], $2::text[]) u(workspace, name) using (workspace, name)
order by e.id for no key update of e
"""

COUNT_EXPERIMENT_RUNS = """
update experiments e set run_count = u.run_count from unnest($1::bigint[], $2::bigint[]) u(id, run_count) where e.id = u.id
"""

# Files that came before their run: those of the workspace it belongs to are its own now, others' go.
SETTLE_CLAIMS = """
with placed as (
    select r.key, e.workspace from runs r join experiments e on e.id = r.experiment_id where r.key = any($1::bigint[])
), gone as (
    delete from artifacts a using placed p where a.run_key = p.key and a.claimed_by <> p.workspace
)
update artifacts a set claimed_by = null from placed p where a.run_key = p.key and a.claimed_by = p.workspace"""
ROOTS = "select run_id, coalesce(root_run_id, run_id) as root from runs where run_id = any($1::text[])"

SET_STATES = """
update runs r set
    experiment_id = u.experiment_id, number = u.number, parent_run_id = u.parent_run_id, root_run_id = u.root_run_id,
    name = u.name, display_name = u.display_name, description = u.description, type = u.type, target = u.target,
    status = u.status, seen_up = uptime(),
    last_seen = greatest(r.last_seen, timestamptz 'epoch' + u.seen_us * interval '1 microsecond'),
    created_at = coalesce(timestamptz 'epoch' + u.created_us * interval '1 microsecond', r.created_at),
    start_time = timestamptz 'epoch' + u.started_us * interval '1 microsecond',
    end_time = timestamptz 'epoch' + u.ended_us * interval '1 microsecond',
    error = u.error, warnings = u.warnings, details = u.details,
    settled_at = case when u.ended_us is null then null else r.settled_at end
from unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[],
            $10::text[], $11::text[], $12::bigint[], $13::bigint[], $14::bigint[], $15::jsonb[], $16::jsonb[], $17::jsonb[],
            $18::bigint[])
     u(key, experiment_id, number, parent_run_id, root_run_id, name, display_name, description, type, target,
       status, created_us, started_us, ended_us, error, warnings, details, seen_us)
where r.key = u.key
"""

SET_ENDS = """
with ends as (
    insert into run_ends as e (run_key, topic, source, next)
    select * from unnest($1::bigint[], $2::text[], $3::uuid[], $4::bigint[])
    on conflict (run_key, source, topic) do update set next = excluded.next, given_up = false
    where excluded.next > e.next
    returning run_key
)
update runs set settled_at = null where settled_at is not null and key in (select run_key from ends)
"""

# After the commit, in a statement of its own: the ending and the last points may be committed by two writers at the same
# time, and neither transaction sees the other's.
_SETTLE = """
update runs r set settled_at = now()
where {which} and r.settled_at is null and r.status in {terminal} and not exists (
    select from run_ends e left join sources s on s.source = e.source and s.topic = e.topic
    where e.run_key = r.key and not e.given_up and coalesce(s.next, 0) < e.next)
returning r.run_id
"""
SETTLE = _SETTLE.format(which="r.key = any($1::bigint[])", terminal=TERMINAL_SQL)
SETTLE_ALL = _SETTLE.format(which="true", terminal=TERMINAL_SQL)

WAITING = f"""
select r.key from runs r
where r.settled_at is null and r.status in {TERMINAL_SQL} and exists (
    select from run_ends e left join sources s on s.source = e.source and s.topic = e.topic
    where e.run_key = r.key and not e.given_up and coalesce(s.next, 0) < e.next)
order by r.key limit $1
"""

# What is missing between stored slots is recorded already (see RECORD_HOLES); here it is what nothing was stored behind.
GIVE_UP = """
with missing as (
    select e.run_key, e.source, e.topic, coalesce(upper(s.ahead), s.next, 0) as first, e.next
    from run_ends e left join sources s on s.source = e.source and s.topic = e.topic
    where e.run_key = any($1::bigint[]) and not e.given_up and coalesce(s.next, 0) < e.next
), marked as (
    update run_ends e set given_up = true from missing m
    where e.run_key = m.run_key and e.source = m.source and e.topic = m.topic
), before as (
    delete from gaps g using missing m
    where g.run_key = m.run_key and g.source = m.source and g.topic = m.topic and g.reason = 'undelivered'
), recorded as (
    insert into gaps (run_key, source, topic, first, next, reason)
    select run_key, source, topic, first, next, 'undelivered' from missing where first < next
)
select r.run_id, m.topic, sum(m.next - m.first)::bigint as slots from missing m join runs r on r.key = m.run_key
where m.first < m.next group by r.run_id, m.topic
"""

# It came after all, or a part of it: an agent that was not sure of having sent it sent it again.
FIND_AGAIN = """
with come as (
    select g.id, g.next, coalesce(upper(s.ahead), s.next) as reached
    from gaps g join sources s on s.source = g.source and s.topic = g.topic
    where g.reason = 'undelivered' and coalesce(upper(s.ahead), s.next) > g.first
), whole as (
    delete from gaps g using come c where g.id = c.id and c.reached >= c.next
)
update gaps g set first = c.reached from come c where g.id = c.id and c.reached < c.next
"""

# The next heartbeat, or any other step, brings it back: the status is then computed from the run's steps again.
MARK_SILENT = """
update runs set status = 'NotResponding'
where status = 'Running' and last_seen is not null and seen_up <= uptime() - $1::float8
returning run_id
"""

# A child may be created before its parent is: then its root is only known later.
ADOPT = """
with recursive below as (
    select r.key, r.run_id, coalesce(p.root_run_id, p.run_id) as root
    from runs r join runs p on p.run_id = r.parent_run_id
    where r.key = any($1::bigint[]) or p.key = any($1::bigint[])
    union
    select c.key, c.run_id, b.root from runs c join below b on c.parent_run_id = b.run_id
)
update runs r set root_run_id = b.root from below b where r.key = b.key and r.root_run_id is distinct from b.root
"""

# Of which a writer may have been killed before it adopted them.
CHILDREN_UNDER_WAY = "select key from runs where parent_run_id is not null and settled_at is null"

COUNT_DROPPED = """
update runs r set dropped = d.dropped
from (select run_key, sum(dropped) as dropped
      from (select run_key, source, max(dropped) as dropped from sources where run_key = any($1::bigint[]) group by 1, 2) s
      group by run_key) d
where r.key = d.run_key and r.dropped <> d.dropped
"""

# Before a summary of these runs is changed; see compaction/packing.py. Of live runs there is nothing to do.
UNPACK = """
with mine as (
    select key from runs where key = any($1::bigint[]) and packing is not null order by key for no key update
), marked as (
    update runs set packing = null where key in (select key from mine)
), gone as (
    delete from packed_summaries p where run_key in (select key from mine) returning p
)
insert into live_summaries select u.* from gone g cross join lateral unpacked(g.p) u
"""

NOTIFY = "select pg_notify('runstream', $1)"
