"""Options that several commands have, and what stands behind them."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .output import FORMATS
from .settings import add_settings, settings_of

if TYPE_CHECKING:
    from runstream.core.run import Run
    from runstream.core.workspace import Workspace

Command = Callable[[argparse.Namespace], int]
"""Does what a parsed command line asks for, and returns the exit code."""


class Group:
    """Adds commands to a parser, in one line each."""

    def __init__(self, parser: argparse.ArgumentParser, title: str) -> None:
        parser.set_defaults(help_of=parser)
        self._commands = parser.add_subparsers(title=title, metavar="COMMAND", dest=argparse.SUPPRESS)

    def add(
        self, name: str, line: str, command: Command | None = None, more: str = ""
    ) -> argparse.ArgumentParser:
        """Add a command.

        Args:
            name: the word.
            line: what it does, as the list of commands says it.
            command: does it; None: a later call of `performs` says, or it is a group.
            more: further text of its help.
        """
        parser = self._commands.add_parser(
            name,
            help=line,
            description=f"{line[0].upper()}{line[1:]}.",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if command is not None:
            performs(parser, command, more)
        return parser


def performs(parser: argparse.ArgumentParser, command: Command, more: str = "") -> None:
    """Say what a command does: the function, and further text of its help."""
    parser.set_defaults(command=command)
    if more:
        parser.description = f"{parser.description}\n{more}"


def add_output(parser: argparse.ArgumentParser) -> None:
    """Add the options of a command that prints records."""
    parser.add_argument("-o", "--output", choices=FORMATS, default="table", help="format [table]")
    parser.add_argument(
        "--query", metavar="JMESPATH", help="pick a part: --query '[?status==`Failed`].run_id'"
    )


def add_global(parser: argparse.ArgumentParser) -> None:
    """Add the options every command has that the original's CLI has too, under its names."""
    group = parser.add_argument_group("workspace and output")
    group.add_argument(
        "-w",
        "--workspace-name",
        dest="setting_workspace",
        metavar="NAME",
        help="default: that of the folder attached at --path, else `default`",
    )
    group.add_argument("--path", default=".", metavar="DIR", help="where to look for an attached folder [.]")
    group.add_argument("-g", "--resource-group", metavar="NAME", help="accepted; nothing is looked up by it")
    group.add_argument(
        "--subscription",
        "--subscription-id",
        dest="subscription_id",
        metavar="ID",
        help="accepted; nothing is looked up by it",
    )
    group.add_argument("-o", "--output", choices=FORMATS, help="format [table on a terminal, json elsewhere]")
    group.add_argument(
        "--query", metavar="JMESPATH", help="pick a part: --query '[?status==`Failed`].run_id'"
    )
    group.add_argument(
        "-t", "--output-metadata-file", metavar="FILE", help="write the result to FILE too, as JSON"
    )
    group.add_argument("--debug", action="store_true", help="say more on stderr; errors with their traceback")
    group.add_argument("--verbose", action="store_true", help="say more on stderr")
    group.add_argument("--only-show-errors", action="store_true", help="no warnings on stderr")
    add_settings(parser, ("home", "url", "token", "log_level"))
    if not any(action.dest == "experiment" for action in parser._actions):
        add_experiment(parser, "accepted; ids are looked up in the whole workspace")


def add_run(parser: argparse.ArgumentParser, required: bool = True) -> None:
    """Add the option that names a run."""
    option = parser.add_argument("-r", "--run", required=required, metavar="RUN_ID", help="the run")
    option.completer = _completer("run_ids")  # type: ignore[attr-defined]


def add_experiment(parser: argparse.ArgumentParser, text: str) -> None:
    """Add the option that names an experiment, with this help."""
    option = parser.add_argument(
        "-e", "--experiment-name", "--experiment", dest="experiment", metavar="NAME", help=text
    )
    option.completer = _completer("experiments")  # type: ignore[attr-defined]


def _completer(function: str) -> Callable[..., list[str]]:
    def ask(**given: Any) -> list[str]:
        from . import completers

        names: list[str] = getattr(completers, function)(**given)
        return names

    return ask


def named_run(options: argparse.Namespace) -> Run:
    """The run of `-r`."""
    return workspace_of(options).get_run(options.run)


def workspace_of(options: argparse.Namespace) -> Workspace:
    """The workspace of `-w`, or of the attached folder."""
    from runstream.core.workspace import Workspace

    settings = settings_of(options)
    return Workspace(workspace_name=settings.workspace, _settings=settings)
