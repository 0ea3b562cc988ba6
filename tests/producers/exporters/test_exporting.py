"""`runstream export`: a copy holds what the run holds, is whole or not there, and stays as it is while the run does."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util import tensor_util

from runstream.core import Experiment, Run, Workspace
from runstream.exceptions import UserErrorException
from runstream.exporters import run_contents
from runstream.exporters.bundle import write_bundle
from runstream.exporters.event_files import write_event_files
from runstream.exporters.exporting import (
    MARK,
    ExportReport,
    Write,
    chosen_runs,
    export,
    file_name,
    run_folder,
)
from runstream.exporters.mlflow_store import MlflowStore
from runstream.exporters.run_contents import RunContents
from runstream.importers.tensorboard import TensorBoardImport

from .conftest import PIXELS, SOUND


def export_one(run: Run, root: Path, write: Write) -> ExportReport:
    client, name = run.experiment.workspace._client, run.experiment.workspace.name
    (record,) = chosen_runs(client, name, [run.id], None, False)
    return export(client, record, run_folder(root, record), write)


# --- TensorBoard -------------------------------------------------------------------------------------------------------


def test_tensorboards_own_reader_finds_every_number_as_it_was_logged(full: Run, tmp_path: Path) -> None:
    report = export_one(full, tmp_path, write_event_files)
    events = EventAccumulator(report.directory, size_guidance={"tensors": 0, "images": 0, "audio": 0})
    events.Reload()
    logged = full.get_metrics()

    def numbers(tag: str) -> list[tuple[int, float]]:
        return [(e.step, tensor_util.make_ndarray(e.tensor_proto).item()) for e in events.Tensors(tag)]

    assert numbers("loss") == [(step * 10, value) for step, value in enumerate(logged["loss"])]
    assert numbers("whole") == [(0, 2**40)]
    assert numbers("odd é/[0]") == [(0, math.pi)]
    (first, second) = numbers("gone")
    assert (math.isnan(first[1]), second[1]) == (True, math.inf)
    (text,) = events.Tensors("said")
    assert tensor_util.make_ndarray(text.tensor_proto).tolist() == [b"**words**"]
    (image,) = events.Images("seen")
    assert (image.step, image.width, image.height) == (7, PIXELS.shape[1], PIXELS.shape[0])
    (sound,) = events.Audio("heard")
    assert (sound.encoded_audio_string, sound.sample_rate, sound.length_frames) == (SOUND, 8000, 800)
    assert report.left_out == {"media (text/html)": 1, "tables": 1, "files": 1}


def test_what_went_to_event_files_comes_back_the_same(full: Run, tmp_path: Path) -> None:
    report = export_one(full, tmp_path, write_event_files)
    workspace = full.experiment.workspace
    (back,) = TensorBoardImport(workspace, Path(report.directory), "back").once()
    copy = Run(Experiment(workspace, "back"), back.run_id)
    before, after = full.get_metrics(), copy.get_metrics()
    assert math.isnan(after["gone"].pop(0))  # type: ignore[union-attr, arg-type]
    assert math.isnan(before["gone"].pop(0))  # type: ignore[union-attr, arg-type]
    del before["scores"]
    assert after == before
    assert {name: type(value) for name, value in copy.get_params().items() if name != "sizes"} == {
        "lr": float, "layers": int, "opt": str, "amp": bool, "none": type(None)
    }  # fmt: skip
    assert copy.get_params()["sizes"] == "[1, 2]"
    (histogram,), (logged,) = copy.get_histograms("weights"), full.get_histograms("weights")
    assert (histogram.counts, histogram.edges, histogram.step) == (logged.counts, logged.edges, 4)
    (image,), (original,) = copy.get_media("seen"), full.get_media("seen")
    assert (image.sha256, image.step) == (original.sha256, 7)
    assert copy.get_status() == "Completed"


def test_series_of_a_long_run_are_read_one_by_one(
    full: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = export_one(full, tmp_path / "whole", write_event_files)
    monkeypatch.setattr(run_contents, "MOST_AT_ONCE", 3)
    parts = export_one(full, tmp_path / "parts", write_event_files)

    def tags(directory: str) -> dict[str, int]:
        events = EventAccumulator(directory, size_guidance={"tensors": 0})
        events.Reload()
        return {tag: len(events.Tensors(tag)) for tag in events.Tags()["tensors"]}

    assert tags(parts.directory) == tags(whole.directory)


# --- Parquet and files -------------------------------------------------------------------------------------------------


def test_a_bundle_is_read_without_us(full: Run, tmp_path: Path) -> None:
    report = export_one(full, tmp_path, write_bundle)
    folder = Path(report.directory)
    assert report.left_out == {}
    points = pq.read_table(folder / "metrics.parquet").to_pylist()
    assert [p["value"] for p in points if p["name"] == "loss"] == full.get_metrics("loss")["loss"]
    assert [p["text"] for p in points if p["name"] == "said"] == ["**words**"]
    table = pq.read_table(folder / "tables" / "scores.parquet", columns=["who", "score"])
    assert table.to_pydict() == full.get_metrics("scores")["scores"]
    (histogram,) = pq.read_table(folder / "histograms.parquet").to_pylist()
    assert (histogram["step"], sum(histogram["counts"])) == (4, 1000)
    assert json.loads((folder / "params.json").read_text()) == full.get_params()
    media = json.loads((folder / "media.json").read_text())
    assert [(each["name"], each["step"], each["caption"]) for each in media] == [
        ("seen", 7, "first"), ("heard", 8, None), ("page", 9, None)
    ]  # fmt: skip
    assert (folder / media[2]["path"]).read_text() == "<b>bold</b>"
    assert (folder / "files" / "outputs" / "weights.bin").read_bytes() == bytes(range(256))
    record = json.loads((folder / MARK).read_text())
    assert (record["run_id"], record["status"], record["tags"]) == (
        full.id, "Completed", {"team": "vision", "bare": None}
    )  # fmt: skip


# --- MLflow ------------------------------------------------------------------------------------------------------------


def test_mlflows_files(full: Run, tmp_path: Path) -> None:
    store = MlflowStore(tmp_path)
    client, workspace = full.experiment.workspace._client, full.experiment.workspace
    (record,) = chosen_runs(client, workspace.name, [full.id], None, False)
    report = export(client, record, store.place(record), store.write)
    folder = Path(report.directory)
    assert folder == tmp_path / "1" / full.id
    rows = [line.split() for line in (folder / "metrics" / "loss").read_text().splitlines()]
    assert [(float(value), int(step)) for _, value, step in rows] == [
        (value, step * 10) for step, value in enumerate(full.get_metrics()["loss"])
    ]
    assert {path.name: path.read_text() for path in (folder / "params").iterdir()} == {
        "lr": "0.1", "layers": "3", "opt": "adam", "amp": "True", "none": "None", "sizes": "[1, 2]"
    }  # fmt: skip
    assert (folder / "tags" / "mlflow.runName").read_text() == "all of it"
    assert json.loads((folder / "artifacts" / "tables" / "scores.json").read_text()) == {
        "columns": ["who", "score"], "data": [["a", 1.5], ["b", 2.5]]
    }  # fmt: skip
    assert (folder / "artifacts" / "outputs" / "weights.bin").read_bytes() == bytes(range(256))
    assert (folder / "metrics" / "odd é" / "_0_").exists()
    assert report.left_out == {
        "texts and missing values of metrics": 1,
        "names that MLflow does not take, changed": 1,
        "histograms": 1,
    }
    assert 'name: "' in (tmp_path / "1" / "meta.yaml").read_text()
    assert MlflowStore(tmp_path).place(record) == folder  # a later export knows the experiment's number


def test_a_name_that_is_a_folder_of_another_one_is_changed(experiment: Experiment, tmp_path: Path) -> None:
    run = experiment.start_logging(outputs=False, snapshot_directory=None)
    for place, name in enumerate(("a", "a/b", "c/d", "c", "..", "x*", "x?")):
        run.log(name, place)
    run.complete()
    store = MlflowStore(tmp_path)
    (record,) = chosen_runs(run._client, experiment.workspace.name, [run.id], None, False)
    folder = Path(export(run._client, record, store.place(record), store.write).directory) / "metrics"
    values = sorted(path.read_text().split()[1] for path in folder.rglob("*") if path.is_file())
    assert values == [f"{float(place)!r}" for place in range(7)]


# --- what is common to all ---------------------------------------------------------------------------------------------


def test_an_unchanged_run_is_left_and_a_changed_one_written_anew(full: Run, tmp_path: Path) -> None:
    first = export_one(full, tmp_path, write_bundle)
    (Path(first.directory) / "of the user").write_text("stays")
    assert export_one(full, tmp_path, write_bundle).outcome == "unchanged"
    assert (Path(first.directory) / "of the user").exists()
    full.tag("team", "speech")
    again = export_one(full, tmp_path, write_bundle)
    assert again.outcome == "written"
    assert json.loads((Path(again.directory) / MARK).read_text())["tags"]["team"] == "speech"
    assert sorted(path.name for path in Path(again.directory).parent.iterdir()) == [full.id]


def test_what_is_no_copy_is_not_replaced(full: Run, tmp_path: Path) -> None:
    place = tmp_path / file_name(full.experiment.name) / full.id
    place.mkdir(parents=True)
    (place / "precious").write_text("mine")
    with pytest.raises(UserErrorException, match=r"is no copy of run .* choose another folder"):
        export_one(full, tmp_path, write_bundle)
    assert (place / "precious").read_text() == "mine"


def test_a_run_that_breaks_off_leaves_nothing(full: Run, tmp_path: Path) -> None:
    def broken(run: RunContents, folder: Path) -> None:
        (folder / "half").write_text("half")
        raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space left"):
        export_one(full, tmp_path, broken)
    assert list((tmp_path / file_name(full.experiment.name)).iterdir()) == []


def test_runs_are_chosen_by_id_with_their_children_or_by_experiment(workspace: Workspace) -> None:
    parent = Experiment(workspace, "family").start_logging(outputs=False, snapshot_directory=None)
    children = [parent.child_run(f"child {n}") for n in range(2)]
    grandchild = children[0].child_run("grandchild")
    other = Experiment(workspace, "other").start_logging(outputs=False, snapshot_directory=None)
    for run in (grandchild, *children, parent, other):
        run.complete()
    family = {parent.id, grandchild.id, *(child.id for child in children)}

    def chosen(ids: list[str], experiment: str | None = None, with_children: bool = False) -> list[str]:
        records = chosen_runs(workspace._client, workspace.name, ids, experiment, with_children)
        return [record.run_id for record in records]

    assert chosen([parent.id, parent.id]) == [parent.id]
    assert sorted(chosen([parent.id, children[0].id], with_children=True)) == sorted(family)
    assert set(chosen([], "family")) == family
    assert set(chosen([])) == {*family, other.id}
    with pytest.raises(UserErrorException, match=r"no run 'nobody' in the workspace .*`runstream run list`"):
        chosen(["nobody"])


@given(st.text(min_size=1, max_size=300), st.text(min_size=1, max_size=300))
def test_every_text_is_one_part_of_a_path_and_no_two_the_same(text: str, other: str) -> None:
    name = file_name(text)
    assert 0 < len(name.encode()) <= 200
    assert not {"/", "\0", "\\"} & set(name)
    assert not name.startswith(".")
    assert (name == file_name(other)) == (text == other)
