"""What was raised, and what became of it at each receiver: of a workspace, newest first, and of one run."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal, TypedDict

from runstream_schemas.runs.alerts import ALERT_STEP, AlertLevel, read_alert

from ..json_values import from_json, utc
from ..runs.runs import Connection

SendState = Literal["waiting", "sending", "sent", "held", "failed"]

MOST_SHOWN = 1000
"""Alerts of one answer."""

_SENDS = """
coalesce((select jsonb_agg(jsonb_build_object('receiver', s.receiver, 'state', s.state, 'attempts', s.attempts,
        'error', s.error, 'changed_at', s.changed_at) order by s.receiver)
    from alert_sends s where s.alert_id = a.id), '[]') as sends"""
_LIST: Final = f"""
select a.*, r.run_id, coalesce(r.display_name, r.name) as run_name, e.name as experiment, {_SENDS}
from alerts a left join runs r on r.key = a.run_key left join experiments e on e.id = r.experiment_id
where ($1::text is null or a.workspace = $1) and ($2::text is null or a.rule = $2)
    and ($3::int8 is null or a.id < $3)
order by a.id desc limit $4"""
_OF_RUN: Final = f"""
select a.rule, a.title, a.text, a.level, a.raised_at, a.source, a.seq, {_SENDS}
from alerts a join runs r on r.key = a.run_key
where r.run_id = $1 order by a.id desc limit {MOST_SHOWN}"""
_GIVEN: Final = f"""
select t.source, t.seq, t.time_us, t.data from transitions t join runs r on r.key = t.run_key
where r.run_id = $1 and t.kind = '{ALERT_STEP}' order by t.time_us desc, t.source desc, t.seq desc limit {MOST_SHOWN}"""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class SendRecord(TypedDict):
    """What became of an alert at one receiver."""

    receiver: str
    state: SendState
    attempts: int
    error: str | None
    changed_utc: str


class AlertRecord(TypedDict):
    """An alert that was raised; without a rule: a test of a receiver."""

    id: int
    workspace: str
    rule: str | None
    run_id: str | None
    run_name: str | None
    experiment: str | None
    title: str
    text: str
    level: AlertLevel
    raised_utc: str
    sends: list[SendRecord]


class AlertLog(TypedDict):
    """Alerts, newest first; `next`: the number before which older ones follow, null: there are none."""

    alerts: list[AlertRecord]
    next: int | None


class RunAlert(TypedDict):
    """An alert of a run: one that it gave (no rule), or that a rule raised."""

    rule: str | None
    title: str
    text: str
    level: AlertLevel
    time_utc: str
    sends: list[SendRecord]


async def read_log(
    connection: Connection, workspace: str | None, rule: str | None, before: int | None, limit: int
) -> AlertLog:
    """What was raised (in one workspace, by rules of one name).

    Args:
        before: only alerts of lower numbers.
        limit: how many, at most `MOST_SHOWN`.
    """
    limit = max(1, min(limit, MOST_SHOWN))
    rows = await connection.fetch(_LIST, workspace, rule, before, limit + 1)
    shown = rows[:limit]
    return {
        "alerts": [
            {
                "id": row["id"],
                "workspace": row["workspace"],
                "rule": row["rule"],
                "run_id": row["run_id"],
                "run_name": row["run_name"],
                "experiment": row["experiment"],
                "title": row["title"],
                "text": row["text"],
                "level": row["level"],
                "raised_utc": utc(row["raised_at"]),
                "sends": _sends(row["sends"]),
            }
            for row in shown
        ],
        "next": shown[-1]["id"] if len(rows) > limit else None,
    }


async def alerts_of_run(connection: Connection, run_id: str) -> list[RunAlert]:
    """Alerts that a run gave, with what was sent of them, and that rules raised of it; newest first."""
    raised = await connection.fetch(_OF_RUN, run_id)
    sends: dict[Any, list[SendRecord]] = {}
    for row in raised:
        sends.setdefault((row["source"], row["seq"]), []).extend(_sends(row["sends"]))
    shown: list[RunAlert] = [
        {
            "rule": row["rule"],
            "title": row["title"],
            "text": row["text"],
            "level": row["level"],
            "time_utc": utc(row["raised_at"]),
            "sends": _sends(row["sends"]),
        }
        for row in raised
        if row["seq"] < 0
    ]
    for row in await connection.fetch(_GIVEN, run_id):
        alert = read_alert(from_json(row["data"]))
        shown.append(
            {
                "rule": None,
                "title": alert.title,
                "text": alert.text,
                "level": alert.level,
                "time_utc": utc(_EPOCH + timedelta(microseconds=row["time_us"])),
                "sends": sends.get((row["source"], row["seq"]), []),
            }
        )
    return sorted(shown, key=lambda alert: alert["time_utc"], reverse=True)[:MOST_SHOWN]


def _sends(column: Any) -> list[SendRecord]:
    return [
        {
            "receiver": send["receiver"],
            "state": send["state"],
            "attempts": send["attempts"],
            "error": send["error"],
            "changed_utc": utc(datetime.fromisoformat(send["changed_at"])),
        }
        for send in (json.loads(column) if isinstance(column, str) else column)
    ]
