-- Every step of a run's life as it was reported. The columns of `runs` are computed from all of them
-- (runstream_schemas.status), so that steps may arrive in any order, and a status can be explained afterwards.
-- Heartbeats are not kept: they only move runs.last_seen.
create table transitions (
    run_key bigint not null references runs on delete cascade,
    topic   text not null,                           -- 'status', or 'tags' for a change of a field
    source  uuid not null,
    seq     bigint not null,
    time_us bigint not null,
    kind    text not null,
    data    jsonb not null default '{}',
    primary key (run_key, topic, source, seq)
);

-- When the first value was logged: decides which of two batches has it, in whatever order they arrive.
alter table summaries add column first_time bigint;
