"""The commands `runstream alerts ...`: rules by which the server tells of runs, what they raised, tests of receivers."""

from __future__ import annotations

import argparse
import json
import time
from typing import Any
from urllib.parse import urlencode

from runstream.client.addresses import quoted
from runstream.client.http import client_for
from runstream_schemas.backoff import Backoff
from runstream_schemas.errors import QueryError
from runstream_schemas.runs.alerts import ALERT_LEVELS, RULE_KINDS

from .options import Group, add_experiment, add_output
from .output import emit
from .settings import WHERE, add_settings, settings_of

TEST_SECONDS = 60.0
"""Seconds a test is waited for."""


def add_alert_commands(parser: argparse.ArgumentParser) -> None:
    """Add the commands below `runstream alerts`."""
    group = Group(parser, "commands")
    listing = group.add("list", "list what was raised, newest first, and what became of it", list_)
    listing.add_argument("--rule", metavar="NAME", help="only what this rule raised")
    listing.add_argument("--run", dest="run_id", metavar="RUN", help="of one run: also what it gave itself")
    listing.add_argument("--limit", type=int, default=50, metavar="N", help="at most so many [50]")
    listing_rules = group.add("rules", "list the rules", rules)
    adding = group.add(
        "add",
        "make a rule, or put it in place of the one of that name",
        add,
        "metric: its highest (>, >=) or lowest (<, <=) value until now passes the threshold. nan: a value is not finite.\n"
        "silent: no new point for so many seconds. failed, ended: the run did. alert: the run gave one with run.alert().",
    )
    adding.add_argument("name", help="what to call it: the beginning of what it tells")
    adding.add_argument("--kind", choices=RULE_KINDS, required=True, help="what is told")
    adding.add_argument("--to", action="append", default=[], metavar="RECEIVER", help="whom; several: again")
    add_experiment(adding, "only runs of it; default: all of the workspace")
    adding.add_argument("--metric", metavar="NAME", help="of metric, nan and silent: the metric")
    adding.add_argument("--comparison", choices=("<", "<=", ">", ">="), help="of metric")
    adding.add_argument("--threshold", type=float, metavar="N", help="of metric")
    adding.add_argument("--seconds", type=float, metavar="N", help="of silent: for how long")
    adding.add_argument(
        "--level", choices=ALERT_LEVELS, help="of what is raised; of alert: the least one that is told"
    )
    adding.add_argument(
        "--wait", type=float, metavar="SECONDS", help="between two sends under one title [300]"
    )
    adding.add_argument("--off", action="store_true", help="keep the rule, and tell nothing for now")
    removing = group.add("remove", "remove a rule", remove)
    removing.add_argument("name")
    testing = group.add(
        "test", "send a test to a receiver, or list the receivers", test, "Exit code 1 where it is not taken."
    )
    testing.add_argument("receiver", nargs="?", metavar="RECEIVER", help="its name; none: list them")
    for command in (listing, listing_rules, adding, testing):
        add_output(command)
    for command in (listing, listing_rules, adding, removing, testing):
        add_settings(command, WHERE)


def list_(options: argparse.Namespace) -> int:
    """`runstream alerts list`."""
    settings = settings_of(options)
    client = client_for(settings)
    if options.run_id is not None:
        alerts = client.get_json(f"/api/v1/runs/{quoted(options.run_id)}/alerts")["alerts"]
        return _show(options, alerts[: max(options.limit, 0)])
    asked: list[tuple[str, Any]] = [("workspace", settings.workspace), ("limit", options.limit)]
    if options.rule is not None:
        asked.append(("rule", options.rule))
    return _show(options, client.get_json("/api/v1/alerts", asked)["alerts"])


def rules(options: argparse.Namespace) -> int:
    """`runstream alerts rules`."""
    settings = settings_of(options)
    answer = client_for(settings).get_json("/api/v1/alert-rules", [("workspace", settings.workspace)])
    return _show(options, answer["rules"])


def add(options: argparse.Namespace) -> int:
    """`runstream alerts add NAME --kind failed --to RECEIVER`."""
    document: dict[str, Any] = {"kind": options.kind, "receivers": options.to, "enabled": not options.off}
    for field in ("experiment", "metric", "comparison", "threshold", "seconds", "level"):
        if getattr(options, field) is not None:
            document[field] = getattr(options, field)
    if options.wait is not None:
        document["wait_seconds"] = options.wait
    try:
        body = json.dumps(document, allow_nan=False).encode()
    except ValueError:
        raise QueryError(
            "--threshold, --seconds and --wait take finite numbers; for others there is --kind nan"
        ) from None
    answer = client_for(settings_of(options)).request(
        "PUT", _rule(options), body=body, headers={"Content-Type": "application/json"}
    )
    return _show(options, [answer.json()])


def remove(options: argparse.Namespace) -> int:
    """`runstream alerts remove NAME`."""
    client_for(settings_of(options)).request("DELETE", _rule(options))
    print(f"removed: {options.name}")
    return 0


def test(options: argparse.Namespace) -> int:
    """`runstream alerts test RECEIVER`: has it sent, and waits for what becomes of it."""
    settings = settings_of(options)
    client = client_for(settings)
    if options.receiver is None:
        return _show(options, client.get_json("/api/v1/alert-receivers")["receivers"])
    scope = urlencode({"workspace": settings.workspace})
    number = client.request(
        "POST", f"/api/v1/alert-receivers/{quoted(options.receiver)}/test?{scope}"
    ).json()["id"]
    asked = [("workspace", settings.workspace), ("before", number + 1), ("limit", 1)]
    deadline = time.monotonic() + TEST_SECONDS
    for pause in Backoff(0.2, 2.0):
        (alert,) = client.get_json("/api/v1/alerts", asked)["alerts"]
        (send,) = alert["sends"]
        if send["state"] in ("sent", "failed") or send["error"] or time.monotonic() > deadline:
            break
        time.sleep(pause)
    emit([send], options.output, options.query)
    return 0 if send["state"] == "sent" else 1


def _rule(options: argparse.Namespace) -> str:
    """The address of the rule that a command line names."""
    scope = urlencode({"workspace": settings_of(options).workspace})
    return f"/api/v1/alert-rules/{quoted(options.name)}?{scope}"


def _show(options: argparse.Namespace, records: list[dict[str, Any]]) -> int:
    if options.output == "table" and not options.query:
        records = [_short(record) for record in records]
    emit(records, options.output, options.query)
    return 0


def _short(record: dict[str, Any]) -> dict[str, Any]:
    """A record for a table: without what is empty, and with what became of an alert in a few words."""
    shown = {
        key: value for key, value in record.items() if key not in ("text", "sends", "workspace", "created_by")
    }
    if "sends" in record:
        shown["sent"] = ", ".join(f"{send['receiver']}: {send['state']}" for send in record["sends"])
    return shown
