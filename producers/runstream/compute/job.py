"""A submitted run's directory: what the submission leaves there for the process that carries it out.

<home>/runs/<run id>/
    job.json        what to run, and how
    run.json        the run's record, for `Run.get_context()` in the script
    code/           copy of the source directory; the script's working directory
    azureml-logs/   the script's output, the log of building its environment, and which process it was
    wrapper.log     what went wrong in the wrapper itself
    wrapper.pid     its process, which holds a lock on this file as long as it lives
    cancel          there once the run is to end
    children        there once the script submitted runs of its own
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from runstream_schemas.settings import Settings

DRIVER_LOG = "azureml-logs/70_driver_log.txt"
BUILD_LOG = "azureml-logs/20_image_build_log.txt"
STD_LOG = "user_logs/std_log.txt"
PROCESS_INFO = "azureml-logs/process_info.json"
PROCESS_STATUS = "azureml-logs/process_status.json"
STARTED = "wrapper.pid"
CHILDREN = "children"
CANCEL = "cancel"
RUN_FILE = "RUNSTREAM_RUN_FILE"
"""Environment variable of a script: its `run.json`, so that it need not ask the service for its run's record."""


@dataclass(slots=True)
class Job:
    """What the wrapper of a submitted run needs to know.

    Attributes:
        command: words to run; the first `python` of a script is the environment's interpreter.
        shell: the command is one line for a shell.
        environment: document of the environment (`Environment.document`).
        variables: environment variables for the script beside those every script gets.
        max_seconds: None for no limit.
        interpreter: the interpreter of the process that submitted.
        collect: whether `./outputs` and `./logs` are stored.
        target, target_type: compute target it was submitted to, and its kind.
        submitter_environment: environment variables of the process that submitted, with its settings.
    """

    run_id: str
    experiment: str
    workspace: str
    subscription_id: str
    resource_group: str
    command: list[str]
    shell: bool
    environment: dict[str, Any]
    interpreter: str
    variables: dict[str, str] = field(default_factory=dict)
    framework: str = "Python"
    communicator: str = "None"
    node_count: int = 1
    max_seconds: float | None = None
    collect: bool = True
    target: str = "local"
    target_type: str = "local"
    submitter_environment: dict[str, str] = field(default_factory=dict)


def run_directory(settings: Settings, run_id: str) -> Path:
    """Directory of a submitted run on this machine, whether or not there is one."""
    name = run_id if len(run_id.encode()) < 200 and run_id not in (".", "..") and "/" not in run_id else ""
    return settings.home_path / "runs" / (name or hashlib.sha256(run_id.encode()).hexdigest())


def write_job(directory: Path, job: Job, record: dict[str, Any]) -> None:
    """Leave a job, readable by its owner only: its variables may hold secrets."""
    for name, document in (("job.json", asdict(job)), ("run.json", record)):
        # In ASCII: arguments may hold bytes that are no text, which stay what they are.
        write_private(directory / name, json.dumps(document).encode())


def write_private(path: Path, content: bytes) -> None:
    """Write a file only its owner may read; it is there whole, or not at all."""
    draft = path.with_name(f".{path.name}-{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with open(descriptor, "wb") as stream:
        stream.write(content)
    draft.rename(path)


def read_job(directory: Path) -> Job:
    """The job of a directory."""
    return Job(**json.loads((directory / "job.json").read_text(encoding="utf-8")))


def request_cancel(settings: Settings, run_id: str) -> bool:
    """Have a submitted run of this machine ended; False when its directory is not here."""
    directory = run_directory(settings, run_id)
    if not directory.is_dir():
        return False
    (directory / CANCEL).touch()
    from .queue import wake

    wake(settings)  # it may not have begun
    return True
