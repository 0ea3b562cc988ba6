-- Contents in the store under their digest, each once, whoever needs them: files of snapshots.
create table blobs (
    sha256     text primary key,                     -- 64 hexadecimal digits
    size       bigint not null,
    created_at timestamptz not null default now()
);

-- A project's directory as it was: named by what it holds, so that unchanged directories are one snapshot.
create table source_snapshots (
    id         text primary key,                     -- runstream_schemas.source_snapshot.snapshot_id
    files      integer not null,
    size       bigint not null,
    created_at timestamptz not null default now()
);
create table source_files (
    snapshot_id text not null references source_snapshots on delete cascade,
    path        text not null,
    sha256      text not null references blobs,
    executable  boolean not null,
    primary key (snapshot_id, path)
);

-- Collected while the run goes on: the next state of the file, or somebody's own upload, takes its place.
alter table artifacts add column captured boolean not null default false;
