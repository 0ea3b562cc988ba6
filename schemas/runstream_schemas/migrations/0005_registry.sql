-- What a workspace keeps beside runs: its own facts, environments and models.

create table workspaces (
    name        text primary key,
    description text,
    tags        jsonb not null default '{}',
    created_at  timestamptz not null default now()
);

-- A version is never changed: other content gets another version.
create table environments (
    id         bigint generated always as identity primary key,
    workspace  text not null,
    name       text not null,
    version    text not null,
    digest     text not null,                        -- SHA-256 of the content: the same content keeps its version
    document   jsonb not null,
    created_at timestamptz not null default now(),
    unique (workspace, name, version)
);
create table environment_labels (
    workspace text not null,
    name      text not null,
    label     text not null,
    version   text not null,
    primary key (workspace, name, label),
    foreign key (workspace, name, version) references environments (workspace, name, version) on delete cascade
);

-- The last version given out, kept when models are deleted: a version is never given out twice.
create table model_names (
    workspace    text not null,
    name         text not null,
    last_version bigint not null default 0,
    primary key (workspace, name)
);
create table models (
    id          bigint generated always as identity primary key,
    workspace   text not null,
    name        text not null,
    version     bigint not null,
    token       uuid not null unique,                -- of the request: repeated, it registers nothing new
    run_id      text,
    experiment  text,
    description text,
    tags        jsonb not null default '{}',
    properties  jsonb not null default '{}',
    details     jsonb not null default '{}',         -- framework and the like, kept and given back
    created_at  timestamptz not null default now(),
    unique (workspace, name, version)
);
create index models_by_run on models (run_id) where run_id is not null;

-- Content lies in the store by its digest, once for all models that hold it.
create table model_files (
    model_id bigint not null references models on delete cascade,
    path     text not null,
    size     bigint not null,
    sha256   text not null,
    primary key (model_id, path)
);
create index model_files_by_content on model_files (sha256);
