"""The command line: `runstream …`. Parsing only; every command imports what it needs when it runs."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from runstream_schemas.errors import RunstreamError
from runstream_schemas.settings import PREFIX, Settings, read_config

from . import __version__
from .submit_commands import add_commands

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

Command = Callable[[argparse.Namespace], int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Returns:
        Exit code: 0 done, 1 failed (the reason is on stderr), 2 a wrong command line, 3 `status` found no service.
    """
    parser = build_parser()
    options = parser.parse_args(arguments)
    command: Command | None = getattr(options, "command", None)
    if command is None:
        options.help_of.print_help()
        return 2
    try:
        return command(options)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # `runstream sql … | head`: the reader has what it wanted.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except RunstreamError as error:
        # Errors of the reproduced API have their class and details in str().
        print(f"error: {getattr(error, 'message', error)}", file=sys.stderr)
        return 1
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in ("runstream", "runstream_schemas"):
            raise
        print(f"error: this command needs {error.name}; `pip install 'runstream[server]'`", file=sys.stderr)
        return 1


def settings_of(options: argparse.Namespace) -> Settings:
    """The settings a command line asks for: its options over the environment over config.json over the defaults."""
    given = {item.name: getattr(options, f"setting_{item.name}", None) for item in fields(Settings)}
    for name, value in _configured().items():
        if given[name] is None and not os.environ.get(PREFIX + name.upper()):
            given[name] = value
    return Settings.load(**given)


def _configured() -> dict[str, Any]:
    """Settings of the config file that `Workspace.from_config()` would find from here."""
    from .workspace_config import CONFIG_FILES, search

    try:
        found = _search(Path.cwd(), _CONFIG_FILES)
    except FileNotFoundError:  # the working directory was deleted
        found = None
    if found is None:
        return {}
    file, named = found
    name = named.get("workspace_name")
    return {**({"workspace": name} if name else {}), **read_config(file)}


def _settings_options(parser: argparse.ArgumentParser, names: Sequence[str] | None = None) -> None:
    group = parser.add_argument_group("settings")
    for item in fields(Settings):
        if names is not None and item.name not in names:
            continue
        text = item.metadata["doc"].replace("%", "%%")
        if item.default not in ("", None):
            text += f" [{item.default}]"
        option = "--" + item.name.replace("_", "-")
        destination = f"setting_{item.name}"
        if isinstance(item.default, bool):
            group.add_argument(
                option, dest=destination, action=argparse.BooleanOptionalAction, help=text, default=None
            )
        else:
            # Text, and not the setting's type: `Settings.load` reads it and says what it expected.
            group.add_argument(option, dest=destination, metavar=_metavar(item.default), help=text)


def _metavar(default: object) -> str:
    return {int: "N", float: "SECONDS"}.get(type(default), "TEXT")


def _output_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-o", "--output", choices=("table", "json", "tsv", "yaml"), default="table", help="format [table]"
    )
    parser.add_argument(
        "--query", metavar="JMESPATH", help="pick a part: --query '[?status==`Failed`].run_id'"
    )


class _Group:
    """Adds commands to a parser, in one line each."""

    def __init__(self, parser: argparse.ArgumentParser, title: str) -> None:
        parser.set_defaults(help_of=parser)
        self._commands = parser.add_subparsers(title=title, metavar="COMMAND", dest=argparse.SUPPRESS)

    def add(
        self, name: str, command: Command | None, line: str, more: str = "", **keywords: Any
    ) -> argparse.ArgumentParser:
        parser = self._commands.add_parser(
            name, help=line, description=f"{line[0].upper()}{line[1:]}. {more}".strip(),
            formatter_class=argparse.RawDescriptionHelpFormatter, **keywords,
        )  # fmt: skip
        if command is not None:
            parser.set_defaults(command=command)
        return parser


WHERE = ("home", "url", "token", "workspace", "log_level")
"""Settings that say which service a reading command asks."""


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = argparse.ArgumentParser(
        prog="runstream",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"runstream {__version__}")
    group = _Group(parser, "commands")
    _service_commands(group)
    _reading_commands(group)
    _role_commands(group)
    return parser


def _service_commands(group: _Group) -> None:
    up = group.add("up", _lazily("service_commands", "up"), "start the service of a home; prints its address")
    up.add_argument(
        "--foreground", action="store_true", help="stay in this terminal until Ctrl-C, logging to it"
    )
    up.add_argument("--started-by-itself", action="store_true", help=argparse.SUPPRESS)
    up.add_argument(
        "--wait", type=float, default=60.0, metavar="SECONDS", help="longest wait until it is ready [60]"
    )
    _settings_options(up, [item.name for item in fields(Settings) if item.name != "kafka"])
    up.add_argument(
        "--kafka", dest="setting_kafka", nargs="?", const="here", metavar="HOST:PORT",
        help="the cluster's shape on this machine: agent, consumer, compactor and server as processes around a real Kafka, "
        "started from its jars, or the one at HOST:PORT",
    )  # fmt: skip

    down = group.add("down", _lazily("service_commands", "down"), "end the service of a home, cleanly")
    _settings_options(down, ("home",))
    status = group.add(
        "status", _lazily("service_commands", "status"), "say what runs where; exit code 3 when nothing does"
    )
    _output_options(status)
    _settings_options(status, WHERE)
    opened = group.add(
        "open", _lazily("service_commands", "open_page"), "open the dashboard; prints its address"
    )
    _settings_options(opened, WHERE)
    doctor = group.add(
        "doctor", _lazily("doctor", "command"), "check everything runstream needs, and say what to do"
    )
    _output_options(doctor)
    _settings_options(doctor)
    demo = group.add("demo", _lazily("service_commands", "demo"), "run a sweep of 20 Ridge regressions")
    _settings_options(demo, WHERE)


def _reading_commands(group: _Group) -> None:
    sql = group.add(
        "sql", _lazily("reading_commands", "sql"), "answer a SQL query over all metrics, runs and tables",
        "Views: metrics(experiment, run_id, name, step, time, value, text), rows(...), runs(...), summaries(...).",
    )  # fmt: skip
    sql.add_argument(
        "statement", help='in DuckDB\'s dialect: "SELECT name, count(*) FROM metrics GROUP BY name"'
    )
    _output_options(sql)
    _settings_options(sql, WHERE)

    run = _Group(group.add("run", None, "list, show, submit and cancel runs"), "commands about runs")
    listed = run.add("list", _lazily("reading_commands", "run_list"), "list runs, newest first")
    listed.add_argument("-e", "--experiment", help="only of this experiment")
    listed.add_argument("--status", help="only with this status: Running, Completed, Failed, Canceled ...")
    listed.add_argument(
        "--tag", action="append", default=[], metavar="KEY[=VALUE]", help="only with this tag; repeatable"
    )
    listed.add_argument(
        "--parent", metavar="RUN_ID|none", help="only children of this run; none: only top-level runs"
    )
    listed.add_argument("--order", help="e.g. -start_time, or metric:loss:min [-start_time]")
    listed.add_argument("-n", "--last", type=int, default=50, metavar="N", help="most runs to list [50]")
    _output_options(listed)
    _settings_options(listed, WHERE)
    shown = run.add(
        "show", _lazily("reading_commands", "run_show"), "show a run, its tags and its metrics' summaries"
    )
    shown.add_argument("run_id")
    _output_options(shown)
    _settings_options(shown, WHERE)

    add_commands(run.add, lambda parser: _settings_options(parser, WHERE))

    experiment = _Group(group.add("experiment", None, "list experiments"), "commands about experiments")
    experiments = experiment.add("list", _lazily("reading_commands", "experiment_list"), "list experiments")
    _output_options(experiments)
    _settings_options(experiments, WHERE)


def _role_commands(group: _Group) -> None:
    sync = group.add(
        "sync", _lazily("role_commands", "sync"), "store what lies in a spool directory, then end",
        "For a laptop that was offline, or a node without a network whose spool was copied here.",
    )  # fmt: skip
    sync.add_argument("directory", metavar="DIR", help="a spool directory, or a home that has one")
    _settings_options(sync)
    compact = group.add("compact", _lazily("role_commands", "compact"), "write ended runs to Parquet now")
    _settings_options(compact)
    for name, line in (
        ("agent", "role: send this node's spools to Kafka"),
        ("consumer", "role: store what arrives in Postgres"),
        ("compactor", "role: move stored points to Parquet"),
        ("server", "role: answer HTTP: API and dashboard"),
    ):
        role = group.add(name, _lazily("role_commands", name), line, "Runs until SIGTERM or Ctrl-C.")
        role.add_argument("--parent", type=int, help=argparse.SUPPRESS)
        role.add_argument("--started-by-itself", action="store_true", help=argparse.SUPPRESS)
        _settings_options(role)


def _lazily(module: str, function: str) -> Command:
    def command(options: argparse.Namespace) -> int:
        from importlib import import_module

        chosen: Command = getattr(import_module(f".{module}", __package__), function)
        return chosen(options)

    return command
