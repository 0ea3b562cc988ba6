"""The same work by runstream and its peers, one after the other in one run, each measurement in a process of its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..result import Measured, Result
from .environments import NoEnvironmentError, environment
from .measure import MARK, processes_of

SYSTEMS = {
    "runstream": "runstream",
    "tensorboard": "TensorBoard",
    "wandb": "W&B offline",
    "mlflow": "MLflow",
    "aim": "Aim",
    "trackio": "Trackio",
    "mltraq": "MLtraq",
}
HERE = Path(__file__).parent
TIMEOUT = 60.0
"""Seconds for one measurement of one system; past that its cells hold a dash."""

CANNOT = {("wandb", "read"), ("wandb", "list")}
OFFLINE = "offline runs have no reader in Python before they are sent to a server"
SECONDS = 240.0
"""After which no system is measured another time."""

ROUND = (("import",), ("calls", "read"))
ONCE = (("kill", "survivors"), ("runs", "list"))
"""What is measured one after the other in one home; the second, once."""

READ_POINTS, RUNS = 1_000_000, 1_000


class FailedError(Exception):
    """A measurement gave no figure; the message says why, in one line."""


@dataclass(slots=True)
class System:
    """What was measured of one system."""

    name: str
    python: Path | None = None
    versions: str = ""
    answers: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)


def run(quick: bool) -> Measured:
    """Every measurement of every system, and again while there is time: about five minutes, after the installations."""
    seconds, repeats = (0.3, 1) if quick else (1.5, 3)
    systems = [install(name) for name in SYSTEMS]
    start = time.monotonic()
    for number in range(repeats):
        for system in systems:
            if number and time.monotonic() - start > SECONDS:
                break
            print(f"  {SYSTEMS[system.name]}, round {number + 1}", file=sys.stderr, flush=True)
            measure(system, seconds, ROUND if number else ROUND + ONCE)
    notes = ["Versions: " + "; ".join(system.versions for system in systems if system.versions) + "."]
    return Measured(rows(systems), notes)


def install(name: str) -> System:
    """Its Python; one that cannot be installed has a reason for every measurement."""
    system = System(name)
    try:
        system.python = Path(sys.executable) if name == "runstream" else environment(name)
    except NoEnvironmentError as error:
        system.reasons = {what: str(error) for steps in ROUND + ONCE for what in steps}
    return system


def measure(system: System, seconds: float, plan: Sequence[Sequence[str]]) -> None:
    """Take some measurements; one that fails becomes a reason, ends those after it, and is not tried again."""
    for steps in plan:
        with home_of(system) as home:
            for what in steps:
                if (system.name, what) in CANNOT:
                    system.reasons[what] = OFFLINE
                if what in system.reasons:
                    break
                try:
                    answer = ask(system, what, home, seconds)
                except FailedError as error:
                    system.reasons.update(dict.fromkeys(steps[steps.index(what) :], str(error)))
                    break
                system.answers.setdefault(what, []).append(answer)
    if system.answers.get("import"):
        system.versions = system.answers["import"][0]["versions"]


@contextmanager
def home_of(system: System) -> Iterator[Path]:
    """An empty directory; whatever was started for it has ended afterwards."""
    home = Path(tempfile.mkdtemp(prefix="rsp"))
    try:
        yield home
    finally:
        if system.name == "runstream":
            subprocess.run(
                [sys.executable, "-m", "runstream", "down"],
                env={**os.environ, "RUNSTREAM_HOME": str(home / "home")},
                capture_output=True,
                timeout=60,
                check=False,
            )
        for process in processes_of(f"{MARK}={home}"):
            try:
                os.kill(process, signal.SIGKILL)
            except ProcessLookupError:
                continue
        shutil.rmtree(home, ignore_errors=True)


def ask(system: System, what: str, home: Path, seconds: float, timeout: float = TIMEOUT) -> dict[str, Any]:
    """Run the system's adapter for one measurement, and read its answer.

    Raises:
        FailedError: it took too long, died, or printed no answer.
    """
    command = [str(system.python), str(HERE / f"adapter_{system.name}.py"), what]
    command += ["--home", str(home), "--seconds", str(seconds)]
    # Compiled modules may be written, as on anyone's machine: else each import would compile anew.
    variables = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        # Files, not pipes: a service that outlives its starter would hold a pipe open.
        process = subprocess.Popen(
            command,
            env=variables | {MARK: str(home)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            start_new_session=True,
        )
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise FailedError(f"took more than {timeout:g} s") from None
        output.seek(0)
        errors.seek(0)
        return parse(what, code, output.read(), errors.read())


def parse(what: str, code: int, output: str, errors: str) -> dict[str, Any]:
    """The answer on the last line of what an adapter printed, whatever the libraries printed before.

    Raises:
        FailedError: there is none, or the process failed; being killed is how `kill` ends.
    """
    if what == "kill" and code == -signal.SIGKILL:
        return {}
    lines = output.strip().splitlines()
    if code == 0 and lines:
        try:
            answer = json.loads(lines[-1])
        except ValueError:
            answer = None
        if isinstance(answer, dict):
            return answer
    said = [line.strip() for line in errors.splitlines() if line.strip()]
    print("\n".join(said[-5:]), file=sys.stderr)
    raise FailedError(f"failed with exit code {code}")


Figure = Callable[[dict[str, Any]], float]
US, MB = 1e6, 1e-6

FIGURES: list[tuple[str, str, Figure, str, bool]] = [
    ("import", "import", lambda a: a["seconds"] * 1e3, "ms", False),
    ("one metric a call: mean", "calls", lambda a: a["one"]["mean"] * US, "us", False),
    ("one metric a call: p50", "calls", lambda a: a["one"]["p50"] * US, "us", False),
    ("one metric a call: p99", "calls", lambda a: a["one"]["p99"] * US, "us", False),
    ("dict of ten, per point: mean", "calls", lambda a: a["ten"]["mean"] * US, "us", False),
    ("dict of ten, per point: p50", "calls", lambda a: a["ten"]["p50"] * US, "us", False),
    ("dict of ten, per point: p99", "calls", lambda a: a["ten"]["p99"] * US, "us", False),
    ("one metric, until stored", "calls", lambda a: a["one"]["rate"] / 1e3, "k points/s", True),
    ("dict of ten, until stored", "calls", lambda a: a["ten"]["rate"] / 1e3, "k points/s", True),
    ("on disk", "calls", lambda a: a["bytes"], "B/point", False),
    ("memory, in the calling process", "calls", lambda a: a["own"] * MB, "MB", False),
    ("memory, in processes of its own", "calls", lambda a: a["others"] * MB, "MB", False),
    ("lost by kill -9 right after the last call", "survivors",
        lambda a: 100 * (a["logged"] - a["found"]) / a["logged"], "%", False),
    ("read 1 M points back", "read", lambda a: a["seconds"] * READ_POINTS / max(1, a["points"]), "s", False),
    ("create 1,000 runs", "runs", lambda a: a["seconds"] * RUNS / max(1, a["runs"]), "s", False),
    ("list 1,000 runs with last metrics", "list", lambda a: a["seconds"] * RUNS / max(1, a["runs"]), "s", False),
]  # fmt: skip
"""Row, measurement, the figure out of its answer, unit, whether higher is better."""


def rows(systems: list[System]) -> list[Result]:
    """One result a row and system, with why a cell is empty and what was scaled."""
    results = []
    for name, what, figure, unit, higher in FIGURES:
        for system in systems:
            answers = system.answers.get(what, [])
            samples = [figure(answer) for answer in answers]
            results.append(
                Result(
                    name,
                    samples,
                    unit,
                    higher_is_better=higher,
                    of=SYSTEMS[system.name],
                    note=scale(name, answers[0]) if answers else system.reasons.get(what, "not measured"),
                )
            )
    return results


def scale(name: str, answer: dict[str, Any]) -> str:
    """How much was done, where it is not what the row says."""
    if name.startswith("read") and answer["points"] < READ_POINTS:
        return f"scaled from {answer['points']:,} points"
    if "1,000 runs" in name and answer["runs"] < RUNS:
        return f"scaled from {answer['runs']:,} runs"
    if name == "lost by kill -9 right after the last call":
        return f"{answer['logged'] - answer['found']:,} of {answer['logged']:,}"
    return ""
