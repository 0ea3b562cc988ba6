"""Registered models: versions, files there and back, tags and properties."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.producers.conftest import SCRIPT_TIMEOUT, environment

from runstream.core import Experiment, Workspace
from runstream.core.model import Model
from runstream.exceptions import (
    ModelNotFoundException,
    ModelPathNotFoundException,
    ServiceException,
    UserErrorException,
    WebserviceException,
)


def test_there_and_back(workspace: Workspace, tmp_path: Path) -> None:
    folder = tmp_path / "net"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.bin").write_bytes(b"\0" * 3_000_000)
    (folder / "deep" / "ключ b.bin").write_bytes(b"b")
    first = Model.register(
        workspace, folder, "ridge", tags={"rank": 1}, properties={"p": "q"}, model_framework="X"
    )
    second = Model.register(workspace, folder / "a.bin", "ridge", description="one file")
    assert [(model.name, model.version, model.id) for model in (first, second)] == [
        ("ridge", 1, "ridge:1"),
        ("ridge", 2, "ridge:2"),
    ]
    where = Path(Model(workspace, "ridge", version=1).download(tmp_path / "got"))
    assert where == tmp_path / "got" / "net"
    assert (where / "a.bin").stat().st_size == 3_000_000
    assert (where / "deep" / "ключ b.bin").read_bytes() == b"b"
    with pytest.raises(WebserviceException, match="already exists"):
        first.download(tmp_path / "got")
    first.download(tmp_path / "got", exist_ok=True)
    assert Model(workspace, "ridge").version == 2
    assert Model(workspace, id="ridge:1").model_framework == "X"
    assert [model.id for model in Model.list(workspace)] == ["ridge:2", "ridge:1"]
    assert [model.id for model in Model.list(workspace, latest=True)] == ["ridge:2"]
    assert [model.id for model in Model.list(workspace, tags={"rank": 1}, properties="p")] == ["ridge:1"]
    assert [model.id for model in Model.list(workspace, tags=["rank", ["rank", 1]], properties=[])] == [
        "ridge:1"
    ]
    assert Model.list(workspace, tags=[["rank", "2"]]) == []
    assert (
        Model(workspace, "ridge", tags=["rank"], properties=["p"]).url
        == f"aml://asset/{workspace.name}/ridge:1"
    )
    first.add_tags({"new": None})
    first.remove_tags(["rank"])
    first.add_properties({"r": 1})
    again = Model(workspace, "ridge", version=1)
    assert (again.tags, again.properties) == ({"new": None}, {"p": "q", "r": "1"})
    with pytest.raises(ServiceException, match="do not change"):
        first.add_properties({"p": "other"})
    second.delete()
    assert Model.register(workspace, folder / "a.bin", "ridge").version == 3


def test_a_runs_files_become_a_model(experiment: Experiment, tmp_path: Path) -> None:
    (tmp_path / "m.pkl").write_bytes(b"weights")
    run = experiment.start_logging(outputs=False)
    run.upload_file("outputs/m.pkl", "m.pkl")
    models = [run.register_model("ridge", "outputs/m.pkl", tags={"a": "b"}) for _ in range(2)]
    assert [version.version for version in models] == [1, 2]
    assert (models[0].run_id, models[0].experiment_name) == (run.id, "test")
    assert Path(models[1].download(tmp_path / "got")).read_bytes() == b"weights"
    with pytest.raises(ModelPathNotFoundException, match=r"outputs/m\.pkl"):
        run.register_model("ridge")
    run.complete()


def test_refusals(workspace: Workspace, tmp_path: Path) -> None:
    file = tmp_path / "m.bin"
    file.write_bytes(b"m")
    for name in ("", "a b", "-a", "a" * 256, "имя"):
        with pytest.raises(WebserviceException):
            Model.register(workspace, file, name)
    with pytest.raises(ModelPathNotFoundException, match="nothing"):
        Model.register(workspace, tmp_path / "nothing", "m")
    with pytest.raises(ModelNotFoundException, match="ModelNotFound"):
        Model(workspace, "m")
    with pytest.raises(UserErrorException, match="NAME:VERSION"):
        Model(workspace, id="m")
    with pytest.raises(UserErrorException, match="name or an id"):
        Model(workspace)
    with pytest.raises(ValueError, match="Unknown filter type"):
        Model.list(workspace, tags=[5])  # type: ignore[list-item]


def test_two_processes_at_once_get_two_versions(
    workspace: Workspace, served_home: Path, tmp_path: Path
) -> None:
    (tmp_path / "m.bin").write_bytes(b"m")
    code = (
        "from runstream.core import Workspace; from runstream.core.model import Model; "
        f"print(Model.register(Workspace(workspace_name={workspace.name!r}), 'm.bin', 'm').version)"
    )
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            env=environment(served_home),
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    assert sorted(process.communicate(timeout=SCRIPT_TIMEOUT)[0] for process in started) == ["1\n", "2\n"]
