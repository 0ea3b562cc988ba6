"""MLflow's own client, unchanged, at a real server: what it makes are runs of runstream, and the other way round."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import httpx
import pytest

from .conftest import Service

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of what MLflow imports
    import mlflow
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param, RunTag, ViewType
    from mlflow.exceptions import MlflowException
from tests.compat.conftest import NOW

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
GREATEST = 1.7976931348623157e308


def shown(service: Service, run_id: str, query: str = "") -> dict[str, Any]:
    """A run as runstream shows it."""
    answer = service.api("GET", f"/api/v1/runs/{run_id}{query}")
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


# --- both sides have the same runs -----------------------------------------------------------------------------------


def test_runs_made_by_mlflow_are_runs_of_runstream(
    client: MlflowClient, service: Service, workspace: str
) -> None:
    mlflow.set_experiment("first")
    with mlflow.start_run(run_name="outer", description="why", tags={"team": "a"}) as outer:
        mlflow.log_params({"lr": 0.1, "optimizer": "adam"})
        mlflow.log_metric("loss", 0.5, step=1)
        mlflow.log_metric("loss", 0.25, step=2)
        with mlflow.start_run(run_name="inner", nested=True) as inner:
            mlflow.log_metric("loss", 0.125)
    run = shown(service, outer.info.run_id, "?summaries=1&params=1")
    assert (run["workspace"], run["experiment"], run["status"]) == (workspace, "first", "Completed")
    assert (run["display_name"], run["description"]) == ("outer", "why")
    assert run["tags"]["team"] == "a"
    assert run["params"]["lr"] == {"kind": "text", "text": "0.1"}
    loss = run["summaries"]["loss"]
    assert (loss["count"], loss["last"], loss["min"], loss["last_step"]) == (2, 0.25, 0.25, 2)
    child = shown(service, inner.info.run_id)
    assert (child["parent_run_id"], child["status"]) == (outer.info.run_id, "Completed")
    low = service.api("GET", f"/api/v1/runs?workspace={workspace}&q=param:lr<0.2").json()
    assert [run["run_id"] for run in low["runs"]] == [outer.info.run_id]


def test_runs_of_runstream_are_runs_of_mlflow(
    client: MlflowClient, service: Service, workspace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from runstream.core import Experiment, Workspace

    monkeypatch.setenv("RUNSTREAM_HOME", str(service.home))
    experiment = Experiment(Workspace(workspace_name=workspace), "native")
    run = experiment.start_logging(display_name="by hand", snapshot_directory=None)
    run.log("loss", 0.5)
    run.log_params({"lr": 0.1, "deep": True})
    child = run.child_run(name="below")
    child.complete()
    run.complete()
    assert run.get_metrics() == {"loss": 0.5}
    stored = client.get_run(run.id)
    assert (stored.info.status, stored.info.run_name) == ("FINISHED", "by hand")
    assert stored.data.metrics == {"loss": 0.5}
    assert stored.data.params == {"lr": "0.1", "deep": "True"}
    below = client.search_runs([stored.info.experiment_id], f"tags.mlflow.parentRunId = '{run.id}'")
    assert [run.info.run_id for run in below] == [child.id]
    client.log_param(run.id, "lr", 0.1)  # it has that value


def test_two_sides_write_points_of_one_run(
    client: MlflowClient, service: Service, workspace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from runstream.core import Experiment, Workspace

    monkeypatch.setenv("RUNSTREAM_HOME", str(service.home))
    own = Workspace(workspace_name=workspace)
    run = Experiment(own, "native").start_logging(snapshot_directory=None)
    run.log("a", 1.0)
    run.flush()
    client.log_metric(run.id, "b", 2.0, timestamp=NOW, step=1)
    client.log_metric(run.id, "a", 3.0, step=5)
    assert run.get_metrics() == {"a": [1.0, 3.0], "b": 2.0}
    assert client.get_run(run.id).data.metrics == {"a": 3.0, "b": 2.0}
    client.set_terminated(run.id)
    run.complete()
    by_mlflow = client.create_run("0").info.run_id
    client.log_metric(by_mlflow, "c", 4.0)
    assert own.get_run(by_mlflow).get_metrics() == {"c": 4.0}


def test_the_sdk_and_exec_lead_mlflow_here(
    client: MlflowClient, service: Service, workspace: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from runstream.core import Workspace

    monkeypatch.setenv("RUNSTREAM_HOME", str(service.home))
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_TOKEN", "MLFLOW_WORKSPACE", "MLFLOW_EXPERIMENT_ID"):
        monkeypatch.delenv(name, raising=False)
    script = tmp_path / "train.py"
    script.write_text(
        "import mlflow\nwith mlflow.start_run(run_name='in it'):\n    mlflow.log_metric('loss', 0.5)\n"
    )
    words = [
        sys.executable,
        "-m",
        "runstream",
        "exec",
        "--experiment",
        "e",
        "-w",
        workspace,
        "--",
        sys.executable,
        str(script),
    ]
    subprocess.run(words, check=True, cwd=tmp_path, capture_output=True, timeout=100)
    runs = service.api("GET", f"/api/v1/runs?workspace={workspace}").json()["runs"]
    outer = next(run for run in runs if run["display_name"] != "in it")
    inner = next(run for run in runs if run["display_name"] == "in it")
    assert (inner["parent_run_id"], inner["experiment"], inner["status"]) == (
        outer["run_id"],
        "e",
        "Completed",
    )
    assert outer["status"] == "Completed"
    address = Workspace(workspace_name=workspace).get_mlflow_tracking_uri()
    assert (address, os.environ["MLFLOW_WORKSPACE"]) == (service.url, workspace)
    assert MlflowClient(address).get_run(inner["run_id"]).data.metrics == {"loss": 0.5}


# --- metrics ---------------------------------------------------------------------------------------------------------


def test_an_equal_point_is_one_point_however_often_it_comes(client: MlflowClient) -> None:
    run_id = client.create_run("0").info.run_id
    batch = [Metric("loss", value, NOW + n, n) for n, value in enumerate((3.0, math.nan, math.inf, -1.5))]
    for _ in range(3):  # as a client does that got no answer
        client.log_batch(run_id, metrics=batch)
        client.log_metric(run_id, "loss", 3.0, timestamp=NOW, step=0)
    client.log_batch(run_id, metrics=[batch[1], Metric("loss", 2.0, NOW, 0), *batch])
    history = client.get_metric_history(run_id, "loss")
    assert [(metric.step, metric.timestamp - NOW) for metric in history] == [
        (0, 0),
        (0, 0),
        (1, 1),
        (2, 2),
        (3, 3),
    ]
    assert [history[n].value for n in (0, 1, 3, 4)] == [2.0, 3.0, GREATEST, -1.5]
    assert math.isnan(history[2].value)


def test_the_latest_point_is_the_highest_by_step_time_and_value(client: MlflowClient) -> None:
    run_id = client.create_run("0").info.run_id
    for step, time_ms, value in ((5, NOW, 1.0), (3, NOW + 9, 2.0), (5, NOW, 0.5), (-7, NOW, 9.0)):
        client.log_metric(run_id, "loss", value, timestamp=time_ms, step=step)
    assert client.get_run(run_id).data.metrics == {"loss": 1.0}
    for text, there in (("metrics.loss = 1.0", True), ("metrics.loss >= 2", False)):
        assert bool(client.search_runs(["0"], text)) == there
    client.log_metric(run_id, "loss", 4.0, timestamp=NOW, step=(1 << 63) - 1)
    assert client.get_run(run_id).data.metrics == {"loss": 4.0}


def test_what_was_answered_is_there_after_the_service_was_killed(
    client: MlflowClient, service: Service
) -> None:
    run_id = client.create_run("0").info.run_id
    client.log_batch(
        run_id,
        [Metric("loss", float(n), NOW + n, n) for n in range(500)],
        [Param("lr", "1")],
        [RunTag("a", "b")],
    )
    client.log_metric(run_id, "last", 1.0, timestamp=NOW)
    service.kill()
    service.start()
    again = client.get_run(run_id)
    assert (again.data.metrics, again.data.params) == ({"loss": 499.0, "last": 1.0}, {"lr": "1"})
    assert again.data.tags["a"] == "b"
    assert [metric.value for metric in client.get_metric_history(run_id, "loss")] == [
        float(n) for n in range(500)
    ]


# --- parameters, tags, statuses ----------------------------------------------------------------------------------------


def test_a_parameter_is_written_once(client: MlflowClient) -> None:
    run_id = client.create_run("0").info.run_id
    client.log_param(run_id, "lr", "0.1")
    client.log_param(run_id, "lr", "0.1")
    with pytest.raises(MlflowException, match="Changing param values is not allowed") as refused:
        client.log_param(run_id, "lr", "0.2")
    assert refused.value.error_code == "INVALID_PARAMETER_VALUE"
    with pytest.raises(MlflowException, match="Changing param values"):
        client.log_batch(run_id, [Metric("m", 1.0, NOW, 0)], [Param("lr", "3"), Param("new", "1")])
    assert client.get_run(run_id).data.params == {"lr": "0.1"}
    assert client.get_run(run_id).data.metrics == {}  # a batch is stored whole or not at all


def test_a_run_goes_from_any_status_to_any_other(client: MlflowClient, service: Service) -> None:
    run_id = client.create_run("0", start_time=NOW).info.run_id
    for status, ours in (
        ("FINISHED", "Completed"),
        ("FAILED", "Failed"),
        ("FINISHED", "Completed"),
        ("KILLED", "Canceled"),
        ("SCHEDULED", "Queued"),
        ("RUNNING", "Running"),
        ("FINISHED", "Completed"),
    ):
        client.set_terminated(run_id, status, end_time=NOW + 5) if ours in (
            "Completed",
            "Failed",
            "Canceled",
        ) else (client.update_run(run_id, status))
        info = client.get_run(run_id).info
        assert (info.status, shown(service, run_id)["status"]) == (status, ours)
    assert (info.start_time, info.end_time) == (NOW, NOW + 5)


def test_deleted_runs_and_experiments_can_be_restored(client: MlflowClient, service: Service) -> None:
    experiment_id = client.create_experiment("gone", tags={"a": "b"})
    run_id = client.create_run(experiment_id).info.run_id
    client.delete_run(run_id)
    assert shown(service, run_id)["archived_utc"] is not None
    with pytest.raises(MlflowException, match="must be in the 'active' state"):
        client.log_metric(run_id, "m", 1.0)
    assert [
        run.info.run_id for run in client.search_runs([experiment_id], run_view_type=ViewType.DELETED_ONLY)
    ] == [run_id]
    client.restore_run(run_id)
    client.delete_experiment(experiment_id)
    assert client.get_run(run_id).info.lifecycle_stage == "deleted"
    with pytest.raises(MlflowException, match="already exists"):
        client.create_experiment("gone")
    client.restore_experiment(experiment_id)
    client.rename_experiment(experiment_id, "back")
    assert [experiment.name for experiment in client.search_experiments()] == ["back", "Default"]
    assert (
        client.search_experiments(filter_string="tags.a = 'b' AND name LIKE 'ba%'")[0].experiment_id
        == experiment_id
    )


# --- files -------------------------------------------------------------------------------------------------------------


def test_files_are_those_of_the_run(client: MlflowClient, service: Service, tmp_path: Path) -> None:
    run_id = client.create_run("0").info.run_id
    client.log_text(run_id, "first", "notes/a b.txt")
    client.log_text(run_id, "second", "notes/a b.txt")  # a later state takes the place of the one before
    client.log_dict(run_id, {"a": 1}, "top.json")
    assert [(artifact.path, artifact.is_dir, artifact.file_size) for artifact in client.list_artifacts(run_id)] == [
        ("notes", True, None), ("top.json", False, 12),
    ]  # fmt: skip
    assert [artifact.path for artifact in client.list_artifacts(run_id, "notes")] == ["notes/a b.txt"]
    assert Path(client.download_artifacts(run_id, "notes/a b.txt", str(tmp_path))).read_text() == "second"
    assert service.api("GET", f"/api/v1/runs/{run_id}/files/notes/a%20b.txt").text == "second"
    service.api("PUT", f"/api/v1/runs/{run_id}/files/outputs/own").raise_for_status()
    with pytest.raises(Exception, match="was stored by the run itself"):
        client.log_text(run_id, "other", "outputs/own")


@pytest.mark.parametrize(
    "path", ["../a", "a/../../b", "%2e%2e/a", "/etc/passwd", "a%00b", "file:///etc/passwd"]
)
def test_paths_lead_nowhere_but_down(client: MlflowClient, service: Service, path: str) -> None:
    run_id = client.create_run("0").info.run_id
    below = path.replace("%", "%25")
    for target in (
        f"/get-artifact?run_id={run_id}&path={below}",
        f"/api/2.0/mlflow-artifacts/artifacts/0/{run_id}/artifacts/{below}",
    ):
        answer = service.api("GET", target)
        assert answer.status_code in (400, 404), target
        assert answer.json()["error_code"] in ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST")


# --- who may ------------------------------------------------------------------------------------------------------------


def made(service: Service, **more: Any) -> str:
    name = f"t-{time.time_ns()}"
    answer = service.api("POST", "/api/v1/tokens", {"name": name, **more})
    answer.raise_for_status()
    return str(answer.json()["token"])


def call(service: Service, method: str, path: str, **more: Any) -> httpx.Response:
    return httpx.request(method, f"{service.url}/api/2.0/mlflow/{path}", timeout=30, **more)


@pytest.mark.attack
def test_a_token_is_a_bearer_or_a_password(client: MlflowClient, service: Service, workspace: str) -> None:
    reader = made(service, role="read", workspace=workspace)
    run_id = client.create_run("0").info.run_id
    get = f"runs/get?run_id={run_id}"
    ways: tuple[Any, ...] = (
        {"auth": ("anybody", reader)},
        {"headers": {"Authorization": f"Bearer {reader}"}},
    )
    for way in ways:
        assert call(service, "GET", get, **way).json()["run"]["info"]["run_id"] == run_id
        refused = call(
            service, "POST", "runs/set-tag", json={"run_id": run_id, "key": "a", "value": "b"}, **way
        )
        assert (refused.status_code, refused.json()["error_code"]) == (403, "PERMISSION_DENIED")
    for wrong in (("anybody", "rst_wrong"), ("anybody", "")):
        refused = call(service, "GET", get, auth=wrong)
        assert (refused.status_code, refused.json()["error_code"]) == (401, "UNAUTHENTICATED")
        assert "www-authenticate" in refused.headers
    # A password is for clients of MLflow: a browser would send one to every page by itself.
    assert httpx.get(f"{service.url}/api/v1/runs", auth=("anybody", service.token)).status_code == 401


@pytest.mark.attack
def test_another_workspace_has_nothing_of_this_one(
    client: MlflowClient, service: Service, workspace: str
) -> None:
    experiment_id = client.create_experiment("mine")
    run_id = client.create_run(experiment_id).info.run_id
    client.log_text(run_id, "secret", "a.txt")
    stranger = {"Authorization": f"Bearer {made(service, role='admin', workspace='elsewhere-' + workspace)}"}
    owner = {"Authorization": f"Bearer {service.token}", "X-MLFLOW-WORKSPACE": f"other-{workspace}"}
    body = {"run_id": run_id, "key": "k", "value": "v"}
    point = {"run_id": run_id, "key": "k", "value": 1, "timestamp": NOW}
    for headers in (stranger, owner):
        nobody = call(service, "GET", "runs/get?run_id=nobody", headers=headers).json()
        theirs = call(service, "GET", f"runs/get?run_id={run_id}", headers=headers)
        assert theirs.status_code == 404
        assert theirs.json()["message"].replace(run_id, "nobody") == nobody["message"]
        for path, document in (
            ("runs/set-tag", body),
            ("runs/log-parameter", body),
            ("runs/log-metric", point),
            ("runs/delete", body),
            ("runs/restore", body),
            ("runs/update", {"run_id": run_id, "status": "FAILED"}),
            ("runs/log-batch", body),
            ("runs/log-inputs", body),
            ("runs/outputs", body),
        ):
            answer = call(service, "POST", path, json=document, headers=headers)
            assert (answer.status_code, answer.json()["error_code"]) == (404, "RESOURCE_DOES_NOT_EXIST"), path
        for path in (
            f"experiments/get?experiment_id={experiment_id}",
            f"metrics/get-history?run_id={run_id}&metric_key=k",
        ):
            assert call(service, "GET", path, headers=headers).status_code == 404
        assert call(service, "GET", f"artifacts/list?run_id={run_id}", headers=headers).status_code == 404
        search = {"experiment_ids": [experiment_id, "0"]}
        assert call(service, "POST", "runs/search", json=search, headers=headers).json() == {"runs": []}
        bulk = call(service, "GET", f"metrics/get-history-bulk?run_id={run_id}&metric_key=k", headers=headers)
        assert bulk.json() == {"metrics": []}
        place = f"{service.url}/api/2.0/mlflow-artifacts/artifacts/{experiment_id}/{run_id}/artifacts/a.txt"
        assert httpx.get(place, headers=headers).status_code == 404
        assert (
            httpx.delete(place, headers=headers).status_code == 200
        )  # of a path of its own, where nothing is
    refused = call(service, "GET", "runs/get?run_id=x", headers={**stranger, "X-MLFLOW-WORKSPACE": workspace})
    assert (refused.status_code, refused.json()["error_code"]) == (403, "PERMISSION_DENIED")
    assert client.get_run(run_id).data.tags.get("k") is None
    assert client.list_artifacts(run_id)[0].path == "a.txt"


def test_what_is_not_supported_is_said_in_mlflows_words(service: Service) -> None:
    headers = {"Authorization": f"Bearer {service.token}"}
    for path, code, status in (
        ("traces/search", "NOT_IMPLEMENTED", 501),
        ("nothing/at-all", "ENDPOINT_NOT_FOUND", 404),
    ):
        answer = call(service, "POST", path, headers=headers, json={})
        assert (answer.status_code, answer.json()["error_code"]) == (status, code)
    wrong = call(
        service, "POST", "runs/get", headers={**headers, "Content-Type": "text/plain"}, content=b"{}"
    )
    assert wrong.json()["error_code"] == "ENDPOINT_NOT_FOUND"
    wrong = call(
        service, "POST", "runs/create", headers={**headers, "Content-Type": "text/plain"}, content=b"{}"
    )
    assert (wrong.status_code, wrong.json()["error_code"]) == (400, "BAD_REQUEST")


@pytest.mark.attack
def test_the_owner_of_the_machine_needs_no_token_and_no_page_may_use_that(
    service: Service, workspace: str
) -> None:
    headers = {"X-MLFLOW-WORKSPACE": workspace}
    assert call(service, "POST", "runs/create", headers=headers, json={}).status_code == 200
    for name, value in (("Origin", "http://evil.example"), ("Sec-Fetch-Site", "cross-site")):
        answer = call(service, "POST", "runs/create", headers={**headers, name: value}, json={})
        assert (answer.status_code, answer.json()["error_code"]) == (403, "PERMISSION_DENIED")
    plain = call(
        service, "POST", "runs/create", headers={**headers, "Content-Type": "text/plain"}, content=b"{}"
    )
    assert plain.status_code == 401


def test_batches_of_many_metrics_follow_one_another(client: MlflowClient) -> None:
    run_id = client.create_run(client.create_experiment("wide")).info.run_id
    for step in range(3):
        client.log_batch(run_id, [Metric(f"m{n}", n + step, NOW + step, step) for n in range(400)])
    assert client.get_run(run_id).data.metrics == {f"m{n}": n + 2 for n in range(400)}
    assert [point.value for point in client.get_metric_history(run_id, "m7")] == [7, 8, 9]
