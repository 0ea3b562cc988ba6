"""Commands that ask the service: sql, run list, run show, experiment list."""

from __future__ import annotations

import argparse
import json
from typing import Any

from .cli import settings_of
from .client import ServiceClient, quoted
from .output import emit, table

RUN_COLUMNS = ("run_id", "experiment", "display_name", "status", "start_time_utc", "end_time_utc", "tags")


def sql(options: argparse.Namespace) -> int:
    """`runstream sql STATEMENT`."""
    answer = (
        ServiceClient(settings_of(options))
        .request(
            "POST",
            "/api/v1/sql",
            body=json.dumps({"query": options.statement}).encode(),
            headers={"Content-Type": "application/json", "Accept": "application/json"},
        )
        .json()
    )
    names = [column["name"] if isinstance(column, dict) else str(column) for column in answer["columns"]]
    if options.output == "table" and not options.query:
        print(table(names, answer["rows"]))
    elif options.output == "tsv" and not options.query:
        # By position: two columns may have the same name.
        emit([dict(enumerate(row)) for row in answer["rows"]], "tsv")
    else:
        emit([dict(zip(names, row, strict=True)) for row in answer["rows"]], options.output, options.query)
    return 0


def run_list(options: argparse.Namespace) -> int:
    """`runstream run list`."""
    settings = settings_of(options)
    params = [("workspace", settings.workspace), ("order", options.order or "-start_time")]
    for name in ("experiment", "status", "parent"):
        value = getattr(options, name)
        if value:
            params.append((name, value))
    params += [("tag", tag) for tag in options.tag]
    client = ServiceClient(settings)
    runs: list[dict[str, Any]] = []
    after: str | None = None
    while len(runs) < options.last:
        page = [*params, ("limit", str(min(options.last - len(runs), 500)))]
        answer = client.get_json("/api/v1/runs", [*page, ("after", after)] if after else page)
        runs += answer["runs"]
        after = answer.get("next")
        if not after or not answer["runs"]:
            break
    if options.output == "table" and not options.query:
        print(table(RUN_COLUMNS, [[run.get(name) for name in RUN_COLUMNS] for run in runs]))
    else:
        emit(runs, options.output, options.query)
    return 0


def run_show(options: argparse.Namespace) -> int:
    """`runstream run show RUN_ID`."""
    client = ServiceClient(settings_of(options))
    record = client.get_json(f"/api/v1/runs/{quoted(options.run_id)}", [("summaries", "1")])
    if options.output != "table" or options.query:
        emit(record, options.output, options.query)
        return 0
    summaries = record.pop("summaries", None) or {}
    emit({key: value for key, value in record.items() if value not in (None, "", [], {})}, "table")
    if summaries:
        heads = ("count", "first", "last", "min", "max", "mean")
        print()
        print(
            table(
                ("metric", *heads),
                [[name, *(entry.get(head) for head in heads)] for name, entry in summaries.items()],
            )
        )
    return 0


def experiment_list(options: argparse.Namespace) -> int:
    """`runstream experiment list`."""
    settings = settings_of(options)
    answer = ServiceClient(settings).get_json("/api/v1/experiments", [("workspace", settings.workspace)])
    emit(answer["experiments"], options.output, options.query)
    return 0
