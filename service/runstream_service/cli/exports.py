"""The commands `runstream export ...`: copy runs into formats that other tools read."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from .options import Group, add_experiment, add_output, workspace_of
from .output import emit
from .settings import WHERE, add_settings

if TYPE_CHECKING:
    from runstream.exporters.exporting import ExportReport, Place, Write

_AGAIN = (
    "Without RUN: all runs of the experiment, or of the workspace. A run appears whole or not at all. Again: only what\n"
    "has changed is written anew. Prints what the format has no place for."
)


def add_export_commands(parser: argparse.ArgumentParser) -> None:
    """Add the commands below `runstream export`."""
    group = Group(parser, "formats")
    for name, line in (
        ("bundle", "Parquet files of metrics, histograms and tables, parameters as JSON, and the files"),
        ("tensorboard", "event files of TensorBoard, a directory a run"),
        ("mlflow", "a file store of MLflow"),
    ):
        command = group.add(name, line, export_runs, _AGAIN)
        command.set_defaults(format=name)
        command.add_argument("directory", metavar="DIR", help="where to; made if need be")
        command.add_argument("runs", metavar="RUN", nargs="*", help="ids of runs")
        command.add_argument("--children", action="store_true", help="the descendants of the runs too")
        add_experiment(command, "all runs of this experiment")
        add_output(command)
        add_settings(command, (*WHERE, "spool", "kafka", "autostart"))


def export_runs(options: argparse.Namespace) -> int:
    """`runstream export FORMAT DIR [RUN ...]`."""
    from runstream.exceptions import UserErrorException
    from runstream.exporters.exporting import chosen_runs, export

    if options.experiment and options.runs:
        raise UserErrorException("both runs and an experiment; name one of the two")
    workspace = workspace_of(options)
    place, write = _format(options.format, Path(options.directory))
    reports: list[ExportReport] = []
    for record in chosen_runs(
        workspace._client, workspace.name, options.runs, options.experiment, options.children
    ):
        report = export(workspace._client, record, place(record), write)
        reports.append(report)
        if options.output == "table" and not options.query:
            print(f"{report.run_id}: {report.outcome}, {report.directory}", file=sys.stderr, flush=True)
    if options.output != "table" or options.query:
        emit([asdict(report) for report in reports], options.output, options.query)
    else:
        _print(reports, options.directory)
    return 0


def _format(name: str, root: Path) -> tuple[Place, Write]:
    """Where a run goes, and what writes it there."""
    from runstream.exporters.exporting import run_folder

    if name == "mlflow":
        from runstream.exporters.mlflow_store import MlflowStore

        store = MlflowStore(root)
        return store.place, store.write
    if name == "tensorboard":
        from runstream.exporters.event_files import write_event_files

        return lambda record: run_folder(root, record), write_event_files
    from runstream.exporters.bundle import write_bundle

    return lambda record: run_folder(root, record), write_bundle


def _print(reports: list[ExportReport], directory: str) -> None:
    written = sum(report.outcome == "written" for report in reports)
    print(f"{written} runs written, {len(reports) - written} unchanged, in {directory}")
    left_out: Counter[str] = Counter()
    for report in reports:
        left_out.update(report.left_out)
    if left_out:
        print("not in the copies:")
        for why, count in left_out.most_common():
            print(f"  {count} {why}")
