"""Texts that are no UTF-8, exceptions that cannot be shown, and streams that only look like one: the training continues
as it would have, and its run ends as it ended."""

from __future__ import annotations

import contextlib
import io
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tests.producers.conftest import SCRIPT_TIMEOUT, environment

from runstream.client.upload_sources import opened
from runstream.core import Experiment, Run, Workspace
from runstream.core._run.output_capture import OutputCapture
from runstream.exceptions import ServiceException, UserErrorException

BYTES = b"\xe9t\xe9"


def ended(run: Run) -> dict[str, Any]:
    return Run.get(run.experiment.workspace, run.id).get_details()


def arrived(workspace: Workspace, run_id: str) -> Run:
    """A run of another process, when the service has heard of it."""
    deadline = time.monotonic() + 30
    while True:
        try:
            return workspace.get_run(run_id)
        except ServiceException:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def records(home: Path) -> list[Path]:
    return list((home / "spool").glob("*/*.seg"))


def test_a_folder_whose_name_is_no_utf8(workspace: Workspace, served_home: Path, tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path) + b"/projet_" + BYTES
    os.mkdir(folder)
    code = f"""
from runstream.core import Experiment, Workspace
run = Experiment(Workspace(workspace_name={workspace.name!r}), "test").start_logging()
print(run.id)
run.log("loss", 1.0)
run.complete()
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=environment(served_home),
        capture_output=True,
        text=True,
        timeout=SCRIPT_TIMEOUT,
    )
    assert done.returncode == 0, done.stderr
    run = arrived(workspace, done.stdout.split()[0])
    assert run.wait_for_completion()["status"] == "Completed"
    assert run.get_metrics() == {"loss": 1.0}
    client = workspace._client
    directory = client.get_json(f"/api/v1/runs/{run.id}", [])["details"]["directory"]
    assert directory.endswith("projet_\\udce9t\\udce9")


def test_an_output_file_whose_name_is_no_utf8(experiment: Experiment) -> None:
    with experiment.start_logging(snapshot_directory=None) as run:
        Path(os.fsdecode(b"outputs/" + BYTES + b".txt")).write_text("hello")
        Path("outputs/two\nlines").write_text("hello")
        Path("outputs/plain.txt").write_text("hello")
        Path(os.fsdecode(b"logs/" + BYTES + b".log")).write_text("a log")
    assert ended(run)["status"] == "Completed"
    assert {"outputs/%E9t%E9.txt", "outputs/two%0Alines", "outputs/plain.txt", "logs/%E9t%E9.log"} <= set(
        run.get_file_names()
    )


def hex_of(text: str) -> str:
    return f"{ord(text):x}"


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


class Mute(Exception):
    def __str__(self) -> str:
        return None  # type: ignore[return-value]


class Leaving(Exception):
    def __str__(self) -> str:
        sys.exit(0)


class Odd(str):
    def __format__(self, spec: str) -> str:
        raise RuntimeError("no format")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ValueError("\ud83d"), "User program failed with ValueError: \\ud83d"),
        (ValueError(os.fsdecode(BYTES)), "User program failed with ValueError: \\udce9t\\udce9"),
        (ValueError("a\0b"), "User program failed with ValueError: a\u2400b"),
        (Unspeakable(), "User program failed with Unspeakable: (its text cannot be shown: RuntimeError)"),
        (Mute(), "User program failed with Mute: (its text cannot be shown: TypeError)"),
        (Leaving(), "User program failed with Leaving: (its text cannot be shown: SystemExit)"),
        (ValueError(Odd("odd")), "User program failed with ValueError: odd"),
    ],
)
def test_exceptions_that_cannot_be_shown(experiment: Experiment, error: Exception, message: str) -> None:
    with pytest.raises(type(error)) as raised:
        with experiment.start_logging(outputs=False, snapshot_directory=None) as run:
            raise error
    assert raised.value is error
    assert run.status == "Failed"
    details = ended(run)
    assert (details["status"], details["error"]["error"]["message"]) == ("Failed", message)


def test_an_exception_that_is_its_own_cause_and_has_notes_that_are_no_texts(experiment: Experiment) -> None:
    error = ValueError("round")
    error.__cause__ = error
    error.__notes__ = 5  # type: ignore[attr-defined]
    with pytest.raises(ValueError) as raised:
        with experiment.start_logging(outputs=False, snapshot_directory=None) as run:
            raise error
    assert raised.value is error
    assert ended(run)["status"] == "Failed"


@pytest.mark.parametrize("text", [chr(0xDCFF), chr(0xD83D)], ids=hex_of)
@pytest.mark.parametrize("argument", ["name", "display_name", "description", "run_id", "tags", "tag name"])
def test_explicit_arguments_are_refused_before_anything_is_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, argument: str, text: str
) -> None:
    monkeypatch.setenv("RUNSTREAM_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    experiment = Experiment(Workspace(workspace_name="w"), "e")
    given: dict[str, Any] = {argument: text}
    if argument.startswith("tag"):
        given = {"tags": {"k": text} if argument == "tags" else {text: "v"}}
    with pytest.raises(ValueError if "tags" in given else UserErrorException, match=r"unicode|printable"):
        experiment.start_logging(snapshot_directory=None, **given)
    assert records(tmp_path / "home") == []
    run = experiment.start_logging(snapshot_directory=None)
    for change in ("display_name", "description"):
        with pytest.raises(UserErrorException, match="unicode"):
            setattr(run, change, text)
    with pytest.raises(UserErrorException, match="unicode"):
        run.child_run(name=text)
    with pytest.raises(UserErrorException, match="unicode"):
        Workspace(workspace_name=text)
    with pytest.raises(UserErrorException, match="unicode"):
        Experiment(run.experiment.workspace, text, _skip_name_validation=True)
    run.cancel()


@pytest.mark.parametrize("outputs", [5, [5], b"x", ["a", b"b"], "a\0b", [""]])
def test_output_folders_that_are_no_paths_are_refused_before_anything_is_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, outputs: Any
) -> None:
    monkeypatch.setenv("RUNSTREAM_HOME", str(tmp_path / "home"))
    with pytest.raises(UserErrorException, match="outputs="):
        Experiment(Workspace(workspace_name="w"), "e").start_logging(outputs=outputs)
    assert records(tmp_path / "home") == []


# --- streams ---------------------------------------------------------------------------------------------------------


class Recorder(io.StringIO):
    """A stand-in for a terminal."""

    def close(self) -> None: ...


def test_the_copy_of_what_is_printed_has_every_way_of_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, Recorder())
    capture = OutputCapture(tmp_path)
    capture.start()
    print("print \udcff")
    sys.stdout.writelines(["one\n", "two\n"])
    assert sys.stdout.write("three\n") == 6
    with sys.stdout as stream:
        stream.write("four\n")
    sys.stderr.write("five\n")
    sys.stdout.flush()
    capture.write("six \ud83d\n")
    capture.stop()
    assert isinstance(sys.stdout, Recorder)
    assert sys.stdout.getvalue() == "print \udcff\none\ntwo\nthree\nfour\n"
    assert (tmp_path / "user_log.txt").read_text().split("\n") == [
        "print \\udcff", "one", "two", "three", "four", "five", "six \\ud83d", ""
    ]  # fmt: skip


@pytest.mark.parametrize("stream", ["None", "closed", "broken"])
def test_output_that_is_closed_none_or_broken(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch, stream: str
) -> None:
    class Broken(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stdout", {"None": None, "closed": closed, "broken": Broken()}[stream])
    error: type[Exception] | None = {"closed": ValueError, "broken": BrokenPipeError}.get(stream)
    run = experiment.start_logging(outputs=False, snapshot_directory=None)
    with pytest.raises(error) if error else contextlib.nullcontext(), run:
        print("hello")
    assert run.status == ("Completed" if error is None else "Failed")


def test_a_handler_of_a_signal_that_prints_while_something_is_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Interrupted(Recorder):
        def write(self, text: str) -> int:
            if text == "outer":
                print("inner")
            return super().write(text)

    monkeypatch.setattr(sys, "stdout", Interrupted())
    capture = OutputCapture(tmp_path)
    capture.start()
    print("outer")
    capture.stop()
    assert (tmp_path / "user_log.txt").read_text() == "outerinner\n\n"


class OnlyReads:
    """A stream as libraries write them: `read`, and nothing else."""

    def __init__(self, *pieces: Any) -> None:
        self._pieces = iter([*pieces, b"" if isinstance(pieces[0], bytes) else ""])

    def read(self, size: int = -1) -> Any:
        return next(self._pieces)


def _closed() -> io.BytesIO:
    stream = io.BytesIO(b"x")
    stream.close()
    return stream


@pytest.mark.parametrize(
    ("source", "content"),
    [
        (io.BytesIO(b"abc"), b"abc"),
        (io.StringIO("äbc"), "äbc".encode()),
        (OnlyReads(b"ab", b"c"), b"abc"),
        (OnlyReads("ä", "b"), "äb".encode()),
        (OnlyReads(bytearray(b"ab")), b"ab"),
        (io.StringIO(os.fsdecode(BYTES)), BYTES),
        (_closed(), None),
        (OnlyReads("\ud83d"), None),
        (OnlyReads(5), None),
        ("pipe", None),
        ("/dev/zero", None),
        (5, None),
    ],
    ids=lambda value: re.sub(r" at 0x\w+", "", repr(value)),  # the same in every worker
)
def test_what_can_be_read_is_read_and_the_rest_refused(
    tmp_path: Path, source: Any, content: bytes | None
) -> None:
    if source == "pipe":
        source = tmp_path / "pipe"
        os.mkfifo(source)
    if content is None:
        with pytest.raises(UserErrorException), opened(source):
            pass
        return
    with opened(source) as stream:
        assert stream.read() == content


def tree(root: Path) -> None:
    """A folder with everything a file can be."""
    import socket

    (root / "real").mkdir(parents=True)
    (root / "real" / "file").write_text("x")
    elsewhere = root.parent / "scratch"
    (elsewhere / "deep").mkdir(parents=True)
    (elsewhere / "deep" / "weights").write_text("x")
    (root / "checkpoints").symlink_to(elsewhere)
    (root / "checkpoints2").symlink_to(elsewhere)
    (elsewhere / "back").symlink_to(root)
    (root / "real" / "up").symlink_to("..")
    (root / "latest").symlink_to("real/file")
    (root / "nowhere").symlink_to("gone")
    os.mkfifo(root / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        where = os.getcwd()
        os.chdir(root)  # the path of a socket is short
        listener.bind("socket")
        os.chdir(where)
    (root / "zero").symlink_to("/dev/zero")


FOUND = ["checkpoints/deep/weights", "latest", "real/file"]
LEFT_OUT = [
    "checkpoints/back (a link to a folder it lies in)",
    "checkpoints2 (a link to a folder that another link leads to)",
    "nowhere (a link that leads nowhere)",
    "pipe (a named pipe)",
    "real/up (a link to a folder it lies in)",
    "socket (a socket)",
    "zero (a device)",
]


def test_an_uploaded_folder_with_everything_a_file_can_be(
    experiment: Experiment, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tree(tmp_path / "odd")
    run = experiment.start_logging(outputs=False, snapshot_directory=None)
    result = run.upload_folder("data", tmp_path / "odd")
    assert sorted(result.artifacts) == [f"data/{name}" for name in FOUND]
    assert "7 things in" in caplog.text
    run.complete()


def test_folders_behind_links_in_outputs_are_stored_and_odd_files_said(
    experiment: Experiment, tmp_path: Path
) -> None:
    tree(tmp_path / "outputs")
    with experiment.start_logging(snapshot_directory=None) as run:
        (tmp_path / "outputs" / "model").write_text("late")
    assert sorted(name for name in run.get_file_names() if name.startswith("outputs/")) == sorted(
        f"outputs/{name}" for name in [*FOUND, "model"]
    )
    deadline = time.monotonic() + 20
    while not (warnings := run._refresh().warnings) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert all(line in str(warnings) for line in LEFT_OUT)
