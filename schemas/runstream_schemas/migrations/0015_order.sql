-- The order of a run's points: runstream_schemas.order. Positions are (ordinal of the source << 40) + slot.
-- Where the first and the last value of a series come from; -1: stored before this was kept, before all that comes.
alter table summaries add column first_position bigint not null default -1;
alter table summaries add column last_position bigint not null default -1;

-- Two writers that saw a source each at the same moment gave both the same number.
update sources s set ordinal = u.ordinal
from (
    select key, row_number() over (partition by run_key, topic order by ordinal, key) - 1 as ordinal from sources
    where (run_key, topic) in (select run_key, topic from sources group by run_key, topic, ordinal having count(*) > 1)
) u
where u.key = s.key and u.ordinal <> s.ordinal;
create unique index sources_by_ordinal on sources (run_key, topic, ordinal);
drop index sources_by_run;

-- Which positions of a run a file holds; null: written before this was kept. `pieces`: more closely, by series, where
-- they do not continue one another (runstream_schemas.order.Place).
alter table file_runs add column first_position bigint;
alter table file_runs add column end_position bigint;
alter table file_runs add column pieces bytea;
