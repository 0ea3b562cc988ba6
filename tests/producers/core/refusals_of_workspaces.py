"""Calls of a workspace, an experiment and a submission that are refused: rows for test_refusals.py."""

from __future__ import annotations

from typing import Any

from tests.producers.core.refusals_of_runs import Place, Row

from runstream.core import (
    Environment,
    Experiment,
    Run,
    RunConfiguration,
    ScriptRun,
    ScriptRunConfig,
    Workspace,
)
from runstream.core.compute import ComputeTarget
from runstream.core.conda_dependencies import CondaDependencies
from runstream.core.runconfig import DockerConfiguration
from runstream.exceptions import (
    AzureMLException,
    ComputeTargetException,
    ExperimentExecutionException,
    RunEnvironmentException,
    ServiceException,
    UserErrorException,
    WorkspaceException,
)


def submit(place: Place, **changes: Any) -> ScriptRun:
    return place.experiment.submit(ScriptRunConfig(str(place.folder), **{"script": "train.py", **changes}))


READING: list[Row] = [
    ("unknown run", lambda p: Run(p.experiment, "unknown"), ServiceException, ["404", "unknown"]),
    (
        "unknown run of a workspace",
        lambda p: p.workspace.get_run("unknown"),
        ServiceException,
        ["404", "unknown"],
    ),
    (
        "run of another experiment",
        lambda p: Run(Experiment(p.workspace, "other"), p.run.id),
        ServiceException,
        ["404"],
    ),
    (
        "filter of tags",
        lambda p: p.experiment.get_runs(tags=["a"]),
        ValueError,
        ["Unknown filter type for run tags"],
    ),
    (
        "filter of children",
        lambda p: p.run.get_children(tags=["a"]),
        ValueError,
        ["Unknown filter type for run tags"],
    ),
    (
        "filter of properties",
        lambda p: Run.list(p.experiment, properties=5),
        ValueError,
        ["Unknown filter type for run properties"],
    ),
    (
        "filter of statuses",
        lambda p: Run.list(p.experiment, status="Done"),
        ValueError,
        ["Unknown run status 'Done'"],
    ),
    (
        "filter of times",
        lambda p: list(Run.list(p.experiment, started_from="noon")),
        ServiceException,
        ["400", "started_from"],
    ),
    ("length of a list", lambda p: len(p.experiment.get_runs()), TypeError, ["len()"]),
    (
        "another value of a property",
        lambda p: [p.run.add_properties({"author": name}) for name in ("me", "you")],
        ServiceException,
        ["Code: 400", "'author'", "cannot be changed"],
    ),
    ("a new name", lambda p: p.experiment.reactivate("other"), UserErrorException, ["new_name"]),
    (
        "an unknown experiment id",
        lambda p: Experiment.delete(p.workspace, "no"),
        UserErrorException,
        ["'no'"],
    ),
    (
        "a workspace that exists",
        lambda p: Workspace.create(p.workspace.name),
        WorkspaceException,
        ["already exists"],
    ),
    (
        "no config file",
        lambda p: Workspace.from_config(str(p.folder)),
        UserErrorException,
        ["config.json", "could not be found"],
    ),
    (
        "an unattached folder",
        lambda p: Experiment.from_directory(str(p.folder)),
        UserErrorException,
        ["attached to no experiment"],
    ),
    (
        "an unknown compute target",
        lambda p: ComputeTarget(p.workspace, "gpu"),
        ComputeTargetException,
        ["ComputeTargetNotFound"],
    ),
]


SUBMITTING: list[Row] = [
    (
        "no source directory",
        lambda p: ScriptRunConfig(""),
        UserErrorException,
        ["source_directory is required"],
    ),
    (
        "script and command",
        lambda p: ScriptRunConfig(".", "a.py", command="b"),
        UserErrorException,
        ["exclusive"],
    ),
    (
        "configuration with both",
        lambda p: RunConfiguration("a.py", command="b"),
        UserErrorException,
        ["exclusive"],
    ),
    (
        "no such script",
        lambda p: submit(p, script="no.py"),
        ExperimentExecutionException,
        ["script path doesn't exist. The script should be inside the project folder"],
    ),
    (
        "another kind of config",
        lambda p: p.experiment.submit({}),
        AzureMLException,
        ["Method to be submitted has not been registered."],
    ),
    (
        "show_output",
        lambda p: p.experiment.submit(ScriptRunConfig("."), show_output=True),
        TypeError,
        ["show_output"],
    ),
    (
        "submit id",
        lambda p: p.experiment.submit(ScriptRunConfig(str(p.folder), "train.py"), run_id="a/b"),
        UserErrorException,
        ["run id 'a/b'"],
    ),
    ("unknown target", lambda p: submit(p, compute_target="gpu"), ServiceException, ["gpu"]),
    ("arguments", lambda p: submit(p, arguments=5), UserErrorException, ["arguments"]),
    (
        "an image and nothing else",
        lambda p: submit(p, environment=Environment.from_docker_image("i", "python:3.11")),
        RunEnvironmentException,
        ["python:3.11", "outside of containers"],
    ),
    (
        "containers",
        lambda p: submit(p, docker_runtime_config=DockerConfiguration(True)),
        UserErrorException,
        ["use_docker"],
    ),
    (
        "target of another type",
        lambda p: setattr(RunConfiguration(), "target", 5),
        UserErrorException,
        ["target"],
    ),
    (
        "configuration without a name",
        lambda p: RunConfiguration().save(str(p.folder)),
        UserErrorException,
        ["name"],
    ),
    (
        "no such configuration",
        lambda p: RunConfiguration.load(str(p.folder), "no"),
        UserErrorException,
        ["no.runconfig"],
    ),
    ("environment name", lambda p: Environment(5), TypeError, ["Environment name"]),
    ("environment keyword", lambda p: Environment("a", unknown=1), TypeError, ["unknown"]),
    (
        "no conda file",
        lambda p: Environment.from_conda_specification("a", "no.yml"),
        FileNotFoundError,
        ["no.yml"],
    ),
    (
        "no requirements",
        lambda p: Environment.from_pip_requirements("a", "no.txt"),
        FileNotFoundError,
        ["no.txt"],
    ),
    (
        "no specification",
        lambda p: CondaDependencies(p.folder / "bad.yml"),
        UserErrorException,
        ["bad.yml is no conda"],
    ),
    (
        "environment unnamed",
        lambda p: Environment(None).register(p.workspace),
        UserErrorException,
        ["needs a name"],
    ),
    (
        "environment of Azure",
        lambda p: Environment.get(p.workspace, "AzureML-Tutorial"),
        ServiceException,
        ["404", "curated", "from_pip_requirements"],
    ),
    ("environment unknown", lambda p: Environment.get(p.workspace, "no"), ServiceException, ["404", "'no'"]),
]
