"""The SQL by which a run's life and tags are changed: shared by the consumer (what training processes report) and the server
(what people change in the pages), so that both follow one order."""

from __future__ import annotations

from typing import Final

# The latest write holds, by (time, source, slot): a resend or a reordering changes nothing.
SET_TAGS: Final = """
insert into tags as t (run_key, key, value, removed, time_us, source, seq)
select * from unnest($1::bigint[], $2::text[], $3::text[], $4::bool[], $5::bigint[], $6::uuid[], $7::bigint[])
on conflict (run_key, key) do update set
    value = excluded.value, removed = excluded.removed,
    time_us = excluded.time_us, source = excluded.source, seq = excluded.seq
where (excluded.time_us, excluded.source, excluded.seq) > (t.time_us, t.source, t.seq)
"""

# Two transactions may bring steps of one run (a status and a field). Whoever comes second waits here, and then computes the
# run's state from the steps of both.
LOCK_RUNS: Final = """
select key, run_id, experiment_id, number, (extract(epoch from last_seen) * 1000000)::bigint as last_seen_us
from runs where key = any($1::bigint[]) order by key for no key update
"""

# After names, descriptions or tags of these runs may have changed, and under their lock; see migration 0017.
RENEW_TEXTS: Final = """
update run_texts t set text = search_text(r) from runs r where t.run_key = r.key and r.key = any($1::bigint[])
"""

ADD_TRANSITIONS: Final = """
insert into transitions (run_key, topic, source, seq, time_us, kind, data)
select * from unnest($1::bigint[], $2::text[], $3::uuid[], $4::bigint[], $5::bigint[], $6::text[], $7::jsonb[])
on conflict do nothing
"""

# What a run's state is computed from: without its alerts, which say nothing of it and may be long.
TRANSITIONS: Final = """
select run_key, topic, source, seq, time_us, kind, data from transitions
where run_key = any($1::bigint[]) and kind <> 'alert'
"""
