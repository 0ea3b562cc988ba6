"""A read sees what any process of its node had recorded before: the first one in a cold home, and each after it."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from runstream.home.layout import lock_owner, running_service
from runstream.spool.node import NodeSpool

if TYPE_CHECKING:
    from conftest import Shell

REPORT = """
from runstream import Experiment, Workspace
experiment = Experiment(Workspace.from_config(), 'embedded')
(run,) = experiment.get_runs()
loss = run.get_metrics()['loss']
print(run.id, run.status, len(loss) if isinstance(loss, list) else 1)
"""
# Prints once it has logged, and stays; what it logs after that is nobody's business here.
TRAIN = """
import sys, time
from runstream import Experiment, Workspace
run = Experiment(Workspace.from_config(), 'embedded').start_logging(outputs=False, snapshot_directory=None)
for line in sys.stdin:
    run.log('loss', float(line))
    run.tag('line', line.strip())
    print(run.id, flush=True)
"""


def by_report(shell: Shell, run_id: str) -> int:
    best, _, points = shell.python(REPORT).stdout.split()
    assert best == run_id
    return int(points)


def by_show(shell: Shell, run_id: str) -> int:
    summaries = shell.json("run", "show", run_id)["summaries"]
    return int(summaries["loss"]["count"])


def by_list(shell: Shell, run_id: str) -> int:
    (run,) = shell.json("run", "list")
    assert run["run_id"] == run_id
    return int(run["tags"].get("line", "-1")) + 1


def by_sql(shell: Shell, run_id: str) -> int:
    return shell.points(run_id)


READERS: dict[str, Callable[[Shell, str], int]] = {
    "report": by_report,
    "show": by_show,
    "list": by_list,
    "sql": by_sql,
}


@pytest.mark.parametrize("reader", READERS)
def test_the_first_read_of_a_cold_home(shell: Shell, reader: str) -> None:
    """The training ends before the service it has started is up, and a reader comes."""
    run_id = shell.train(7, "run.tag('line', '6'); run.complete()")
    assert READERS[reader](shell, run_id) == 7


def trained(shell: Shell) -> tuple[subprocess.Popen[str], Callable[[int], str]]:
    process = shell.start_python(TRAIN)
    assert process.stdin is not None
    assert process.stdout is not None
    stdin, stdout = process.stdin, process.stdout

    def log(value: int) -> str:
        stdin.write(f"{value}\n")
        stdin.flush()
        return stdout.readline().strip()

    return process, log


def test_reads_beside_a_run_that_lives(shell: Shell) -> None:
    # Its points are stored seconds after they were logged: who answers at once has not seen them.
    shell.variables["RUNSTREAM_FLUSH_INTERVAL"] = "2"
    shell.run("up")
    _, log = trained(shell)
    count = 0
    for reader in READERS.values():
        for _ in range(2):
            run_id = log(count)
            count += 1
            assert reader(shell, run_id) == count


def test_reads_that_cannot_be_fresh_are_answered_and_marked(shell: Shell) -> None:
    shell.run("up")
    run_id = shell.train(5)
    assert shell.points(run_id) == 5
    code = (
        "import os; from runstream.client import freshness; freshness.LONGEST_WAIT = 0.5\n"
        "from runstream.spool.node import NodeSpool\n"
        "NodeSpool.undelivered = lambda self, sources: sources\n"  # a service that does not come to it
        "import runstream\n"
        "for _ in range(2): print(runstream.sql('select count(*) as n from metrics').to_pylist()[0]['n'])\n"
    )
    process, log = trained(shell)
    log(1)
    done = shell.python(code)
    process.kill()
    process.communicate()
    assert done.stderr.count("may lack the newest") == 1  # in vain once, and not waited for again
    assert len(done.stdout.split()) == 2


@pytest.mark.kafka
def test_reads_of_a_node_with_kafka_between(shells: Callable[[str], Shell]) -> None:
    shell, node = shells("cluster"), shells("node")
    shell.run("up", "--kafka")
    info = running_service(shell.home)
    assert info is not None
    node.variables |= {
        "RUNSTREAM_KAFKA": info.kafka,
        "RUNSTREAM_URL": info.url,
        "RUNSTREAM_TOKEN": info.token,
        "RUNSTREAM_FLUSH_INTERVAL": "2",
        "RUNSTREAM_AGENT_IDLE_TIMEOUT": "5",
    }
    process, log = trained(node)
    for count, reader in enumerate(READERS.values()):
        assert reader(node, log(count)) == count + 1
    process.communicate(timeout=60)
    node.wait_until(lambda: not NodeSpool(node.home.spool).written(), 30, "the agent to have delivered all")

    # Delivered, gone from the spool, and not stored: the consumers stand still until a reader is there.
    consumers = [pid for pid in descendants(lock_owner(shell.home)) if "consumer" in command_of(pid)]
    assert consumers
    for pid in consumers:
        os.kill(pid, signal.SIGSTOP)
    run_id, other = node.train(30), node.train(30)
    node.wait_until(lambda: not NodeSpool(node.home.spool).written(), 30, "the agent to have delivered all")
    code = (
        "from runstream.client import freshness; freshness.LONGEST_WAIT = 2.0\n"
        "import runstream\n"
        f"for run in ('{run_id}', '{other}'):\n"
        "    try: runstream.Workspace.from_config().get_run(run).get_metrics()\n"
        "    except runstream.exceptions.ServiceException: pass\n"
    )
    assert node.python(code).stderr.count("may lack the newest") == 1, "in vain once, for all that lay there"
    reading = node.start("sql", f"select count(*) as n from metrics where run_id = '{run_id}'", "-o", "tsv")
    with pytest.raises(subprocess.TimeoutExpired):
        reading.communicate(timeout=4)
    for pid in consumers:
        os.kill(pid, signal.SIGCONT)
    assert reading.communicate(timeout=60)[0].strip() == "30"

    # A run that was deleted is never stored, and not waited for.
    node.run("run", "delete", run_id, "--yes")
    assert "may lack" not in node.run("sql", "select 1").stderr
    shell.run("down")


def command_of(pid: int) -> str:
    with open(f"/proc/{pid}/cmdline") as file:
        return file.read()


def descendants(pid: int) -> list[int]:
    processes = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{entry}/stat") as stat:
                parent = int(stat.read().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if parent == pid:
            processes += [int(entry), *descendants(int(entry))]
    return processes
