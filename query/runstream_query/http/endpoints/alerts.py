"""HTTP for alerts: rules, what they raised, and the names of those it is sent to."""

from __future__ import annotations

from typing import TypedDict

import msgspec
from starlette.requests import Request

from runstream_schemas.errors import QueryError
from runstream_schemas.runs.alerts import AlertLevel, RuleKind

from ...alerts import log, rules
from ...alerts.log import AlertLog, RunAlert
from ...alerts.raising import raise_test
from ...alerts.receivers import MOST_RECEIVERS, ReceiverRecord, records
from ...alerts.rules import USUAL_WAIT, Comparison, NewRule, RuleRecord
from ...not_there import NotThere, no_run
from ...runs.runs import get_run
from ..access import grant_of
from ..context import server_of
from ..endpoint import Reach, endpoint
from ..tokens import Role
from .registered import InWorkspace


class RulesQuery(msgspec.Struct, kw_only=True):
    workspace: str | None = None


class Rules(TypedDict):
    """Alert rules, by workspace and name."""

    rules: list[RuleRecord]


@endpoint("GET /api/v1/alert-rules", Role.READ, Reach.WORKSPACE, "Alert rules")
async def alert_rules(request: Request, asked: RulesQuery) -> Rules:
    async with server_of(request).pool.acquire() as connection:
        return {"rules": await rules.list_rules(connection, asked.workspace)}


class RuleBody(msgspec.Struct, forbid_unknown_fields=True):
    """A rule: what it looks at depends on its kind; `level` null: the usual one of the kind."""

    kind: RuleKind
    receivers: list[str] = []
    experiment: str | None = None
    metric: str | None = None
    comparison: Comparison | None = None
    threshold: float | None = None
    seconds: float | None = None
    level: AlertLevel | None = None
    wait_seconds: float = USUAL_WAIT
    enabled: bool = True


@endpoint("PUT /api/v1/alert-rules/{name:path}", Role.WRITE, Reach.WORKSPACE, "Make or change an alert rule")
async def put_alert_rule(request: Request, name: str, asked: InWorkspace, body: RuleBody) -> RuleRecord:
    """One with another condition raises anew what it meets."""
    if len(body.receivers) > MOST_RECEIVERS:
        raise QueryError(
            f"receivers: {len(body.receivers)} of them, the most is {MOST_RECEIVERS}; name fewer"
        )
    server = server_of(request)
    rule = NewRule(
        name=name,
        kind=body.kind,
        receivers=tuple(body.receivers),
        experiment=body.experiment,
        metric=body.metric,
        comparison=body.comparison,
        threshold=body.threshold,
        seconds=body.seconds,
        level=body.level,
        wait_seconds=body.wait_seconds,
        enabled=body.enabled,
    )
    async with server.pool.acquire() as connection:
        return await rules.put_rule(
            connection, asked.workspace, rule, server.receivers, grant_of(request).name
        )


@endpoint("DELETE /api/v1/alert-rules/{name:path}", Role.WRITE, Reach.WORKSPACE, "Remove an alert rule")
async def remove_alert_rule(request: Request, name: str, asked: InWorkspace) -> None:
    async with server_of(request).pool.acquire() as connection:
        await rules.remove_rule(connection, asked.workspace, name)


class LogQuery(msgspec.Struct, kw_only=True):
    workspace: str | None = None
    rule: str | None = None
    before: int | None = None
    limit: int = 100


@endpoint(
    "GET /api/v1/alerts", Role.READ, Reach.WORKSPACE, "Alerts that were raised, and to whom they were sent"
)
async def alerts(request: Request, asked: LogQuery) -> AlertLog:
    async with server_of(request).pool.acquire() as connection:
        return await log.read_log(connection, asked.workspace, asked.rule, asked.before, asked.limit)


class RunAlerts(TypedDict):
    """Alerts of a run, newest first."""

    alerts: list[RunAlert]


@endpoint(
    "GET /api/v1/runs/{run_id}/alerts", Role.READ, Reach.RUN, "Alerts a run gave, and rules raised of it"
)
async def run_alerts(request: Request, run_id: str) -> RunAlerts:
    async with server_of(request).pool.acquire() as connection:
        if await get_run(connection, run_id) is None:
            raise no_run(run_id)
        return {"alerts": await log.alerts_of_run(connection, run_id)}


class Receivers(TypedDict):
    """Those alerts can be sent to, without their addresses."""

    receivers: list[ReceiverRecord]


@endpoint("GET /api/v1/alert-receivers", Role.READ, Reach.HANDLER, "Those alerts can be sent to")
async def alert_receivers(request: Request) -> Receivers:
    return {"receivers": records(server_of(request).receivers)}


class TestSent(TypedDict):
    """The number of the test in the log."""

    id: int


@endpoint(
    "POST /api/v1/alert-receivers/{name}/test", Role.WRITE, Reach.WORKSPACE, "Have a test sent to a receiver"
)
async def test_receiver(request: Request, name: str, asked: InWorkspace) -> TestSent:
    server = server_of(request)
    if name not in server.receivers:
        raise NotThere(rules.unknown_receiver(name, server.receivers))
    async with server.pool.acquire() as connection, connection.transaction():
        alert = await raise_test(connection, asked.workspace, name, grant_of(request).name)
        await connection.execute(rules.TELL)
    return {"id": alert}


ENDPOINTS = (
    alert_rules,
    put_alert_rule,
    remove_alert_rule,
    alerts,
    run_alerts,
    alert_receivers,
    test_receiver,
)
