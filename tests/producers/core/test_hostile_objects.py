"""Every public class beside `Run`, every hostile value for each argument of its constructor and methods, with a real
service behind them: an answer, or an error a caller expects; never an answer of 500, and the workspace still works."""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.producers.core.hostile import HOSTILE, arguments, refused

from runstream.core import (
    ComputeTarget,
    Dataset,
    Datastore,
    Environment,
    Experiment,
    Keyvault,
    Model,
    RunConfiguration,
    ScriptRunConfig,
    Workspace,
)
from runstream.core.compute import LocalCompute
from runstream.core.conda_dependencies import CondaDependencies
from runstream.data import FileDataset, TabularDataset
from runstream.sweep import Choice, Halving, Integer, LogUniform, Median, Uniform


def _experiment(workspace: Workspace) -> Experiment:
    return Experiment(workspace, "e")


def _model(workspace: Workspace) -> Model:
    return Model.register(workspace, "file", "m")


def _files(workspace: Workspace) -> FileDataset:
    return Dataset.File.from_files(path="folder").register(workspace, "files", create_new_version=True)


def _table(workspace: Workspace) -> TabularDataset:
    return Dataset.Tabular.from_delimited_files("table.csv").register(
        workspace, "table", create_new_version=True
    )


MAKERS: dict[type, Callable[[Workspace], Any]] = {
    Workspace: lambda workspace: workspace,
    Experiment: _experiment,
    Model: _model,
    Environment: lambda workspace: Environment("env"),
    Dataset: lambda workspace: Dataset,
    FileDataset: _files,
    TabularDataset: _table,
    Datastore: lambda workspace: workspace.get_default_datastore(),
    Keyvault: Keyvault,
    ComputeTarget: lambda workspace: ComputeTarget(workspace, "local"),
    ScriptRunConfig: lambda workspace: ScriptRunConfig("folder", "train.py"),
    RunConfiguration: lambda workspace: RunConfiguration(),
    CondaDependencies: lambda workspace: CondaDependencies(),
    Choice: lambda workspace: Choice([1, 2]),
    Uniform: lambda workspace: Uniform(0, 1),
    LogUniform: lambda workspace: LogUniform(1, 2),
    Integer: lambda workspace: Integer(0, 3),
    Median: lambda workspace: Median(),
    Halving: lambda workspace: Halving(),
}
"""Classes and how to make one of each; those whose constructor asks for more are made by what makes them."""
OBJECTS = {
    "workspace", "rng", "attach_configuration", "provisioning_configuration", "run_config", "curve", "document",
}  # fmt: skip
"""Parameters that take an object, not data: what it lacks, Python itself says."""
LEFT_OUT = {
    (ComputeTarget, "delete"),
    (ComputeTarget, "detach"),
    (Workspace, "delete"),
    (Dataset, "__init__"),
}

GOOD: dict[str, Any] = {
    "name": "name", "key": "key", "tags": {"a": "b"}, "properties": {"a": "b"}, "path": "folder", "model_path": "file",
    "model_name": "m", "run_id": "r", "new_name": "other", "file_path": "requirements.txt", "image": "python:3.11",
    "dockerfile": "FROM python", "conda_environment_name": "none", "version": "1", "labels": ["x"], "id": "x",
    "secrets": ["a"], "secrets_batch": {"a": "b"}, "value": "v", "source_directory": "folder", "script": "train.py",
    "type": "CPU", "experiment_id": "x", "channel": "c", "conda_package": "numpy", "pip_package": "numpy",
    "requirements": ["numpy"], "pip_option": "--pre", "index_url": "http://localhost", "pip_requirements": ["numpy"],
    "base_directory": "folder", "values": [1, 2], "low": 1, "high": 2, "add_tags": {"a": "b"},
}  # fmt: skip
OTHERS: dict[tuple[type, str], dict[str, Any]] = {
    (RunConfiguration, "load"): {"path": "."},
}


def _calls() -> list[tuple[type, str]]:
    calls = []
    for kind in MAKERS:
        names = [name for name in dir(kind) if not name.startswith("_") and callable(getattr(kind, name))]
        for name in ["__init__", *names]:
            function = getattr(kind, name)
            plain = inspect.isfunction(function) or inspect.ismethod(function)
            if (kind, name) in LEFT_OUT or not plain:
                continue
            if any(argument not in OBJECTS for argument, _ in arguments(function)):
                calls.append((kind, name))
    return calls


def _write_files() -> None:
    """What good arguments name."""
    Path("file").write_text("x")
    Path("requirements.txt").write_text("numpy\n")
    Path("table.csv").write_text("a,b\n1,2\n")
    Path("folder").mkdir(exist_ok=True)
    Path("folder/file").write_text("x")
    Path("folder/train.py").write_text("")


@pytest.mark.parametrize(("kind", "name"), _calls(), ids=lambda value: getattr(value, "__name__", value))
def test_classes(workspace: Workspace, caplog: pytest.LogCaptureFixture, kind: type, name: str) -> None:
    _write_files()
    good = {
        "workspace": workspace,
        "config": ScriptRunConfig("folder", "train.py"),
        "rng": random.Random(0),
        "attach_configuration": LocalCompute.attach_configuration(),
        "provisioning_configuration": LocalCompute.attach_configuration(),
        **GOOD,
        **OTHERS.get((kind, name), {}),
    }
    function = getattr(kind, name)
    given = {parameter: good.get(parameter) for parameter, must in arguments(function) if must}
    for argument, _ in arguments(function):
        if argument in OBJECTS:
            continue
        _write_files()
        made = MAKERS[kind](workspace)
        for what, make in HOSTILE.items():
            call = kind if name == "__init__" else getattr(made, name)
            refused(call, {**given, argument: make()}, f"{what} as {argument}")
    for record in caplog.records:
        record.getMessage().encode()  # or no file and no terminal would take it
    assert Workspace.get(workspace.name).name == workspace.name
    run = Experiment(workspace, "after").start_logging(outputs=False, snapshot_directory=None)
    run.log("x", 1)
    run.complete()
    assert run.get_metrics() == {"x": 1}
