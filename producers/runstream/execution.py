"""One run around a command: `runstream exec`.

As of a submitted run, its directory holds the log and the record, which `Run.get_context()` in the command finds; but the
command stays where it was called, with the terminal, the signals and the exit status it would have had.
"""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runstream_schemas.ownership import make_private

from .client.records import SCRIPT_RUN, RunRecord
from .compute.console import Console
from .compute.job import DRIVER_LOG, PROCESS_INFO, PROCESS_STATUS, Job, run_directory, write_job
from .compute.process_tree import GRACE_SECONDS, signal_tree
from .compute.script_outcome import error_of
from .compute.script_process import run_variables, start, without_secrets
from .core._run.display_names import make_display_name
from .core._run.handle import working_directory
from .core._run.starting import creation, origin, wake_service
from .core.experiment import Experiment
from .stand_in.finder import add_to_path
from .wrapper import Wrapper

if TYPE_CHECKING:
    from .core.run import Run

NOT_EXECUTABLE, NOT_FOUND = 126, 127
"""Exit codes of a command that cannot be started, as a shell has them."""

_SIGNALS = (
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGWINCH,
)
_ENDING = frozenset((signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT))
_RECORDED = (
    "ACCELERATE_", "CONDA_DEFAULT_ENV", "CUBLAS_", "CUDA_", "HF_", "JAX_", "KERAS_", "MASTER_", "MKL_", "NCCL_", "OMP_",
    "OPENBLAS_", "PYTHONHASHSEED", "PYTORCH_", "RANK", "LOCAL_RANK", "SLURM_", "TF_", "TORCH_", "TRANSFORMERS_",
    "VIRTUAL_ENV", "WORLD_SIZE", "XLA_",
)  # fmt: skip
# Beginnings of the environment variables that tell how a training ran; the others are this machine's and its user's.
_SERVICE_SECONDS = 10.0  # a service that is coming up is waited for: MLflow has to be told its address
_CANCEL_SECONDS = 0.1  # between two looks whether the run was canceled


def execute(experiment: Experiment, command: Sequence[str], name: str | None = None) -> int:
    """Run a command as a run of an experiment.

    Args:
        experiment: the run's.
        command: the words.
        name: the name of the run; default `run_<id>`.

    Returns:
        The command's exit status; 128 + n when signal n ended it, 127 when there is no such program, 126 when it cannot be
        executed.
    """
    record = _record(experiment, command, name)
    workspace = experiment.workspace
    settings = workspace._settings
    directory = run_directory(settings, record.run_id)
    make_private(directory.parent)
    directory.mkdir(0o700)
    job = Job(
        run_id=record.run_id,
        experiment=experiment.name,
        workspace=workspace.name,
        subscription_id=workspace.subscription_id,
        resource_group=workspace.resource_group,
        command=list(command),
        shell=False,
        environment={},
        interpreter=sys.executable or "python3",
    )
    write_job(directory, job, asdict(record))
    return _Execution(directory, experiment, record).carry_out()


class _Execution(Wrapper):
    """What looks after the run of a command: the wrapper of a submitted run, which here is in the foreground."""

    def __init__(self, directory: Path, experiment: Experiment, record: RunRecord) -> None:
        super().__init__(directory, settings=experiment.workspace._settings, code=working_directory())
        self._experiment, self._record = experiment, record
        self._asked_to_end = False
        self._looked_at = self._terminated_at = 0.0

    def carry_out(self) -> int:
        """Do it all; returns the exit status."""
        log = self.directory / DRIVER_LOG
        log.parent.mkdir()
        self.live.start(creation(self._record))
        for key, value in self._record.properties.items():
            self.live.writer.add_property(key, value)
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        console = Console(log)
        try:
            try:
                # Before anything of ours has a thread: it might hold a lock while the process is being made.
                process = start(
                    self.job.command,
                    self._variables_of_command(),
                    blocked=before,
                    stdout=console.stdout,
                    stderr=console.stderr,
                )
            except OSError as error:
                return self._not_started(error)
            self._note(PROCESS_INFO, command=process.args, pid=process.pid, host=socket.gethostname())
            wake_service(self.settings)
            run = self._as_run()
            run._snapshot_later(self.code, self.live)
            self.shipping.start()
            self._follow_tools(process.pid)
            console.pass_on(process, lambda: self._look_after(process, console))
        finally:
            console.close()
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        status = process.returncode
        self._note(PROCESS_STATUS, exitCode=status)
        canceled = self._cancel_asked() or (self._asked_to_end and status != 0)
        run._await_snapshot()
        if canceled:
            self._end("cancel")
        elif status == 0:
            self._end("complete")
        else:
            self._end("fail", error_of(status, log))
        return status if status >= 0 else 128 - status

    def _as_run(self) -> Run:
        from .core.run import Run  # loaded while the command starts

        run = Run._of(self._experiment, self._record)
        run._attach(self.live)
        return run

    def _variables_of_command(self) -> dict[str, str]:
        variables = {
            **os.environ,
            **self.settings.environment(),
            "RUNSTREAM_HOME": str(self.settings.home_path),
        }
        variables.update(run_variables(self.job, self.directory, self._endpoint(0.0)))
        if self.settings.provide_azureml:
            add_to_path(variables)
        self._lead_mlflow(variables, _SERVICE_SECONDS)
        self._lead_wandb(variables)
        return variables

    def _say(self, line: str) -> None:
        super()._say(line)
        print(line, file=sys.stderr)

    def _not_started(self, error: OSError) -> int:
        message = (
            f"{self.job.command[0]:.200}: cannot be started: {error.strerror}; name a program that is there"
        )
        print(f"error: {message}", file=sys.stderr)
        self._end("fail", {"code": "UserError", "message": message})
        return NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE

    def _look_after(self, process: subprocess.Popen[bytes], console: Console) -> None:
        while (received := next_signal()) is not None:
            sign, by_key = received
            if sign == signal.SIGWINCH:
                console.resize()
                continue
            self._asked_to_end |= sign in _ENDING
            if not by_key:
                process.send_signal(sign)
        now = time.monotonic()
        if now - self._looked_at < _CANCEL_SECONDS:
            return
        self._looked_at = now
        if not self._cancel_asked():
            return
        if not self._terminated_at:
            self._terminated_at = now
            signal_tree(process, signal.SIGTERM)
        elif now - self._terminated_at > GRACE_SECONDS:
            signal_tree(process, signal.SIGKILL)


def next_signal() -> tuple[signal.Signals, bool] | None:
    """A blocked signal that was sent to this process, and whether by a key of the terminal: then the command has it too."""
    if sys.platform == "darwin":  # which does not say who sent it
        pending = signal.sigpending() & set(_SIGNALS)
        if not pending:
            return None
        sign = signal.Signals(signal.sigwait(pending))
        return sign, sign in (signal.SIGINT, signal.SIGQUIT) and os.isatty(0)
    received = signal.sigtimedwait(_SIGNALS, 0)
    return None if received is None else (signal.Signals(received.si_signo), received.si_code > 0)


def _record(experiment: Experiment, command: Sequence[str], name: str | None) -> RunRecord:
    run_id = f"{experiment.name}_{int(time.time())}_{secrets.token_hex(4)}"
    details: dict[str, Any] = {
        **origin(None),
        "script": command[0],
        "runDefinition": {
            "command": list(command),
            "arguments": list(command[1:]),
            "target": "local",
            "environmentVariables": without_secrets(
                {name: value for name, value in sorted(os.environ.items()) if name.startswith(_RECORDED)}
            ),
        },
    }
    return RunRecord(
        run_id=run_id,
        experiment=experiment.name,
        workspace=experiment.workspace.name,
        status="Running",
        root_run_id=run_id,
        name=name or f"run_{run_id}",
        display_name=name or make_display_name(),
        type=SCRIPT_RUN,
        target="local",
        properties={"ProcessInfoFile": PROCESS_INFO, "ProcessStatusFile": PROCESS_STATUS},
        details=details,
    )
