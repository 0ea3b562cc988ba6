"""The SQL of what people change, by what it does. What changes a run's life is in `runstream_schemas.runs.life`."""

from __future__ import annotations

from typing import Final

FIND_RUNS: Final = """
select key, run_id, status, type, archived_at from runs where run_id = any($1::text[])
"""

# Who edits has seen what is stored: the edit is later, whatever the clock of the machine that wrote it said.
TAG_TIMES: Final = """
select run_key, key, time_us from tags where run_key = any($1::bigint[]) and key = any($2::text[])
"""

# The columns that an edit can change; the consumer computes all of them from the same steps.
SET_STATES: Final = """
update runs r set
    display_name = u.display_name, description = u.description, status = u.status, error = u.error, warnings = u.warnings,
    end_time = timestamptz 'epoch' + u.ended_us * interval '1 microsecond',
    settled_at = case when u.ended_us is null then null else r.settled_at end
from unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::jsonb[], $6::jsonb[], $7::bigint[])
     u(key, display_name, description, status, error, warnings, ended_us)
where r.key = u.key
"""

ARCHIVE: Final = """
update runs set archived_at = case when $2 then coalesce(archived_at, now()) end where key = any($1::bigint[])
"""

WITH_DESCENDANTS: Final = """
with recursive below as (
    select run_id, experiment_id from runs where run_id = any($1::text[])
    union
    select child.run_id, child.experiment_id from runs child join below on child.parent_run_id = below.run_id
    where same_workspace(child.experiment_id, below.experiment_id)
)
select run_id from below
"""

NOTIFY: Final = "select pg_notify('runstream', $1)"

# --- saved views -----------------------------------------------------------------------------------------------------

VIEWS: Final = """
select id, page, name, created_at, changed_at, octet_length(state) as bytes
from saved_views where name is not null and ($1::text is null or page = $1)
order by page, lower(name), id limit 1000
"""

VIEW: Final = "select * from saved_views where id = $1"

ADD_VIEW: Final = """
insert into saved_views (id, page, name, state) values ($1, $2, $3, $4) on conflict do nothing returning *
"""

CHANGE_VIEW: Final = """
update saved_views set name = case when $2 then $3 else name end, state = coalesce($4, state), changed_at = now()
where id = $1 returning *
"""

DELETE_VIEW: Final = "delete from saved_views where id = $1 returning id"
