"""The command `runstream sql`."""

from __future__ import annotations

import argparse
import json

from runstream.client.http import client_for

from .options import add_output, performs
from .output import emit, table
from .settings import WHERE, add_settings, settings_of


def add_sql(parser: argparse.ArgumentParser) -> None:
    """Add what `runstream sql` takes."""
    performs(
        parser,
        sql,
        "Views: metrics(experiment, run_id, name, step, time, value, text), rows(...), runs(...), summaries(...).",
    )
    parser.add_argument(
        "statement", help='in DuckDB\'s dialect: "SELECT name, count(*) FROM metrics GROUP BY name"'
    )
    add_output(parser)
    add_settings(parser, WHERE)


def sql(options: argparse.Namespace) -> int:
    """`runstream sql STATEMENT`."""
    answer = (
        client_for(settings_of(options))
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
    elif options.output in ("tsv", "tsv-raw") and not options.query:
        # By position: two columns may have the same name.
        emit([dict(enumerate(row)) for row in answer["rows"]], options.output)
    else:
        emit([dict(zip(names, row, strict=True)) for row in answer["rows"]], options.output, options.query)
    return 0
