-- What a token of one workspace may reach ends at its borders, also where a run is not known yet or a family crosses them.

-- A file that came before its run was known: with a token of which workspace. It goes when the run turns out to be another's.
alter table artifacts add column claimed_by text;
create index artifacts_claimed on artifacts (run_key) where claimed_by is not null;

-- A family of runs lies in one workspace: a child of another one is no part of it, whatever its creation says.
create function same_workspace(a bigint, b bigint) returns boolean language sql stable parallel safe as $$
    select a is not distinct from b
        or (select workspace from experiments where id = a) = (select workspace from experiments where id = b)
$$;
alter table deleted_runs add column workspace text;  -- null: deleted before this was kept, or never known

-- Which workspace sent a content of models: another one has to send it too before it may name it.
create table model_content (
    sha256    text not null,
    workspace text not null,
    primary key (sha256, workspace)
);
alter table models drop constraint models_token_key, add constraint models_token_key unique (workspace, token);
