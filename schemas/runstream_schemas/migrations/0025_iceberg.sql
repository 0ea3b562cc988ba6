-- The Iceberg tables of the store: where the metadata of each is, and which files its snapshots show. Both change in the
-- transaction that makes a snapshot the current one.

create table iceberg_tables (
    key       bigint generated always as identity primary key,
    workspace text not null,
    name      text not null,              -- the kind of its files
    folder    text not null unique,       -- of its metadata, relative to the store's root
    metadata  text not null,              -- path of the current one
    version   bigint not null default 0,  -- rises with each change: of two that began from one, the second finds it risen
    expire_up bigint,                     -- since when the oldest snapshot has a successor; null: there is only one
    unique (workspace, name)
);

-- As long as a snapshot shows a file, its row in `files` cannot go, and so it is not deleted.
create table iceberg_files (
    table_key  bigint not null references iceberg_tables on delete cascade,
    file_id    bigint not null references files,
    experiment text not null,             -- the partition it is shown in
    hidden_up  bigint,                    -- since when only older snapshots show it; null: the current one does
    primary key (table_key, file_id)
);
create index iceberg_files_by_file on iceberg_files (file_id);
