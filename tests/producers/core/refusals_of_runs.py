"""Calls of a run that are refused, with the error and what its text says: rows for test_refusals.py."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from runstream.core import (
    Experiment,
    Model,
    Run,
    Workspace,
)
from runstream.exceptions import (
    ActivityFailedException,
    AzureMLAggregatedException,
    AzureMLException,
    ModelNotFoundException,
    ModelPathNotFoundException,
    RunEnvironmentException,
    SnapshotException,
    UserErrorException,
    WebserviceException,
)
from runstream_schemas.errors import LimitExceeded


@dataclass(frozen=True, slots=True)
class Place:
    """What the rows work with."""

    run: Run
    failed: Run
    folder: Path

    @property
    def experiment(self) -> Experiment:
        return self.run.experiment

    @property
    def workspace(self) -> Workspace:
        return self.run.experiment.workspace


class Shape:
    """Neither a picture nor a scalar."""


def numbers() -> Iterator[int]:
    yield 1


Row = tuple[str, Callable[[Place], Any], type[BaseException], list[str]]


NAMES: list[Row] = [
    (
        f"experiment {name!r:.12}",
        lambda p, name=name: Experiment(p.workspace, name),
        UserErrorException,
        ["Experiment name"],
    )
    for name in ("", "-a", "_a", "a b", "a.b", "a/b", "ä", "a" * 256, None)
]


LOGGING: list[Row] = [
    ("log a list", lambda p: p.run.log("a", [1]), UserErrorException, ["log_list"]),
    ("log a range", lambda p: p.run.log("a", range(2)), UserErrorException, ["log_list"]),
    ("log a generator", lambda p: p.run.log("a", numbers()), UserErrorException, ["log_list"]),
    ("log a generator function", lambda p: p.run.log("a", numbers), UserErrorException, ["log_list"]),
    ("log without a name", lambda p: p.run.log("", 1), LimitExceeded, ["metric name is empty"]),
    ("log a long name", lambda p: p.run.log("a" * 1025, 1), LimitExceeded, ["1025 bytes"]),
    ("log a number as name", lambda p: p.run.log(5, 1), LimitExceeded, ["metric name", "str"]),
    ("log a wide integer", lambda p: p.run.log("a", 2**63), LimitExceeded, ["64 bits"]),
    ("log a text as step", lambda p: p.run.log("a", 1, step="x"), UserErrorException, ["step 'x'"]),
    ("log NaN as step", lambda p: p.run.log("a", 1, step=float("nan")), UserErrorException, ["step nan"]),
    ("log a wide step", lambda p: p.run.log("a", 1, step=2**63), LimitExceeded, ["step"]),
    (
        "log_list nested",
        lambda p: p.run.log_list("a", [[1]]),
        AzureMLException,
        ["Value of type list is not supported"],
    ),
    (
        "log_list dict",
        lambda p: p.run.log_list("a", [1, {}]),
        AzureMLException,
        ["Value of type dict is not supported"],
    ),
    ("log_list no iterable", lambda p: p.run.log_list("a", 5), TypeError, ["int is not iterable", "log()"]),
    ("log_list None", lambda p: p.run.log_list("a", None), TypeError, ["NoneType is not iterable"]),
    (
        "log_list 0-d array",
        lambda p: p.run.log_list("a", np.array(5)),
        TypeError,
        ["ndarray is not iterable"],
    ),
    (
        "log_row list",
        lambda p: p.run.log_row("a", x=[1]),
        AzureMLException,
        ["Rows cannot contain list values"],
    ),
    (
        "log_row dict",
        lambda p: p.run.log_row("a", x={}),
        AzureMLException,
        ["Value of type dict is not supported"],
    ),
    (
        "log_row array",
        lambda p: p.run.log_row("a", x=np.arange(2)),
        AzureMLException,
        ["type ndarray is not supported"],
    ),
    ("log_row name", lambda p: p.run.log_row("a", name=1), TypeError, ["name"]),
    (
        "log_table lengths",
        lambda p: p.run.log_table("a", {"x": [1, 2], "y": [1]}),
        AzureMLException,
        ["Columns must have the same length", "'x': 2, 'y': 1"],
    ),
    (
        "log_table scalar and list",
        lambda p: p.run.log_table("a", {"x": [1, 2], "y": 1}),
        AzureMLException,
        ["same length"],
    ),
    (
        "log_table tuple",
        lambda p: p.run.log_table("a", {"x": (1,)}),
        AzureMLException,
        ["Value of type tuple is not supp"],
    ),
    (
        "log_table range",
        lambda p: p.run.log_table("a", {"x": range(2)}),
        AzureMLException,
        ["Value of type range is not"],
    ),
    (
        "log_table matrix",
        lambda p: p.run.log_table("a", {"x": np.ones((2, 2))}),
        AzureMLException,
        ["type ndarray is not"],
    ),
    (
        "log_table nested",
        lambda p: p.run.log_table("a", {"x": [[1]]}),
        AzureMLException,
        ["Rows cannot contain list values"],
    ),
    (
        "log_table objects",
        lambda p: p.run.log_table("a", {"x": [{}]}),
        AzureMLException,
        ["type dict is not supported"],
    ),
    ("log_table empty", lambda p: p.run.log_table("a", {}), AttributeError, ["expected a dictionary"]),
    (
        "log_table no dict",
        lambda p: p.run.log_table("a", [1]),
        AttributeError,
        ["expected a dictionary", "list"],
    ),
    ("log_table no rows", lambda p: p.run.log_table("a", {"x": []}), AzureMLException, ["have no values"]),
    ("log_table bad name", lambda p: p.run.log_table("a", {5: [1]}), LimitExceeded, ["column of 'a'"]),
]


FILES: list[Row] = [
    ("log_image neither", lambda p: p.run.log_image("a"), AzureMLException, ["path or plot"]),
    ("log_image both", lambda p: p.run.log_image("a", "a.png", Shape()), AzureMLException, ["path or plot"]),
    (
        "log_image text",
        lambda p: p.run.log_image("a", p.folder / "train.py"),
        AzureMLException,
        ["Argument [path] is malformed"],
    ),
    ("log_image away", lambda p: p.run.log_image("a", p.folder / "no.png"), FileNotFoundError, ["no.png"]),
    (
        "log_image object",
        lambda p: p.run.log_image("a", plot=Shape()),
        AzureMLException,
        ["Argument [plot] is of invalid type"],
    ),
    (
        "log_confusion_matrix text",
        lambda p: p.run.log_confusion_matrix("a", "{"),
        UserErrorException,
        ["Invalid JSON provided"],
    ),
    (
        "log_residuals object",
        lambda p: p.run.log_residuals("a", 5),
        AzureMLException,
        ["Value of type int is not supported"],
    ),
    (
        "log_predictions inside",
        lambda p: p.run.log_predictions("a", {"x": Shape()}),
        AzureMLException,
        ["type Shape is not"],
    ),
    (
        "log_accuracy_table twice",
        lambda p: [p.run.log_accuracy_table("twice", {"n": n}) for n in range(2)],
        AzureMLAggregatedException,
        ["UserError: Resource Conflict: ArtifactId ExperimentRun/dcid.", "/twice already exists."],
    ),
    (
        "upload_file other bytes",
        lambda p: [p.run.upload_file("taken", io.BytesIO(content)) for content in (b"1", b"2")],
        AzureMLAggregatedException,
        ["UserError: Resource Conflict: ArtifactId ExperimentRun/dcid.", "/taken already exists."],
    ),
    ("upload_file type", lambda p: p.run.upload_file("a", 5), UserErrorException, ["UnsupportedType"]),
    ("upload_file away", lambda p: p.run.upload_file("a", p.folder / "none"), FileNotFoundError, ["none"]),
    (
        "upload_file outside",
        lambda p: p.run.upload_file("../a", io.BytesIO(b"")),
        UserErrorException,
        ["'../a'"],
    ),
    (
        "upload_file no name",
        lambda p: p.run.upload_file("", io.BytesIO(b"")),
        UserErrorException,
        ["file name ''"],
    ),
    (
        "upload_files lengths",
        lambda p: p.run.upload_files(["a", "b"], ["c"]),
        TypeError,
        ["2 names", "1 paths"],
    ),
    (
        "upload_folder away",
        lambda p: p.run.upload_folder("a", p.folder / "none"),
        UserErrorException,
        ["none"],
    ),
    (
        "download_file",
        lambda p: p.run.download_file("no"),
        UserErrorException,
        ["File with path no was not found,"],
    ),
    (
        "register_model away",
        lambda p: (p.run.upload_file("there", io.BytesIO(b"1")), p.run.register_model("m", "no")),
        ModelPathNotFoundException,
        ["no", "there"],
    ),
    (
        "register_model name",
        lambda p: p.run.register_model("a b", "there"),
        WebserviceException,
        ["model name 'a b'"],
    ),
    (
        "Model.register away",
        lambda p: Model.register(p.workspace, "none", "m"),
        ModelPathNotFoundException,
        ["none"],
    ),
    (
        "Model unknown",
        lambda p: Model(p.workspace, "unknown"),
        ModelNotFoundException,
        ["ModelNotFound", "unknown"],
    ),
    (
        "take_snapshot twice",
        lambda p: [p.run.take_snapshot(str(p.folder)) for _ in range(2)],
        SnapshotException,
        ["snapshot"],
    ),
]


LIFE: list[Row] = [
    ("tag without a name", lambda p: p.run.tag("", "v"), LimitExceeded, ["tag is empty"]),
    ("tag with a long name", lambda p: p.run.set_tags({"a" * 1025: "v"}), LimitExceeded, ["1025 bytes"]),
    (
        "tag with a long value",
        lambda p: p.run.tag("a", "v" * ((1 << 20) + 1)),
        LimitExceeded,
        ["upload_file"],
    ),
    (
        "property without a name",
        lambda p: p.run.add_properties({"": "v"}),
        LimitExceeded,
        ["property is empty"],
    ),
    ("experiment tag without a name", lambda p: p.experiment.tag(""), LimitExceeded, ["tag is empty"]),
    (
        "start_logging tags",
        lambda p: p.experiment.start_logging(tags={"": "v"}),
        LimitExceeded,
        ["tag is empty"],
    ),
    (
        "tags in a list",
        lambda p: p.run.set_tags(["a"]),
        AttributeError,
        ["dictionary of tag names and values, got list"],
    ),
    (
        "properties None",
        lambda p: p.run.add_properties(None),
        AzureMLException,
        ["dictionary of property names"],
    ),
    (
        "start_logging tags list",
        lambda p: p.experiment.start_logging(tags=["a"]),
        AttributeError,
        ["got list"],
    ),
    ("display name", lambda p: setattr(p.run, "display_name", 5), UserErrorException, ["display_name"]),
    ("description", lambda p: setattr(p.run, "description", b"x"), UserErrorException, ["description"]),
    ("workspace name", lambda p: Workspace(workspace_name=5), UserErrorException, ["workspace name 5"]),
    ("workspace with NUL", lambda p: Workspace(workspace_name="a\0"), UserErrorException, ["NUL"]),
    (
        "workspace with a long name",
        lambda p: Workspace(workspace_name="w" * 1025),
        LimitExceeded,
        ["1025 bytes"],
    ),
    (
        "workspace of no unicode",
        lambda p: Workspace(workspace_name="\ud800"),
        LimitExceeded,
        ["valid unicode"],
    ),
    (
        "start_logging properties",
        lambda p: p.experiment.start_logging(properties={}),
        TypeError,
        ["properties"],
    ),
    ("start_logging keyword", lambda p: p.experiment.start_logging(unknown=1), TypeError, ["unknown"]),
    (
        "start_logging run id",
        lambda p: p.experiment.start_logging(run_id="a/b"),
        UserErrorException,
        ["run id 'a/b'"],
    ),
    (
        "start_logging id ..",
        lambda p: p.experiment.start_logging(run_id=".."),
        UserErrorException,
        ["run id '..'"],
    ),
    ("fail with a number", lambda p: p.run.fail(5), TypeError, ["error_details"]),
    (
        "wait for a failed run",
        lambda p: p.failed.wait_for_completion(),
        ActivityFailedException,
        ["Activity Failed:", '"code": "E7"'],
    ),
    (
        "logs into a file",
        lambda p: p.run.get_all_logs(str(p.folder / "train.py")),
        UserErrorException,
        ["is a file"],
    ),
    ("children: none", lambda p: p.run.create_children(), UserErrorException, ["count"]),
    ("children: too many", lambda p: p.run.create_children(10_001), UserErrorException, ["0 to 10,000"]),
    (
        "children: many values",
        lambda p: p.run.create_children(None, "k", ["v"] * 10_001),
        UserErrorException,
        ["0 to 10,000"],
    ),
    ("children: half", lambda p: p.run.create_children(None, "k"), UserErrorException, ["together"]),
    (
        "children: other half",
        lambda p: p.run.create_children(None, None, ["v"]),
        UserErrorException,
        ["together"],
    ),
    ("children: both", lambda p: p.run.create_children(1, "k", ["v"]), UserErrorException, ["count"]),
    (
        "no run here",
        lambda p: Run.get_context(allow_offline=False),
        RunEnvironmentException,
        ["Could not load a submitted run, if outside of an execution context, use experiment.start_logging"],
    ),
    (
        "no submitted run here",
        lambda p: Run.get_submitted_run(),
        RunEnvironmentException,
        ["Could not load a submitted run"],
    ),
    (
        "environment of an interactive run",
        lambda p: p.run.get_environment(),
        RunEnvironmentException,
        ["was not submitted"],
    ),
    ("type provider", lambda p: Run.add_type_provider("t", 5), TypeError, ["run_factory"]),
]
