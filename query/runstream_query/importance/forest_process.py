"""The process of a forest: started for one question, ended when that is late or nobody waits for the answer any more."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import subprocess
import sys
from typing import Any

from runstream_schemas.errors import ServiceError

from .forest import Weights
from .run_table import RunTable

_ENVIRONMENT = ("PATH", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH")
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


class NotInstalled(ServiceError):
    """The library this needs is not installed where the server runs."""


async def weigh_apart(table: RunTable, seconds: float) -> Weights:
    """Weigh a table's columns in a process of its own.

    Raises:
        NotInstalled: scikit-learn is missing.
        TimeoutError: it took longer than `seconds`.
        ServiceError: the process ended without an answer.
    """
    if importlib.util.find_spec("sklearn") is None:
        raise NotInstalled(
            "importance needs scikit-learn, which is not installed where the server runs; "
            "run `pip install 'runstream[importance]'` there"
        )
    asked = json.dumps({"numbers": table.numbers, "columns": [column.values for column in table.columns]})
    process = await asyncio.to_thread(_start)
    try:
        async with asyncio.timeout(seconds):
            answered, _ = await asyncio.to_thread(process.communicate, asked)
    finally:
        # Late, or the client went away: the thread that waits for it ends with it.
        process.kill()
    if process.wait() != 0:
        raise ServiceError(
            f"the process that weighs parameters ended with {process.returncode}; see the server's log"
        )
    return Weights(**json.loads(answered))


def _start() -> subprocess.Popen[str]:
    environment: dict[str, Any] = {key: value for key, value in os.environ.items() if key in _ENVIRONMENT}
    environment |= _ONE_THREAD | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.Popen(
        [sys.executable, "-P", "-W", "ignore", "-m", "runstream_query.importance.forest"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
        text=True,
    )
