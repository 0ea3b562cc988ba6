"""The commands `runstream run ...`: list, show, update, delete, files, download; those of `submit` are added to them."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from runstream.client.addresses import quoted
from runstream.client.http import ServiceClient, client_for
from runstream.exceptions import UserErrorException
from runstream.printable import printable
from runstream_schemas.runs.status import STATUSES

from . import submit
from .documents import listed_run, minimal, run_document, updated_run, upright
from .options import Group, add_experiment, add_global, add_run, named_run
from .output import show, table
from .settings import settings_of

RUN_COLUMNS = ("run_id", "status", "experiment", "display_name", "started", "duration", "tags")
_PAGE = 500

RUN_EXAMPLES = """\
examples:
  runstream run list -e ridge --status Failed --last 50
  runstream run list --query "[?tags.quality=='fantastic run'].run_id" -o tsv
  runstream run list --search "loss.min<0.1 since:7d"
  runstream run show -r RUN_ID
  runstream run update -r RUN_ID --add-tag quality="fantastic run"
  runstream run submit-script -e ridge --source-directory src train.py --alpha 0.5
  runstream run download -r RUN_ID -d results --prefix outputs/
"""


def _expression(text: str) -> str:
    """A JMESPath expression without `--query`, as the original's documentation writes it."""
    if not text.startswith("["):
        raise argparse.ArgumentTypeError(f"{text!r:.80} is no option; an experiment is named with -e")
    return text


def add_run_commands(parser: argparse.ArgumentParser) -> None:
    """Add the commands below `runstream run`."""
    parser.epilog = RUN_EXAMPLES
    group = Group(parser, "commands about runs")
    listed = group.add(
        "list",
        "list runs, newest first",
        run_list,
        "Only top-level runs, and those of the attached folder's experiment if there is one.",
    )
    listed.add_argument(
        "expression",
        nargs="?",
        type=_expression,
        metavar="JMESPATH",
        help="the same as --query, for what begins with a bracket",
    )
    add_experiment(listed, "only of this experiment")
    listed.add_argument(
        "--all-experiments", action="store_true", help="also when the folder is attached to one"
    )
    listed.add_argument("-n", "--last", type=int, default=10, metavar="N", help="most runs to list [10]")
    listed.add_argument(
        "--status",
        action="extend",
        nargs="+",
        default=[],
        choices=STATUSES,
        metavar="STATUS",
        help="only with one of these: " + ", ".join(STATUSES),
    )
    listed.add_argument(
        "--tag",
        "--tags",
        dest="tags",
        action="extend",
        nargs="+",
        default=[],
        metavar="KEY[=VALUE]",
        help="only with all of these tags",
    )
    listed.add_argument(
        "--target", "--compute-target-name", dest="target", metavar="NAME", help="only on this target"
    )
    listed.add_argument(
        "--parent",
        "--parent-run-id",
        dest="parent",
        metavar="RUN_ID",
        help="only children of this run; any: children and top-level runs alike",
    )
    listed.add_argument("--include-children", action="store_true", help="the same as --parent any")
    listed.add_argument(
        "--pipeline-run-id", metavar="RUN_ID", help="only descendants of this run, at any depth"
    )
    listed.add_argument(
        "--search", metavar="TEXT", help="as in the dashboard's search box: 'loss.min<0.1 since:7d'"
    )
    listed.add_argument("--order", help="e.g. -start_time, metric:loss:min or param:lr [-start_time]")
    listed.add_argument(
        "--param",
        dest="params",
        action="extend",
        nargs="+",
        default=[],
        metavar="NAME",
        help="a column of this parameter",
    )
    listed.add_argument(
        "--minimal", action="store_true", help="only id, type, status, times, target and tags"
    )
    add_global(listed)

    shown = group.add("show", "show a run, its tags and its metrics' summaries", run_show)
    shown.add_argument("run_id", nargs="?", help="the run")
    add_run(shown, required=False)
    add_global(shown)

    update = group.add("update", "change a run's tags, name or description", run_update)
    add_run(update)
    update.add_argument(
        "--add-tag", action="extend", nargs="+", default=[], metavar="KEY[=VALUE]", help="set tags"
    )
    update.add_argument(
        "--remove-tag", action="extend", nargs="+", default=[], metavar="KEY", help="remove tags"
    )
    update.add_argument("--display-name", metavar="TEXT", help="name for people")
    update.add_argument("--description", metavar="TEXT", help="Markdown")
    add_global(update)

    delete = group.add("delete", "delete runs with their descendants, for good", run_delete)
    delete.add_argument("run_ids", nargs="+", metavar="RUN_ID", help="the runs")
    delete.add_argument("--force", action="store_true", help="also runs that have not ended")
    delete.add_argument("-y", "--yes", action="store_true", help="do not ask")
    add_global(delete)

    files = group.add("files", "list a run's files", run_files)
    download = group.add("download", "write a run's files to a directory", run_download)
    download.add_argument("-d", "--output-dir", required=True, metavar="DIR", help="where to")
    for command in (files, download):
        add_run(command)
        command.add_argument("--prefix", default="", metavar="PATH", help="only those below, e.g. outputs/")
        add_global(command)

    submit.add_commands(group)


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
        columns = [*RUN_COLUMNS, *(f"param:{name}" for name in options.params)]
        params = [
            {f"param:{name}": entry["text"] for name, entry in (record.get("params") or {}).items()}
            for record in records
        ]
        rows = [
            {**record, "started": _started(record), "duration": _duration(record), **given}
            for record, given in zip(records, params, strict=True)
        ]
        return table(columns, [[row.get(name) for name in columns] for row in rows])

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
    params += [("param", name) for name in options.params]
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
        raise UserErrorException(f"no run {run_id!r}: ids have no slash; look at the id")
    client = client_for(settings_of(options))
    record = client.get_json(f"/api/v1/runs/{quoted(run_id)}", [("summaries", "1"), ("params", "1")])
    document = run_document(record)
    show(options, document, lambda: upright(document))
    return 0


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
    files = [file for file in list_files(client, options.run) if file["path"].startswith(options.prefix)]
    show(options, files)
    return 0


def run_download(options: argparse.Namespace) -> int:
    """`runstream run download -r RUN_ID -d DIR`."""
    run = named_run(options)
    names = [name for name in run.get_file_names() if name.startswith(options.prefix)]
    if not names:
        of = f" below {options.prefix}" if options.prefix else ""
        raise UserErrorException(
            f"run {options.run} has no files{of}; `runstream run files` lists those of a run"
        )
    target = Path(options.output_dir)
    for name in names:
        run.download_file(name, str(target / name))
    show(options, [str(target / name) for name in names])
    return 0
