-- Tokens beside the server's own, each with a role and perhaps for one workspace only. A token is 256 random bits, so that
-- a plain digest of it is safe to keep; the token itself is shown once and kept nowhere.
create table access_tokens (
    id              bigint generated always as identity primary key,
    name            text not null,
    sha256          bytea not null unique,
    role            text not null check (role in ('read', 'write', 'admin')),
    workspace       text,                            -- null: all
    created_at      timestamptz not null default now(),
    expires_at      timestamptz,
    revoked_at      timestamptz,
    used_at         timestamptz,                     -- to the hour
    previous_sha256 bytea unique,                    -- before the last rotation,
    previous_until  timestamptz                      -- good until then
);
create unique index access_tokens_by_name on access_tokens (name) where revoked_at is null;
