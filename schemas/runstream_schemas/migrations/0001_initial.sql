-- The stored state of runstream. Everything a reader sees is either here (runs, tags, summaries, hot chunks) or in
-- a Parquet file that `files` names; both are read in one snapshot.

create table experiments (
    id          bigint generated always as identity primary key,
    workspace   text not null default 'default',
    name        text not null,
    description text,
    tags        jsonb not null default '{}',
    run_count   bigint not null default 0,          -- last run number given out
    created_at  timestamptz not null default now(),
    archived_at timestamptz,
    unique (workspace, name)
);

-- A row may come into being by a metric that overtook the run's creation: then only run_id is known.
create table runs (
    key           bigint generated always as identity primary key,
    run_id        text not null unique,
    experiment_id bigint references experiments,
    number        bigint,
    parent_run_id text,
    root_run_id   text,
    name          text,
    display_name  text,
    description   text,
    type          text,
    target        text,
    status        text not null default 'NotStarted',
    created_at    timestamptz not null default now(),
    start_time    timestamptz,
    end_time      timestamptz,
    last_seen     timestamptz,
    settled_at    timestamptz,                       -- every point up to the ending status is stored
    archived_at   timestamptz,
    error         jsonb,
    warnings      jsonb not null default '[]',
    details       jsonb not null default '{}',
    dropped       bigint not null default 0          -- points the writers could not keep (disk full, quota ...)
);
create index runs_by_start on runs (start_time desc nulls last, key desc);
create index runs_by_experiment on runs (experiment_id, start_time desc nulls last, key desc);
create index runs_by_parent on runs (parent_run_id, start_time desc nulls last, key desc) where parent_run_id is not null;
create index runs_by_status on runs (status, start_time desc nulls last, key desc);
create index runs_unsettled on runs (key) where settled_at is null and status in ('Completed', 'Failed', 'Canceled');

-- Last write wins by (time, source, seq), so that a resend or a reordering changes nothing. A removed tag stays as a
-- tombstone, else a late older write would bring it back.
create table tags (
    run_key bigint not null references runs on delete cascade,
    key     text not null,
    value   text,
    removed boolean not null default false,
    time_us bigint not null,
    source  uuid not null,
    seq     bigint not null,
    primary key (run_key, key)
);
create index tags_by_value on tags (key, value, run_key) where not removed;

-- Properties are add-only: the earliest write wins.
create table properties (
    run_key bigint not null references runs on delete cascade,
    key     text not null,
    value   text,
    time_us bigint not null,
    source  uuid not null,
    seq     bigint not null,
    primary key (run_key, key)
);
create index properties_by_value on properties (key, value, run_key);

-- Names of series, shared by all runs. cls: runstream_schemas.series.SeriesClass.
create table series (
    id     bigint generated always as identity primary key,
    cls    smallint not null,
    name   text not null,
    "column" text not null default ''
);
-- Names may have 1,024 bytes, an index row holds about 2,700: two long ones would not fit, their digest does.
create unique index series_by_name on series (cls, md5(name), md5("column"));

-- One row a run and series; made by the agent per batch, merged here, verified when compacted.
create table summaries (
    run_key   bigint not null references runs on delete cascade,
    series_id bigint not null references series,
    kind      smallint not null,                     -- runstream_schemas.series.Kind of the last value
    count     bigint not null,
    finite    bigint not null,                       -- how many values are finite; mean = sum / finite
    first     double precision,
    last      double precision,
    min       double precision,
    max       double precision,
    sum       double precision,
    last_step bigint,
    last_time bigint not null,                       -- microseconds since the epoch
    last_text text,
    primary key (run_key, series_id)
) with (fillfactor = 70);
create index summaries_by_series on summaries (series_id, run_key);

-- How far each topic partition is stored: the fence. A writer that finds another value here lost the partition.
create table offsets (
    cluster   text not null,                         -- Kafka cluster id, or spool:<id of the spool directory>
    topic     text not null,                         -- topic id (not name: a recreated topic starts at 0)
    partition integer not null,
    next      bigint not null,
    topic_name text not null default '',
    updated_at timestamptz not null default now(),
    primary key (cluster, topic, partition)
) with (fillfactor = 50);

-- Which slots of each spool writer are stored, per topic ('metrics', 'tags', 'status').
create table sources (
    key     bigint generated always as identity primary key,
    source  uuid not null,
    topic   text not null,
    run_key bigint not null references runs on delete cascade,
    ordinal integer not null,                        -- 0, 1 ... within the run and topic: orders rows of tables
    next    bigint not null default 0,               -- every slot below is stored
    ahead   int8multirange not null default '{}',    -- stored, but above a gap
    dropped bigint not null default 0,
    unique (source, topic)
) with (fillfactor = 70);
create index sources_by_run on sources (run_key);

-- Until where each source has to be stored before the run is settled (from its ending status).
create table run_ends (
    run_key bigint not null references runs on delete cascade,
    source  uuid not null,
    next    bigint not null,
    primary key (run_key, source)
);

-- What is known to be missing: a jump in a source that never filled, or offsets the broker had already deleted.
create table gaps (
    id        bigint generated always as identity primary key,
    run_key   bigint references runs on delete cascade,
    source    uuid,
    first     bigint not null,
    next      bigint not null,
    reason    text not null,                         -- 'sequence' or 'retention' or 'spool'
    cluster   text, topic text, partition integer,
    noticed_at timestamptz not null default now()
);
create index gaps_by_run on gaps (run_key);

-- The hot tier: one row a batch of a run, opaque to the writer. Deleted by the transaction that publishes its points in a file.
create table chunks (
    run_key    bigint not null,
    source_key bigint not null,
    first      bigint not null,
    count      bigint not null,                      -- slots
    points     integer not null,
    created_at timestamptz not null default now(),
    payload    bytea not null,
    primary key (run_key, source_key, first)
);
alter table chunks alter column payload set storage external;  -- compressed already; substr() must be able to seek

-- The manifest. Readers go by rows in state 'live' only.
create table files (
    id           bigint generated always as identity primary key,
    kind         text not null check (kind in ('metrics', 'tables', 'runs')),
    path         text not null unique,               -- relative to the store's root
    state        text not null check (state in ('pending', 'live', 'trash')),
    tier         integer not null default 0,
    experiment_id bigint references experiments,
    rows         bigint not null default 0,
    bytes        bigint not null default 0,
    created_at   timestamptz not null default now(),
    changed_at   timestamptz not null default now()
);
create index files_by_state on files (state, kind, experiment_id, tier);

-- Which runs a file holds and in which row groups, so that a vector is read from exactly those.
create table file_runs (
    file_id         bigint not null references files on delete cascade,
    run_key         bigint not null,
    first_row_group integer not null,
    last_row_group  integer not null,
    rows            bigint not null,
    primary key (file_id, run_key)
);
create index file_runs_by_run on file_runs (run_key);

create table artifacts (
    run_key      bigint not null references runs on delete cascade,
    path         text not null,                      -- as the user named it, normalised
    size         bigint not null,
    sha256       text not null,
    content_type text,
    created_at   timestamptz not null default now(),
    primary key (run_key, path)
);

-- Every service installation has an id, so that two databases are never taken for one another.
create table installation (id uuid not null default gen_random_uuid(), created_at timestamptz not null default now());
insert into installation default values;
