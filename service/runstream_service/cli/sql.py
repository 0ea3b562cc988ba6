"""The command `runstream sql`."""

from __future__ import annotations

import argparse
import json

from runstream.client.http import client_for

from .main import settings_of
from .output import emit, table


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
    elif options.output == "tsv" and not options.query:
        # By position: two columns may have the same name.
        emit([dict(enumerate(row)) for row in answer["rows"]], "tsv")
    else:
        emit([dict(zip(names, row, strict=True)) for row in answer["rows"]], options.output, options.query)
    return 0
