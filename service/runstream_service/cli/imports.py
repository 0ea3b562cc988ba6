"""The commands `runstream import ...`: take over what other tools have recorded."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from .options import Group, add_experiment, add_output, workspace_of
from .output import emit
from .settings import WHERE, add_settings

if TYPE_CHECKING:
    from runstream.importers.foreign_runs import ForeignStore
    from runstream.importers.runs import RunReport


def add_import_commands(parser: argparse.ArgumentParser) -> None:
    """Add the commands below `runstream import`."""
    group = Group(parser, "tools")
    tensorboard = group.add(
        "tensorboard",
        "take over event files of TensorBoard, one run a directory",
        import_tensorboard,
        "Tags, steps and times are kept. Again: only what is new. Interrupted: it resumes where it stopped.\n"
        "Prints what could not be taken over, and why.",
    )
    tensorboard.add_argument("logdir", metavar="LOGDIR", help="a directory, with event files at any depth")
    tensorboard.add_argument(
        "--follow", action="store_true", help="continue with what is written to them, until Ctrl-C"
    )
    add_experiment(tensorboard, "default: the directory's name")
    add_output(tensorboard)
    add_settings(tensorboard, (*WHERE, "spool", "kafka", "autostart"))
    wandb = group.add(
        "wandb",
        "take over runs of W&B's offline mode (.wandb files)",
        import_wandb,
        "Ids, steps and times are kept. Again: only what is new. Interrupted: it resumes where it stopped.\n"
        "Prints what could not be taken over, and why.",
    )
    wandb.add_argument("directory", metavar="DIR", help="a directory, with .wandb files at any depth")
    wandb.add_argument(
        "--follow", action="store_true", help="continue with what is written to them, until Ctrl-C"
    )
    add_experiment(wandb, "default: the project's name")
    add_output(wandb)
    add_settings(wandb, (*WHERE, "spool", "kafka", "autostart"))
    mlflow = group.add(
        "mlflow",
        "take over runs, models and their files from MLflow",
        import_mlflow,
        "Ids, steps and times are kept. Again: only what is new. Interrupted: it resumes where it stopped.\n"
        "Prints what could not be taken over, and why. MLflow need not be installed.",
    )
    mlflow.add_argument(
        "source",
        metavar="SOURCE",
        help="a folder mlruns, a database sqlite:///PATH, or a server http://HOST:PORT",
    )
    mlflow.add_argument(
        "--artifacts",
        metavar="DIR",
        help="a copy of the artifact root, where files cannot be reached as they are named",
    )
    add_experiment(mlflow, "default: the experiment each run has there")
    add_output(mlflow)
    add_settings(mlflow, (*WHERE, "spool", "kafka", "autostart"))

    table = group.add(
        "csv",
        "take over a table of values",
        import_csv,
        "Columns run (or run_id), step and time tell of a row; others are metrics, or name and value are columns.\n"
        "Again: only what is new. Prints what could not be taken over, and why.",
    )
    table.add_argument("file", metavar="FILE", help="a CSV file whose first row names the columns")
    table.add_argument(
        "--param",
        metavar="COLUMN",
        action="append",
        default=[],
        help="a column that is a parameter of the run",
    )
    neptune = group.add(
        "neptune",
        "take over what Neptune's exporter has written",
        import_neptune,
        "Steps and times are kept. Again: only what is new. Prints what could not be taken over, and why.",
    )
    neptune.add_argument("directory", metavar="DIR", help="the exporter's folder, with data and files in it")
    neptune.add_argument(
        "--files", metavar="DIR", help="where the exporter put files; default: files beside the data"
    )
    aim = group.add(
        "aim",
        "take over a repository of Aim",
        import_aim,
        "Ids, steps and times are kept. Again: only what is new. Prints what could not be taken over, and why.\n"
        "Needs Aim in the same environment: pip install aim (Python 3.11 or 3.12).",
    )
    aim.add_argument("repository", metavar="REPO", help="the folder that `aim init` was called in")
    defaults = (
        (table, "the file's name"),
        (neptune, "the project's name"),
        (aim, "the experiment each run has there"),
    )
    for tool, default in defaults:
        add_experiment(tool, f"default: {default}")
        add_output(tool)
        add_settings(tool, (*WHERE, "spool", "kafka", "autostart"))


def import_tensorboard(options: argparse.Namespace) -> int:
    """`runstream import tensorboard LOGDIR [--follow]`."""
    from runstream.importers.event_follower import follow
    from runstream.importers.tensorboard import TensorBoardImport

    importing = TensorBoardImport(workspace_of(options), Path(options.logdir), options.experiment)
    reports = follow(importing, _stopped(), _say) if options.follow else list(importing.once())
    return _show(reports, options, f"the experiment {importing.experiment}", "event files", "directories")


def import_wandb(options: argparse.Namespace) -> int:
    """`runstream import wandb DIR [--follow]`."""
    from runstream.importers.wandb import WandbImport
    from runstream.importers.wandb_follower import follow

    importing = WandbImport(workspace_of(options), Path(options.directory), options.experiment)
    reports = follow(importing, _stopped(), _say) if options.follow else list(importing.once())
    where = (
        f"the experiment {options.experiment}" if options.experiment else "experiments called as the projects"
    )
    return _show(reports, options, where, ".wandb files", "runs")


def import_mlflow(options: argparse.Namespace) -> int:
    """`runstream import mlflow SOURCE`."""
    from runstream.importers.mlflow import MlflowImport, open_source

    source = open_source(options.source, Path(options.artifacts) if options.artifacts else None)
    reports = list(MlflowImport(workspace_of(options), source, options.experiment).once())
    where = (
        f"the experiment {options.experiment}" if options.experiment else "experiments called as they were"
    )
    return _show(reports, options, where, "runs of MLflow", "runs")


def import_csv(options: argparse.Namespace) -> int:
    """`runstream import csv FILE`."""
    from runstream.importers.csv_file import CsvFile

    store = CsvFile(Path(options.file), options.param)
    return _take_over(store, options, f"the experiment {Path(store.place).stem}", "rows")


def import_neptune(options: argparse.Namespace) -> int:
    """`runstream import neptune DIR`."""
    from runstream.importers.neptune_export import NeptuneExport

    files = Path(options.files) if options.files else None
    store = NeptuneExport(Path(options.directory), files)
    return _take_over(store, options, "experiments called as the projects", "runs of Neptune")


def import_aim(options: argparse.Namespace) -> int:
    """`runstream import aim REPO`."""
    from runstream.importers.aim import AimRepository

    store = AimRepository(Path(options.repository))
    return _take_over(store, options, "experiments called as they were", "runs of Aim")


def _take_over(store: ForeignStore, options: argparse.Namespace, where: str, runs: str) -> int:
    """Take a store over, and say so.

    Args:
        where: where its runs go to without `--experiment`.
        runs: what they are called when there are none.
    """
    from runstream.importers.taking_over import TakingOver

    importing = TakingOver(workspace_of(options), store, options.experiment)
    with importing.alone():
        reports = list(importing.once())
        importing.settled()
    return _show(
        reports,
        options,
        f"the experiment {options.experiment}" if options.experiment else where,
        runs,
        "runs",
    )


def _stopped() -> threading.Event:
    """Set by Ctrl-C and SIGTERM from now on."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    return stop


def _show(reports: list[RunReport], options: argparse.Namespace, where: str, files: str, units: str) -> int:
    if options.output != "table" or options.query:
        emit([asdict(report) for report in reports], options.output, options.query)
    elif not reports:
        print(f"no {files} here")
    else:
        _print(reports, where, units)
    return 0


def _say(report: RunReport) -> None:
    where = report.run_id or f"not taken over: {'; '.join(report.notes)}"
    print(f"{report.directory}: {where}", file=sys.stderr, flush=True)


def _print(reports: list[RunReport], where: str, units: str) -> None:
    rows = [
        {
            "name": report.name,
            "run_id": report.run_id,
            "outcome": report.outcome,
            "points": sum(report.points.values()),
            "left_out": sum(report.left_out.values()),
        }
        for report in reports
    ]
    emit(rows, "table", None)
    left_out: Counter[str] = Counter()
    for report in reports:
        left_out.update(report.left_out)
    points = sum(sum(report.points.values()) for report in reports)
    runs = sum(bool(report.run_id) for report in reports)
    print(f"\n{points} values of {runs} {units} are in {where}")
    if left_out:
        print("not taken over:")
        for why, count in left_out.most_common():
            print(f"  {count} {why}")
    for report in reports:
        for note in report.notes:
            print(f"  {report.name}: {note}")
