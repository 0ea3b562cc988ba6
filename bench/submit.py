"""Submitted scripts and sweeps: from `submit` to the script's first line, and how many short trials a second."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from .cluster import Cluster, cluster
from .result import Result

SUBMIT = """
import json, sys, time
from pathlib import Path
from runstream.core import Environment, Experiment, ScriptRunConfig, Workspace
from runstream.core.conda_dependencies import CondaDependencies
folder, repeats, built = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "built"
experiment = Experiment(Workspace.get("default"), "bench")
environment = Environment("bench")
environment.python.user_managed_dependencies = not built
environment.python.conda_dependencies = CondaDependencies()
returned, first_lines, ends = [], [], []
for number in range(repeats + 1):  # the first builds the environment
    config = ScriptRunConfig(str(folder), "train.py", [number], environment=environment)
    begin = time.time()
    run = experiment.submit(config)
    returned.append(time.time() - begin)
    run.wait_for_completion()
    ends.append(time.time() - begin)
    first_lines.append(float((folder.parent / f"line-{number}").read_text()) - begin)
print(json.dumps([one[1:] for one in (returned, first_lines, ends)]))
"""
SCRIPT = """import sys, time
now = time.time()
open(f"{FOLDER}/line-{sys.argv[1]}", "w").write(str(now))
"""
SWEEP = """
import json, sys, time
from runstream import Experiment, Workspace, sweep
def objective(run, x):
    for step in range(5):
        run.log("loss", x + 1 / (step + 1))
experiment, trials = Experiment(Workspace.get("default"), "sweep"), int(sys.argv[1])
sweep.run(experiment, objective, {"x": sweep.Uniform(0, 1)}, metric="loss", trials=2, concurrency=2)
begin = time.perf_counter()
found = sweep.run(experiment, objective, {"x": sweep.Uniform(0, 1)}, metric="loss", trials=trials, concurrency=2)
taken = time.perf_counter() - begin
while len(sweep.load(found.run).trials) < trials or any(trial.value is None for trial in sweep.load(found.run).trials):
    time.sleep(0.2)
print(json.dumps([trials / taken, trials / (time.perf_counter() - begin)]))
"""


def run(quick: bool) -> list[Result]:
    """Medians over runs submitted one after the other, and one sweep."""
    repeats, trials = (3, 1000) if quick else (9, 10_000)
    with cluster() as made:
        made.up()
        returned, first_lines, ends = _submitted(made, repeats, "as it is")
        _, built_first_lines, _ = _submitted(made, repeats, "built")
        done, stored = _script(made, SWEEP, str(trials))
    return [
        Result("submit returns", [seconds * 1000 for seconds in returned], "ms"),
        Result("submit to the script's first line", first_lines, "s", 2),
        Result("the same, in a built environment", built_first_lines, "s", 2),
        Result("submit to Completed, an empty script", ends, "s"),
        Result(
            f"sweep of {trials:,} trials of 5 points: completed", [done], "runs/s", 500, higher_is_better=True
        ),
        Result("the same until all is stored and read", [stored], "runs/s"),
    ]


def _submitted(made: Cluster, repeats: int, environment: str) -> list[list[float]]:
    with tempfile.TemporaryDirectory(prefix="rsb") as directory:  # no project lies in the home
        folder = Path(directory)
        (folder / "source").mkdir()
        (folder / "source" / "train.py").write_text(SCRIPT.replace("{FOLDER}", str(folder)))
        seconds: list[list[float]] = _script(made, SUBMIT, str(folder / "source"), str(repeats), environment)
    return seconds


def _script(made: Cluster, code: str, *words: str) -> list[list[float]]:
    path = made.home / f"{abs(hash(code))}.py"
    path.write_text(code)
    done = subprocess.run(
        [sys.executable, str(path), *words],
        env=made.environment,
        cwd=path.parent,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    return list(json.loads(done.stdout.splitlines()[-1]))
