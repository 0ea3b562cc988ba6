-- Notes: Markdown of a run, of an experiment, or of a workspace, which may have many (reports). Each keeps its former versions.
create table notes (
    id            text primary key,
    workspace     text,
    experiment_id bigint references experiments on delete cascade,
    run_key       bigint references runs on delete cascade,
    title         text not null,
    text          text not null,
    version       integer not null,                  -- 1, 2, ...
    author        text not null,                     -- who wrote this version
    created_at    timestamptz not null default now(),
    changed_at    timestamptz not null default now(),
    check (num_nonnulls(workspace, experiment_id, run_key) = 1)
);
create unique index notes_of_runs on notes (run_key) where run_key is not null;
create unique index notes_of_experiments on notes (experiment_id) where experiment_id is not null;
create index notes_of_workspaces on notes (workspace, changed_at desc, id) where workspace is not null;

create table former_notes (
    note_id    text not null references notes on delete cascade,
    version    integer not null,
    title      text not null,
    text       text not null,
    author     text not null,
    changed_at timestamptz not null,
    primary key (note_id, version)
);
