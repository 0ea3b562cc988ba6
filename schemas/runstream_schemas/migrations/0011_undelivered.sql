-- What the end of a run counts may never come: a topic was deleted with it, or its retention was over. Then it is recorded in
-- `gaps` (reason 'undelivered') and waited for no longer.
alter table run_ends add column given_up boolean not null default false;
