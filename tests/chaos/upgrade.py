"""A cluster is upgraded while trainers log and readers read: first all of it is old, then both are there on one broker,
database and store, then all of it is new. Then every value is there once.

`make test-upgrade FROM=COMMIT`, or `python -m tests.chaos.upgrade COMMIT`.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

import asyncpg

from tests.seeds import SEED

from .harms import send_signal
from .trial import ROOT, Trial, new_home

ROLES = ("consumer", "compactor", "server")
"""Those of the new commit that join before any of the old ones goes."""
TRAINERS = ("plain", "plain", "wide", "long", "family")
"""Programs of the trainers of each commit."""


def code_of(commit: str, directory: Path) -> Path:
    """The code of a commit, in a directory of its own."""
    packed = subprocess.run(["git", "archive", commit], cwd=ROOT, capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(directory, filter="data") if hasattr(
            tarfile, "data_filter"
        ) else archive.extractall(directory)
    return directory


def run_upgrade(code: Path, seconds: float, seed: int) -> dict[str, int]:
    """Upgrade a home of a cluster from older code.

    Args:
        code: the older code.
        seconds: of each of the three times.

    Returns:
        run id to values of one series.

    Raises:
        AssertionError: something is not as it must be; the text holds all that was done, and the end of the logs.
    """
    trial = Trial(new_home(), "kafka", seed, seconds)
    trial.code = code
    try:
        trial.prepare()
        trial.up()
        for program in TRAINERS:
            trial.start_trainer(program)
        trial.start_reader()
        trial.attack()
        assert _version(trial) == _last_migration(code), "the older services are not those of the older code"
        trial.note("the new code joins")
        trial.code = ROOT
        settings = trial.settings
        reached = {"RUNSTREAM_KAFKA": settings.kafka, "RUNSTREAM_DATABASE": settings.database}
        for role in ROLES:
            with (trial.home / "log" / f"{role}-new.log").open("ab") as log:
                command = [sys.executable, "-P", "-m", "runstream", role]
                environment = {**trial.environment, **reached, "RUNSTREAM_PORT": "0"}
                trial.extra.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log))
        for program in TRAINERS:
            trial.start_trainer(program)
        _side_by_side(trial, seconds)
        _refused(trial, code, reached)
        trial.note("the old code goes")
        trial.code = code
        trial.command("down")
        trial.code = ROOT
        trial.up()
        for process in trial.extra:
            process.terminate()
            assert process.wait(60) == 0, f"a role of the new code ended with {process.returncode}"
        trial.attack()
        return trial.check()
    except Exception as error:
        raise AssertionError(f"{error}\n{trial.log()}") from error
    finally:
        trial.end()


def _side_by_side(trial: Trial, seconds: float) -> None:
    """Both work, and are stopped for a moment now and then; one of the old code that is killed could not come back."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        victims = trial.victims()
        pid = trial.chance.choice(sorted(victims))
        if "up" not in victims[pid]:
            trial.note(f"stop {victims[pid]} ({pid})")
            send_signal(pid, signal.SIGSTOP)
            time.sleep(trial.chance.uniform(0.2, 2.0))
            send_signal(pid, signal.SIGCONT)
        time.sleep(trial.chance.uniform(0.2, 1.0))
        trial.look()
        ended = [process.args for process in trial.extra if process.poll() is not None]
        assert not ended, f"of the new code ended: {ended}"


def _refused(trial: Trial, code: Path, reached: dict[str, str]) -> None:
    """One of the old code that is started once the database is new says so, and does nothing."""
    assert _version(trial) == _last_migration(ROOT)
    if _last_migration(code) == _last_migration(ROOT):
        return
    trial.code = code
    command = [sys.executable, "-P", "-m", "runstream", "consumer"]
    environment = {**trial.environment, **reached}
    late = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    trial.code = ROOT
    assert late.returncode, "an old consumer started on a new database"
    assert "this runstream knows" in late.stderr, late.stderr


def _version(trial: Trial) -> int:
    """The last migration of the home's database."""

    async def ask() -> int:
        connection = await asyncpg.connect(trial.settings.database)
        try:
            return int(await connection.fetchval("select max(version) from schema_migrations"))
        finally:
            await connection.close()

    return asyncio.run(ask())


def _last_migration(code: Path) -> int:
    return max(
        int(file.name[:4]) for file in (code / "schemas/runstream_schemas/migrations").glob("[0-9]*.sql")
    )


def main() -> None:
    """Exit code 1 if it does not hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.upgrade")
    parser.add_argument("commit", help="the older one, as git names it")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each of the three times")
    parser.add_argument("--seed", type=int, default=SEED)
    options = parser.parse_args()
    # Told to end, it ends what it has started.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    print(f"from {options.commit}, seed {options.seed}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        try:
            counts = run_upgrade(code_of(options.commit, Path(folder)), options.seconds, options.seed)
        except AssertionError as error:
            raise SystemExit(str(error)) from None
    print(f"{len(counts)} runs, {sum(counts.values())} values of each series, each there exactly once")


if __name__ == "__main__":
    main()
