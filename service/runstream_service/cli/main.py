"""The command line: `runstream …`. Parsing only; every command imports what it needs when it runs."""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from runstream.printable import printable
from runstream.version import __version__
from runstream_schemas.errors import RunstreamError, SettingsError
from runstream_schemas.settings import PREFIX, Settings
from runstream_schemas.status import STATUSES

from .submit import add_commands

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
        parser = build_parser()
        if "_ARGCOMPLETE" in os.environ:
            from .completion import complete

            complete(parser)
        options = parser.parse_args(arguments)
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
        print(f"error: {printable(str(getattr(error, 'message', error)))}", file=sys.stderr)
        return INTERRUPTED if isinstance(error.__context__, KeyboardInterrupt) else 1
    except OSError as error:
        if getattr(options, "debug", False):
            raise
        where = f"{error.filename}: " if error.filename else ""
        print(f"error: {where}{error.strerror or error}", file=sys.stderr)
        return 1
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in ("runstream", "runstream_schemas"):
            raise
        print(f"error: this command needs {error.name}; `pip install 'runstream[server]'`", file=sys.stderr)
        return 1


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


def settings_of(options: argparse.Namespace) -> Settings:
    """The settings a command line asks for: its options over the environment over config.json over the defaults."""
    from runstream.home.workspace_config import CONFIG_FILES, search, settings_with

    given = {item.name: getattr(options, f"setting_{item.name}", None) for item in fields(Settings)}
    found = search(Path(getattr(options, "path", ".")), CONFIG_FILES)
    if found is None:
        return settings_with(None, given)
    file, named = found
    if given["workspace"] is None and not os.environ.get(f"{PREFIX}WORKSPACE"):
        given["workspace"] = named.get("workspace_name")
    return settings_with(file, given)


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
        text = f"{line[0].upper()}{line[1:]}."
        parser = self._commands.add_parser(
            name, help=line, description=f"{text}\n{more}" if more else text,
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
    _run_commands(group)
    _migrate_command(group)
    _token_commands(group)
    completion = group.add(
        "completion", _lazily("completion", "command"), "print what makes a shell complete these commands",
        "bash: eval \"$(runstream completion bash)\" in ~/.bashrc; zsh: the same in ~/.zshrc; "
        "fish: runstream completion fish > ~/.config/fish/completions/runstream.fish",
    )  # fmt: skip
    completion.add_argument("shell", choices=("bash", "zsh", "fish"))
    _role_commands(group)
    return parser


def _service_commands(group: _Group) -> None:
    up = group.add("up", _lazily("service", "up"), "start the service of a home; prints its address")
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

    down = group.add("down", _lazily("service", "down"), "end the service of a home, cleanly")
    _settings_options(down, ("home",))
    status = group.add(
        "status", _lazily("service", "status"), "say what runs where; exit code 3 when nothing does"
    )
    _output_options(status)
    _settings_options(status, WHERE)
    opened = group.add(
        "open", _lazily("service", "open_page"), "open the dashboard, or a run's page; prints its address"
    )
    opened.add_argument("run", nargs="?", metavar="RUN", help="id of a run whose page to open")
    _settings_options(opened, WHERE)
    doctor = group.add(
        "doctor", _lazily("doctor", "command"), "check everything runstream needs, and say what to do"
    )
    _output_options(doctor)
    _settings_options(doctor)
    demo = group.add("demo", _lazily("service", "demo"), "run a sweep of 20 Ridge regressions")
    _settings_options(demo, WHERE)


def _token_commands(group: _Group) -> None:
    tokens = _Group(group.add("token", None, "give out tokens of a server, and take them back"), "commands")
    create = tokens.add(
        "create", _lazily("tokens", "create"), "make a token and print it: it is shown once",
        "read: look at everything; write: also create and change; admin: also delete, and give out tokens.",
    )  # fmt: skip
    create.add_argument("name", help="what to call it: who or what it is for")
    create.add_argument("--role", choices=("read", "write", "admin"), required=True)
    create.add_argument("--only-workspace", metavar="NAME", help="for this workspace only; default: for all")
    create.add_argument(
        "--days", type=float, metavar="N", help="good for so many days; default: until revoked"
    )
    rotate = tokens.add("rotate", _lazily("tokens", "rotate"), "replace a token by a new one, and print that")
    rotate.add_argument("name")
    rotate.add_argument(
        "--keep-minutes", type=float, default=0.0, metavar="N", help="how long the old one stays good [0]"
    )
    revoke = tokens.add("revoke", _lazily("tokens", "revoke"), "take a token back")
    revoke.add_argument("name")
    listed = tokens.add("list", _lazily("tokens", "list_"), "list tokens, without the secrets")
    sessions = tokens.add("sessions", _lazily("tokens", "sessions"), "list the browsers that are signed in")
    sign_out = tokens.add("sign-out", _lazily("tokens", "sign_out"), "sign a browser out")
    sign_out.add_argument("id", metavar="ID", help="of `runstream token sessions`")
    for parser in (create, rotate, revoke, listed, sessions, sign_out):
        if parser not in (revoke, sign_out):
            _output_options(parser)
        _settings_options(parser, WHERE)


def _reading_commands(group: _Group) -> None:
    sql = group.add(
        "sql", _lazily("sql", "sql"), "answer a SQL query over all metrics, runs and tables",
        "Views: metrics(experiment, run_id, name, step, time, value, text), rows(...), runs(...), summaries(...).",
    )  # fmt: skip
    sql.add_argument(
        "statement", help='in DuckDB\'s dialect: "SELECT name, count(*) FROM metrics GROUP BY name"'
    )
    _output_options(sql)
    _settings_options(sql, WHERE)


def _azure_options(parser: argparse.ArgumentParser) -> None:
    """Options every command has that the original's CLI has too, under its names."""
    group = parser.add_argument_group("workspace and output")
    group.add_argument("-w", "--workspace-name", dest="setting_workspace", metavar="NAME",
                       help="default: that of the folder attached at --path, else `default`")  # fmt: skip
    group.add_argument("--path", default=".", metavar="DIR", help="where to look for an attached folder [.]")
    group.add_argument("-g", "--resource-group", metavar="NAME", help="accepted; nothing is looked up by it")
    group.add_argument(
        "--subscription",
        "--subscription-id",
        dest="subscription_id",
        metavar="ID",
        help="accepted; nothing is looked up by it",
    )
    group.add_argument("-o", "--output", choices=("table", "json", "tsv", "yaml"),
                       help="format [table on a terminal, json elsewhere]")  # fmt: skip
    group.add_argument(
        "--query", metavar="JMESPATH", help="pick a part: --query '[?status==`Failed`].run_id'"
    )
    group.add_argument(
        "-t", "--output-metadata-file", metavar="FILE", help="write the result to FILE too, as JSON"
    )
    group.add_argument("--debug", action="store_true", help="say more on stderr; errors with their traceback")
    group.add_argument("--verbose", action="store_true", help="say more on stderr")
    group.add_argument("--only-show-errors", action="store_true", help="no warnings on stderr")
    _settings_options(parser, ("home", "url", "token", "log_level"))
    if not any(action.dest == "experiment" for action in parser._actions):
        _experiment_option(parser, "accepted; ids are looked up in the whole workspace")


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


def _run_commands(group: _Group) -> None:
    run = _Group(
        group.add("run", None, "list, show, tag, submit and cancel runs", epilog=RUN_EXAMPLES),
        "commands about runs",
    )
    listed = run.add(
        "list", _lazily("runs", "run_list"), "list runs, newest first",
        "Only top-level runs, and those of the attached folder's experiment if there is one.",
    )  # fmt: skip
    listed.add_argument("expression", nargs="?", type=_expression, metavar="JMESPATH",
                        help="the same as --query, for what begins with a bracket")  # fmt: skip
    _experiment_option(listed, "only of this experiment")
    listed.add_argument(
        "--all-experiments", action="store_true", help="also when the folder is attached to one"
    )
    listed.add_argument("-n", "--last", type=int, default=10, metavar="N", help="most runs to list [10]")
    listed.add_argument("--status", action="extend", nargs="+", default=[], choices=STATUSES, metavar="STATUS",
                        help="only with one of these: " + ", ".join(STATUSES))  # fmt: skip
    listed.add_argument("--tag", "--tags", dest="tags", action="extend", nargs="+", default=[], metavar="KEY[=VALUE]",
                        help="only with all of these tags")  # fmt: skip
    listed.add_argument(
        "--target", "--compute-target-name", dest="target", metavar="NAME", help="only on this target"
    )
    listed.add_argument("--parent", "--parent-run-id", dest="parent", metavar="RUN_ID",
                        help="only children of this run; any: children and top-level runs alike")  # fmt: skip
    listed.add_argument("--include-children", action="store_true", help="the same as --parent any")
    listed.add_argument(
        "--pipeline-run-id", metavar="RUN_ID", help="only descendants of this run, at any depth"
    )
    listed.add_argument(
        "--search", metavar="TEXT", help="as in the dashboard's search box: 'loss.min<0.1 since:7d'"
    )
    listed.add_argument("--order", help="e.g. -start_time, or metric:loss:min [-start_time]")
    listed.add_argument(
        "--minimal", action="store_true", help="only id, type, status, times, target and tags"
    )
    _azure_options(listed)

    shown = run.add("show", _lazily("runs", "run_show"), "show a run, its tags and its metrics' summaries")
    shown.add_argument("run_id", nargs="?", help="the run")
    _run_option(shown, required=False)
    _azure_options(shown)

    update = run.add("update", _lazily("runs", "run_update"), "change a run's tags, name or description")
    _run_option(update)
    update.add_argument(
        "--add-tag", action="extend", nargs="+", default=[], metavar="KEY[=VALUE]", help="set tags"
    )
    update.add_argument(
        "--remove-tag", action="extend", nargs="+", default=[], metavar="KEY", help="remove tags"
    )
    update.add_argument("--display-name", metavar="TEXT", help="name for people")
    update.add_argument("--description", metavar="TEXT", help="Markdown")
    _azure_options(update)

    delete = run.add("delete", _lazily("runs", "run_delete"), "delete runs with their descendants, for good")
    delete.add_argument("run_ids", nargs="+", metavar="RUN_ID", help="the runs")
    delete.add_argument("--force", action="store_true", help="also runs that have not ended")
    delete.add_argument("-y", "--yes", action="store_true", help="do not ask")
    _azure_options(delete)

    files = run.add("files", _lazily("runs", "run_files"), "list a run's files")
    download = run.add("download", _lazily("runs", "run_download"), "write a run's files to a directory")
    download.add_argument("-d", "--output-dir", required=True, metavar="DIR", help="where to")
    for command in (files, download):
        _run_option(command)
        command.add_argument("--prefix", default="", metavar="PATH", help="only those below, e.g. outputs/")
        _azure_options(command)

    add_commands(run.add, _run_option, _experiment_option, _azure_options)

    experiment = _Group(group.add("experiment", None, "list experiments"), "commands about experiments")
    experiments = experiment.add("list", _lazily("runs", "experiment_list"), "list experiments")
    _azure_options(experiments)
    folder = _Group(group.add("folder", None, "attach a folder to a workspace"), "commands about folders")
    attach = folder.add(
        "attach", _lazily("runs", "folder_attach"), "attach a folder to a workspace and an experiment",
        "Commands and Workspace.from_config() below it then need no names. Makes the folder if there is none.",
    )  # fmt: skip
    _experiment_option(attach, "default: the folder's name")
    _azure_options(attach)


def _run_option(parser: argparse.ArgumentParser, required: bool = True) -> None:
    parser.add_argument("-r", "--run", required=required, metavar="RUN_ID", help="the run").completer = (  # type: ignore[attr-defined]
        _completer("run_ids")
    )


def _experiment_option(parser: argparse.ArgumentParser, text: str) -> None:
    parser.add_argument(
        "-e", "--experiment-name", "--experiment", dest="experiment", metavar="NAME", help=text
    ).completer = (  # type: ignore[attr-defined]
        _completer("experiments")
    )


def _completer(function: str) -> Callable[..., list[str]]:
    def ask(**given: Any) -> list[str]:
        from . import completion

        found: list[str] = getattr(completion, function)(**given)
        return found

    return ask


def _migrate_command(group: _Group) -> None:
    migrate = group.add(
        "migrate", _lazily("migrate", "command"), "change the imports of Azure ML SDK v1 scripts and notebooks",
        "Prints a diff and what is not supported, with its place and what to do instead; writes nothing without --write.",
    )  # fmt: skip
    migrate.add_argument(
        "place", metavar="SCRIPT_OR_FOLDER", help="a .py or .ipynb file, or a folder of them"
    )
    migrate.add_argument("--write", action="store_true", help="change the files")
    _output_options(migrate)


def _role_commands(group: _Group) -> None:
    sync = group.add(
        "sync", _lazily("roles", "sync"), "store what lies in a spool directory, then end",
        "For a laptop that was offline, or a node without a network whose spool was copied here.",
    )  # fmt: skip
    sync.add_argument("directory", metavar="DIR", help="a spool directory, or a home that has one")
    _settings_options(sync)
    compact = group.add("compact", _lazily("roles", "compact"), "write ended runs to Parquet now")
    _settings_options(compact)
    for name, line in (
        ("agent", "role: send this node's spools to Kafka"),
        ("consumer", "role: store what arrives in Postgres"),
        ("compactor", "role: move stored points to Parquet"),
        ("server", "role: answer HTTP: API and dashboard"),
    ):
        role = group.add(name, _lazily("roles", name), line, "Runs until SIGTERM or Ctrl-C.")
        role.add_argument("--parent", type=int, help=argparse.SUPPRESS)
        role.add_argument("--started-by-itself", action="store_true", help=argparse.SUPPRESS)
        _settings_options(role)


def _lazily(module: str, function: str) -> Command:
    def command(options: argparse.Namespace) -> int:
        from importlib import import_module

        chosen: Command = getattr(import_module(f".{module}", __package__), function)
        return chosen(options)

    return command
