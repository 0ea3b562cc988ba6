"""`runstream import mlflow`: stores that MLflow itself has written; its own client sees the same there and here."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from mlflow import MlflowClient

from runstream.core import Workspace
from runstream.exceptions import ServiceException, UserErrorException
from runstream.importers.foreign_runs import ForeignRun, Points
from runstream.importers.mlflow import MlflowImport, open_source
from runstream.importers.mlflow_records import MlflowStore
from runstream.importers.runs import RunReport
from tests.compat.conftest import Service, free_port

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")

GREATEST = 1.7976931348623157e308
SCRIPT = """
import pathlib, sys, tempfile, warnings
warnings.simplefilter("ignore")
import mlflow
from mlflow.data.http_dataset_source import HTTPDatasetSource
from mlflow.data.meta_dataset import MetaDataset
mlflow.set_tracking_uri(sys.argv[1])
client = mlflow.MlflowClient()
experiment = mlflow.set_experiment("first one")
mlflow.set_experiment_tag("team", "vision")
with mlflow.start_run(run_name="parent", tags={"a": "b"}, description="why") as parent:
    mlflow.log_params({"lr": 0.1, "opt": "adam", "lines": "1\\n2"})
    for step in (3, 1, 2, 0):
        mlflow.log_metric("loss", 1 / (step + 1), step=step)
    mlflow.log_metric("odd", float("nan"), step=3)
    mlflow.log_metric("odd", float("inf"), step=4)
    mlflow.log_metric("odd", -float("inf"), step=-4)
    mlflow.log_metric("deep/er", 1.0)
    mlflow.log_text("hello", "notes/a.txt")
    mlflow.log_dict({"x": 1}, "model/MLmodel")
    mlflow.log_input(MetaDataset(HTTPDatasetSource(url="http://x/y.csv"), name="data"), context="train")
    with mlflow.start_run(run_name="child", nested=True):
        mlflow.log_metric("acc", 0.5, step=1)
failed = client.create_run(experiment.experiment_id, run_name="failed")
client.set_terminated(failed.info.run_id, "FAILED")
client.create_run(experiment.experiment_id, run_name="running")
client.delete_run(client.create_run(experiment.experiment_id, run_name="deleted").info.run_id)
model = mlflow.initialize_logged_model(name="made", source_run_id=parent.info.run_id, params={"k": "v"}, tags={"t": "1"},
                                       model_type="agent")
folder = pathlib.Path(tempfile.mkdtemp())
(folder / "MLmodel").write_text("flavors: {}\\n")
client.log_model_artifacts(model.model_id, str(folder))
mlflow.finalize_logged_model(model.model_id, "READY")
with mlflow.start_run(run_id=parent.info.run_id):
    mlflow.log_metric("of_model", 0.75, step=2, model_id=model.model_id)
client.create_registered_model("Reg", tags={"rt": "1"}, description="of all")
source = parent.info.artifact_uri + "/model"
client.create_model_version("Reg", source, parent.info.run_id, tags={"vt": "2"}, description="one")
client.create_model_version("Reg", source, parent.info.run_id)
client.create_model_version("Reg", f"models:/{model.model_id}", parent.info.run_id, model_id=model.model_id)
client.delete_model_version("Reg", "2")
client.set_registered_model_alias("Reg", "champion", "1")
client.transition_model_version_stage("Reg", "1", "Production")
client.delete_experiment(client.create_experiment("gone"))
"""


def record(folder: Path, uri: str) -> str:
    """Have MLflow write a store into a folder."""
    quiet = {**os.environ, "MLFLOW_ALLOW_FILE_STORE": "true", "GIT_PYTHON_REFRESH": "quiet"}
    quiet.pop("PYTHONWARNINGS", None)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, uri],
        cwd=folder,
        env=quiet,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return uri


@pytest.fixture(scope="module")
def recorded_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("database")
    record(folder, f"sqlite:///{folder}/mlflow.db")
    return folder


@pytest.fixture(scope="module")
def recorded_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store")
    record(folder, f"file://{folder}/mlruns")
    return folder


def another(folder: Path, copy: Path) -> Path:
    """A copy of a store with other ids: a service has one run of an id."""
    ids: dict[str, str] = {}

    def changed(text: str) -> str:
        text = text.replace(str(folder), str(copy))
        return re.sub("[0-9a-f]{32}", lambda each: ids.setdefault(each[0], uuid.uuid4().hex), text)

    copy.mkdir()
    for path in sorted(folder.rglob("*")):
        target = copy / changed(path.relative_to(folder).as_posix())
        if path.is_dir():
            target.mkdir(parents=True, exist_ok=True)
        elif path.suffix == ".db":
            with closing(sqlite3.connect(path)) as old, closing(sqlite3.connect(target)) as new:
                new.executescript(changed("\n".join(old.iterdump())))
        else:
            target.write_text(changed(path.read_text()))
    return copy


@pytest.fixture
def database(recorded_database: Path, tmp_path: Path) -> str:
    return f"sqlite:///{another(recorded_database, tmp_path / 'database')}/mlflow.db"


@pytest.fixture
def store(recorded_store: Path, tmp_path: Path) -> str:
    return f"file://{another(recorded_store, tmp_path / 'store')}/mlruns"


SERVER = """
import sys
from werkzeug.serving import run_simple
from mlflow.server import app
run_simple("127.0.0.1", int(sys.argv[1]), app, threaded=True)
"""


@pytest.fixture
def server(database: str) -> Iterator[str]:
    """MLflow's own server over the database."""
    port = free_port()
    own = {
        "_MLFLOW_SERVER_FILE_STORE": database,
        "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
        "_MLFLOW_SERVER_ARTIFACT_DESTINATION": str(Path(database.removeprefix("sqlite:///")).parent),
    }
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONWARNINGS"}
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(port)],
        env=clean | own,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 60
        while True:
            assert process.poll() is None
            assert time.monotonic() < deadline
            try:
                httpx.get(f"http://127.0.0.1:{port}/health", timeout=5)
                break
            except httpx.TransportError:
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def target(service: Service, workspace: str, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """The workspace runs are taken over into."""
    monkeypatch.setenv("RUNSTREAM_HOME", str(service.home))
    monkeypatch.setenv("RUNSTREAM_AUTOSTART", "0")
    return Workspace(workspace_name=workspace)


def take(target: Workspace, source: MlflowStore, experiment: str | None = None) -> dict[str, RunReport]:
    return {report.name: report for report in MlflowImport(target, source, experiment).once()}


def shown(value: float) -> float | str:
    """A value as MLflow's servers show it."""
    return "NaN" if math.isnan(value) else max(-GREATEST, min(value, GREATEST))


def everything(client: MlflowClient) -> dict[str, Any]:
    """All that a client sees of a store, but for ids of experiments and addresses of files."""
    names = {each.experiment_id: each.name for each in client.search_experiments()}
    runs: dict[str, Any] = {}
    for listed in client.search_runs(list(names)):
        run = client.get_run(listed.info.run_id)  # a list of a database has no models
        histories = {
            name: sorted(
                (point.step, point.timestamp, shown(point.value))
                for point in client.get_metric_history(run.info.run_id, name)
            )
            for name in run.data.metrics
        }
        inputs = [
            (each.dataset.to_dictionary(), [(tag.key, tag.value) for tag in each.tags])
            for each in run.inputs.dataset_inputs
        ]
        info = run.info
        runs[info.run_id] = {
            "experiment": names[info.experiment_id],
            "info": (info.run_name, info.status, info.start_time, info.end_time, info.user_id),
            "params": run.data.params,
            "tags": run.data.tags,
            "last": {name: shown(value) for name, value in run.data.metrics.items()},
            "histories": histories,
            "inputs": inputs,
            "models": sorted(each.model_id for each in run.inputs.model_inputs),
            "files": sorted(_files(client, info.run_id, "")),
        }
    models = {
        each.model_id: {
            **{
                name: getattr(each, name)
                for name in ("name", "model_type", "source_run_id", "params", "tags")
            },
            "status": str(each.status),
            "times": (each.creation_timestamp, each.last_updated_timestamp),
            "metrics": [(point.key, point.value, point.step, point.run_id) for point in each.metrics or ()],
        }
        for each in client.search_logged_models(list(names))
    }
    registered = {
        each.name: (
            each.description,
            each.tags,
            {alias: str(version) for alias, version in each.aliases.items()},
            each.creation_timestamp,
        )
        for each in client.search_registered_models()
    }
    versions = {
        (each.name, str(each.version)): (
            each.description or "", each.tags, each.current_stage, each.run_id, each.creation_timestamp,
            each.last_updated_timestamp,
        )
        for each in client.search_model_versions()
    }  # fmt: skip
    tags = {each.name: each.tags for each in client.search_experiments() if each.tags}
    times = {each.name: each.creation_time for each in client.search_experiments() if each.name != "Default"}
    return {
        "runs": runs,
        "models": models,
        "registered": registered,
        "versions": versions,
        "tags": tags,
        "times": times,
    }


def differences(here: Any, there: Any, path: str = "") -> dict[str, tuple[Any, Any]]:
    """Where two of them differ."""
    if not isinstance(here, dict) or not isinstance(there, dict):
        return {} if here == there else {path: (here, there)}
    unequal: dict[str, tuple[Any, Any]] = {}
    for name in here.keys() | there.keys():
        unequal |= differences(here.get(name), there.get(name), f"{path}/{name}")
    return unequal


def _files(client: MlflowClient, run_id: str, path: str) -> Iterator[tuple[str, int]]:
    for file in client.list_artifacts(run_id, path or None):
        if file.is_dir:
            yield from _files(client, run_id, file.path)
        else:
            yield file.path, file.file_size


@pytest.mark.parametrize("kind", ["database", "store", "server"])
def test_mlflows_client_sees_the_same_there_and_here(
    kind: str,
    request: pytest.FixtureRequest,
    target: Workspace,
    client: MlflowClient,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    uri = request.getfixturevalue(kind)
    with monkeypatch.context() as patched:
        patched.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
        for name in ("MLFLOW_WORKSPACE", "MLFLOW_TRACKING_TOKEN"):
            patched.delenv(name)
        there = everything(MlflowClient(uri, uri))
        reports = take(target, open_source(uri))
    assert differences(everything(client), there) == {}
    rest = reports.pop("models and what is of no run")
    assert {report.outcome for report in reports.values()} == {"new"}
    assert set(reports) == {"parent", "child", "failed", "running"}
    assert rest.points == {"files of models": 1, "versions of models": 2}
    deleted = {reason.partition(" ")[0]: count for reason, count in rest.left_out.items()}
    assert deleted == ({} if kind == "server" else {"experiments": 1, "runs": 1, "versions": 1})
    local = client.download_artifacts(reports["parent"].run_id, "notes/a.txt", str(tmp_path))
    assert Path(local).read_text() == "hello"
    (model,) = client.search_logged_models([client.get_experiment_by_name("first one").experiment_id])
    assert [file.path for file in client.list_logged_model_artifacts(model.model_id)] == ["MLmodel"]
    got = MlflowClient().get_model_version_download_uri("Reg", "1")
    assert got.startswith("mlflow-artifacts:/")


def test_again_changes_nothing_and_brings_what_is_new(
    database: str, target: Workspace, client: MlflowClient
) -> None:
    uri = database
    take(target, open_source(uri))
    before = everything(client)
    again = take(target, open_source(uri))
    assert {report.outcome for report in again.values()} == {"unchanged"}
    assert everything(client) == before
    there = MlflowClient(uri, uri)
    (running,) = (run for run in there.search_runs(["1"]) if run.info.status == "RUNNING")
    there.log_metric(running.info.run_id, "late", 0.5, timestamp=1_764_000_000_000, step=1)
    there.log_metric(again["parent"].run_id, "loss", 0.125, timestamp=1_764_000_000_000, step=-7)
    there.log_param(running.info.run_id, "p", "1")
    there.set_terminated(running.info.run_id, "KILLED")
    third = take(target, open_source(uri))
    assert third["running"].points == {"numbers": 1, "parameters": 1}
    assert third["parent"].points == {"numbers": 1}
    assert third["child"].outcome == "unchanged"
    assert differences(everything(client)["runs"], everything(there)["runs"]) == {}


class _Breaking:
    """A source whose reader dies in the middle of a run."""

    def __init__(self, source: MlflowStore) -> None:
        self._source = source

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)

    def runs(self) -> Iterator[ForeignRun]:
        for run in self._source.runs():
            run.points = _broken(run.points)
            yield run


def _broken(points: Callable[[], Iterator[Points]]) -> Callable[[], Iterator[Points]]:
    def some() -> Iterator[Points]:
        yield next(points())
        raise MemoryError

    return some


def test_an_import_that_broke_off_resumes(database: str, target: Workspace, client: MlflowClient) -> None:
    with pytest.raises(MemoryError):
        list(MlflowImport(target, _Breaking(open_source(database))).once())
    reports = take(target, open_source(database))
    assert reports["parent"].outcome == "continued"
    assert differences(everything(client)["runs"], everything(MlflowClient(database, database))["runs"]) == {}


def test_a_copy_of_the_artifacts_is_used_where_they_are_not(
    store: str, target: Workspace, client: MlflowClient, tmp_path: Path
) -> None:
    # The store was moved: what it names is not there any more.
    shutil.copytree(store.removeprefix("file://"), tmp_path / "mlruns")
    for run in (tmp_path / "mlruns").glob("*/*/artifacts"):
        if run.parent.parent.name != "models":
            copy = tmp_path / "copies" / run.relative_to(tmp_path / "mlruns")
            copy.parent.mkdir(parents=True)
            run.rename(copy)
    for meta in (tmp_path / "mlruns").rglob("meta.yaml"):
        meta.write_text(meta.read_text().replace(store, "s3://bucket/of/ours"))
    reports = take(target, open_source(str(tmp_path)))
    parent = reports["parent"]
    assert [
        reason for reason in parent.left_out if "s3://bucket/of/ours" in reason and "--artifacts" in reason
    ]
    assert not list(_files(client, parent.run_id, ""))
    again = take(target, open_source(str(tmp_path), tmp_path / "copies"))
    assert again["parent"].points == {"files": 2}
    assert sorted(name for name, _ in _files(client, parent.run_id, "")) == ["model/MLmodel", "notes/a.txt"]


def test_runs_that_are_here_and_ids_that_are_taken(
    database: str, target: Workspace, client: MlflowClient, service: Service, workspace: str
) -> None:
    first = take(target, open_source(database))
    other = Workspace(workspace_name=f"{workspace}-b")
    second = take(other, open_source(database), "all of them")
    assert second["parent"].run_id == f"{first['parent'].run_id}-{second['parent'].run_id[-8:]}"
    child = service.api("GET", f"/api/v1/runs/{second['child'].run_id}").json()
    assert (child["parent_run_id"], child["experiment"]) == (second["parent"].run_id, "all of them")
    assert child["workspace"] == f"{workspace}-b"
    # What a server of runstream has is not taken over into itself.
    exported = take(target, open_source(service.url))
    assert {report.outcome for report in exported.values()} == {"unchanged"}


@pytest.mark.parametrize(
    ("uri", "why"),
    [
        ("sqlite:////nowhere/mlflow.db", "there is no file"),
        ("/nowhere", "no such folder"),
        ("postgresql://host/mlflow", "mlflow server --backend-store-uri"),
        ("http://127.0.0.1:9", "does not answer"),
    ],
)
def test_what_is_no_store_is_refused(uri: str, why: str) -> None:
    with pytest.raises((UserErrorException, ServiceException)) as caught:
        open_source(uri)
    assert why in caught.value.message


def test_files_that_are_no_store_are_refused(tmp_path: Path) -> None:
    (tmp_path / "no.db").write_bytes(b"not a database at all, but long enough to be looked at as one" * 20)
    for source in (str(tmp_path / "no.db"), str(tmp_path)):
        with pytest.raises(UserErrorException) as caught:
            open_source(source)
        assert str(tmp_path) in caught.value.message


def test_lines_and_documents_that_are_damaged_are_said(store: str, target: Workspace, tmp_path: Path) -> None:
    shutil.copytree(store.removeprefix("file://"), tmp_path / "mlruns")
    (loss,) = (tmp_path / "mlruns").glob("*/*/metrics/loss")
    loss.write_bytes(loss.read_bytes() + b"17960191 x\n\xff\xfe 1 2\n1796019151029 0.5")
    (child,) = (tmp_path / "mlruns").glob("*/*/metrics/acc")
    (child.parent.parent / "meta.yaml").write_text("status: [")
    reports = take(target, open_source(str(tmp_path)))
    assert reports["parent"].left_out == {"lines of metrics that cannot be read": 2}
    assert "child" not in reports
    (reason,) = (each for each in reports["models and what is of no run"].left_out if "meta.yaml" in each)
    assert "cannot be read" in reason


def test_the_command(database: str, service: Service, workspace: str) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "runstream",
            "import",
            "mlflow",
            database,
            "--workspace",
            workspace,
            "-o",
            "json",
        ],
        env={**os.environ, "RUNSTREAM_HOME": str(service.home), "RUNSTREAM_AUTOSTART": "0"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert {report["outcome"] for report in json.loads(done.stdout)} == {"new", "continued"}
