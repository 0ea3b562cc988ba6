"""What is refused about files: its exception class, the fixed part of its text, and that nothing was stored or written."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from runstream.client import files
from runstream.core import Experiment, Run
from runstream.exceptions import (
    AzureMLAggregatedException,
    AzureMLException,
    SnapshotException,
    UserErrorException,
)

pytestmark = pytest.mark.attack

TAKEN = "UserError: Resource Conflict: ArtifactId ExperimentRun/dcid.{run}/{name} already exists."


@pytest.fixture(scope="module")
def module_run(served_home: Path) -> Iterator[Run]:
    from runstream.core import Workspace

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RUNSTREAM_HOME", str(served_home))
        experiment = Experiment(Workspace(workspace_name="refusals"), "e")
        run = experiment.start_logging(outputs=False, snapshot_directory=None)
        run.upload_file("there", io.BytesIO(b"one"))
        run.upload_file("folder/file", io.BytesIO(b"one"))
        yield run
        run.complete()


def stream(content: bytes = b"two") -> io.BytesIO:
    return io.BytesIO(content)


REFUSALS: list[tuple[Callable[[Run], Any], type[BaseException], str]] = [
    (lambda run: run.upload_file("a", "missing"), FileNotFoundError, "missing"),
    (lambda run: run.upload_file("a", "."), UserErrorException, "is a directory; use upload_folder"),
    (lambda run: run.upload_file("a", 5), UserErrorException, "UnsupportedType"),  # type: ignore[arg-type]
    (lambda run: run.upload_file("a", None), UserErrorException, "UnsupportedType"),  # type: ignore[arg-type]
    (lambda run: run.upload_file(5, stream()), UserErrorException, "expected a string"),  # type: ignore[arg-type]
    (lambda run: run.upload_file("there", stream()), AzureMLAggregatedException, TAKEN.replace("{name}", "there")),
    (lambda run: run.upload_file("./there", stream()), AzureMLAggregatedException, TAKEN.replace("{name}", "there")),
    (lambda run: run.upload_file("there", stream(bytes(9 << 20))), AzureMLAggregatedException, "already exists"),
    (lambda run: run.upload_file("folder", stream()), AzureMLAggregatedException, "one would be a folder"),
    (lambda run: run.upload_file("there/below", stream()), AzureMLAggregatedException, "one would be a folder"),
    (lambda run: run.upload_files(["a"], []), TypeError, "1 names but 0 paths"),
    (lambda run: run.upload_folder("a", "missing"), UserErrorException, "there is no directory missing"),
    (lambda run: run.download_file("gone", "out"), UserErrorException, "File with path gone was not found,"),
    (lambda run: run.download_file("gone", "out"), UserErrorException, "folder/file, there"),
    (lambda run: run.download_file("../there", "out"), UserErrorException, "leads out of the run's folder"),
    (lambda run: run.download_files(output_directory="x", timeout_seconds=-1), AzureMLException, "0 of 2 files"),
    (lambda run: run.restore_snapshot(path="out"), SnapshotException, "has no snapshot"),
    (lambda run: run.restore_snapshot("no-such-id", "out"), UserErrorException, "there is no snapshot no-such-id"),
    (lambda run: run.take_snapshot("missing"), SnapshotException, "neither a directory nor a file"),
    (lambda run: run.get_all_logs(__file__), UserErrorException, "is a file; pass a directory"),
    (lambda run: run.log_image("i", __file__), AzureMLException, "is malformed"),
    (lambda run: run.log_confusion_matrix("there", {}), AzureMLAggregatedException, "already exists"),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(REFUSALS)))
def test_refusals(module_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    call, kind, text = REFUSALS[number]
    monkeypatch.chdir(tmp_path)
    with pytest.raises(kind) as refused:
        call(module_run)
    assert type(refused.value) is kind
    assert text.replace("{run}", module_run.id) in str(refused.value).replace("\\n", "\n")
    assert module_run.get_file_names() == ["folder/file", "there"]
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    "name",
    ["", "/", ".", "..", "../a", "a/../../b", "a/..", "..\\a", "a\nb", "a\0b", "\x1b[2J", "x" * 241, "ü" * 121,
     "/".join(["x" * 200] * 6), ".part-x", "a/.part-1/b", "lone \ud800"],
)  # fmt: skip
def test_names_that_cannot_be_used(module_run: Run, name: str) -> None:
    for refuse in (
        lambda: module_run.upload_file(name, stream()),
        lambda: module_run.upload_files(["good", name], [__file__, __file__]),
        lambda: module_run.download_file(name, "out"),
    ):
        with pytest.raises(UserErrorException, match=r"file name .* cannot be used"):
            refuse()
    assert module_run.get_file_names() == ["folder/file", "there"]


@pytest.mark.parametrize(
    "name",
    ["ü 'quoted' \"twice\".txt", "50 %41 ?a=b&c#d", "emoji \U0001f600/漢字", "~", "-rf *", "a;b|c", "x" * 240, "C:x",
     ".hidden", "/".join(["y" * 200] * 5), "trailing ", "CON"],
)  # fmt: skip
def test_names_that_are_kept_as_they_are(experiment: Experiment, tmp_path: Path, name: str) -> None:
    run = experiment.start_logging(outputs=False, snapshot_directory=None)
    run.upload_file(name, stream(b"small"))
    assert run.get_file_names() == [name]
    run.download_files(output_directory=tmp_path / "out")
    assert (tmp_path / "out" / name).read_bytes() == b"small"
    run.complete()


@pytest.mark.parametrize("name", ["../a", "/etc/a", "a/../../b", "a//b", "./a", "a\\..\\..\\b"])
def test_a_name_sent_by_a_service_stays_in_the_directory(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserErrorException, match="file name"):
        files.inside(tmp_path, name)


def test_download_into_a_directory_and_over_a_file(module_run: Run, tmp_path: Path) -> None:
    module_run.download_file("folder/file", tmp_path)
    assert (tmp_path / "file").read_bytes() == b"one"
    (tmp_path / "file").write_bytes(b"longer than before")
    module_run.download_file("folder/file", tmp_path / "file")
    module_run.download_file("folder/file", f"{tmp_path}/new folder/")
    assert (tmp_path / "new folder" / "file").is_file()
    assert (tmp_path / "file").read_bytes() == b"one"
    module_run.download_files("folder", tmp_path / "x", append_prefix=False)
    module_run.download_files("fold", tmp_path / "y")
    module_run.download_files(output_paths=[str(tmp_path / "1"), str(tmp_path / "2")])
    files = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file())
    assert files == ["1", "2", "file", "new folder/file", "x/file"]
