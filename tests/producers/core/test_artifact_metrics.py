"""Images and JSON metrics: the file is stored, its address is the metric."""

from __future__ import annotations

import io
import json
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runstream.client.metrics import ArtifactMetric
from runstream.core import Experiment, Run
from runstream.exceptions import AzureMLAggregatedException, AzureMLException, UserErrorException

MATRIX = {
    "schema_type": "confusion_matrix",
    "schema_version": "1.0.0",
    "data": {"class_labels": ["a"], "matrix": [[1]]},
}


class Figure:
    """What matplotlib's figures and its pyplot module have in common."""

    def savefig(self, target: io.BytesIO, format: str) -> None:
        target.write(b"\x89PNG\r\n\x1a\n" + format.encode())


@pytest.fixture
def run(experiment: Experiment) -> Run:
    return experiment.start_logging(outputs=False)


def lines(png: bytes) -> tuple[tuple[int, ...], bytes]:
    """Size, depth and colour type of a PNG, and its unpacked lines; checks every chunk's sum."""
    at, data, header = 8, b"", ()
    while at < len(png):
        (size,) = struct.unpack_from(">I", png, at)
        kind, body = png[at + 4 : at + 8], png[at + 8 : at + 8 + size]
        assert struct.unpack_from(">I", png, at + 8 + size) == (zlib.crc32(kind + body),)
        if kind == b"IHDR":
            header = struct.unpack(">IIBB", body[:10])
        elif kind == b"IDAT":
            data += body
        at += size + 12
    return header, zlib.decompress(data)


def test_images(run: Run, tmp_path: Path) -> None:
    (tmp_path / "plots").mkdir()
    (tmp_path / "plots" / "a.gif").write_bytes(b"GIF89a...")
    run.log_image("file", "plots/a.gif")
    run.log_image("plot", plot=Figure())
    run.log_image("plot", Figure())
    run.log_image("grey", np.array([[0, 255], [128, 300]]))
    run.log_image("colour", plot=np.array([[[0.0, 0.5, 1.0]]]))
    run.complete()
    prefix = f"aml://artifactId/ExperimentRun/dcid.{run.id}/"
    metrics = run.get_metrics()
    assert list(metrics) == ["file", "plot", "grey", "colour"]
    assert metrics["file"] == prefix + "plots/a.gif"
    assert metrics["plot"].startswith(prefix + "plot_")
    assert len([name for name in run.get_file_names() if name.startswith("plot_")]) == 2
    content = run.get_metrics(populate=True)
    assert content["file"] == ArtifactMetric(
        b"GIF89a...", "a.gif", prefix + "plots/a.gif", "azureml.v2.image"
    )
    assert lines(content["grey"].data) == ((2, 2, 8, 0), bytes([0, 0, 255, 0, 128, 255]))
    assert lines(content["colour"].data) == ((1, 1, 8, 2), bytes([0, 0, 128, 255]))


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({}, AzureMLException, "exactly one"),
        ({"path": "a.png", "plot": Figure()}, AzureMLException, "exactly one"),
        ({"path": "missing.png"}, FileNotFoundError, "missing"),
        ({"path": "vector.svg"}, AzureMLException, "malformed"),
        ({"plot": object()}, AzureMLException, "of invalid type"),
        ({"plot": np.zeros(3)}, AzureMLException, "malformed"),
        ({"plot": np.zeros((2, 2, 5))}, AzureMLException, "malformed"),
        ({"plot": np.array([["a"]])}, AzureMLException, "malformed"),
    ],
)
def test_what_is_no_image(
    run: Run, tmp_path: Path, arguments: dict[str, Any], error: type[Exception], text: str
) -> None:
    (tmp_path / "vector.svg").write_text("<svg/>")
    with pytest.raises(error, match=text):
        run.log_image("image", **arguments)
    assert run.get_metrics() == {}
    run.complete()


@pytest.mark.parametrize("kind", ["confusion_matrix", "accuracy_table", "residuals", "predictions"])
def test_json_metrics(run: Run, kind: str) -> None:
    log = getattr(run, f"log_{kind}")
    log("as a dictionary", MATRIX)
    log("as text", json.dumps(MATRIX))
    log("as text", json.dumps(MATRIX))  # the same again is no conflict
    for name in ("as a dictionary", "as text"):
        assert run.get_metrics()[name] == f"aml://artifactId/ExperimentRun/dcid.{run.id}/{name}"
        metric = run.get_metrics(name, populate=True)[name]
        assert (json.loads(metric.data), metric.metric_type) == (MATRIX, f"azureml.v2.{kind}")
    with pytest.raises(AzureMLAggregatedException, match="Resource Conflict"):
        log("as text", {})
    with pytest.raises(UserErrorException, match="Invalid JSON provided"):
        log("broken", "{")
    with pytest.raises(AzureMLException, match="is not supported"):
        log("broken", [1])
    run.complete()


def test_one_path_may_hold_another_picture_each_time(run: Run, tmp_path: Path) -> None:
    for epoch in range(3):
        (tmp_path / "epoch.gif").write_bytes(b"GIF89a" + bytes([epoch]))
        run.log_image("epoch", "epoch.gif")
    run.log_image("epoch", "epoch.gif")  # the same once more
    run.complete()
    names = run.get_file_names()
    assert names[0] == "epoch.gif"
    assert len(names) == 4
    assert all(name.startswith("epoch_") and name.endswith(".gif") for name in names[1:])
    assert run.get_metrics()["epoch"].endswith("/epoch.gif")


def test_json_metrics_take_numpy(run: Run) -> None:
    run.log_confusion_matrix(
        "m", {**MATRIX, "data": {"class_labels": ["a"], "matrix": np.array([[np.int64(7)]])}}
    )
    run.complete()
    content = run.get_metrics("m", populate=True)["m"]
    assert json.loads(content.data)["data"]["matrix"] == [[7]]
