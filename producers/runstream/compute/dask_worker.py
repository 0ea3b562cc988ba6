"""What the target `dask` has a worker do: run the wrapper of one run, and say so at the scheduler."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from runstream_schemas.settings import PREFIX, Settings

from .backend import unpack
from .job import CHILDREN, read_job, run_directory

_LOOK_SECONDS = 0.2
_TAIL = 2000


def carry_out(run_id: str, directory: str, host: str, bundle: bytes | None, home: str) -> None:
    """The task of a run. It returns when the run has ended, whatever became of it.

    Dask gives a task whose worker was lost to another one; a run that runs twice would be two runs mixed into one. So
    the first worker leaves its claim with the scheduler before it begins, and whoever finds one there does not begin.

    Args:
        run_id: the run.
        directory: its directory on the machine that submitted.
        host: that machine.
        bundle: what is in the directory, for another machine.
        home: place of the claims.
    """
    from distributed import get_client, get_worker, secede

    worker, client = get_worker(), get_client()
    place = ["runstream", home, run_id]
    claim: dict[str, Any] | None = client.get_metadata(place, default=None)
    if claim is not None:
        if not claim.get("ended"):
            problem = f"{claim['name']} was lost while it executed the run"
            client.set_metadata(place, {**claim, "ended": True, "problem": problem, "code": "WorkerLost"})
        return
    here, problem = _lay_out(run_id, Path(directory), host, bundle)
    name = f"Dask worker {worker.address} on {socket.gethostname()}"
    claim = {"worker": worker.address, "name": name, "directory": str(here)}
    client.set_metadata(place, claim)
    if not problem:
        seceded = False
        with (here / "wrapper.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "runstream.wrapper", str(here), name, str(os.getpid())],
                env=_variables(here, here == Path(directory)),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        while True:
            try:
                process.wait(_LOOK_SECONDS)
                break
            except subprocess.TimeoutExpired:
                if not seceded and (here / CHILDREN).exists():
                    secede()  # it waits for runs that may have to run in this very thread
                    seceded = True
        if process.returncode != 0:
            problem = f"the run's process on {name} ended with {process.returncode}: {_tail(here)}"
    client.set_metadata(place, {**claim, "ended": True, "problem": problem})


def request_cancel(directory: str) -> None:
    """Have the run of a directory of this worker's machine ended."""
    (Path(directory) / "cancel").touch()


def _lay_out(run_id: str, directory: Path, host: str, bundle: bytes | None) -> tuple[Path, str]:
    """(the run's directory on this machine, why it cannot run here)."""
    if host == socket.gethostname() and _is_of(directory, run_id):
        return directory, ""
    settings = Settings.load()
    here = run_directory(settings, run_id)
    if bundle is None:
        return here, (
            f"the worker on {socket.gethostname()} does not see {directory}, and joined the scheduler after the run was "
            "handed over; submit it again"
        )
    try:
        unpack(bundle, here)
    except OSError as error:
        return here, f"the run's source cannot be laid out on {socket.gethostname()}: {error}"
    settings = Settings.load(_variables(here, False))
    if not settings.url and not settings.kafka:
        return here, (
            f"the worker on {socket.gethostname()} has no way to the service of {host}: set RUNSTREAM_URL and "
            "RUNSTREAM_KAFKA where the run is submitted, or for the worker"
        )
    return here, ""


def _is_of(directory: Path, run_id: str) -> bool:
    try:
        return read_job(directory).run_id == run_id
    except (OSError, ValueError, TypeError):
        return False


def _variables(directory: Path, at_home: bool) -> dict[str, str]:
    """Environment of the wrapper: on the machine that submitted that of the submission, elsewhere the worker's with its
    settings, as far as they are not about that machine."""
    submitted = read_job(directory).submitter_environment
    if at_home:
        return submitted
    return {**os.environ, **{key: value for key, value in submitted.items() if key.startswith(PREFIX)}}


def _tail(directory: Path) -> str:
    try:
        return (directory / "wrapper.log").read_text(errors="replace")[-_TAIL:].strip()
    except OSError as error:
        return str(error)
