"""Media through the whole pipeline, what is refused, and what hostile files can do."""

from __future__ import annotations

import hashlib
import io
import json
import os
import struct
import time
import tracemalloc
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import msgpack
import numpy as np
import pytest

import runstream
from runstream import media
from runstream.core import Experiment
from runstream.core._run.media_contents import contents_of
from runstream.core._run.pictures import png_of
from runstream.exceptions import AzureMLException, ServiceException, UserErrorException
from runstream_schemas.values.media import media_path

PIXELS = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
PNG = png_of(PIXELS, "data")


def glb(document: dict[str, Any]) -> bytes:
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    return struct.pack("<4sIII4s", b"glTF", 2, 20 + len(text), len(text), b"JSON") + text


class Altair:
    """As a chart of Altair, which has both."""

    def to_dict(self) -> dict[str, Any]:
        return {"$schema": "https://vega.github.io/schema/vega-lite/v5.json", "mark": "bar"}


KINDS: list[tuple[str, Callable[[Path], Any], str, str]] = [
    ("array", lambda _: PIXELS, "image", "image/png"),
    ("bytes", lambda _: PNG, "image", "image/png"),
    ("path", lambda folder: written(folder / "a.dat", PNG), "image", "image/png"),
    ("svg", lambda _: media.Image(b"<svg xmlns='http://www.w3.org/2000/svg'/>"), "image", "image/svg+xml"),
    ("samples", lambda _: media.Audio(np.zeros(100), rate=8000), "audio", "audio/wav"),
    ("stereo", lambda _: media.Audio(np.zeros((100, 2), np.int16)), "audio", "audio/wav"),
    ("mp4", lambda _: media.Video(b"\0\0\0\x18ftypmp42" + bytes(100)), "video", "video/mp4"),
    ("webm", lambda _: b"\x1aE\xdf\xa3" + bytes(100), "video", "video/webm"),
    ("html", lambda _: media.Html("<b>hi</b>"), "html", "text/html"),
    ("html file", lambda folder: written(folder / "a.html", b"<b>hi</b>"), "html", "text/html"),
    ("text", lambda _: media.Text("hi ünï"), "text", "text/plain"),
    ("points", lambda _: media.Object3D(np.zeros((5, 3))), "object3d", "model/ply"),
    ("colours", lambda _: media.Object3D(np.ones((5, 6))), "object3d", "model/ply"),
    ("glb", lambda _: glb({"asset": {"version": "2.0"}}), "object3d", "model/gltf-binary"),
    ("gltf", lambda _: media.Object3D(b'{"asset": {"version": "2.0"}}'), "object3d", "model/gltf+json"),
    ("obj", lambda _: media.Object3D(b"# o\nv 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n"), "object3d", "model/obj"),
    (
        "plotly",
        lambda _: {"data": [{"y": np.arange(3)}], "layout": {}},
        "plotly",
        "application/vnd.plotly.v1+json",
    ),
    ("vega", lambda _: media.Vega(Altair()), "vega", "application/vnd.vega.v5+json"),
    ("file", lambda _: media.File(io.BytesIO(b"anything")), "file", "application/octet-stream"),
]


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(("label", "given", "kind", "content_type"), KINDS, ids=[case[0] for case in KINDS])
def test_each_kind_is_known_by_what_it_is(
    label: str, given: Callable[[Path], Any], kind: str, content_type: str, tmp_path: Path
) -> None:
    (content,) = contents_of("m", given(tmp_path), None)
    assert (content.type, content.content_type) == (kind, content_type)
    with content.open() as source:
        assert source if isinstance(source, bytes) else source.read()


def test_a_figure_of_matplotlib_is_kept_as_a_picture() -> None:
    figures = pytest.importorskip("matplotlib.figure")
    (content,) = contents_of("m", figures.Figure(), "c")
    assert (content.type, content.content_type, content.caption) == ("image", "image/png", "c")
    assert content.source.startswith(b"\x89PNG")


def test_samples_become_a_sound_others_can_play() -> None:
    (content,) = contents_of("m", media.Audio(np.array([0.0, 1.0, -1.0, 2.0]), rate=8000), None)
    with wave.open(io.BytesIO(content.source)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getnframes()) == (8000, 1, 4)
        assert np.frombuffer(file.readframes(4), "<i2").tolist() == [0, 32767, -32767, 32767]


OUTSIDE = {"asset": {"version": "2.0"}, "buffers": [{"uri": "https://evil.example/x.bin", "byteLength": 4}]}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (media.Image(b"no picture"), "is not a png"),
        (media.Image(PNG[:-6]), "breaks off"),
        (media.Image(np.zeros((2, 2, 7))), "no image"),
        (media.Image(3), "invalid type int"),
        (media.Audio(PNG), "is not a wav"),
        (media.Audio(b"RIFF\xff\xff\xff\x00WAVE"), "breaks off"),
        (media.Audio(np.zeros((2, 2, 2))), "no sound"),
        (media.Audio(np.zeros(5), rate=0), "rate=0"),
        (media.Video(b"MZ\x90"), "is not an mp4"),
        (media.Video(np.zeros((2, 2))), "pass a path or bytes"),
        (media.Html(b"\xff\xfe\x00"), "no text in UTF-8"),
        (media.Text("\ud800"), "valid unicode"),
        (media.Object3D(b"no object"), "is not a glb"),
        (media.Object3D(glb(OUTSIDE)), "asks for other files"),
        (media.Object3D(json.dumps(OUTSIDE).encode()), "asks for other files"),
        (media.Object3D(b'{"asset": []}'), "no glTF"),
        (media.Object3D(b"{" + b"[" * 100_000), "no glTF"),
        (media.Object3D(glb({"asset": {"version": "2.0"}})[:-3]), "breaks off"),
        (media.Object3D(np.zeros((2, 5))), "expected"),
        (media.Plotly("{"), "no plotly figure"),
        (media.Plotly({"x": 1}), "no plotly figure"),
        (media.Plotly({"data": object()}), "no plotly figure"),
        (media.Vega({"x": 1}), "no vega figure"),
        (object(), "is no medium"),
        (3.5, "is no medium"),
        ([], "expected 1 to 1000"),
        ([PNG] * 1001, "expected 1 to 1000"),
        (media.Image(PNG, caption="x" * 5000), "caption"),
        (media.Image(PNG, caption=3), "caption"),
    ],
)
def test_what_is_no_medium_or_broken_is_refused(given: Any, says: str) -> None:
    with pytest.raises(AzureMLException, match=says):
        contents_of("m", given, None)


def test_files_that_are_not_there_or_have_no_end(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        contents_of("m", "nothing.png", None)
    with pytest.raises(UserErrorException):
        contents_of("m", media.Image("/dev/zero"), None)


def test_what_is_logged_is_read_from_both_tiers_with_its_bytes(
    experiment: Experiment, served_home: Path, tmp_path: Path
) -> None:
    run = experiment.start_logging()
    run.log_media("samples", [media.Image(PNG, caption="first"), PIXELS], caption="both")
    run.log_media("samples", PNG, step=10)
    run.log_media("samples", written(tmp_path / "own.png", PNG))
    run.log_media("ünï / page", media.Html("<script>alert(1)</script>"), step=3)
    run.log_metrics({"loss": 1.0})
    hot = run.get_media("samples")
    assert isinstance(hot, list)
    assert [(medium.step, medium.place, medium.caption) for medium in hot] == [
        (0, 0, "first"),
        (0, 1, "both"),
        (10, 0, None),
        (11, 0, None),
    ]
    assert hot[3].file_name == "own.png"
    assert {medium.path for medium in hot} == {hot[0].path}, "the same bytes are stored once"
    assert hot[0].read() == PNG
    assert set(run.get_media()) == {"samples", "ünï / page"}
    assert run.get_media("nothing") == []
    assert run.get_metrics() == {"loss": 1.0}
    hot[1].save(tmp_path / "saved.png")
    assert (tmp_path / "saved.png").read_bytes() == PNG
    assert len([name for name in run.get_file_names() if name.startswith("media/")]) == 2
    statement = f"select * from media where run_id = '{run.id}' order by name, step, place"
    in_hot = runstream.sql(statement).to_pylist()
    assert [row["path"] for row in in_hot[:4]] == [medium.path for medium in hot]
    run.complete()
    deadline = time.monotonic() + 30
    glob = str(served_home / "store" / "media" / "**" / "*.parquet")
    while True:
        try:
            if duckdb.sql(f"select count(*) from '{glob}' where run_id = '{run.id}'").fetchall() == [(5,)]:
                break
        except duckdb.IOException:
            pass
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert run.get_media("samples") == hot
    assert runstream.sql(statement).to_pylist() == in_hot


def test_the_service_lists_them_and_never_serves_them_as_pages_of_its_own(experiment: Experiment) -> None:
    run = experiment.start_logging()
    evil = b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'><script>alert(2)</script></svg>"
    for step in range(5):
        run.log_media("pictures", [media.Image(evil), PNG], step=step)
    run.log_media("page", media.Html("<script>parent.document.cookie</script>"))
    run.get_media()["pictures"][0].read()  # type: ignore[call-overload,union-attr]
    client = run._client
    path = f"/api/v1/runs/{run.id}/media"
    answer = client.get_json(path, [("name", "pictures"), ("most", "3")])
    assert answer["total"] == 10
    assert [medium["step"] for medium in answer["media"]] == [1, 1, 3, 3, 4, 4]
    assert {
        medium["step"]
        for medium in client.get_json(path, [("name", "pictures"), ("from", "2"), ("to", "3")])["media"]
    } == {2, 3}
    for medium in [*answer["media"], *client.get_json(path, [("name", "page")])["media"]]:
        got = client.request("GET", f"/api/v1/runs/{run.id}/files/{medium['path']}")
        assert got.headers["x-content-type-options"] == "nosniff"
        assert got.headers["content-security-policy"] == "sandbox"
        assert got.headers["content-disposition"] == "attachment"
        assert got.headers["content-type"].partition(";")[0] == medium["content_type"]
    for wrong, status in (([("name", "no")], 404), ([("name", "page"), ("most", "0")], 400), ([], 400)):
        with pytest.raises(ServiceException) as refused:
            client.get_json(path, wrong)
        assert refused.value.status_code == status
    run.complete()


NO_CONTENTS = [
    b"\xff",
    b"\x92\xa1x\xc4\x01a",
    b"\x92\xa9image/png\xa1a",
    b"\x92\xa9image/png\xc4\x09a",
    b"\xdd\xff\xff\xff\xff",
]


@pytest.mark.parametrize("body", NO_CONTENTS)
def test_contents_that_are_none_are_refused(experiment: Experiment, body: bytes) -> None:
    run = experiment.start_logging()
    headers = {"Content-Type": "application/octet-stream"}
    with pytest.raises(ServiceException) as refused:
        run._client.request("POST", f"/api/v1/runs/{run.id}/media", body=body, headers=headers)
    assert refused.value.status_code == 400
    run.complete()


def test_contents_sent_again_are_stored_once_and_other_files_at_their_paths_stay(
    experiment: Experiment, served_home: Path
) -> None:
    run = experiment.start_logging()
    run.get_metrics()
    contents = [PNG + bytes([number]) for number in range(5)]
    paths = [media_path(hashlib.sha256(content).hexdigest(), "image/png") for content in contents]

    def send(*numbers: int) -> list[str]:
        body = b"".join(msgpack.packb(["image/png", contents[number]]) for number in numbers)
        headers = {"Content-Type": "application/octet-stream"}
        answer = run._client.request("POST", f"/api/v1/runs/{run.id}/media", body=body, headers=headers)
        return list(json.loads(answer.body)["paths"])

    assert send(1, 0, 1) == sorted(paths[:2])
    assert send(2, 1, 0) == sorted(paths[:3])
    folder = served_home / "store" / "artifacts"
    times = {path: next(folder.glob(f"{run.id}/{path}")).stat().st_mtime_ns for path in paths[:3]}
    assert send(0, 1, 2) == sorted(paths[:3])
    assert times == {path: next(folder.glob(f"{run.id}/{path}")).stat().st_mtime_ns for path in paths[:3]}
    run.upload_file(paths[3], io.BytesIO(b"other bytes"))
    with pytest.raises(ServiceException, match="holds other bytes already"):
        send(3, 4)
    assert set(run.get_file_names()) >= set(paths[:4])
    assert paths[4] not in run.get_file_names()
    run.complete()


def test_a_film_of_any_size_takes_no_memory(
    experiment: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    film = tmp_path / "film.mp4"
    with film.open("wb") as file:
        file.write(b"\0\0\0\x18ftypmp42")
        file.truncate(300 << 20)  # sparse; a film of 2 GB goes the same way, piece by piece
    run = experiment.start_logging()
    tracemalloc.start()
    run.log_media("film", media.Video(film))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 << 20
    (medium,) = run.get_media("film")
    assert medium.size == 300 << 20  # type: ignore[union-attr]
    run.complete()


def test_a_full_disk_is_a_warning_and_the_training_goes_on(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    run = experiment.start_logging()

    def full(*_: Any) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "writev", full)
    run.log_media("m", PNG)
    assert "cannot be kept" in caplog.text
    monkeypatch.undo()
    run.log("loss", 1.0)
    assert run.get_media("m") == []
    run.complete()


def test_pictures_logged_one_after_the_other_have_steps_one_after_the_other(experiment: Experiment) -> None:
    run = experiment.start_logging()
    for _ in range(4):
        run.log_image("old", plot=PIXELS)
        run.log_media("new", PIXELS)
    run.get_metrics()
    values = run._client.get_json(f"/api/v1/runs/{run.id}/values", [("name", "old"), ("cls", "2")])
    assert [point["step"] for point in values["points"]] == [0, 1, 2, 3]
    assert [medium.step for medium in run.get_media("new")] == [0, 1, 2, 3]  # type: ignore[union-attr]
    run.complete()


def test_a_deleted_run_takes_its_media_along(experiment: Experiment, served_home: Path) -> None:
    run = experiment.start_logging()
    run.log_media("m", PNG)
    (medium,) = run.get_media("m")
    assert medium.read() == PNG  # type: ignore[union-attr]
    run.complete()
    place = next((served_home / "store" / "artifacts").glob(f"{run.id}/**/{medium.sha256}.png"))  # type: ignore[union-attr]
    run._client.request("DELETE", f"/api/v1/runs/{run.id}", [("force", "1")])
    deadline = time.monotonic() + 40
    while place.exists():
        assert time.monotonic() < deadline
        time.sleep(0.2)
