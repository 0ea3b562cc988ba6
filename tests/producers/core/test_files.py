"""A run's files, up and down."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import pytest

from runstream.core import Experiment, Run
from runstream.exceptions import AzureMLAggregatedException, UserErrorException


@pytest.fixture
def run(experiment: Experiment) -> Run:
    return experiment.start_logging(outputs=False)


def test_upload_and_download(run: Run, tmp_path: Path) -> None:
    source = tmp_path / "model.pkl"
    source.write_bytes(bytes(range(256)) * 10_000)
    result = run.upload_file("./outputs/model.pkl", str(source))
    assert list(result.artifacts) == ["outputs/model.pkl"]
    run.upload_file("text.txt", io.StringIO("grün"))
    run.upload_file("bytes", io.BytesIO(b""))
    run.upload_file("by path ü.bin", source)
    assert sorted(run.get_file_names()) == ["by path ü.bin", "bytes", "outputs/model.pkl", "text.txt"]
    run.download_file("outputs/model.pkl", "down/there/copy.pkl", _validate_checksum=True)
    assert (tmp_path / "down/there/copy.pkl").read_bytes() == source.read_bytes()
    run.download_file("text.txt")
    assert (tmp_path / "text.txt").read_text(encoding="utf-8") == "grün"
    run.download_file("bytes", tmp_path / "down")
    assert (tmp_path / "down/bytes").read_bytes() == b""
    run.complete()


def test_the_same_bytes_again_are_welcome_others_are_not(run: Run) -> None:
    run.upload_file("a", io.BytesIO(b"one"))
    run.upload_file("a", io.BytesIO(b"one"))
    with pytest.raises(AzureMLAggregatedException, match="Resource Conflict") as taken:
        run.upload_file("a", io.BytesIO(b"two"))
    assert f"ExperimentRun/dcid.{run.id}/a already exists" in taken.value.message
    run.download_file("a", "kept")
    assert Path("kept").read_bytes() == b"one"
    run.complete()


def test_refusals(run: Run, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        run.upload_file("a", "missing")
    with pytest.raises(UserErrorException, match="UnsupportedType"):
        run.upload_file("a", 5)  # type: ignore[arg-type]
    for name in ("../a", "a/../../b", "", "/", "a/..", ".."):
        with pytest.raises(UserErrorException, match="file name"):
            run.upload_file(name, io.BytesIO(b""))
    with pytest.raises(UserErrorException, match="no directory"):
        run.upload_folder("a", "missing")
    run.upload_file("there", io.BytesIO(b"x"))
    with pytest.raises(UserErrorException, match=r"File with path gone was not found(.|\n)*there"):
        run.download_file("gone", "target")
    assert not list(tmp_path.glob("*target*"))
    run.complete()


def test_folders(run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("a", "sub/b", ".hidden"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_text(name)
    run.upload_folder("pre", "in/")
    stored, by_name = run.upload_files(["other/a", "c"], ["in/a", "in/sub/b"], return_artifacts=True)
    assert [file["path"] for file in stored] == list(by_name) == ["other/a", "c"]
    run.upload_files(["c", "./c"], ["in/sub/b", "in/sub/b"])
    assert "a name occurs more than once" in caplog.text
    assert sorted(run.get_file_names()) == ["c", "other/a", "pre/.hidden", "pre/a", "pre/sub/b"]
    run.download_files("pre", "out")
    assert (tmp_path / "out/pre/sub/b").read_text() == "sub/b"
    run.download_files("pre", "flat", append_prefix=False)
    assert sorted(path.name for path in (tmp_path / "flat").iterdir()) == [".hidden", "a", "sub"]
    run.download_files("unknown", "nothing")
    assert not (tmp_path / "nothing").exists()
    run.download_files("pr", "nothing")  # a folder's name, not the beginning of one
    assert not (tmp_path / "nothing").exists()
    run.complete()


def test_outputs_are_collected_and_may_have_been_uploaded_already(
    experiment: Experiment, tmp_path: Path
) -> None:
    run = experiment.start_logging()
    (tmp_path / "outputs" / "model.pkl").write_bytes(b"model")
    (tmp_path / "outputs" / "azureml.log").write_bytes(b"not this")
    run.upload_file("outputs/model.pkl", "outputs/model.pkl")
    (tmp_path / "outputs" / "model.pkl").write_bytes(b"changed since")
    (tmp_path / "outputs" / "more").write_bytes(b"more")
    run.complete()
    assert sorted(run.get_file_names()) == ["outputs/model.pkl", "outputs/more"]


def test_a_failing_block_keeps_outputs_and_log(experiment: Experiment, tmp_path: Path) -> None:
    with contextlib.suppress(ValueError), experiment.start_logging() as run:
        print("said before")
        (tmp_path / "outputs" / "kept").write_bytes(b"kept")
        raise ValueError("bad")
    assert sorted(run.get_file_names()) == ["logs/user_log.txt", "outputs/kept"]
    assert list(run.get_details()["logFiles"]) == ["logs/user_log.txt"]
    run.download_file("logs/user_log.txt", "log")
    assert "said before" in Path("log").read_text()
    assert "ValueError: bad" in Path("log").read_text()
