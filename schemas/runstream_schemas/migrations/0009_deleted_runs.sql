-- Runs that were deleted. Their row in `runs` is gone with all that refers to it, so no reader sees them; what has no foreign
-- key (chunks, points in files, settled_metrics) and their files in the store go with the compactor's next sweep. The id stays
-- here for good: what arrives late must not bring the run back.
create table deleted_runs (
    run_id     text primary key,
    key        bigint not null unique,               -- it had in `runs`
    deleted_at timestamptz not null default now(),
    purged_at  timestamptz                           -- nothing of it was left
);
create index deleted_runs_to_purge on deleted_runs (key) where purged_at is null;

-- An experiment can be deleted while files of its deleted runs wait for their removal.
alter table files drop constraint files_experiment_id_fkey,
    add constraint files_experiment_id_fkey foreign key (experiment_id) references experiments on delete set null;
