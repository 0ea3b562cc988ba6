"""The command `runstream exec`."""

from __future__ import annotations

import argparse
from pathlib import Path

from .folder import attached_experiment
from .options import add_experiment, performs, workspace_of
from .settings import add_settings


def add_exec(parser: argparse.ArgumentParser) -> None:
    """Add what `runstream exec` takes."""
    performs(
        parser,
        execute,
        "The command has this terminal, directory and environment; its exit status and signals are those of this command.\n"
        "Run.get_context() in it is the run. runstream's own options come before the command, or before `--`.",
    )
    add_experiment(parser, "default: the attached folder's, else the directory's name")
    parser.add_argument("--name", metavar="NAME", help="the run's name")
    parser.add_argument(
        "-w",
        "--workspace-name",
        dest="setting_workspace",
        metavar="NAME",
        help="default: the attached folder's",
    )
    parser.add_argument("--path", default=".", metavar="DIR", help="where to look for an attached folder [.]")
    add_settings(
        parser, ("home", "url", "token", "provide_azureml", "provide_mlflow", "follow_tools", "log_level")
    )
    parser.add_argument(
        "words", nargs=argparse.REMAINDER, metavar="COMMAND", help="the command and its arguments"
    )


def execute(options: argparse.Namespace) -> int:
    """`runstream exec -- COMMAND`."""
    from runstream.core.experiment import Experiment
    from runstream.exceptions import UserErrorException
    from runstream.execution import execute as carry_out

    command = options.words[1:] if options.words[:1] == ["--"] else options.words
    if not command:
        raise UserErrorException(
            "no command to run; expected one behind --: runstream exec -- python train.py"
        )
    name = options.experiment or attached_experiment(Path(options.path)) or Path.cwd().name
    return carry_out(Experiment(workspace_of(options), name), command, options.name)
