"""Datasets: made of files, registered with versions, read again elsewhere."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from tests.producers.conftest import SCRIPT_TIMEOUT, environment

from runstream.core import Dataset, Workspace
from runstream.data import DataType, FileDataset, TabularDataset
from runstream.data.datapath import DataPath
from runstream.exceptions import UserErrorException


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    data = tmp_path / "data"
    (data / "deep").mkdir(parents=True)
    (data / "a.csv").write_text("x,y,when\n1,a,2026-01-01\n2,,2026-01-02\n", encoding="utf-8")
    (data / "deep" / "b.csv").write_text("x,y,when\n3,ü,never\n", encoding="utf-8")
    return data


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """Datasets need no service."""
    monkeypatch.setenv("RUNSTREAM_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("RUNSTREAM_AUTOSTART", "0")
    monkeypatch.chdir(tmp_path)
    return Workspace(workspace_name="datasets")


def test_rows_of_files(folder: Path) -> None:
    table = Dataset.Tabular.from_delimited_files(str(folder / "**" / "*.csv"), include_path=True)
    frame = table.to_pandas_dataframe()
    assert frame["x"].tolist() == [1, 2, 3]
    assert [Path(path).name for path in frame["Path"]] == ["a.csv", "a.csv", "b.csv"]
    assert frame["y"].isna().tolist() == [False, True, False]
    assert table.keep_columns(["x"]).skip(1).take(1).to_pandas_dataframe().to_dict("list") == {"x": [2]}
    assert [*table.drop_columns("Path").to_pandas_dataframe().columns] == ["x", "y", "when"]
    first, second = table.random_split(0.5, seed=3)
    assert sorted([*first.to_pandas_dataframe()["x"], *second.to_pandas_dataframe()["x"]]) == [1, 2, 3]
    assert first.to_pandas_dataframe().equals(first.to_pandas_dataframe())
    assert table.take_sample(1.0).to_pandas_dataframe().equals(frame)
    [path] = table.to_csv_files().download()
    assert pd.read_csv(path)["x"].tolist() == [1, 2, 3]


def test_types_and_forms(folder: Path) -> None:
    make = Dataset.Tabular.from_delimited_files
    types = {"x": DataType.to_float(), "when": DataType.to_datetime(), "y": DataType.to_string()}
    frame = make(folder, set_column_types=types).to_pandas_dataframe()
    assert frame["x"].tolist() == [1.0, 2.0, 3.0]
    assert frame["x"].dtype == float
    assert frame["when"].isna().tolist() == [False, False, True]
    texts = make(folder / "a.csv", infer_column_types=False, empty_as_string=True).to_pandas_dataframe()
    assert texts["x"].tolist() == ["1", "2"]
    assert texts["y"].tolist() == ["a", ""]
    bare = make(folder / "a.csv", header=False).to_pandas_dataframe()
    assert [*bare.columns] == ["Column1", "Column2", "Column3"]
    assert len(bare) == 3
    (folder / "rows.jsonl").write_text('{"x": 1}\n{"x": 2}\n')
    rows = Dataset.Tabular.from_json_lines_files(
        folder / "rows.jsonl", set_column_types={"x": DataType.to_bool()}
    )
    assert rows.to_pandas_dataframe()["x"].tolist() == [True, False]


def test_files(folder: Path, tmp_path: Path) -> None:
    files = Dataset.File.from_files(folder)
    assert files.to_path() == ["/a.csv", "/deep/b.csv"]
    assert files.take(1).to_path() == ["/a.csv"]
    assert files.skip(1).to_path() == ["/deep/b.csv"]
    copies = files.download(tmp_path / "copies")
    assert [Path(copy).read_bytes() for copy in copies] == [
        (folder / "a.csv").read_bytes(),
        (folder / "deep" / "b.csv").read_bytes(),
    ]
    with pytest.raises(UserErrorException, match="overwrite=True"):
        files.download(tmp_path / "copies")
    with files.mount() as mounted:
        assert (
            Path(mounted.mount_point, "deep", "b.csv").read_bytes()
            == (folder / "deep" / "b.csv").read_bytes()
        )
    assert not Path(mounted.mount_point).exists()
    assert (folder / "a.csv").exists()
    assert str(files.as_named_input("in").as_mount()) == str(folder)
    with pytest.raises(UserErrorException, match="get_by_id"):
        str(files.take(1).as_mount())


def test_versions_and_tags(workspace: Workspace, folder: Path) -> None:
    made = Dataset.Tabular.from_delimited_files(folder / "a.csv")
    first = made.register(workspace, "rows", "the first", tags={"n": 1})
    assert (first.name, first.version, first.description, first.tags) == ("rows", 1, "the first", {"n": "1"})
    assert made.version is None
    assert made.register(workspace, "rows").version == 1
    other = Dataset.File.from_files(folder)
    with pytest.raises(UserErrorException, match="create_new_version=True"):
        other.register(workspace, "rows")
    second = other.register(workspace, "rows", create_new_version=True)
    assert second.version == 2
    assert isinstance(Dataset.get_by_name(workspace, "rows"), FileDataset)
    dataset = Dataset.get_by_name(workspace, "rows", version=1)
    assert isinstance(dataset, TabularDataset)
    assert dataset.to_pandas_dataframe()["x"].tolist() == [1, 2]
    assert {name: registered.version for name, registered in workspace.datasets.items()} == {"rows": 2}
    dataset.add_tags({"more": None})
    dataset.remove_tags(["n"])
    assert Dataset.get_by_id(workspace, str(first.id)).tags == {"more": None}
    for asked in ({"name": "rows", "version": 3}, {"name": "none"}):
        with pytest.raises(UserErrorException, match="Cannot load Dataset"):
            Dataset.get_by_name(workspace, **asked)
    dataset.unregister_all_versions()
    assert Dataset.get_all(workspace) == {}


def test_frames_in_datastores(workspace: Workspace, folder: Path) -> None:
    store = workspace.get_default_datastore()
    frame = pd.DataFrame({"x": [1, 2]})
    made = Dataset.Tabular.register_pandas_dataframe(frame, (store, "frames"), "frame", show_progress=False)
    assert made.to_pandas_dataframe().equals(frame)
    again = Dataset.Tabular.register_pandas_dataframe(frame, store, "frame")
    assert again.version == 2
    uploaded = Dataset.File.upload_directory(folder, DataPath(store, "up"), show_progress=False)
    assert uploaded.to_path() == ["/a.csv", "/deep/b.csv"]
    assert Dataset.File.from_files([(store, "up/a.csv"), store.path("up/deep")]).to_path() == [
        "/a.csv",
        "/b.csv",
    ]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("none.csv", "there is no file at"),
        ([], "at least one file"),
        (5, "expected a text, a path"),
        ("https://example.org/a.csv", "files of this machine"),
    ],
)
def test_refused_paths(path: object, text: str, folder: Path) -> None:
    with pytest.raises(UserErrorException, match=text):
        Dataset.File.from_files(path)


def test_other_refusals(folder: Path) -> None:
    table = Dataset.Tabular.from_delimited_files(folder / "a.csv")
    with pytest.raises(UserErrorException, match="no column 'z'; it has 'x', 'y', 'when'"):
        table.keep_columns("z", validate=True)
    with pytest.raises(UserErrorException, match="partition_format"):
        Dataset.Tabular.from_delimited_files(folder, partition_format="{a}/x.csv")
    with pytest.raises(UserErrorException, match="cannot be read as jsonl"):
        Dataset.Tabular.from_json_lines_files(folder / "a.csv").to_pandas_dataframe()
    with pytest.raises(UserErrorException, match="not registered"):
        table.add_tags({"a": "b"})
    with pytest.raises(UserErrorException, match="percentage"):
        table.random_split(1.5)
    with pytest.raises(UserErrorException, match=r"from_delimited_files is a service of Azure"):
        Dataset.from_delimited_files("a.csv")


def test_another_process_finds_them(workspace: Workspace, folder: Path, tmp_path: Path) -> None:
    Dataset.Tabular.from_delimited_files(folder / "a.csv").register(workspace, "rows")
    code = (
        "from runstream.core import Dataset, Workspace\n"
        "w = Workspace(workspace_name='datasets')\n"
        "for n in range(20): Dataset.File.from_files('data').take(n).register(w, 'mine', create_new_version=True)\n"
        "print(Dataset.get_by_name(w, 'rows').definition['format'])"
    )
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            env=environment(tmp_path / "home", PYTHONWARNINGS="default"),
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    assert [process.communicate(timeout=SCRIPT_TIMEOUT)[0] for process in started] == ["csv\n", "csv\n"]
    assert Dataset.get_by_name(workspace, "mine").version == 20
    assert json.loads((tmp_path / "home" / "datasets.json").read_text())["datasets"].keys() == {
        "rows",
        "mine",
    }
