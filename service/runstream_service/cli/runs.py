"""Commands about runs, experiments and folders that ask the service: run list, show, update, delete, download ..."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from runstream.client.http import ServiceClient, client_for, quoted
from runstream.exceptions import UserErrorException
from runstream.printable import printable

from .documents import experiment_document, listed_run, minimal, run_document, updated_run
from .main import settings_of
from .output import show, table

RUN_COLUMNS = ("run_id", "status", "experiment", "display_name", "started", "duration", "tags")
_PAGE = 500


def run_list(options: argparse.Namespace) -> int:
    """`runstream run list`."""
    options.query = options.query or options.expression
    if options.last < 1:
        raise UserErrorException(f"--last {options.last}: expected a number from 1")
    client = client_for(settings_of(options))
    records = _list(client, _filters(options, client.settings.workspace), options.last)
    shape = minimal if options.minimal else listed_run

    def as_table() -> str:
        if options.minimal:
            return table(list(minimal({})), [list(minimal(record).values()) for record in records])
        rows = [{**record, "started": _started(record), "duration": _duration(record)} for record in records]
        return table(RUN_COLUMNS, [[row.get(name) for name in RUN_COLUMNS] for row in rows])

    show(options, [shape(record) for record in records], as_table)
    return 0


def _started(record: Mapping[str, Any]) -> str:
    """UTC, to the second."""
    return str(record.get("start_time_utc") or "")[:19].replace("T", " ")


def _duration(record: Mapping[str, Any]) -> str:
    from datetime import UTC, datetime

    started, ended = record.get("start_time_utc"), record.get("end_time_utc")
    if not started:
        return ""
    end = datetime.fromisoformat(ended) if ended else datetime.now(UTC)
    seconds = (end - datetime.fromisoformat(started)).total_seconds()
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _filters(options: argparse.Namespace, workspace: str) -> list[tuple[str, str]]:
    from .folder import attached_experiment

    params = [("workspace", workspace), ("order", options.order or "-start_time")]
    experiment = options.experiment
    if experiment is None and not options.all_experiments:
        experiment = attached_experiment(Path(options.path))
    params += [
        (name, value)
        for name, value in (
            ("experiment", experiment),
            ("parent", options.parent or (None if options.include_children else "none")),
            ("ancestor", options.pipeline_run_id),
            ("target", options.target),
            ("q", options.search),
        )
        if value
    ]
    if options.parent == "any" or options.pipeline_run_id:
        params = [pair for pair in params if pair[0] != "parent"]
    params += [("status", status) for status in options.status]
    for tag in options.tags:
        _pair(tag, "--tags")
    return params + [("tag", tag) for tag in options.tags]


def _list(client: ServiceClient, params: Sequence[tuple[str, str]], last: int) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = []
    after: str | None = None
    while len(records) < last:
        page = [*params, ("limit", str(min(last - len(records), _PAGE)))]
        answer = client.get_json("/api/v1/runs", [*page, ("after", after)] if after else page)
        records += answer["runs"]
        after = answer.get("next")
        if not after or not answer["runs"]:
            break
    return records


def run_show(options: argparse.Namespace) -> int:
    """`runstream run show -r RUN_ID`."""
    run_id = options.run or options.run_id
    if not run_id:
        raise UserErrorException("which run? name it: `runstream run show -r RUN_ID`")
    if "/" in run_id:
        raise UserErrorException(f"no run {run_id!r}: ids have no slash")
    client = client_for(settings_of(options))
    record = client.get_json(f"/api/v1/runs/{quoted(run_id)}", [("summaries", "1")])
    document = run_document(record)
    show(options, document, lambda: upright(document))
    return 0


def upright(document: dict[str, Any]) -> str:
    """A run as a person reads it: one line a field, then its metrics."""
    summaries = document.get("summaries") or {}
    left_out = {"summaries", "_experiment_name", "run_type_v2", "heartbeat_enabled", "data_container_id"}
    fields = [
        [key, value] for key, value in document.items() if key not in left_out and value not in ({}, False)
    ]
    text = table((), fields)
    if summaries:
        heads: tuple[str, ...] = ("count", "first", "last", "min", "max", "mean")
        rows = [[name, *(entry.get(head) for head in heads)] for name, entry in summaries.items()]
        if texts := (document.get("details") or {}).get("metric_descriptions"):
            heads = (*heads, "description")
            rows = [[*row, texts.get(row[0])] for row in rows]
        text += "\n\n" + table(("metric", *heads), rows)
    return text


def run_update(options: argparse.Namespace) -> int:
    """`runstream run update -r RUN_ID --add-tag KEY=VALUE`."""
    changes: dict[str, Any] = {}
    added = dict(_pair(text) for text in options.add_tag)
    if added or options.remove_tag:
        changes["tags"] = {"set": added, "remove": options.remove_tag}
    changes |= {
        key: getattr(options, key)
        for key in ("display_name", "description")
        if getattr(options, key) is not None
    }
    if not changes:
        raise UserErrorException(
            "nothing to update: give --add-tag KEY=VALUE, --remove-tag KEY, --display-name or --description"
        )
    client = client_for(settings_of(options))
    answer = client.request(
        "PATCH",
        f"/api/v1/runs/{quoted(options.run)}",
        body=json.dumps(changes).encode(),
        headers={"Content-Type": "application/json"},
    )
    document = updated_run(answer.json())
    show(options, document, lambda: upright(document))
    return 0


def _pair(text: str, option: str = "--add-tag") -> tuple[str, str | None]:
    """`key=value`, where the value may hold further `=`; `key` alone has no value."""
    key, equals, value = text.partition("=")
    if not key:
        raise UserErrorException(f"{option} {text!r}: expected KEY or KEY=VALUE")
    return key, value if equals else None


def run_delete(options: argparse.Namespace) -> int:
    """`runstream run delete RUN_ID ...`."""
    client = client_for(settings_of(options))
    body: dict[str, Any] = {"runs": options.run_ids, "force": options.force}
    held = _post(client, "/api/v1/runs/delete", {**body, "dry_run": True})
    if not held["runs"]:
        raise UserErrorException(
            f"there is no run {options.run_ids[0]!r:.80}; `runstream run list` has the ids"
        )
    what = (
        f"{held['runs']} runs with {held['descendants']} descendants, {held['points']:,} points and "
        f"{held['files']} files ({held['bytes']:,} bytes)"
    )
    if not options.yes:
        if not sys.stdin.isatty():
            raise UserErrorException(f"this would delete {what} for good; repeat it with --yes")
        if input(f"Delete {what} for good? [y/N] ").strip().lower() not in ("y", "yes"):
            print("nothing was deleted", file=sys.stderr)
            return 1
    answer = _post(client, "/api/v1/runs/delete", body)
    show(options, answer, lambda: "\n".join(map(printable, answer["deleted"])))
    return 0


def _post(client: ServiceClient, path: str, document: Mapping[str, Any]) -> Any:
    body, headers = json.dumps(document).encode(), {"Content-Type": "application/json"}
    return client.request("POST", path, body=body, headers=headers).json()


def run_files(options: argparse.Namespace) -> int:
    """`runstream run files -r RUN_ID`."""
    from runstream.client.files import list_files

    client = client_for(settings_of(options))
    found = [file for file in list_files(client, options.run) if file["path"].startswith(options.prefix)]
    show(options, found)
    return 0


def run_download(options: argparse.Namespace) -> int:
    """`runstream run download -r RUN_ID -d DIR`."""
    from .submit import named_run

    run = named_run(options)
    names = [name for name in run.get_file_names() if name.startswith(options.prefix)]
    if not names:
        of = f" below {options.prefix}" if options.prefix else ""
        raise UserErrorException(f"run {options.run} has no files{of}")
    target = Path(options.output_dir)
    for name in names:
        run.download_file(name, str(target / name))
    show(options, [str(target / name) for name in names])
    return 0


def experiment_list(options: argparse.Namespace) -> int:
    """`runstream experiment list`."""
    settings = settings_of(options)
    answer = client_for(settings).get_json("/api/v1/experiments", [("workspace", settings.workspace)])
    documents = [experiment_document(one) for one in answer["experiments"]]

    def as_table() -> str:
        heads = ("name", "runs", "createdUtc", "tags")
        return table(heads, [[one[head] for head in heads] for one in documents])

    show(options, documents, as_table)
    return 0


def folder_attach(options: argparse.Namespace) -> int:
    """`runstream folder attach -w WORKSPACE`."""
    from .folder import attach

    settings = settings_of(options)
    done = attach(
        Path(options.path), settings.workspace, options.subscription_id or "local", options.resource_group or "local",
        options.experiment,
    )  # fmt: skip
    show(options, done)
    return 0
