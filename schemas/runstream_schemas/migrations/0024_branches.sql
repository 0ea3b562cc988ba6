-- Rewinds of a run: of what lies before `position` in the order of its points (runstream_schemas.order), metrics of a step
-- beyond `step` belong to a former branch, and have a kind of file of their own. `number` counts the run's rewinds as they came.
create table rewinds (
    run_key  bigint not null references runs on delete cascade,
    position bigint not null,
    step     bigint not null,
    number   integer not null,
    time_us  bigint not null,
    primary key (run_key, position),
    unique (run_key, number)
);
alter table files drop constraint files_kind_check;
alter table files add constraint files_kind_check
    check (kind in ('metrics', 'tables', 'histograms', 'media', 'system', 'former', 'runs'));
