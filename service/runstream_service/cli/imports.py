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
    from runstream.importers.tensorboard import RunReport


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


def import_tensorboard(options: argparse.Namespace) -> int:
    """`runstream import tensorboard LOGDIR [--follow]`."""
    from runstream.importers.event_follower import follow
    from runstream.importers.tensorboard import TensorBoardImport

    importing = TensorBoardImport(workspace_of(options), Path(options.logdir), options.experiment)
    if options.follow:
        stop = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stop.set())
        reports = follow(importing, stop, _say)
    else:
        reports = list(importing.once())
    if options.output != "table" or options.query:
        emit([asdict(report) for report in reports], options.output, options.query)
    else:
        _print(reports, importing.experiment)
    return 0


def _say(report: RunReport) -> None:
    where = report.run_id or f"not taken over: {'; '.join(report.notes)}"
    print(f"{report.directory}: {where}", file=sys.stderr, flush=True)


def _print(reports: list[RunReport], experiment: str) -> None:
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
    if not rows:
        print("no event files here")
        return
    emit(rows, "table", None)
    left_out: Counter[str] = Counter()
    for report in reports:
        left_out.update(report.left_out)
    points = sum(sum(report.points.values()) for report in reports)
    print(f"\n{points} values of {len(reports)} directories are in the experiment {experiment}")
    if left_out:
        print("not taken over:")
        for why, count in left_out.most_common():
            print(f"  {count} {why}")
    for report in reports:
        for note in report.notes:
            print(f"  {report.name}: {note}")
