"""Models, their versions and data sets through MLflow's own client."""

from __future__ import annotations

import warnings
from typing import Any

import httpx
import pytest

from .conftest import Service

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of what MLflow imports
    import mlflow
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException


pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")


@pytest.mark.filterwarnings("ignore::UserWarning")  # what MLflow thinks of type hints
def test_a_model_is_logged_registered_and_loaded(
    client: MlflowClient, service: Service, workspace: str
) -> None:
    from mlflow.pyfunc import PythonModel, load_model, log_model

    with mlflow.start_run() as run, warnings.catch_warnings():
        warnings.simplefilter("ignore")

        class Twice(PythonModel):  # type: ignore[misc]
            def predict(self, context: Any, model_input: list[int], params: Any = None) -> list[int]:
                return [2 * value for value in model_input]

        logged = log_model(
            name="twice", python_model=Twice(), registered_model_name="Twice", pip_requirements=[]
        )
        mlflow.log_metric("score", 0.5, model_id=logged.model_id)
    client.set_registered_model_alias("Twice", "best", "1")
    client.set_model_version_tag("Twice", "1", "checked", "yes")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert load_model("models:/Twice@best").predict([1, 2]) == [2, 4]
    model = client.get_logged_model(logged.model_id)
    assert (model.source_run_id, [(metric.key, metric.value) for metric in model.metrics]) == (
        run.info.run_id,
        [("score", 0.5)],
    )
    assert [output.model_id for output in client.get_run(run.info.run_id).outputs.model_outputs] == [
        logged.model_id
    ]
    assert (
        client.search_model_versions("name = 'Twice' AND tags.checked = 'yes'")[0].run_id == run.info.run_id
    )
    # runstream has it with its files, and the run it is from
    (record,) = service.api("GET", f"/api/v1/models?workspace={workspace}").json()["models"]
    assert (record["name"], record["version"], record["run_id"]) == ("Twice", 1, run.info.run_id)
    assert "MLmodel" in [file["path"] for file in record["files"]]


def test_stages_versions_and_names_of_models(client: MlflowClient) -> None:
    client.create_registered_model("first", {"a": "b"}, "why")
    for _ in range(3):
        client.create_model_version("first", "s3://bucket/model", run_id="unknown")
    client.transition_model_version_stage("first", "1", "Staging")
    client.transition_model_version_stage("first", "2", "staging", archive_existing_versions=True)
    stages = {
        version.version: version.current_stage for version in client.search_model_versions("name = 'first'")
    }
    assert stages == {"1": "Archived", "2": "Staging", "3": "None"}
    for text in ("", "name = 'first'", "name ILIKE 'FIR%' AND tags.a = 'b'"):
        assert [model.name for model in client.search_registered_models(text)] == ["first"]
    client.rename_registered_model("first", "second")
    client.set_registered_model_alias("second", "mine", "2")
    client.delete_model_version("second", "3")
    assert client.create_model_version("second", "s3://bucket/model").version == "4"
    renamed = client.get_registered_model("second")
    assert (renamed.tags, renamed.description, renamed.aliases) == ({"a": "b"}, "why", {"mine": "2"})
    for source in (
        "/etc/passwd",
        "file:///etc",
        "mlflow-artifacts:/",
        "s3://bucket/../x",
        "s3://bucket/%2e%2e/x",
    ):
        with pytest.raises(MlflowException, match="Invalid model version source"):
            client.create_model_version("second", source)
    client.delete_registered_model("second")
    with pytest.raises(MlflowException, match="not found"):
        client.get_registered_model("second")
    assert client.search_registered_models() == []


def test_data_sets_are_found_by_what_they_are(client: MlflowClient) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    run_id = client.create_run("0").info.run_id
    data_set = Dataset(name="digits", digest="d1", source_type="local", source="{}")
    for _ in range(2):
        client.log_inputs(run_id, [DatasetInput(data_set, [InputTag("mlflow.data.context", "train")])])
    assert [entry.dataset.name for entry in client.get_run(run_id).inputs.dataset_inputs] == ["digits"]
    assert len(client.search_runs(["0"], "datasets.name = 'digits' AND datasets.context = 'train'")) == 1
    assert not client.search_runs(["0"], "datasets.digest IN ('d2', 'd3')")


@pytest.mark.parametrize(
    ("name", "header"),
    [
        ("a.txt", "attachment; filename=a.txt"),
        ("step+1 of 2.png", 'attachment; filename="step+1 of 2.png"'),
        ('a"b.txt', 'attachment; filename="a\\"b.txt"'),
        ("größe.txt", "attachment; filename=groe.txt; filename*=UTF-8''gr%C3%B6%C3%9Fe.txt"),
        ("表", "attachment; filename=download; filename*=UTF-8''%E8%A1%A8"),
    ],
)
def test_a_file_is_kept_under_its_name(
    client: MlflowClient, service: Service, workspace: str, name: str, header: str
) -> None:
    run_id = client.create_run("0").info.run_id
    client.log_text(run_id, "text", name)
    answer = httpx.get(
        f"{service.url}/get-artifact",
        params={"run_id": run_id, "path": name},
        headers={"Authorization": f"Bearer {service.token}", "X-MLFLOW-WORKSPACE": workspace},
    )
    assert (answer.status_code, answer.headers["Content-Disposition"]) == (200, header)
    assert (answer.headers["Content-Type"] == "text/plain") == name.endswith(".txt")


def test_an_experiment_of_a_negative_id_is_not_there(client: MlflowClient) -> None:
    with pytest.raises(MlflowException, match="No Experiment with id=-1337 exists"):
        client.get_experiment("-1337")
    assert client.search_runs(["-1337"]) == []
