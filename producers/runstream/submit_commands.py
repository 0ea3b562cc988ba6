"""Commands about submitted runs: run submit-script, run cancel, run download-logs, run monitor-logs."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .run import Run
    from .run_configuration import RunConfiguration
    from .workspace import Workspace

# Everything else is imported where it is used: this module is loaded whenever a command line is parsed.

Add = Callable[..., argparse.ArgumentParser]


def add_commands(add: Add, settings: Callable[[argparse.ArgumentParser], None]) -> None:
    """Add the commands to `runstream run`.

    Args:
        add: adds one: name, function, one line of help, more help.
        settings: adds the options that say which service is meant.
    """
    submit = add(
        "submit-script", submit_script, "run a script in the background, from a copy of its directory",
        "Prints its log until it has ended, unless --async is given. Everything after the script is the script's.",
    )  # fmt: skip
    submit.add_argument("-c", "--run-configuration-name", dest="configuration", metavar="NAME",
                        help="run configuration in .azureml of the source directory")  # fmt: skip
    submit.add_argument(
        "-e", "--experiment-name", dest="experiment", metavar="NAME", help="default: the directory's name"
    )
    submit.add_argument("--source-directory", default=".", metavar="DIR", help="directory that is copied [.]")
    submit.add_argument("--ct", "--target", dest="target", metavar="NAME", help="compute target [local]")
    submit.add_argument(
        "-d", "--conda-dependencies", dest="conda", metavar="FILE", help="conda specification"
    )
    submit.add_argument(
        "--async", dest="at_once", action="store_true", help="return at once, printing the run's id"
    )
    settings(submit)
    submit.add_argument("script", nargs="?", help="path below the source directory")
    submit.add_argument("arguments", nargs=argparse.REMAINDER, metavar="ARGUMENT", help="the script's")

    for name, function, line in (
        ("cancel", cancel, "cancel a run, and end its processes on this machine"),
        ("download-logs", download_logs, "write a run's logs to a directory"),
        ("monitor-logs", monitor_logs, "print a run's log until it has ended"),
    ):
        command = add(name, function, line)
        command.add_argument("-r", "--run", required=True, metavar="RUN_ID", help="the run")
        if function is download_logs:
            command.add_argument("-d", "--output-dir", required=True, metavar="DIR", help="where to")
        settings(command)


def submit_script(options: argparse.Namespace) -> int:
    """`runstream run submit-script SCRIPT ARGUMENT ...`."""
    from .exceptions import ActivityFailedException, UserErrorException
    from .experiment import Experiment
    from .script_run_config import ScriptRunConfig

    source = Path(options.source_directory)
    configuration = _configuration(options, source)
    script = options.script or configuration.script
    if not script:
        raise UserErrorException("no script: name one, or a run configuration that has one with -c")
    arguments = options.arguments[1:] if options.arguments[:1] == ["--"] else options.arguments
    config = ScriptRunConfig(source, script, arguments or None, run_config=configuration)
    experiment = Experiment(_workspace(options), options.experiment or source.absolute().name)
    run = experiment.submit(config)
    if options.at_once:
        print(run.id)
        return 0
    try:
        run.wait_for_completion(show_output=True, wait_post_processing=True)
    except ActivityFailedException as error:
        import sys

        print(error.message, file=sys.stderr)
        return 1
    return 0


def _configuration(options: argparse.Namespace, source: Path) -> RunConfiguration:
    from .conda_dependencies import CondaDependencies
    from .run_configuration import RunConfiguration

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
    run = _run(options)
    run.cancel()
    run.flush(30)
    print("Experiment run canceled successfully.")
    return 0


def download_logs(options: argparse.Namespace) -> int:
    """`runstream run download-logs -r RUN_ID -d DIR`."""
    for path in _run(options).get_all_logs(options.output_dir):
        print(path)
    return 0


def monitor_logs(options: argparse.Namespace) -> int:
    """`runstream run monitor-logs -r RUN_ID`."""
    run = _run(options)
    run.wait_for_completion(show_output=True, raise_on_error=False)
    return 0


def _workspace(options: argparse.Namespace) -> Workspace:
    from .cli import settings_of
    from .workspace import Workspace

    settings: Any = settings_of(options)
    return Workspace(workspace_name=settings.workspace, _settings=settings)


def _run(options: argparse.Namespace) -> Run:
    return _workspace(options).get_run(options.run)
