"""Raising alerts: each once a rule and run, or a rule and step, by a unique index; with it, what is to be sent to whom."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ..runs.runs import Connection
from .conditions import Occurrence

_RAISE: Final = """
with told as (
    select * from unnest($1::int8[], $2::text[], $3::text[], $4::int8[], $5::uuid[], $6::int8[], $7::text[], $8::text[],
        $9::text[]) with ordinality u (rule_id, rule, workspace, run_key, source, seq, title, text, level, place)
), raised as (
    insert into alerts (rule_id, rule, workspace, run_key, source, seq, title, text, level)
    select u.rule_id, u.rule, u.workspace, u.run_key, u.source, u.seq, u.title, u.text, u.level
    from told u join alert_rules a on a.id = u.rule_id join runs r on r.key = u.run_key
    order by u.place
    on conflict do nothing
    returning id, rule_id
), sends as (
    insert into alert_sends (alert_id, receiver)
    select n.id, w.receiver from raised n join alert_rules a on a.id = n.rule_id cross join unnest(a.receivers) w (receiver)
    on conflict do nothing
)
select count(*) from raised"""

_TEST: Final = """
with raised as (
    insert into alerts (workspace, title, text, level) values ($1, 'Test of runstream', $2, 'INFO') returning id
)
insert into alert_sends (alert_id, receiver) select id, $3 from raised returning alert_id"""


async def raise_alerts(connection: Connection, met: Sequence[Occurrence]) -> int:
    """Note what rules have to tell; returns how much of it was new."""
    if not met:
        return 0
    columns = (
        [o.rule_id for o in met],
        [o.rule for o in met],
        [o.workspace for o in met],
        [o.run_key for o in met],
        [o.source for o in met],
        [o.seq for o in met],
        [o.alert.title for o in met],
        [o.alert.text for o in met],
        [o.alert.level for o in met],
    )
    new: int = await connection.fetchval(_RAISE, *columns)
    return new


async def raise_test(connection: Connection, workspace: str, receiver: str, author: str) -> int:
    """Have one message sent to a receiver; returns the number of its alert in the log."""
    text = f"If you read this, the receiver {receiver} works. {author} asked for it."
    alert: int = await connection.fetchval(_TEST, workspace, text, receiver)
    return alert
