"""Uploads when something is in the way: a service that ends in the middle or is away, a full disk, a file of another run."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.producers.conftest import environment, serve

from runstream.client import files
from runstream.client.http import ServiceClient, client_for
from runstream.client.outbox import deliver, items, put_file
from runstream.core import Experiment, Run, Workspace
from runstream.exceptions import AzureMLAggregatedException, AzureMLException, ServiceException
from runstream.home.layout import open_home, running_service
from runstream_schemas.settings import Settings
from runstream_service.doctor import _outbox

MIB = 1 << 20


def until(condition: Callable[[], Any], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def run(experiment: Experiment) -> Iterator[Run]:
    run = experiment.start_logging(outputs=False, snapshot_directory=None)
    yield run
    run.complete()


@pytest.fixture
def client(workspace: Workspace) -> ServiceClient:
    return workspace._client


def send_piece(client: ServiceClient, sha256: str, offset: int, piece: bytes) -> int:
    answer = client.request("PATCH", f"/api/v1/uploads/{sha256}", [("offset", str(offset))], body=piece)
    return int(answer.json()["offset"])


def test_an_interrupted_upload_goes_on_where_it_stopped(run: Run, client: ServiceClient) -> None:
    content = os.urandom(MIB) * 20
    sha256 = hashlib.sha256(content).hexdigest()
    assert send_piece(client, sha256, 0, content[: 9 * MIB]) == 9 * MIB
    # A request that breaks off in the middle of its body.
    address = client.address()
    host, _, port = address.url.removeprefix("http://").partition(":")
    broken = http.client.HTTPConnection(host, int(port))
    broken.putrequest("PATCH", f"/api/v1/uploads/{sha256}?offset={9 * MIB}")
    broken.putheader("Authorization", f"Bearer {address.token}")
    broken.putheader("Content-Length", str(5 * MIB))
    broken.endheaders(content[9 * MIB : 12 * MIB])
    broken.close()
    assert run.get_file_names() == []
    sent: list[int] = []

    def counted(method: str, *arguments: Any, **options: Any) -> Any:
        sent.append(len(options.get("body") or b""))
        return request(method, *arguments, **options)

    request = client.request
    client.request = counted  # type: ignore[method-assign]
    try:
        run.upload_file("large.bin", io.BytesIO(content))
    finally:
        del client.request
    assert sum(sent) <= 11 * MIB
    run.download_file("large.bin", "down", _validate_checksum=True)
    assert Path("down").read_bytes() == content
    run.upload_file("large.bin", io.BytesIO(content))
    with pytest.raises(AzureMLAggregatedException, match="Resource Conflict"):
        run.upload_file("large.bin", io.BytesIO(content[:-1] + b"x"))


def test_pieces_that_do_not_fit_are_refused(run: Run, client: ServiceClient) -> None:
    sha256 = hashlib.sha256(b"whole").hexdigest()
    assert send_piece(client, sha256, 0, b"wh") == 2
    with pytest.raises(ServiceException) as elsewhere:
        send_piece(client, sha256, 1, b"x")
    assert (elsewhere.value.status_code, elsewhere.value.details["offset"]) == (409, 2)
    with pytest.raises(ServiceException) as early:
        client.request("PUT", f"/api/v1/runs/{run.id}/files/a", [("upload", sha256), ("size", "5")], body=b"")
    assert (early.value.status_code, early.value.details["offset"]) == (409, 2)
    assert send_piece(client, sha256, 2, b"xxx") == 5
    with pytest.raises(ServiceException, match="something else") as other:
        client.request("PUT", f"/api/v1/runs/{run.id}/files/a", [("upload", sha256), ("size", "5")], body=b"")
    assert other.value.status_code == 400
    assert run.get_file_names() == []
    for wrong in ("x", "..%2f..%2fa", "A" * 64):
        with pytest.raises(ServiceException) as refused:
            client.request("PATCH", f"/api/v1/uploads/{wrong}", [("offset", "0")], body=b"")
        assert refused.value.status_code in (400, 404)


def test_what_was_collected_gives_way_and_what_was_uploaded_does_not(run: Run, client: ServiceClient) -> None:
    def collect(content: bytes) -> None:
        files.put(client, run.id, "outputs/a", io.BytesIO(content), captured=True)

    def stored() -> bytes:
        return client.request("GET", f"/api/v1/runs/{run.id}/files/outputs/a").body

    for large in (b"", b"x" * files.WHOLE):
        collect(large + b"first")
        collect(large + b"second")
        assert stored() == large + b"second"
    run.upload_file("outputs/a", io.BytesIO(b"mine"))
    collect(b"third")
    assert stored() == b"mine"
    with pytest.raises(AzureMLAggregatedException):
        run.upload_file("outputs/a", io.BytesIO(b"other"))
    with pytest.raises(ServiceException) as refused:
        files.append(client, run.id, "outputs/a", 4, b"more")
    assert refused.value.status_code == 409


def test_one_conflict_does_not_keep_the_other_files_of_a_folder(run: Run, tmp_path: Path) -> None:
    for number in range(20):
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "in" / f"{number:02}").write_text(str(number))
    run.upload_file("f/05", io.BytesIO(b"taken"))
    run.upload_file("f/07", io.BytesIO(b"taken"))
    with pytest.raises(AzureMLAggregatedException) as taken:
        run.upload_folder("f", "in")
    text = f"UserError: Resource Conflict: ArtifactId ExperimentRun/dcid.{run.id}/f/0{{}} already exists."
    assert taken.value.message == "\n".join(text.format(number) for number in (5, 7))
    assert len(run.get_file_names()) == 20
    run.download_file("f/05")
    assert Path("05").read_bytes() == b"taken"
    with pytest.raises(AzureMLException, match=r"20 of 20 files were not stored within 0 seconds: g/00"):
        run.upload_files(
            [f"g/{n:02}" for n in range(20)], [f"in/{n:02}" for n in range(20)], timeout_seconds=0
        )


# --- memory ----------------------------------------------------------------------------------------------------------

UPLOAD = """
import resource, sys
from runstream.core import Experiment, Workspace
experiment = Experiment(Workspace(workspace_name="large"), "e")
run = experiment.start_logging(run_id=sys.argv[1], outputs=False, snapshot_directory=None)
run.upload_file("small", __file__)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
run.upload_file("large.bin", sys.argv[2])
run.download_file("large.bin", sys.argv[2] + ".down", _validate_checksum=True)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
run.complete()
"""


def test_memory_does_not_grow_with_a_file(served_home: Path, tmp_path: Path) -> None:
    size = 256 * MIB
    with (tmp_path / "large").open("wb") as large:
        large.truncate(size)
        large.seek(200 * MIB)
        large.write(b"in the middle")
    (tmp_path / "script.py").write_text(UPLOAD)
    info = running_service(open_home(Settings.load(home=str(served_home))))
    assert info is not None
    before = peak(info.pid)
    done = subprocess.run(
        [
            sys.executable,
            "-P",
            str(tmp_path / "script.py"),
            f"large-{time.time_ns()}",
            str(tmp_path / "large"),
        ],
        env=environment(served_home),
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 64
    assert peak(info.pid) - before < 100 * MIB
    assert (tmp_path / "large.down").stat().st_size == size
    for name in ("large", "large.down"):
        (tmp_path / name).unlink()


def peak(pid: int) -> int:
    """Most memory a process has held, in bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024  # type: ignore[index]


# --- the service is away ---------------------------------------------------------------------------------------------

OFFLINE = """
import io, logging
from runstream.core import Experiment, Run, Workspace
from runstream.exceptions import AzureMLAggregatedException
run = Experiment(Workspace(workspace_name="away"), "e").start_logging(run_id="away-1", snapshot_directory="project")
open("outputs/model.pkl", "wb").write(b"model")
result = run.upload_file("outputs/model.pkl", "outputs/model.pkl")
assert result.artifacts["outputs/model.pkl"]["pending"] is True
open("outputs/model.pkl", "wb").write(b"later state, which the uploaded one wins over")
open("outputs/other.bin", "wb").write(b"other")
run.upload_file("large", io.BytesIO(bytes(9 << 20)))
run.upload_file("taken", io.BytesIO(b"first"))
run.upload_file("taken", io.BytesIO(b"second"))
run.log_image("image", plot=__import__("numpy").zeros((2, 2)))
with run.child_run("c", run_id="away-2") as child:
    print("said in the block")
run.complete()
print(run.get_snapshot_id())
"""


@pytest.fixture(scope="module")
def away_home() -> Iterator[Path]:
    """A home whose service the tests start and end themselves."""
    with tempfile.TemporaryDirectory(prefix="rs-away-", ignore_cleanup_errors=True) as directory:
        yield Path(directory)


def test_files_kept_while_the_service_is_away_are_delivered(
    away_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "a.py").write_text("a = 1\n")
    (tmp_path / "script.py").write_text(OFFLINE)
    offline = subprocess.run(
        [sys.executable, "-P", "script.py"],
        cwd=tmp_path,
        env=environment(away_home),
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert offline.returncode == 0, offline.stderr
    assert "is kept in" in offline.stderr
    snapshot = offline.stdout.split()[-1]
    assert len(items(away_home / "outbox")) == 9
    assert any("9 files wait" in item.found for item in _outbox(Settings(home=str(away_home))))
    monkeypatch.setenv("RUNSTREAM_HOME", str(away_home))
    monkeypatch.chdir(tmp_path)
    with serve(away_home):
        until(lambda: not items(away_home / "outbox"))
        workspace = Workspace(workspace_name="away")
        run = workspace.get_run("away-1")
        images = [name for name in run.get_file_names() if name.startswith("image_")]
        assert len(images) == 1
        console = "user_logs/std_log.txt"  # the warnings that all this was kept
        expected = ["large", "outputs/model.pkl", "outputs/other.bin", "taken", console, *images]
        until(lambda: sorted(run.get_file_names()) == sorted(expected))
        run.download_file("outputs/model.pkl", "got")
        assert Path("got").read_bytes() == b"model"
        run.download_file("taken", "got")
        assert Path("got").read_bytes() == b"first"
        until(lambda: run.get_details().get("warnings"))
        assert "Resource Conflict" in json.dumps(run.get_details()["warnings"])
        (refused,) = (away_home / "refused").iterdir()
        assert (refused / "content").read_bytes() == b"second"
        assert "already exists" in (refused / "reason.txt").read_text()
        assert any("1 files in" in item.found for item in _outbox(Settings(home=str(away_home))))
        assert run.get_snapshot_id() == snapshot
        run.restore_snapshot(path="restored")
        child = workspace.get_run("away-2")
        assert "said in the block" in child.get_details_with_logs()["logFiles"]["logs/user_log.txt"]
        client_for(Settings.load()).close()


def test_sync_delivers_a_copy_of_an_outbox(served_home: Path, tmp_path: Path, workspace: Workspace) -> None:
    for name in ("spool", "outbox"):
        (tmp_path / "copied" / name).mkdir(parents=True)
    run = Experiment(workspace, "e").start_logging(outputs=False, snapshot_directory=None)
    away = Settings(home=str(tmp_path / "laptop"))
    put_file(away, run.id, "ü 'quoted'/\"x\"", io.BytesIO(b"content"), captured=False)
    shutil.copytree(tmp_path / "laptop" / "outbox", tmp_path / "copied" / "outbox", dirs_exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-P", "-m", "runstream", "sync", str(tmp_path / "copied")],
        env=environment(served_home),
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    assert "1 files stored" in done.stdout
    assert run.get_file_names() == ["ü 'quoted'/\"x\""]
    run.complete()


def test_an_agent_delivers_files_although_its_broker_is_away(
    served_home: Path, tmp_path: Path, workspace: Workspace
) -> None:
    run = Experiment(workspace, "e").start_logging(outputs=False, snapshot_directory=None)
    with tempfile.TemporaryDirectory(prefix="rs-agent-") as directory:
        put_file(Settings(home=directory), run.id, "a", io.BytesIO(b"content"), captured=False)
        address = workspace._client.address()
        agent = subprocess.Popen(
            [sys.executable, "-P", "-m", "runstream", "agent"],
            env=environment(
                Path(directory),
                RUNSTREAM_KAFKA="127.0.0.1:1",
                RUNSTREAM_URL=address.url,
                RUNSTREAM_TOKEN=address.token,
            ),
            stderr=subprocess.DEVNULL,
        )
        try:
            until(lambda: run.get_file_names() == ["a"])
            until(lambda: not items(Path(directory) / "outbox"))
        finally:
            agent.terminate()
            agent.wait(30)
    run.complete()


def test_a_service_that_ends_in_the_middle(
    away_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed while a file is on its way: nothing of it was to be seen, and the next service has what had come."""
    monkeypatch.setenv("RUNSTREAM_HOME", str(away_home))
    content = os.urandom(MIB) * 24
    uploads = away_home / "store" / "uploads"
    with serve(away_home) as service:
        run = Experiment(Workspace(workspace_name="w"), "e").start_logging(
            outputs=False, snapshot_directory=None
        )
        send = run._client.request

        def kill_then_send(method: str, *arguments: Any, **options: Any) -> Any:
            if method == "PATCH" and any(path.stat().st_size for path in uploads.glob("*")):
                service.send_signal(signal.SIGKILL)
                service.wait()
            return send(method, *arguments, **options)

        run._client.request = kill_then_send  # type: ignore[method-assign]
        with pytest.raises(ServiceException) as away:
            files.put(run._client, run.id, "large", io.BytesIO(content), patience=0.0)
        assert away.value.status_code == 503
        del run._client.request
        assert [path.stat().st_size for path in uploads.glob("*")] == [files.PIECE]
        assert not (away_home / "store" / "artifacts" / run.id).exists()
    with serve(away_home):
        assert run.get_file_names() == []
        run.upload_file("large", io.BytesIO(content))
        run.download_file("large", tmp_path / "down", _validate_checksum=True)
        assert (tmp_path / "down").read_bytes() == content
        assert list(uploads.glob("*")) == []
        run.complete()
        run._client.close()


def test_an_item_that_is_being_made_is_not_delivered(client: ServiceClient, tmp_path: Path) -> None:
    outbox = tmp_path / "outbox"
    (outbox / ".new-1").mkdir(parents=True)
    assert items(outbox) == []
    assert deliver(client.settings, outbox).stored == 0
    assert (outbox / ".new-1").is_dir()
    os.utime(outbox / ".new-1", (0, 0))
    (outbox / "0001").mkdir()  # no item at all: it is put aside
    assert deliver(client.settings, outbox).refused == 1
    assert not (outbox / ".new-1").exists()
    assert (tmp_path / "refused" / "0001" / "reason.txt").exists()


def test_an_item_that_is_being_made_outlives_a_clock_that_is_set_forward(
    client: ServiceClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from runstream.client import outbox as module

    outbox = module.outbox_of(client.settings)
    with module._new_item(client.settings) as draft:
        os.utime(draft, (0, 0))
        assert deliver(client.settings, outbox).stored == 0
        assert draft.is_dir()
        (draft / "item.json").write_text("{}")
        left = outbox / ".new-left"
        left.mkdir()
        os.utime(left, (0, 0))
    deliver(client.settings, outbox)
    assert not left.exists()


# --- a full disk -----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def small_disk(directory: Path, size: int) -> Iterator[Path]:
    directory.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(directory)], check=True)
    try:
        yield directory
    finally:
        subprocess.run(["umount", "-l", str(directory)], check=True)


@pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("mount") is None, reason="mounts a small disk: root only"
)
def test_a_full_disk_is_answered_507_and_nothing_is_half_written(
    away_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNSTREAM_HOME", str(away_home))
    with small_disk(tmp_path / "disk", 24 * MIB) as disk:
        monkeypatch.setenv("RUNSTREAM_STORE", str(disk))
        with serve(away_home):
            run = Experiment(Workspace(workspace_name="w"), "e").start_logging(
                outputs=False, snapshot_directory=None
            )
            run.upload_file("fits", io.BytesIO(bytes(4 * MIB)))
            for size in (7 * MIB, 60 * MIB):
                free = shutil.disk_usage(disk).free
                with contextlib.ExitStack() as stack:
                    if size == 7 * MIB:  # in one request: most of the rest is taken first
                        (disk / "others").write_bytes(bytes(free - 3 * MIB))
                        stack.callback((disk / "others").unlink)
                    with pytest.raises(ServiceException, match="no room is left in the store") as full:
                        run.upload_file("large", io.BytesIO(os.urandom(size)))
                    assert full.value.status_code == 507
                assert shutil.disk_usage(disk).free >= free - MIB
            assert run.get_file_names() == ["fits"]
            left = [
                path
                for folder in ("artifacts", "uploads")
                for path in (disk / folder).rglob("*")
                if path.is_file()
            ]
            assert left == [disk / "artifacts" / run.id / "fits"]
            files.append(run._client, run.id, "grows", 0, b"x")
            (disk / "others").write_bytes(bytes(shutil.disk_usage(disk).free))
            with pytest.raises(ServiceException) as full:
                files.append(run._client, run.id, "grows", 1, bytes(MIB))
            assert full.value.status_code == 507
            # A training continues: what is collected is only warned about.
            (tmp_path / "outputs").mkdir()
            (tmp_path / "outputs" / "large").write_bytes(bytes(8 * MIB))
            run._outputs, run._where = ["outputs"], tmp_path
            run.complete()
            assert run.get_status() == "Completed"
            assert "no room is left" in json.dumps(run.get_details()["warnings"])
            run._client.close()


# --- a bar on a terminal ---------------------------------------------------------------------------------------------

BAR = """
import io, sys
from runstream.client import files, progress
from runstream.core import Experiment, Workspace
progress.SHOWN_FROM = 9 << 20
run = Experiment(Workspace(workspace_name="bar"), "e").start_logging(outputs=False, snapshot_directory=None)
run.upload_file("small", io.BytesIO(b"x"))
run.upload_file("up [large].bin", io.BytesIO(bytes(20 << 20)))
run.download_file("up [large].bin", sys.argv[1])
run.complete()
"""


@pytest.mark.parametrize("terminal", [True, False])
def test_a_bar_is_shown_on_a_terminal_only(served_home: Path, tmp_path: Path, terminal: bool) -> None:
    (tmp_path / "bar.py").write_text(BAR)
    ours, theirs = os.openpty() if terminal else os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-P", str(tmp_path / "bar.py"), str(tmp_path / "down")],
        env=environment(served_home, TERM="xterm", COLUMNS="120"),
        stderr=theirs,
        stdout=subprocess.DEVNULL,
    )
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # a terminal whose other side was closed
        while piece := os.read(ours, 65536):
            shown += piece
    os.close(ours)
    assert process.wait(60) == 0, shown
    if terminal:
        assert b"up [large].bin" in shown
        assert b"21.0/21.0 MB" in shown or b"20.0/20.0 MiB" in shown
        assert b"small" not in shown
    else:
        assert shown == b""
