"""Commands about submitted runs: run submit-script, submit-hyperdrive, cancel, download-logs and monitor-logs."""

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
    from runstream.core.experiment import Experiment
    from runstream.core.run import Run
    from runstream.core.runconfig import RunConfiguration
    from runstream.core.script_run_config import ScriptRunConfig


def add_commands(group: Group) -> None:
    """Add the commands of this module to `runstream run`."""
    submit = group.add(
        "submit-script",
        "run a script in the background, from a copy of its directory",
        submit_script,
        "Prints its log until it has ended, then the run, unless --async is given. Everything after the script is the\n"
        "script's. With -o or --query the log goes to stderr, so that stdout holds the run alone.",
    )
    _add_script(submit)
    hyperdrive = group.add(
        "submit-hyperdrive",
        "try hyperparameters out: run a script with many, as the children of one run",
        submit_hyperdrive,
        "The file says what varies, by which metric trials are judged, and how many there are. Prints a line for each\n"
        "trial that ends, then the run, unless --async is given. Everything after the script is the script's.",
    )
    hyperdrive.add_argument(
        "--hyperdrive-configuration-name",
        dest="hyperdrive",
        required=True,
        metavar="FILE",
        help="its path, or its name in .azureml of the source directory",
    )
    _add_script(hyperdrive)

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


def _add_script(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "-c",
        "--run-configuration-name",
        dest="configuration",
        metavar="NAME",
        help="run configuration in .azureml of the source directory [local, if it is there]",
    )
    add_experiment(command, "default: the attached folder's, else the directory's name")
    command.add_argument(
        "--source-directory", default=".", metavar="DIR", help="directory that is copied [.]"
    )
    command.add_argument("--ct", "--target", dest="target", metavar="NAME", help="compute target [local]")
    command.add_argument(
        "-d", "--conda-dependencies", dest="conda", metavar="FILE", help="conda specification"
    )
    command.add_argument(
        "--async", dest="at_once", action="store_true", help="return at once, printing the run"
    )
    add_global(command)
    command.add_argument("script", nargs="?", help="path below the source directory")
    command.add_argument("arguments", nargs=argparse.REMAINDER, metavar="ARGUMENT", help="the script's")


def submit_script(options: argparse.Namespace) -> int:
    """`runstream run submit-script SCRIPT ARGUMENT ...`."""
    config, experiment = _script(options)
    return _follow(options, experiment.submit(config))


def submit_hyperdrive(options: argparse.Namespace) -> int:
    """`runstream run submit-hyperdrive --hyperdrive-configuration-name FILE SCRIPT ARGUMENT ...`."""
    from runstream.train import hyperdrive
    from runstream.train.hyperdrive._configuration_file import config_of

    config, experiment = _script(options)
    run: hyperdrive.HyperDriveRun = experiment.submit(
        config_of(Path(options.source_directory), options.hyperdrive, config)
    )
    return _follow(options, run)


def _script(options: argparse.Namespace) -> tuple[ScriptRunConfig, Experiment]:
    """The script a command line names, and the experiment."""
    from runstream.core.experiment import Experiment
    from runstream.core.script_run_config import ScriptRunConfig
    from runstream.exceptions import UserErrorException

    source = Path(options.source_directory)
    configuration = _configuration(options, source)
    script = options.script or configuration.script
    if not script:
        raise UserErrorException("no script: name one, or a run configuration that has one with -c")
    arguments = options.arguments[1:] if options.arguments[:1] == ["--"] else options.arguments
    config = ScriptRunConfig(source, script, arguments or None, run_config=configuration)
    name = options.experiment or attached_experiment(Path(options.path)) or source.absolute().name
    return config, Experiment(workspace_of(options), name)


def _follow(options: argparse.Namespace, run: Run) -> int:
    """Print the log of a submitted run and then the run, or the run at once; the exit code."""
    from runstream.exceptions import ActivityFailedException

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
