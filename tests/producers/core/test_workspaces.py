"""Workspaces, and what they keep beside runs: environments, datastores, secrets, compute targets."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from runstream.core import (
    ComputeTarget,
    Dataset,
    Datastore,
    Environment,
    Experiment,
    RunConfiguration,
    ScriptRunConfig,
    Workspace,
)
from runstream.core.compute import AmlCompute
from runstream.core.compute_target import ComputeTargetException
from runstream.core.conda_dependencies import CondaDependencies
from runstream.exceptions import ServiceException, UserErrorException, WorkspaceException


def test_created_listed_changed_deleted(workspace: Workspace) -> None:
    name = workspace.name
    assert name not in Workspace.list()
    made = Workspace.create(name, tags={"team": "a"}, location="here")
    assert (made.tags, made.location) == ({"team": "a"}, "here")
    with pytest.raises(WorkspaceException, match="exist_ok"):
        Workspace.create(name)
    assert Workspace.create(name, exist_ok=True).tags == {"team": "a"}
    details = made.update(description="ours", tags={"team": None, "n": 1})
    assert (details["description"], details["tags"]) == ("ours", {"team": None, "n": "1"})
    assert made.get_details() == details
    assert details["creationTime"]
    assert [space.tags for space in Workspace.list()[name]] == [{"team": None, "n": "1"}]
    made.delete()
    assert name not in Workspace.list()
    with pytest.raises(ServiceException) as gone:
        made.delete()
    assert gone.value.status_code == 404


def test_one_with_runs_is_not_deleted(experiment: Experiment) -> None:
    run = experiment.start_logging(outputs=False)
    run.complete()
    run.flush()
    with pytest.raises(ServiceException, match="holds runs") as refused:
        experiment.workspace.delete()
    assert refused.value.status_code == 409
    assert experiment.workspace.get_run(run.id).id == run.id
    assert list(experiment.workspace.experiments) == [experiment.name]


def test_what_only_azure_has(workspace: Workspace) -> None:
    assert workspace.webservices == workspace.images == workspace.linked_services == {}
    for call in (workspace.list_keys, workspace.sync_keys):
        with pytest.raises(UserErrorException, match="runstream does without"):
            call()


def test_environments_have_versions_and_labels(workspace: Workspace) -> None:
    made = Environment("net")
    made.python.conda_dependencies = CondaDependencies.create(pip_packages=["numpy"])
    made.environment_variables = {"A": "1"}
    first = made.register(workspace)
    assert (first.name, first.version, made.version) == ("net", "1", None)
    assert made.register(workspace).version == "1"
    made.environment_variables = {"A": "2"}
    assert made.register(workspace).version == "2"
    fetched = Environment.get(workspace, "net", version="1")
    assert fetched.environment_variables == {"A": "1"}
    assert fetched.python.conda_dependencies is not None
    assert list(fetched.python.conda_dependencies.pip_packages) == ["numpy"]
    assert Environment.get(workspace, "net").version == "2"
    Environment.label(workspace, "net", "1", ["stable"])
    assert Environment.get(workspace, "net", label="stable").version == "1"
    assert Environment.get(workspace, "net", label="Latest").version == "2"
    assert {name: environment.version for name, environment in workspace.environments.items()} == {"net": "2"}
    for version in ({"version": "9"}, {"label": "none"}):
        with pytest.raises(ServiceException, match=r"Environment\.list") as missing:
            Environment.get(workspace, "net", **version)
        assert missing.value.status_code == 404
    fetched.environment_variables = {}
    with pytest.raises(ServiceException, match="versions do not change") as taken:
        fetched.register(workspace)
    assert taken.value.status_code == 409
    assert fetched.clone("other").register(workspace).version == "1"


def test_an_environment_like_one_of_conda(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert Environment.from_existing_conda_environment("mine", "work") is None
    assert "conda environment work cannot be exported" in caplog.text
    conda = tmp_path / "conda"
    conda.write_text(
        "#!/bin/sh\n[ $5 = work ] && "
        """echo '{"dependencies": ["python=3.11", "gcc", {"pip": ["numpy"]}]}'\n"""
    )
    conda.chmod(0o755)
    environment = Environment.from_existing_conda_environment("mine", "work")
    assert environment is not None
    assert environment.name == "mine"
    assert environment.python.conda_dependencies is not None
    assert set(environment.python.conda_dependencies.conda_packages) >= {"gcc"}
    assert list(environment.python.conda_dependencies.pip_packages) == ["numpy"]
    assert Environment.from_existing_conda_environment("mine", "none such") is None


def test_environments_in_directories(tmp_path: Path) -> None:
    made = Environment("net")
    made.python.conda_dependencies = CondaDependencies.create(pip_packages=["numpy"], conda_packages=["gcc"])
    made.save_to_directory(tmp_path / "env")
    with pytest.raises(UserErrorException, match="overwrite"):
        made.save_to_directory(tmp_path / "env")
    assert Environment.load_from_directory(tmp_path / "env").document() == made.document()
    (tmp_path / "env" / "azureml_environment.json").write_text("[")
    with pytest.raises(UserErrorException, match="not JSON"):
        Environment.load_from_directory(tmp_path / "env")
    with pytest.raises(FileNotFoundError):
        Environment.load_from_directory(tmp_path)
    image = Environment.from_docker_image("i", "python:3.11", pip_requirements=None)
    assert (image.docker.base_image, image.python.user_managed_dependencies) == ("python:3.11", True)
    image.docker.base_image_registry.address = "registry.example.org"
    image.docker.base_image_registry.password = "hidden"
    assert "hidden" not in repr(image.docker)
    assert image.docker.shared_volumes
    file = Environment.from_dockerfile("f", "FROM python\nRUN true")
    assert (file.docker.base_image, file.docker.base_dockerfile) == (None, "FROM python\nRUN true")


@pytest.mark.attack
def test_datastores(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    (tmp_path / "in" / "deep" / "a.txt").write_text("a")
    default = workspace.get_default_datastore()
    assert list(workspace.datastores) == [default.name] == ["workspaceblobstore"]
    reference = default.upload(tmp_path / "in", "data", show_progress=False)
    assert Path(str(reference), "deep", "a.txt").read_text() == "a"
    assert reference.path("deep").as_download().local_path() == Path(reference) / "deep"
    (tmp_path / "in" / "deep" / "a.txt").write_text("b")
    default.upload_files([tmp_path / "in" / "deep" / "a.txt"], tmp_path / "in", "data", show_progress=False)
    assert Path(reference, "deep", "a.txt").read_text() == "a"
    default.upload(tmp_path / "in", "data", overwrite=True, show_progress=False)
    assert default.download(tmp_path / "out", "data", show_progress=False) == 1
    assert (tmp_path / "out" / "data" / "deep" / "a.txt").read_text() == "b"
    assert default.download(tmp_path / "out", "data", show_progress=False) == 0
    with pytest.raises(UserErrorException, match="leads out"):
        default.upload(tmp_path / "in", "../x")
    with pytest.raises(UserErrorException, match="leads out"):
        default.download(tmp_path / "out", "a/../../..")
    other = Datastore.register_local(workspace, "mine", tmp_path / "mine")
    other.set_as_default()
    assert Datastore.get_default(workspace).container_name == str(tmp_path / "mine")
    with pytest.raises(UserErrorException, match="already"):
        Datastore.register_local(workspace, "mine", tmp_path)
    other.unregister()
    assert Datastore(workspace).name == "workspaceblobstore"
    with pytest.raises(UserErrorException, match="Could not find datastore 'mine'"):
        Datastore(workspace, "mine")
    with pytest.raises(UserErrorException, match="register_local"):
        Datastore.register_azure_blob_container(workspace, "b", "c", "d")


def test_references_are_paths_to_scripts(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("x")
    store = workspace.get_default_datastore()
    files = Dataset.File.from_files(store.upload(tmp_path, "in", show_progress=False))
    configuration = ScriptRunConfig(
        str(tmp_path),
        "train.py",
        ["--in", store.path("in").as_mount(), "--also", files.as_named_input("x").as_download(), 1],
        compute_target=ComputeTarget(workspace, "local"),
    )
    place = str(Path(store.container_name, "in"))
    document = configuration.resolved().document()
    assert document["arguments"] == ["--in", place, "--also", place, "1"]
    assert document["target"] == "local"


def test_a_script_finds_its_datasets(experiment: Experiment, tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (tmp_path / "rows.csv").write_text("x\n1\n2\n")
    (project / "train.py").write_text(
        "import os, sys\n"
        "from runstream.core import Dataset, Run\n"
        "run = Run.get_context()\n"
        "found = run.input_datasets\n"
        "run.log('rows', len(found['rows'].to_pandas_dataframe()))\n"
        "run.log('text', open(found['files']).read())\n"
        "run.log('same', sys.argv[2] == found['files'])\n"
        "run.log_list('data', os.listdir(os.environ['AZUREML_DATAREFERENCE_data']))\n"
        "run.log('name', Dataset.get_by_id(run.experiment.workspace, sys.argv[1]).name)\n"
    )
    table = Dataset.Tabular.from_delimited_files(tmp_path / "rows.csv").register(
        experiment.workspace, "table"
    )
    files = Dataset.File.from_files(tmp_path / "rows.csv")
    arguments = [table.as_named_input("rows"), files.as_named_input("files").as_mount()]
    config = ScriptRunConfig(str(project), "train.py", arguments)
    store = experiment.workspace.get_default_datastore()
    store.upload_files([str(tmp_path / "rows.csv")], target_path="kept", show_progress=False)
    config.run_config.data_references = {"data": store.path("kept").as_mount().to_config()}
    config.run_config.save(tmp_path, "kept")
    config.run_config = RunConfiguration.load(tmp_path, "kept")
    run = experiment.submit(config)
    run.wait_for_completion()
    assert run.get_metrics() == {
        "rows": 2,
        "text": "x\n1\n2\n",
        "same": True,
        "data": "rows.csv",
        "name": "table",
    }
    assert run.get_details()["runDefinition"]["dataReferences"]["data"]["pathOnDataStore"] == "kept"
    config.run_config.data_references = {"data": "kept"}
    with pytest.raises(
        UserErrorException, match=r"data_references\['data'\]: expected DataReference.to_config"
    ):
        experiment.submit(config)


def test_a_cluster_a_script_creates_is_a_queue_here(
    experiment: Experiment, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    workspace, project = experiment.workspace, tmp_path / "project"
    project.mkdir()
    (project / "train.py").write_text("print('there')\n")
    try:
        target = ComputeTarget(workspace=workspace, name="cpu-cluster")
        pytest.fail("not created yet")
    except ComputeTargetException:
        configuration = AmlCompute.provisioning_configuration(vm_size="STANDARD_D2_V2", max_nodes=4)
        target = ComputeTarget.create(workspace, "cpu-cluster", configuration)
        target.wait_for_completion(show_output=True, min_node_count=None, timeout_in_minutes=20)
    assert "no machine STANDARD_D2_V2 is rented" in caplog.text
    assert target.get_status().serialize()["concurrency"] == 4
    assert AmlCompute(workspace, "cpu-cluster").type == "local"
    run = experiment.submit(ScriptRunConfig(str(project), "train.py", compute_target=target))
    details = run.wait_for_completion()
    assert (details["status"], details["target"]) == ("Completed", "cpu-cluster")
    target.delete()
    assert list(workspace.compute_targets) == ["local"]


@pytest.mark.attack
def test_secrets_stay_with_their_owner(workspace: Workspace, served_home: Path) -> None:
    vault = workspace.get_default_keyvault()
    assert vault.get_secret("token") is None
    vault.set_secrets({"token": "s3cret", "other": "x"})
    assert vault.get_secrets(["token", "none"]) == {"token": "s3cret", "none": None}
    assert vault.list_secrets() == [{"name": "other"}, {"name": "token"}]
    assert stat.S_IMODE((served_home / "keyvault.json").stat().st_mode) == 0o600
    assert Workspace(workspace_name=workspace.name + "x").get_default_keyvault().list_secrets() == []
    vault.delete_secret("token")
    assert vault.get_secret("token") is None
    for name, value in (("a b", "x"), ("", "x"), ("a" * 128, "x"), ("a", 5)):
        with pytest.raises(UserErrorException, match="secret"):
            vault.set_secret(name, value)  # type: ignore[arg-type]
    assert "s3cret" not in repr(vault)
