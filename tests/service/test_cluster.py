"""`runstream up --kafka`: real Kafka, the roles as processes; and the agent that starts by itself."""

from __future__ import annotations

import contextlib
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from runstream.home.autostart import agent_running
from runstream.home.layout import lock_held, lock_owner, open_home, running_service
from runstream_schemas.settings import Settings

if TYPE_CHECKING:
    from conftest import Shell

pytestmark = pytest.mark.kafka


def processes(shell: Shell) -> dict[str, int]:
    """The newest process of each role, from the log."""
    log = (shell.root / "log" / "service.log").read_text()
    return {name: int(pid) for name, pid in re.findall(r"cluster: (\S+) is process (\d+)", log)}


def descendants(pid: int) -> list[int]:
    processes = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat") as stat:
                    parent = int(stat.read().rpartition(")")[2].split()[1])
            except OSError:
                continue
            if parent == pid:
                processes += [int(entry), *descendants(int(entry))]
    return processes


def agents(shell: Shell) -> list[int]:
    """Processes of this home's agent, from their start on."""
    homes = f"RUNSTREAM_HOME={shell.root}".encode()
    pids = []
    for process in psutil.process_iter(["cmdline"]):
        with contextlib.suppress(psutil.Error, OSError):
            if "agent" in (process.info["cmdline"] or ()):
                environment = Path(f"/proc/{process.pid}/environ").read_bytes()
                pids += [process.pid] if homes in environment.split(b"\0") else []
    return pids


def test_whole_cluster_on_one_machine(shells: Callable[[str], Shell]) -> None:
    shell, node = shells("cluster"), shells("node")
    shell.run("up", "--kafka")
    info = running_service(shell.home)
    assert info is not None
    assert info.kafka
    first = shell.train(100)
    shell.wait_until(lambda: shell.points(first) == 100)

    # A crashed role comes back, and nothing is lost.
    before = processes(shell)
    assert set(before) == {"agent", "consumer-1", "consumer-2", "compactor-1", "compactor-2", "server"}
    for name in ("agent", "consumer-1"):
        os.kill(before[name], signal.SIGKILL)
    second = shell.train(200)
    shell.wait_until(lambda: shell.points(second) == 200, 60, "points logged while roles were down")
    assert processes(shell)["agent"] != before["agent"]

    # Another node: its agent starts with the first run, and ends when idle.
    node.variables |= {
        "RUNSTREAM_KAFKA": info.kafka,
        "RUNSTREAM_URL": info.url,
        "RUNSTREAM_TOKEN": info.token,
        "RUNSTREAM_AGENT_IDLE_TIMEOUT": "1",
    }
    third = node.train(300, "run.complete(); assert len(run.get_metrics()['loss']) == 300")
    assert node.points(third) == 300
    home = open_home(Settings.load({"RUNSTREAM_HOME": str(node.root)}), create=False)
    # The same by hand, without an agent. A reader may have started one more, which is not at its lock yet.
    node.variables["RUNSTREAM_AUTOSTART"] = "0"
    node.wait_until(lambda: not agents(node), 60, "the agent to end")
    fourth = node.train(50)
    assert not agents(node)
    assert not agent_running(home)
    assert "with the broker" in node.run("sync", str(node.root)).stdout
    node.wait_until(lambda: node.points(fourth) == 50)

    # kill -9 of the one above them ends them all; the next start finds everything.
    parent = lock_owner(shell.home)
    children = descendants(parent)
    assert len(children) > 6
    os.kill(parent, signal.SIGKILL)
    shell.wait_until(lambda: not any(map(shell.lives, children)), 60, "every process to end")
    shell.run("up", "--kafka")
    assert [shell.points(run_id) for run_id in (first, second, third, fourth)] == [100, 200, 300, 50]
    children = descendants(lock_owner(shell.home))
    shell.run("down")
    assert not any(map(shell.lives, children))
    assert not lock_held(shell.home)
