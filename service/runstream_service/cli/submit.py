"""Commands about submitted runs: run submit-script, run cancel, run download-logs, run monitor-logs."""

from __future__ import annotations

import argparse
import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .documents import run_document, upright
from .folder import attached_experiment
from .options import Group, add_experiment, add_global, add_run, named_run, workspace_of
from .output import show

if TYPE_CHECKING:
    from runstream.core.run import Run
    from runstream.core.runconfig import RunConfiguration


def add_commands(group: Group) -> None:
    """Add the commands of this module to `runstream run`."""
    submit = group.add(
        "submit-script",
        "run a script in the background, from a copy of its directory",
        submit_script,
        "Prints its log until it has ended, then the run, unless --async is given. Everything after the script is the\n"
        "script's. With -o or --query the log goes to stderr, so that stdout holds the run alone.",
    )
    submit.add_argument(
        "-c",
        "--run-configuration-name",
        dest="configuration",
        metavar="NAME",
        help="run configuration in .azureml of the source directory [local, if it is there]",
    )
    add_experiment(submit, "default: the attached folder's, else the directory's name")
    submit.add_argument("--source-directory", default=".", metavar="DIR", help="directory that is copied [.]")
    submit.add_argument("--ct", "--target", dest="target", metavar="NAME", help="compute target [local]")
    submit.add_argument(
        "-d", "--conda-dependencies", dest="conda", metavar="FILE", help="conda specification"
    )
    submit.add_argument(
        "--async", dest="at_once", action="store_true", help="return at once, printing the run"
    )
    add_global(submit)
    submit.add_argument("script", nargs="?", help="path below the source directory")
    submit.add_argument("arguments", nargs=argparse.REMAINDER, metavar="ARGUMENT", help="the script's")

    for name, function, line in (
        ("cancel", cancel, "cancel a run, and end its processes on this machine"),
        ("download-logs", download_logs, "write a run's logs to a directory"),
        ("monitor-logs", monitor_logs, "print a run's log until it has ended, then the run"),
    ):
        command = group.add(name, line, function)
        add_run(command)
        add_experiment(command, "accepted; ids are looked up in the whole workspace")
        if function is download_logs:
            command.add_argument("-d", "--output-dir", required=True, metavar="DIR", help="where to")
        add_global(command)


def submit_script(options: argparse.Namespace) -> int:
    """`runstream run submit-script SCRIPT ARGUMENT ...`."""
    from runstream.core.experiment import Experiment
    from runstream.core.script_run_config import ScriptRunConfig
    from runstream.exceptions import ActivityFailedException, UserErrorException

    source = Path(options.source_directory)
    configuration = _configuration(options, source)
    script = options.script or configuration.script
    if not script:
        raise UserErrorException("no script: name one, or a run configuration that has one with -c")
    arguments = options.arguments[1:] if options.arguments[:1] == ["--"] else options.arguments
    config = ScriptRunConfig(source, script, arguments or None, run_config=configuration)
    name = options.experiment or attached_experiment(Path(options.path)) or source.absolute().name
    run = Experiment(workspace_of(options), name).submit(config)
    failure = ""
    if not options.at_once:
        try:
            with _log_apart(options):
                run.wait_for_completion(show_output=True, wait_post_processing=True)
        except ActivityFailedException as error:
            failure = error.message
    _show(options, run)
    if failure:
        print(failure, file=sys.stderr)
    return 1 if failure else 0


def _show(options: argparse.Namespace, run: Run) -> None:
    from runstream.client.addresses import quoted
    from runstream.client.reading import settle

    settle(run._client, run.id)
    document = run_document(run._client.get_json(f"/api/v1/runs/{quoted(run.id)}"))
    show(options, document, lambda: upright(document))


def _log_apart(options: argparse.Namespace) -> contextlib.AbstractContextManager[Any]:
    """The log on stderr where stdout is to be read by a program."""
    if options.output or options.query:
        return contextlib.redirect_stdout(sys.stderr)
    return contextlib.nullcontext()


def _configuration(options: argparse.Namespace, source: Path) -> RunConfiguration:
    from runstream.core.conda_dependencies import CondaDependencies
    from runstream.core.runconfig import RunConfiguration

    configuration = (
        RunConfiguration.load(source, options.configuration) if options.configuration else RunConfiguration()
    )
    if options.target:
        configuration.target = options.target
    if options.conda:
        configuration.environment.python.conda_dependencies = CondaDependencies(options.conda)
    return configuration


def cancel(options: argparse.Namespace) -> int:
    """`runstream run cancel -r RUN_ID`."""
    from runstream.client.records import TERMINAL
    from runstream.exceptions import UserErrorException

    run = named_run(options)
    if run.status in TERMINAL - {"Canceled"}:
        raise UserErrorException(f"run {run.id} is {run.status} already; there is nothing to cancel")
    run.cancel()
    run.flush(30)
    print("Experiment run canceled successfully.")
    return 0


def download_logs(options: argparse.Namespace) -> int:
    """`runstream run download-logs -r RUN_ID -d DIR`."""
    show(options, named_run(options).get_all_logs(options.output_dir))
    return 0


def monitor_logs(options: argparse.Namespace) -> int:
    """`runstream run monitor-logs -r RUN_ID`."""
    run = named_run(options)
    with _log_apart(options):
        run.wait_for_completion(show_output=True, raise_on_error=False)
    _show(options, run)
    return 0
