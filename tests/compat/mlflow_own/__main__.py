"""MLflow's own tests, of its server, against a server of ours: python -m tests.compat.mlflow_own [options of pytest]

MLFLOW_CHECKOUT: a checkout of MLflow, of which its tests are used.
MLFLOW_PYTHON: a Python that has that MLflow, pytest and pytest-timeout.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from tests.compat.conftest import Service, free_port
from tests.processes import end_processes_of

HERE = Path(__file__).parent


def left_out() -> dict[str, dict[str, str]]:
    """Tests that are not run, by file, with the reason of each."""
    with (HERE / "left_out.toml").open("rb") as file:
        return tomllib.load(file)


def main(options: list[str]) -> int:
    """Run them; the exit status of pytest."""
    checkout, python = os.environ.get("MLFLOW_CHECKOUT"), os.environ.get("MLFLOW_PYTHON")
    if not checkout or not python:
        print(
            "MLFLOW_CHECKOUT= names a checkout of MLflow, MLFLOW_PYTHON= a Python that has it and pytest",
            file=sys.stderr,
        )
        return 2
    listed = left_out()
    files = sorted(listed)
    deselected = [f"--deselect={file}::{name}" for file in files for name in listed[file]]
    home = Path(tempfile.mkdtemp(prefix="rs-")) / "home"
    home.mkdir(mode=0o700)
    service = Service(home, f"http://127.0.0.1:{free_port()}")
    try:
        service.start()
        own = {
            "RUNSTREAM_TEST_URL": service.url,
            "RUNSTREAM_TEST_TOKEN": service.token,
            "PYTHONPATH": os.pathsep.join([str(HERE), checkout]),
            "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
        }
        words = [
            python,
            "-m",
            "pytest",
            "-p",
            "in_place",
            "-q",
            "-k",
            "not file-",
            *deselected,
            *(options or files),
        ]
        done = subprocess.run(words, cwd=checkout, env={**os.environ, **own}, check=False)
        print(
            f"{sum(len(names) for names in listed.values())} tests are left out, see {HERE / 'left_out.toml'}"
        )
        return done.returncode
    finally:
        end_processes_of(home)
        shutil.rmtree(home.parent, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
