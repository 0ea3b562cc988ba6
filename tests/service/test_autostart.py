"""Finding the service on the way to the first log(): quick, silent when all is well, never in the way of the training."""

from __future__ import annotations

import os
import signal
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from runstream.home import autostart
from runstream.home.autostart import ensure_service
from runstream.home.layout import (
    ServiceInfo,
    ServiceLock,
    create_token,
    lock_held,
    lock_owner,
    open_home,
    write_service,
)
from runstream_schemas.settings import Settings

if TYPE_CHECKING:
    from conftest import Shell


@pytest.fixture(autouse=True)
def nothing_warned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(autostart, "_warned", set())


def settings_for(root: Path, **more: str) -> Settings:
    return Settings.load({"RUNSTREAM_HOME": str(root)}, **more)


def served(root: Path) -> ServiceLock:
    """A home that looks served, by this process."""
    home = open_home(settings_for(root))
    lock = ServiceLock(home)
    assert lock.acquire()
    write_service(home, ServiceInfo(url="http://127.0.0.1:1", pid=os.getpid(), token=create_token(home)))
    return lock


def test_running_service_is_found_in_less_than_two_milliseconds(tmp_path: Path) -> None:
    lock = served(tmp_path)
    settings = settings_for(tmp_path)
    spent = []
    for _ in range(50):
        began = time.perf_counter()
        info = ensure_service(settings)
        spent.append(time.perf_counter() - began)
    assert info is not None
    assert info.url == "http://127.0.0.1:1"
    assert info.token
    assert statistics.median(spent) < 0.002
    lock.release()


def test_url_wins_over_everything() -> None:
    info = ensure_service(Settings(url="http://server:1/", token="t", home="/nowhere"))
    assert info == ServiceInfo(url="http://server:1", token="t")


def test_no_autostart_starts_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ensure_service(settings_for(tmp_path, autostart="0"), wait=0.1) is None
    assert not lock_held(open_home(settings_for(tmp_path)))
    assert capsys.readouterr().err == ""


def test_missing_extra_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(autostart, "SERVER_MODULES", ("json", "a_module_nobody_has"))
    for _ in range(3):
        assert ensure_service(settings_for(tmp_path)) is None
    said = capsys.readouterr().err
    assert said.count("a_module_nobody_has") == 1
    assert "pip install 'runstream[server]'" in said
    assert "RUNSTREAM_KAFKA" in said


def test_home_that_cannot_be_used_is_said_and_not_raised(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert ensure_service(settings_for(tmp_path / "file" / "home")) is None
    assert "set RUNSTREAM_HOME" in capsys.readouterr().err


def test_start_leaves_no_child_and_no_open_file_behind(shell: Shell) -> None:
    code = (
        "import os, time\n"
        "from runstream.home.autostart import ensure_service\n"
        "from runstream_schemas.settings import Settings\n"
        "read, write = os.pipe(); os.set_inheritable(write, True)\n"
        "began = time.perf_counter(); ensure_service(Settings.load()); spent = time.perf_counter() - began\n"
        "try: os.waitpid(-1, os.WNOHANG); print('a child')\n"
        "except ChildProcessError: print('no child')\n"
        "assert ensure_service(Settings.load(), wait=60)\n"
        "os.close(write)\n"
        "print(repr(os.read(read, 1)))\n"  # end of file: the service does not hold the other end
    )
    assert shell.python(code).stdout.split("\n")[:2] == ["no child", "b''"]
    owner = lock_owner(shell.home)
    assert os.getsid(owner) == owner
    assert f"RUNSTREAM_HOME={shell.root}" in Path(f"/proc/{owner}/environ").read_text().split("\0")


def test_up_starts_one_in_place_of_what_the_system_is_ending(shell: Shell) -> None:
    """A service that is killed has its lock, its file and its port until the system has ended it."""
    shell.run("up")
    pid = lock_owner(shell.home)
    os.kill(pid, signal.SIGSTOP)  # it neither answers nor lets go, as one that is ending
    said = shell.run("up", "--wait", "1", check=False)
    assert said.returncode == 1
    assert f"process {pid} serves {shell.root}" in said.stderr
    starting = shell.start("up")
    with pytest.raises(subprocess.TimeoutExpired):
        starting.communicate(timeout=2)
    os.kill(pid, signal.SIGKILL)
    assert starting.communicate(timeout=60)[0].startswith("up: ")
    assert lock_owner(shell.home) != pid
    assert shell.json("status")["status"] == "up"


def test_service_that_fails_is_not_started_again_and_again(shell: Shell) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        shell.variables["RUNSTREAM_PORT"] = str(taken.getsockname()[1])
        code = (
            "import time\nfrom runstream.home.autostart import ensure_service\n"
            "from runstream_schemas.settings import Settings\n"
            "for _ in range(40): assert ensure_service(Settings.load()) is None; time.sleep(0.05)\n"
        )
        shell.python(code)
        shell.wait_until(lambda: "error: cannot listen" in shell.log())
        shell.wait_until(lambda: not lock_held(shell.home))
    assert shell.log().count("error: ") == 1


def test_service_finds_the_same_runstream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["relative", str(tmp_path)]))
    monkeypatch.setenv("RUNSTREAM_PORT", "1")
    made = autostart.environment(settings_for(tmp_path, port="2", log_level="DEBUG"))
    paths = made["PYTHONPATH"].split(os.pathsep)
    assert str(Path("relative").absolute()) in paths
    assert any((Path(path) / "runstream" / "__main__.py").exists() for path in [*paths, *sys.path])
    assert made["RUNSTREAM_PORT"] == "2"
    assert made["RUNSTREAM_LOG_LEVEL"] == "DEBUG"
    assert made["RUNSTREAM_HOME"] == str(tmp_path)


def test_long_log_is_put_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = open_home(settings_for(tmp_path))
    monkeypatch.setattr(autostart, "MAX_LOG_BYTES", 10)
    log = autostart.log_file(home, "service")
    log.write_text("x" * 11)
    assert autostart.log_file(home, "service").read_text() == ""
    assert (home.log / "service.log.1").read_text() == "x" * 11
    assert log.stat().st_mode & 0o077 == 0
