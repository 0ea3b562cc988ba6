"""MLflow's client, the same script, at runstream's server and at MLflow's own on SQLite, in turn; and the plugin `runstream://`."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from .cluster import Cluster, cluster
from .peers.environments import environment
from .result import Result

RUNS = 10_000
START_SECONDS = 120.0
MUST = {
    "create run": 5.0,
    "log_metric": 3.0,
    "log_batch of 1,000": 20.0,
    "search of 10,000 runs by a metric": 10.0,
}
"""How many times as fast as MLflow's server each call has to be."""

CALLS = """
import json, sys, time, warnings
warnings.simplefilter("ignore")
from mlflow import MlflowClient
from mlflow.entities import Metric
urls, rounds = sys.argv[1:3], int(sys.argv[3])
clients = [MlflowClient(url) for url in urls]
experiments = [client.create_experiment("bench") for client in clients]
held = [client.get_experiment_by_name("held").experiment_id for client in clients]
runs = [client.create_run(id_).info.run_id for client, id_ in zip(clients, experiments)]
batches = [client.create_run(id_).info.run_id for client, id_ in zip(clients, experiments)]

def create(at, number):
    clients[at].create_run(experiments[at])

def log_metric(at, number):
    clients[at].log_metric(runs[at], "loss", number / 7, step=number)

def log_batch(at, number):
    clients[at].log_batch(batches[at], metrics[number])

def search(at, number):
    page = clients[at].search_runs([held[at]], f"metrics.loss < {0.5 + number / 1000}", order_by=["metrics.loss ASC"],
                                   max_results=100)
    assert len(page) == 100, len(page)

metrics = [
    [Metric(f"m{n % 10}", n / 7, 1_764_000_000_000 + number * 100 + n // 10, number * 100 + n // 10) for n in range(1000)]
    for number in range(rounds + 1)
]
answer = {}
for name, call, each in (("create run", create, 10), ("log_metric", log_metric, 10), ("log_batch of 1,000", log_batch, 1),
                         ("search of 10,000 runs by a metric", search, 1)):
    samples = [[], []]
    for number in range(rounds + 1):
        for at in (0, 1):
            begin = time.perf_counter()
            for more in range(each):
                call(at, number * each + more)
            samples[at].append((time.perf_counter() - begin) / each * 1e3)
    answer[name] = [some[1:] for some in samples]
print(json.dumps(answer), flush=True)
"""

PLUGIN = """
import json, sys, time, warnings
warnings.simplefilter("ignore")
import mlflow
from mlflow.entities import Metric
from mlflow.tracking._tracking_service.utils import _get_store
count = int(sys.argv[1])
mlflow.set_experiment("bench plugin")
run = mlflow.start_run()
run_id, store, step, whole, ours = run.info.run_id, _get_store(), 0, [], []
for _ in range(6):
    begin = time.process_time()
    for _ in range(count):
        step += 1
        mlflow.log_metric("loss", 0.5, step=step)
    whole.append((time.process_time() - begin) / count * 1e6)
    points = [Metric("own", 0.5, 1_764_000_000_000 + at, step + at) for at in range(10 * count)]
    begin = time.process_time()
    for point in points:
        store.log_metric(run_id, point)
    ours.append((time.process_time() - begin) / len(points) * 1e6)
    step += 10 * count
mlflow.end_run()
print(json.dumps([whole[1:], ours[1:]]), flush=True)
"""


def run(quick: bool) -> list[Result]:
    """The figures."""
    rounds = 3 if quick else 10
    python = environment("mlflow")
    with tempfile.TemporaryDirectory(prefix="rsb") as directory, cluster() as made:
        folder = Path(directory)
        made.up()
        results = _plugin(made, 300 if quick else 2_000)
        with _server(python, folder) as theirs:
            ours = json.loads(made.command("status", "-o", "json"))["url"]
            database = folder / "mlflow.db"
            _fill(database)
            made.command("import", "mlflow", f"sqlite:///{database}", timeout=300.0)
            token = (made.home / "token").read_text().strip()
            answer = _script(python, CALLS, [ours, theirs, str(rounds)], {"MLFLOW_TRACKING_TOKEN": token})
    for name, (own, other) in answer.items():
        results.append(Result(f"{name}, runstream", own, "ms"))
        results.append(Result(f"{name}, MLflow's server on SQLite", other, "ms"))
        ratio = statistics.median(other) / statistics.median(own)
        results.append(Result(f"{name}: times as fast", [ratio], "×", MUST[name], higher_is_better=True))
    return results


def _plugin(made: Cluster, count: int) -> list[Result]:
    own = {**made.environment, "MLFLOW_TRACKING_URI": "runstream://"}
    whole, ours = _script(Path(sys.executable), PLUGIN, [str(count)], own)
    mlflows = [each - statistics.median(ours) for each in whole]
    return [
        Result("runstream://: MLflow's own part of log_metric", mlflows, "µs", 60.0),
        Result("runstream://: ours", ours, "µs", 2.0),
    ]


def _script(python: Path, text: str, words: list[str], more: dict[str, str]) -> Any:
    done = subprocess.run(
        [str(python), "-c", text, *words],
        env={**_quiet(), **more},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def _quiet() -> dict[str, str]:
    quiet = {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        "GIT_PYTHON_REFRESH": "quiet",
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    return {**os.environ, **quiet}


@contextmanager
def _server(python: Path, folder: Path) -> Iterator[str]:
    """MLflow's own server, as a process of its own; its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    where = ["--host", "127.0.0.1", "--port", port, "--backend-store-uri", f"sqlite:///{folder}/mlflow.db"]
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [str(python), "-m", "mlflow", "server", *where, "--workers", "1"],
            cwd=folder,
            env=_quiet(),
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
                break
            except OSError:
                if time.monotonic() > deadline or process.poll() is not None:
                    raise RuntimeError((folder / "server.log").read_text()[-2000:]) from None
                time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _fill(database: Path) -> None:
    """Write runs into MLflow's database as its server would, each with a metric, some parameters and a tag."""
    now = 1_764_000_000_000
    with closing(sqlite3.connect(database, timeout=30)) as file, file:
        file.execute(
            "insert into experiments (name, lifecycle_stage, creation_time) values ('held', 'active', ?)",
            (now,),
        )
        (experiment,) = file.execute("select experiment_id from experiments where name = 'held'").fetchone()
        ids = [uuid.uuid4().hex for _ in range(RUNS)]
        runs = [(id_, f"run {n}", now + n, now + n + 1000, experiment) for n, id_ in enumerate(ids)]
        file.executemany(
            "insert into runs (run_uuid, name, source_type, user_id, status, start_time, end_time, lifecycle_stage, "
            "artifact_uri, experiment_id) values (?, ?, 'LOCAL', 'u', 'FINISHED', ?, ?, 'active', 'mlflow-artifacts:/x', ?)",
            runs,
        )
        points = [("loss", (n * 7919 % RUNS) / RUNS, now + n, id_, 1) for n, id_ in enumerate(ids)]
        for table in ("metrics", "latest_metrics"):
            file.executemany(
                f"insert into {table} (key, value, timestamp, run_uuid, step, is_nan) values (?, ?, ?, ?, ?, 0)",
                points,
            )
        params = [(f"p{k}", str(n % (k + 2)), id_) for n, id_ in enumerate(ids) for k in range(3)]
        file.executemany("insert into params (key, value, run_uuid) values (?, ?, ?)", params)
        tags = [("mlflow.runName", f"run {n}", id_) for n, id_ in enumerate(ids)]
        file.executemany("insert into tags (key, value, run_uuid) values (?, ?, ?)", tags)
