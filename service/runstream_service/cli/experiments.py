"""The commands `runstream experiment ...`."""

from __future__ import annotations

import argparse

from runstream.client.http import client_for

from .documents import experiment_document
from .options import Group, add_global
from .output import show, table
from .settings import settings_of


def add_experiment_commands(parser: argparse.ArgumentParser) -> None:
    """Add the commands below `runstream experiment`."""
    group = Group(parser, "commands about experiments")
    add_global(group.add("list", "list experiments", experiment_list))


def experiment_list(options: argparse.Namespace) -> int:
    """`runstream experiment list`."""
    settings = settings_of(options)
    answer = client_for(settings).get_json("/api/v1/experiments", [("workspace", settings.workspace)])
    documents = [experiment_document(record) for record in answer["experiments"]]

    def as_table() -> str:
        heads = ("name", "runs", "createdUtc", "tags")
        return table(heads, [[document[head] for head in heads] for document in documents])

    show(options, documents, as_table)
    return 0
