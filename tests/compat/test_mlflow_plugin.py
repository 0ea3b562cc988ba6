"""MLflow's own client with the tracking URI runstream://: what it logs is in the spool when the call returns."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import uuid
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .conftest import Service

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of what MLflow imports
    import mlflow
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param, RunTag
    from mlflow.exceptions import MlflowException

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
NOW = 1_764_000_000_123

TRAINING = """
import os, signal, sys
import mlflow
mlflow.set_experiment("killed")
run = mlflow.start_run()
mlflow.log_param("lr", 0.1)
mlflow.set_tag("team", "a")
for step in range(2_000):
    mlflow.log_metric("loss", 1 / (step + 1), step=step)
print(run.info.run_id, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def environment(service: Service, workspace: str) -> dict[str, str]:
    return {
        "RUNSTREAM_HOME": str(service.home),
        "RUNSTREAM_AUTOSTART": "0",
        "MLFLOW_TRACKING_URI": "runstream://",
        "MLFLOW_WORKSPACE": workspace,
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    }


@pytest.fixture
def client(service: Service, workspace: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[MlflowClient]:
    """A client whose logging goes through the spool."""
    from mlflow.tracking._tracking_service import utils

    from runstream.mlflow_plugin import connection

    for name, value in environment(service, workspace).items():
        monkeypatch.setenv(name, value)
    for name in ("RUNSTREAM_URL", "RUNSTREAM_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    connection.settings.cache_clear()
    utils._tracking_store_registry._get_store_with_resolved_uri.cache_clear()
    mlflow.set_tracking_uri("runstream://")
    yield MlflowClient()
    mlflow.end_run()
    mlflow.set_tracking_uri(None)
    mlflow.tracking.fluent._active_experiment_id = None
    os.environ.pop("MLFLOW_EXPERIMENT_ID", None)  # which it sets itself
    connection.settings.cache_clear()
    utils._tracking_store_registry._get_store_with_resolved_uri.cache_clear()


@pytest.fixture
def requests_of(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Paths of the requests the client makes from now on."""
    from mlflow.utils import rest_utils

    asked: list[str] = []
    sends = rest_utils.http_request

    def noted(host_creds: Any, endpoint: str, method: str, *args: Any, **more: Any) -> Any:
        asked.append(endpoint.rpartition("mlflow/")[2])
        return sends(host_creds, endpoint, method, *args, **more)

    monkeypatch.setattr(rest_utils, "http_request", noted)
    return asked


def test_logging_asks_nobody_and_reading_sees_all_of_it(
    client: MlflowClient, service: Service, workspace: str, requests_of: list[str]
) -> None:
    run_id = client.create_run("0", run_name="first").info.run_id
    requests_of.clear()
    client.log_metric(run_id, "loss", 0.5, timestamp=NOW, step=1)
    client.log_metric(run_id, "loss", 0.25, timestamp=NOW, step=2)
    client.log_batch(
        run_id,
        [Metric("accuracy", 0.75, NOW, 0), Metric("loss", 0.125, NOW + 1, 2)],
        [Param("lr", "0.1"), Param("deep", "True")],
        [RunTag("team", "a")],
    )
    client.log_param(run_id, "lr", 0.1)
    assert requests_of == []
    run = client.get_run(run_id)
    assert run.data.metrics == {"loss": 0.125, "accuracy": 0.75}
    assert run.data.params == {"lr": "0.1", "deep": "True"}
    assert run.data.tags["team"] == "a"
    points = client.get_metric_history(run_id, "loss")
    assert [(point.step, point.timestamp, point.value) for point in points] == [
        (1, NOW, 0.5),
        (2, NOW, 0.25),
        (2, NOW + 1, 0.125),
    ]
    client.set_terminated(run_id, "FAILED", NOW + 2)
    ended = client.get_run(run_id).info
    assert (ended.status, ended.end_time, ended.run_name) == ("FAILED", NOW + 2, "first")
    shown = service.api("GET", f"/api/v1/runs/{run_id}").json()
    assert (shown["status"], shown["workspace"], shown["experiment"]) == ("Failed", workspace, "Default")


def test_nothing_is_lost_when_the_process_is_killed(service: Service, workspace: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", TRAINING],
        env={**os.environ, **environment(service, workspace)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    run_id = done.stdout.split()[-1]
    shown = service.api("GET", f"/api/v1/runs/{run_id}?summaries=1&params=1").json()
    for _ in range(200):
        if shown["summaries"].get("loss", {}).get("count") == 2_000 and shown["params"]:
            break
        shown = service.api("GET", f"/api/v1/runs/{run_id}?summaries=1&params=1").json()
    assert shown["summaries"]["loss"]["count"] == 2_000
    assert shown["params"]["lr"] == {"kind": "text", "text": "0.1"}
    assert (shown["tags"]["team"], shown["experiment"], shown["status"]) == ("a", "killed", "Running")


def test_points_that_are_not_later_count_once_and_the_last_is_the_latest(client: MlflowClient) -> None:
    run_id = client.create_run("0").info.run_id
    for _ in range(2):
        for step, value in ((5, 0.5), (3, 0.3), (5, 0.5), (4, 0.4)):
            client.log_metric(run_id, "loss", value, timestamp=NOW, step=step)
    assert client.get_run(run_id).data.metrics == {"loss": 0.5}
    assert sorted(point.step for point in client.get_metric_history(run_id, "loss")) == [3, 4, 5]


def test_values_that_are_no_ordinary_numbers(client: MlflowClient) -> None:
    run_id = client.create_run("0").info.run_id
    for step, value in enumerate((math.nan, math.inf, -math.inf, 7, 0.5)):
        client.log_metric(run_id, "m", value, timestamp=NOW, step=step)
    values = [point.value for point in client.get_metric_history(run_id, "m")]
    assert math.isnan(values[0])
    assert values[1:] == [1.7976931348623157e308, -1.7976931348623157e308, 7.0, 0.5]


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda client, run_id: client.log_metric(run_id, "a:\nb", 1.0), "Names may only contain"),
        (lambda client, run_id: client.log_metric(run_id, "m", "high"), "valid double"),
        (lambda client, run_id: client.log_metric(run_id, "m", 1.0, timestamp=-1), "nonnegative"),
        (lambda client, run_id: client.log_metric(run_id, "m", 1.0, step="s"), "64-bit integer"),
        (lambda client, run_id: client.log_param(run_id, "lr", 0.2), "Changing param values"),
        (lambda client, run_id: client.set_tag(run_id, "x" * 300, "a"), "exceeds the maximum"),
        (lambda client, run_id: client.log_metric("nobody", "m", 1.0), "nobody"),
    ],
)
def test_what_mlflow_refuses_is_refused(client: MlflowClient, call: Any, said: str) -> None:
    run_id = client.create_run("0").info.run_id
    client.log_param(run_id, "lr", 0.1)
    client.log_metric(run_id, "m", 1.0, timestamp=NOW)
    with pytest.raises(MlflowException, match=said):
        call(client, run_id)


def test_a_run_is_continued_by_another_process_and_a_deleted_one_is_not(
    client: MlflowClient, service: Service, workspace: str
) -> None:
    run_id = client.create_run("0").info.run_id
    client.log_metric(run_id, "loss", 0.5, timestamp=NOW, step=1)
    client.log_param(run_id, "lr", 0.1)
    script = (
        "import json, sys, mlflow\n"
        "client = mlflow.MlflowClient()\n"
        f"client.log_metric(sys.argv[1], 'loss', 0.5, timestamp={NOW}, step=1)\n"
        f"client.log_metric(sys.argv[1], 'loss', 0.25, timestamp={NOW}, step=2)\n"
        "try:\n"
        "    client.log_param(sys.argv[1], 'lr', 0.2)\n"
        "except mlflow.MlflowException as error:\n"
        "    print(json.dumps(error.message))\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script, run_id],
        env={**os.environ, **environment(service, workspace)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "Changing param values is not allowed" in json.loads(done.stdout), done.stderr
    assert [point.value for point in client.get_metric_history(run_id, "loss")] == [0.5, 0.25]
    client.delete_run(run_id)
    with pytest.raises(MlflowException, match="must be in the 'active' state"):
        client.log_metric(run_id, "loss", 0.1, step=3)
    client.restore_run(run_id)
    client.log_metric(run_id, "loss", 0.1, step=3)
    assert client.get_run(run_id).data.metrics == {"loss": 0.1}


def test_tags_with_a_meaning_and_tags_that_are_removed(client: MlflowClient) -> None:
    run_id = client.create_run("0", run_name="first").info.run_id
    client.set_tag(run_id, "mlflow.runName", "second")
    client.set_tag(run_id, "team", "a")
    client.delete_tag(run_id, "team")
    run = client.get_run(run_id)
    assert run.info.run_name == "second"
    assert "team" not in run.data.tags
    with pytest.raises(MlflowException, match="No tag with name: team"):
        client.delete_tag(run_id, "team")


def test_files_models_and_experiments_go_to_the_same_service(client: MlflowClient, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("one\n")
    mlflow.set_experiment("with files")
    with mlflow.start_run() as run:
        mlflow.log_artifact(str(tmp_path / "notes.txt"), "docs")
        mlflow.log_dict({"a": 1}, "a.json")
    assert mlflow.artifacts.load_dict(f"{run.info.artifact_uri}/a.json") == {"a": 1}
    assert [file.path for file in client.list_artifacts(run.info.run_id, "docs")] == ["docs/notes.txt"]
    client.create_registered_model("first")
    version = client.create_model_version("first", f"{run.info.artifact_uri}/docs", run.info.run_id)
    client.set_registered_model_alias("first", "best", version.version)
    assert client.get_model_version_by_alias("first", "best").run_id == run.info.run_id
    below = client.search_runs([run.info.experiment_id], "attributes.status = 'FINISHED'")
    assert [each.info.run_id for each in below] == [run.info.run_id]


def test_workspaces_are_made_and_named(client: MlflowClient) -> None:
    name = f"made-{uuid.uuid4().hex[:8]}"
    mlflow.create_workspace(name)
    assert name in [each.name for each in mlflow.list_workspaces()]


@pytest.mark.parametrize("uri", ["runstream://host:80", "runstream:///path", "runstream://?a=b"])
def test_a_uri_that_says_more_is_refused(client: MlflowClient, uri: str) -> None:
    with pytest.raises(MlflowException, match="expected runstream:// and nothing behind it"):
        MlflowClient(uri)
