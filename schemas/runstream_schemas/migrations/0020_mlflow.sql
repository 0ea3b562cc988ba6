-- What clients of MLflow keep beside what every run, experiment and model has.

alter table experiments add column changed_at timestamptz;
alter table experiments add column artifact_location text;  -- null: the files of its runs lie in the store

-- For MLflow the latest point of a series is the highest by (step, time, value). It has a row here where another one was logged
-- after it; else it is the last one of the summary.
create table latest_points (
    run_key   bigint not null references runs on delete cascade,
    series_id bigint not null references series,
    step      bigint not null,
    time_us   bigint not null,
    value     double precision not null,
    primary key (run_key, series_id)
);
create index latest_points_by_series on latest_points (series_id);

-- Data sets a run has read; and the models it was given (no step) and those it has made.
create table run_inputs (
    id          bigint generated always as identity primary key,
    run_key     bigint not null references runs on delete cascade,
    name        text not null,
    digest      text not null,
    source_type text not null,
    source      text not null,
    schema      text,
    profile     text,
    tags        jsonb not null default '{}',
    unique (run_key, name, digest)
);
create table run_models (
    run_key  bigint not null references runs on delete cascade,
    model_id text not null,
    made     boolean not null,
    step     bigint not null default 0,
    primary key (run_key, model_id, made)
);

create table logged_models (
    model_id          text primary key,
    experiment_id     bigint not null references experiments on delete cascade,
    name              text not null,
    source_run_id     text,
    type              text,
    status            text not null,
    status_message    text,
    artifact_location text not null,
    params            jsonb not null default '{}',
    tags              jsonb not null default '{}',
    created_ms        bigint not null,
    changed_ms        bigint not null,
    deleted_at        timestamptz
);
create index logged_models_by_experiment on logged_models (experiment_id, created_ms desc);
create index logged_models_by_run on logged_models (source_run_id) where source_run_id is not null;
create table logged_model_metrics (
    model_id       text not null references logged_models on delete cascade,
    run_id         text not null,
    name           text not null,
    step           bigint not null,
    time_ms        bigint not null,
    value          double precision not null,
    dataset_name   text,
    dataset_digest text
);
create unique index logged_model_metrics_once on logged_model_metrics (model_id, run_id, name, step, time_ms, value);

-- A name of models as a thing of its own. `registered`: it was made, or had a version, and was not deleted.
alter table model_names add column description text;
alter table model_names add column tags jsonb not null default '{}';
alter table model_names add column registered boolean not null default true;
alter table model_names add column created_at timestamptz not null default now();
alter table model_names add column changed_at timestamptz not null default now();
update model_names n set registered = false
where not exists (select from models m where m.workspace = n.workspace and m.name = n.name);
create table model_aliases (
    workspace text not null,
    name      text not null,
    alias     text not null,
    version   bigint not null,
    primary key (workspace, name, alias),
    foreign key (workspace, name, version) references models (workspace, name, version) on delete cascade on update cascade
);
alter table models add column changed_at timestamptz;
alter table models add column stage text not null default 'None';
alter table models add column source text;
alter table models add column source_run text;              -- as it was given: it need not be a run of ours
alter table models add column run_link text;
alter table models add column logged_model_id text;

-- Files of clients that are of no run: they lie in the store below `mlflow/`.
create table proxied_files (
    workspace    text not null,
    path         text not null,
    size         bigint not null,
    sha256       text not null,
    content_type text,
    created_at   timestamptz not null default now(),
    primary key (workspace, path)
);
