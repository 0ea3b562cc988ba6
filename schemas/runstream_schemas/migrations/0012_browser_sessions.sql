-- Browsers that were let in. A session holds the digest of the token it began with: another secret of the token ends it.

create table access_sessions (
    id           bigint generated always as identity primary key,
    sha256       bytea not null unique,           -- of the secret the browser holds
    token_id     bigint references access_tokens, -- null: the server's own token
    token_sha256 bytea not null,
    client       text not null,                   -- what the browser calls itself
    created_at   timestamptz not null default now(),
    used_at      timestamptz not null default now(), -- to the hour
    expires_at   timestamptz not null
);
create index access_sessions_by_token on access_sessions (token_id);

-- Good once: for a session, or for one GET of a path.
create table access_tickets (
    sha256       bytea primary key,
    token_id     bigint references access_tokens,
    token_sha256 bytea not null,
    path         text,                            -- null: for a session
    expires_at   timestamptz not null
);
