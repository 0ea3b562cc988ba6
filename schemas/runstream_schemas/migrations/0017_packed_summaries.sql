-- Summaries of runs at rest: one row a run instead of one a series, in columns, which takes a quarter of the space. And the
-- order of runs by a metric: sorted pieces of 128 values instead of four indexes over every one. Runs that were there before
-- are packed by the compactor, some hundreds at a time; until then they are found as live ones are.
-- `summaries` is the view of all of them; who writes, writes `live_summaries`.
alter table summaries rename to live_summaries;
alter index summaries_pkey rename to live_summaries_pkey;
alter index summaries_by_series rename to live_summaries_by_series;

-- Series rise within a part and from part to part. The arrays of a row have one length; but those of whole numbers have one
-- element where all series have the same.
create table packed_summaries (
    run_key         bigint not null references runs on delete cascade,
    part            integer not null,
    series_ids      bigint[] not null,
    kinds           smallint[] not null,
    counts          bigint[] not null,
    finites         bigint[] not null,
    firsts          double precision[] not null,
    lasts           double precision[] not null,
    mins            double precision[] not null,
    maxs            double precision[] not null,
    sums            double precision[] not null,
    last_steps      bigint[] not null,
    last_times      bigint[] not null,
    last_texts      text[],                          -- null: no series has one
    first_times     bigint[] not null,
    first_positions bigint[] not null,
    last_positions  bigint[] not null,
    primary key (run_key, part)
);
create index packed_summaries_by_series on packed_summaries using gin (series_ids);

create function unpacked(p packed_summaries) returns setof live_summaries language sql immutable rows 10 as $$
    select p.run_key, u.series_id,
        case when cardinality(p.kinds) = 1 then p.kinds[1] else u.kind end,
        case when cardinality(p.counts) = 1 then p.counts[1] else u.count end,
        case when cardinality(p.finites) = 1 then p.finites[1] else u.finite end,
        u.first, u.last, u.min, u.max, u.sum,
        case when cardinality(p.last_steps) = 1 then p.last_steps[1] else u.last_step end,
        case when cardinality(p.last_times) = 1 then p.last_times[1] else u.last_time end,
        u.last_text,
        case when cardinality(p.first_times) = 1 then p.first_times[1] else u.first_time end,
        case when cardinality(p.first_positions) = 1 then p.first_positions[1] else u.first_position end,
        case when cardinality(p.last_positions) = 1 then p.last_positions[1] else u.last_position end
    from (
        select unnest(p.series_ids) as series_id, unnest(p.kinds) as kind, unnest(p.counts) as count,
            unnest(p.finites) as finite, unnest(p.firsts) as first, unnest(p.lasts) as last, unnest(p.mins) as min,
            unnest(p.maxs) as max, unnest(p.sums) as sum, unnest(p.last_steps) as last_step,
            unnest(p.last_times) as last_time, unnest(p.last_texts) as last_text, unnest(p.first_times) as first_time,
            unnest(p.first_positions) as first_position, unnest(p.last_positions) as last_position
    ) u
$$;

create view summaries as
select * from live_summaries
union all
select u.* from packed_summaries p cross join lateral unpacked(p) u;

-- With which number a run was packed last; null: its summaries are live. What is known of a run by its values (below) holds
-- while this is the number it was noted with.
create sequence packings;
alter table runs drop column ranked, add column packing bigint;
create index runs_unpacked on runs (key) where packing is null;

-- Values to order runs by: of a series with few runs as they are; NaN is stored as null.
drop table settled_metrics;
create table staged_ranks (
    run_key   bigint not null,
    packing   bigint not null,
    series_id bigint not null,
    last      double precision,
    min       double precision,
    max       double precision,
    mean      double precision
);
create index staged_ranks_by_run on staged_ranks (run_key);
create index staged_ranks_by_series on staged_ranks (series_id);

-- And of one with many in pieces, each sorted by value and run. Every value of a series lies in one piece, whose bounds tell
-- whether it has to be looked at.
create table ranks (
    series_id bigint not null,
    stat      text not null,                         -- 'last', 'min', 'max' or 'mean'
    low       double precision not null,
    high      double precision not null,
    run_keys  bigint[] not null,
    packings  bigint[] not null,
    values    double precision[] not null
);
create index ranks_by_low on ranks (series_id, stat, low);
create index ranks_by_high on ranks (series_id, stat, high);

-- What words are looked for in, in small letters: names, id, description, and after each U+0001 the value of a tag. Of runs that
-- were packed once; who changes any of it, writes it anew (runstream_schemas.run_life).
create function search_text(r runs) returns text language sql stable as $$
    select lower(concat_ws(' ', r.display_name, r.name, r.run_id, r.description,
            (select e.name from experiments e where e.id = r.experiment_id)))
        || coalesce((
            select string_agg(chr(1) || lower(k.value), '') from tags k where k.run_key = r.key and not k.removed), '')
$$;
create table run_texts (
    run_key bigint primary key references runs on delete cascade,
    text    text not null
);
