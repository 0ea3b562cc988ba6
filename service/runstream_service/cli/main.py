"""The command line: `runstream …`. Each group of commands is a module, which is loaded when a command line names it."""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

from runstream.printable import printable
from runstream.version import __version__
from runstream_schemas.errors import RunstreamError, SettingsError

from .options import Command, Group

DESCRIPTION = (
    "Experiment tracking at memory speed: run.log() costs less than a microsecond and loses nothing."
)

EXAMPLES = """\
first steps:
  runstream demo                       a real sweep: 20 alphas of a Ridge regression, each a run with metrics and a model
  runstream up                         start the service of your home in the background, print its address
  runstream open                       open the dashboard
  runstream run list                   the newest runs
  runstream sql "SELECT experiment, run_id, min(value) FROM metrics WHERE name = 'loss' GROUP BY ALL"
  runstream doctor                     something does not work: what, and what to do

in Python:
  from runstream import Workspace, Experiment
  run = Experiment(Workspace.from_config(), "ridge").start_logging()
  run.log("mse", 0.3)
  run.complete()

Training code needs none of these commands: the service starts by itself on first use and ends when idle.
Every setting is an environment variable too: --home is RUNSTREAM_HOME, --kafka-username RUNSTREAM_KAFKA_USERNAME.
"""

COMMANDS = (
    ("up", "service:add_up", "start the service of a home; prints its address"),
    ("down", "service:add_down", "end the service of a home, cleanly"),
    ("status", "service:add_status", "say what runs where; exit code 3 when nothing does"),
    ("open", "service:add_open", "open the dashboard, or a run's page; prints its address"),
    ("doctor", "doctor:add_doctor", "check everything runstream needs, and say what to do"),
    ("demo", "service:add_demo", "run a sweep of 20 Ridge regressions"),
    ("sql", "sql:add_sql", "answer a SQL query over all metrics, runs and tables"),
    (
        "exec",
        "execution:add_exec",
        "run a command as a run: its log, exit status, source, and what it records",
    ),
    ("run", "runs:add_run_commands", "list, show, tag, submit and cancel runs"),
    ("experiment", "experiments:add_experiment_commands", "list experiments"),
    (
        "alerts",
        "alerts:add_alert_commands",
        "tell of runs by mail, Slack or webhook: rules and what they raised",
    ),
    (
        "dead-letters",
        "dead_letters:add_dead_letter_commands",
        "what could not be stored: list it, look at it, store it once more",
    ),
    ("folder", "folder:add_folder_commands", "attach a folder to a workspace"),
    ("import", "imports:add_import_commands", "take over what other tools have recorded"),
    ("export", "exports:add_export_commands", "copy runs into formats that other tools read"),
    ("migrate", "migrate:add_migrate", "change the imports of Azure ML SDK v1 scripts and notebooks"),
    ("token", "tokens:add_token_commands", "give out tokens of a server, and take them back"),
    ("completion", "completion:add_completion", "print what makes a shell complete these commands"),
    ("backup", "backup:add_backup", "copy database and store, consistently, while everything runs"),
    ("restore", "backup:add_restore", "restore a backup into an empty home, or an empty database and store"),
    ("sync", "roles:add_sync", "store what lies in a spool directory, then end"),
    ("compact", "roles:add_compact", "write ended runs to Parquet now"),
    ("agent", "roles:add_agent", "role: send this node's spools to Kafka"),
    ("consumer", "roles:add_consumer", "role: store what arrives in Postgres"),
    ("compactor", "roles:add_compactor", "role: move stored points to Parquet"),
    ("server", "roles:add_server", "role: answer HTTP: API and dashboard"),
)
"""Name, `module:function` that adds its options or commands, and what it does, in the order of the help."""

INTERRUPTED = 130
"""Exit code after Ctrl-C, as of a process that SIGINT ended."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Returns:
        Exit code: 0 done, 1 failed (the reason is on stderr), 2 a wrong command line, 3 `status` found no service,
        130 interrupted by Ctrl-C.
    """
    _open_streams()
    try:
        try:
            return _main(arguments)
        finally:
            # Not when the interpreter ends, which tells of a closed pipe or a full disk in its own way.
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
    except BrokenPipeError:
        # `runstream sql … | head`: the reader has what it wanted.
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        return 0
    except OSError as error:
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            print(f"error: {error.strerror}", file=sys.stderr)
        return 1


def _open_streams() -> None:
    """Streams that are there, and take any letter: a terminal or a file without umlauts gets question marks."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # it was closed; the next file to be opened would take its place
            flags = os.O_RDONLY if mode == "r" else os.O_WRONLY
            stream = open(os.open(os.devnull, flags), mode, encoding="utf-8", closefd=False)  # noqa: SIM115 - for good
            setattr(sys, name, stream)
    for opened, errors in ((sys.stdout, "replace"), (sys.stderr, "backslashreplace")):
        if isinstance(opened, io.TextIOWrapper):
            opened.reconfigure(errors=errors)


def _main(arguments: Sequence[str] | None) -> int:
    options = argparse.Namespace()
    try:
        if "_ARGCOMPLETE" in os.environ:
            from .completion import complete

            complete(build_parser(os.environ.get("COMP_LINE", "").split()[1:]))
        words = sys.argv[1:] if arguments is None else arguments
        options = build_parser(words).parse_args(words)
        command: Command | None = getattr(options, "command", None)
        if command is None:
            options.help_of.print_help()
            return 2
        _prepare(options)
        return command(options)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        raise
    except RunstreamError as error:
        if getattr(options, "debug", False):
            raise
        # Errors of the reproduced API have their class and details in str().
        print(f"error: {_cut(printable(str(getattr(error, 'message', error))))}", file=sys.stderr)
        return INTERRUPTED if isinstance(error.__context__, KeyboardInterrupt) else 1
    except OSError as error:
        if getattr(options, "debug", False):
            raise
        where = f"{error.filename}: " if error.filename else ""
        print(f"error: {_cut(f'{where}{error.strerror or error}')}", file=sys.stderr)
        return 1
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in ("runstream", "runstream_schemas"):
            raise
        print(f"error: this command needs {error.name}; `pip install 'runstream[server]'`", file=sys.stderr)
        return 1


_MOST_SAID = 4000


def _cut(text: str) -> str:
    """An error's text; of one that repeats what was given at length, the beginning and the end."""
    half = _MOST_SAID // 2
    return text if len(text) <= _MOST_SAID else f"{text[:half]} ... {text[-half:]}"


class Parser(argparse.ArgumentParser):
    """Says what is wrong in a bounded text."""

    def error(self, message: str) -> NoReturn:
        """Print the usage and the message; exit code 2."""
        super().error(_cut(message))


def _prepare(options: argparse.Namespace) -> None:
    """What holds for every command: found wrong before anything is done."""
    file = getattr(options, "output_metadata_file", None)
    if file and os.path.lexists(file):
        raise SettingsError(f"--output-metadata-file {file}: there is such a file already; name a new one")
    if file and not os.path.isdir(os.path.dirname(file) or "."):
        raise SettingsError(f"--output-metadata-file {file}: there is no such directory; make it first")
    debug, verbose = getattr(options, "debug", False), getattr(options, "verbose", False)
    if debug or verbose or getattr(options, "only_show_errors", False):
        import logging

        level = logging.DEBUG if debug else logging.INFO if verbose else logging.ERROR
        logging.basicConfig(level=level, format="%(levelname)s %(name)s: %(message)s")


def build_parser(words: Sequence[str] | None = None) -> argparse.ArgumentParser:
    """The command line.

    Args:
        words: what is to be parsed: only the command it names gets its options, whose module is all that is loaded then.
            None: every command gets them.
    """
    parser = Parser(
        prog="runstream",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"runstream {__version__}")
    group = Group(parser, "commands")
    # No option of `runstream` itself takes a value, so the first word that is no option is the command.
    chosen = next((word for word in words or () if not word.startswith("-")), "")
    for name, adder, line in COMMANDS:
        command = group.add(name, line)
        if words is None or name == chosen:
            module, _, function = adder.partition(":")
            getattr(import_module(f".{module}", __package__), function)(command)
    return parser
