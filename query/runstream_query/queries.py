"""The SQL of the query layer, by what it answers.

Braces are places that `runs` fills with SQL of its own, never with data.
"""

from __future__ import annotations

from typing import Final

# --- runs ------------------------------------------------------------------------------------------------------------

RUN_KEY: Final = "select key from runs where run_id = $1"

METRIC_ID: Final = """(
    select id from series where cls = 0 and md5(name) = md5({name}) and name = {name} and md5("column") = md5(''))"""

RUN_PAGE: Final = """
select r.key, {value} as value
from {runs} r left join experiments e on e.id = r.experiment_id {joins}
where {where}
order by {order}
limit {limit}
"""

# Values of a metric that were noted when their runs were packed (migration 0017): in sorted pieces, and staged ones. A value
# counts while the run has the number of that packing.
RANKS: Final = """
select run_key, packing, value
from (
    select unnest(k.run_keys) as run_key, unnest(k.packings) as packing, unnest(k.values) as value
    from ranks k where k.series_id = {metric} and k.stat = '{stat}' and {pieces}
) u where {values}
union all
select run_key, packing, value
from (select k.run_key, k.packing, k.{stat} as value from staged_ranks k where k.series_id = {metric}) u
where value is not null and {values}
"""

# How far the first pieces reach: everything up to there lies in them or is staged.
REACH: Final = {
    "asc": """
select case when count(*) < {pieces} then 'infinity' else max(high) end
from (select high from ranks where series_id = {metric} and stat = '{stat}' {beyond} order by high limit {pieces}) k""",
    "desc": """
select case when count(*) < {pieces} then '-infinity' else min(low) end
from (select low from ranks where series_id = {metric} and stat = '{stat}' {beyond} order by low desc limit {pieces}) k""",
}

# The runs at the beginning of a list in the order of their start, whatever passes.
FIRST_RUNS: Final = """(
    select * from runs r where r.start_time is not null {beyond}
    order by r.start_time {direction}, r.key {direction} limit {looked_at})"""

# Two lists in one statement, so that a run is in exactly one of them: runs that are packed, in the order of their ranks
# until the page is full; all others are looked up and sorted, they are few.
RANKED_PAGE: Final = """
with metric as materialized {metric}
(
    select r.key, o.value
    from (
        select * from ({ranks}) o order by value {direction}, run_key {direction} offset 0
    ) o cross join lateral (select * from runs r where r.key = o.run_key and r.packing = o.packing offset 0) r
    left join experiments e on e.id = r.experiment_id
    where {where}
    order by o.value {direction}, o.run_key {direction}
    limit {limit}
)
union all
(
    select r.key, o.value
    from (
        select o.run_key, o.value
        from (
            select m.run_key, {value} as value from live_summaries m where m.series_id = (select id from metric)
        ) o
        where o.value is not null and {within}
        order by 2 {direction}, 1 {direction} offset 0
    ) o join runs r on r.key = o.run_key left join experiments e on e.id = r.experiment_id
    where {where}
    order by o.value {direction}, o.run_key {direction}
    limit {limit}
)
order by value {direction}, key {direction}
limit {limit}
"""

# Runs whose statistic passes: by their ranks, and of those that are not packed (0: no packing) by their summaries.
RANKED_RUNS: Final = """(r.key, coalesce(r.packing, 0)) in (
    select run_key, packing from ({ranks}) o
    union all
    select m.run_key, 0
    from (select run_key, {statistic} as value from live_summaries m where m.series_id = {metric}) m where {values})"""

# The same by a statistic that is not ranked.
UNRANKED_RUNS: Final = """r.key in (
    select m.run_key
    from (
        select run_key, count, finite, first, last, min, max, sum from live_summaries where series_id = {metric}
        union all
        select p.run_key, coalesce(p.counts[a.place], p.counts[1]), coalesce(p.finites[a.place], p.finites[1]),
            p.firsts[a.place], p.lasts[a.place], p.mins[a.place], p.maxs[a.place], p.sums[a.place]
        from packed_summaries p
        cross join lateral (select array_position(p.series_ids, {metric}) as place offset 0) a
        where p.series_ids @> array[{metric}]
    ) m where {passes})"""

# Tags are looked up run by run (`offset 0`): the planner's other way goes through all tags there are.
HOLDS_WORD: Final = """(
    strpos(lower(concat_ws(' ', r.display_name, r.name, r.run_id, r.description, e.name)), lower({word})) > 0
    or exists (
        select from tags k where k.run_key = r.key and not k.removed and strpos(lower(k.value), lower({word})) > 0
        offset 0))"""

# Bytes are compared, whatever the database's collation: twice as quick.
HOLD_WORD: Final = f"""r.key in (
    select run_key from run_texts where strpos(text collate "C", lower({{word}})) > 0
    union all
    select r.key from runs r left join experiments e on e.id = r.experiment_id where r.packing is null and {HOLDS_WORD})"""

# A text that is a number, as a number; else NaN, which Postgres sorts above all numbers. What would overflow is a text.
NUMBER: Final = """case when length({text}) < 60 and {text} ~ '^[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][+-]?[0-9]{{1,2}})?$'
    then {text}::float8 else 'NaN' end"""

LABELS: Final = {
    "tag": "(select k.value from tags k where k.run_key = r.key and k.key = {key} and not k.removed)",
    "property": "(select k.value from properties k where k.run_key = r.key and k.key = {key})",
    "param": "(select left(k.text, 200) from params k where k.run_key = r.key and k.name = {key})",
}
"""What a run is labelled with under a key, as a text: its tags, its properties, its parameters."""

# What is indexed is the first comparison. The second follows from it but for long texts: the planner is not to take both for
# independent, and so to expect one run where thousands pass.
IS_TEXT: Final = "left({value}, 200) = left({text}, 200) and coalesce({value} = {text}, false)"

PARAMS: Final = """
select k.run_key, k.name, k.kind, case when $3::int4 is null then k.text else left(k.text, $3) end as text
from params k
where k.run_key = any($1::int8[]) and ($2::text[] is null or k.name = any($2))
order by k.run_key, k.name
"""

RUN_PARAMS: Final = """
select name, kind, text, origin, time_us, author from params where run_key = $1 order by name
"""

FORMER_PARAMS: Final = """
select name, kind, text, origin, time_us, author, refused from former_params where run_key = $1
order by name, time_us, source, seq
"""

PARAM_KINDS: Final = """
select n.name, array(select distinct k.kind from params k where k.name = n.name) as kinds
from unnest($1::text[]) n (name)
"""

COUNT_RUNS: Final = """
select r.status, count(*) as runs
from runs r left join experiments e on e.id = r.experiment_id {joins}
where {where}
group by r.status
"""

IS_DESCENDANT: Final = """r.run_id in (
    with recursive below as (
        select child.run_id, child.experiment_id from runs child join runs parent on parent.run_id = child.parent_run_id
        where parent.run_id = {ancestor} and same_workspace(child.experiment_id, parent.experiment_id)
        union
        select child.run_id, child.experiment_id from runs child join below on child.parent_run_id = below.run_id
        where same_workspace(child.experiment_id, below.experiment_id)
    ) select run_id from below)"""

DESCENDANTS: Final = """
with recursive below as (
    select key, run_id, start_time, type, experiment_id from runs where run_id = $1
    union
    select child.key, child.run_id, child.start_time, child.type, child.experiment_id
    from runs child join below on child.parent_run_id = below.run_id
    where same_workspace(child.experiment_id, below.experiment_id)
)
select run_id from below
where run_id <> $1 and ($2::text is null or type = $2)
order by start_time desc nulls last, key desc
"""

RUN_RECORDS: Final = """
select r.*, e.name as experiment, e.workspace,
    (select jsonb_object_agg(t.key, t.value) from tags t where t.run_key = r.key and not t.removed) as tags,
    (select jsonb_object_agg(p.key, p.value) from properties p where p.run_key = r.key) as properties,
    (select count(*) from gaps g where g.run_key = r.key) as gaps
from runs r left join experiments e on e.id = r.experiment_id
where r.key = any($1::int8[])
"""

SUMMARY_COLUMNS: Final = """m.run_key, s.name, s.cls, s."column", m.kind, m.count, m.first, m.last,
    nullif(m.min, 'NaN') as min, nullif(m.max, 'NaN') as max, nullif(m.sum / nullif(m.finite, 0), 'NaN') as mean,
    m.last_step, m.last_time, m.last_text"""

SUMMARIES: Final = f"""
select {SUMMARY_COLUMNS}
from summaries m join series s on s.id = m.series_id
where m.run_key = any($1::int8[]) and ($2::int2 is null or s.cls = $2)
order by m.run_key, m.first_time nulls last, m.series_id
"""

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
from looked_at l cross join lateral (select m.series_id, m.kind from summaries m where m.run_key = l.key offset 0) m
join series s on s.id = m.series_id
where s.cls = 0 and m.kind <> 3
group by s.id, s.name
order by sum(l.weight) desc, s.id
limit $2
"""

EXPERIMENTS: Final = """
select e.id, e.name, e.workspace, e.description, e.tags, e.created_at, e.archived_at,
    (select count(*) from runs r where r.experiment_id = e.id) as runs
from experiments e
where ($1::text is null or e.workspace = $1) and ($2::text is null or e.name = $2)
order by e.id
"""

ADD_EXPERIMENT: Final = """
insert into experiments (workspace, name) values ($1, $2) on conflict (workspace, name) do nothing
"""

# --- vectors: manifest and hot chunks, read in one snapshot ----------------------------------------------------------

RUN_KEYS: Final = "select key, run_id from runs where run_id = any($1::text[])"

LIVE_FILES: Final = """
select f.id, f.path, fr.run_key, fr.first_row_group, fr.last_row_group, fr.first_position, fr.end_position
from file_runs fr join files f on f.id = fr.file_id
where fr.run_key = any($1::int8[]) and f.state = 'live' and f.kind = $2
order by f.created_at, f.id, fr.run_key
"""

PIECES: Final = """
select fr.file_id, fr.run_key, fr.first_position, fr.end_position, fr.pieces
from unnest($1::int8[], $2::int8[]) as w (file_id, run_key) join file_runs fr using (file_id, run_key)
"""

HOT_CHUNKS: Final = """
select c.run_key, c.source_key, s.ordinal, c.first, c.count, octet_length(c.payload) as size,
    case when octet_length(c.payload) <= $2 then c.payload else substr(c.payload, 1, $3) end as head
from chunks c join sources s on s.key = c.source_key
where c.run_key = any($1::int8[])
order by c.run_key, c.source_key, c.first
"""

HOT_THESE: Final = """
select c.run_key, c.source_key, s.ordinal, c.first, c.count, octet_length(c.payload) as size,
    case when octet_length(c.payload) <= $4 then c.payload else substr(c.payload, 1, $5) end as head
from unnest($1::int8[], $2::int8[], $3::int8[]) as w (run_key, source_key, first)
join chunks c on c.run_key = w.run_key and c.source_key = w.source_key and c.first = w.first
join sources s on s.key = c.source_key
"""

HOT_TAILS: Final = """
select c.run_key, c.source_key, s.ordinal, c.first, c.count, octet_length(c.payload) as size,
    case when octet_length(c.payload) <= $4 then c.payload else substr(c.payload, 1, $5) end as head
from unnest($1::int8[], $2::int8[], $3::int8[]) as w (run_key, source_key, first)
join chunks c on c.run_key = w.run_key and c.source_key = w.source_key and c.first >= w.first
join sources s on s.key = c.source_key
order by c.run_key, c.source_key, c.first
"""

CHUNK_PARTS: Final = """
select w.place, substr(c.payload, w.at, w.size) as data
from unnest($1::int4[], $2::int8[], $3::int8[], $4::int8[], $5::int4[], $6::int4[])
    as w (place, run_key, source_key, first, at, size)
join chunks c on c.run_key = w.run_key and c.source_key = w.source_key and c.first = w.first
"""

# --- watermark -------------------------------------------------------------------------------------------------------

DELETED: Final = "select run_id from deleted_runs where run_id = any($1::text[])"
STORED: Final = """
select s.source, s.topic, s.next
from unnest($1::uuid[], $2::text[]) w (source, topic) join sources s using (source, topic)
"""

# --- artifacts -------------------------------------------------------------------------------------------------------

IS_DELETED: Final = "select exists (select from deleted_runs where run_id = $1)"

ADD_RUN: Final = """
insert into runs (run_id) select $1::text where not exists (select from deleted_runs where run_id = $1)
on conflict (run_id) do nothing
"""

ADD_ARTIFACT: Final = """
insert into artifacts (run_key, path, size, sha256, content_type, captured, claimed_by)
select key, $2, $3, $4, $5, $6, case when experiment_id is null then $7::text end from runs where run_id = $1
on conflict (run_key, path) do nothing
returning *
"""

ADD_ARTIFACTS: Final = """
insert into artifacts (run_key, path, size, sha256, content_type, captured, claimed_by)
select r.key, n.path, n.size, n.sha256, n.content_type, false, case when r.experiment_id is null then $6::text end
from runs r cross join unnest($2::text[], $3::bigint[], $4::text[], $5::text[])
  with ordinality as n(path, size, sha256, content_type, number)
where r.run_id = $1 order by n.number
on conflict (run_key, path) do nothing
returning *
"""

ARTIFACTS: Final = """
select a.* from artifacts a join runs r on r.key = a.run_key where r.run_id = $1 order by a.path
"""

ARTIFACT: Final = """
select a.* from artifacts a join runs r on r.key = a.run_key where r.run_id = $1 and a.path = $2
"""

HOLD_ARTIFACT: Final = """
select a.* from artifacts a join runs r on r.key = a.run_key where r.run_id = $1 and a.path = $2 for update of a
"""

HOLD_ARTIFACTS: Final = """
select a.* from artifacts a join runs r on r.key = a.run_key where r.run_id = $1 and a.path = any($2::text[])
order by a.path collate "C" for update of a
"""

REPLACE_ARTIFACT: Final = """
update artifacts a set size = $3, sha256 = $4, content_type = $5, captured = $6
from runs r where r.key = a.run_key and r.run_id = $1 and a.path = $2
returning a.*
"""

GROW_ARTIFACT: Final = """
update artifacts a set size = $3, sha256 = $4
from runs r where r.key = a.run_key and r.run_id = $1 and a.path = $2
returning a.*
"""

LOCK_RUN: Final = "select from runs where run_id = $1 for share"
"""Its creation, which says where it belongs, waits, or came before."""
WORKSPACE_OF_RUN: Final = """
select e.workspace from runs r join experiments e on e.id = r.experiment_id where r.run_id = $1
"""

ARTIFACT_IN_THE_WAY: Final = """
select a.path, $4::text is null or r.experiment_id is not null or a.claimed_by is not distinct from $4 as shown
from artifacts a join runs r on r.key = a.run_key
where r.run_id = $1 and (a.path = any($2::text[]) or starts_with(a.path, $3))
limit 1
"""
