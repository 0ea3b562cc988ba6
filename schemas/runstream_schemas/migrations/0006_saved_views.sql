-- Views of pages that were saved under a name, or are only shared by their id (no name).
create table saved_views (
    id         text primary key,
    page       text not null,
    name       text,
    state      text not null,                        -- JSON, as the page gave it
    created_at timestamptz not null default now(),
    changed_at timestamptz not null default now()
);
create unique index saved_views_by_name on saved_views (page, name) where name is not null;
