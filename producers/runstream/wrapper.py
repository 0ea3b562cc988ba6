"""Executes one submitted run on this machine: `python -m runstream.wrapper DIRECTORY [WORKER [PID]]`.

See `runstream.compute.job` for the directory. The process owns the run: were it killed, the run would be marked Failed. It
prepares the environment, runs the script in a session of its own, sends its log while it runs, keeps its time limit, ends
it when asked to, and collects its files.

With WORKER, the name of the process that started it, it ends the run as Failed when that process is gone: the target has
lost the worker, and would take the run for lost too. PID is that process's: it may be gone before this one has begun.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runstream_schemas.locks import take
from runstream_schemas.runs.status import ENDINGS
from runstream_schemas.settings import Settings

from .client.addresses import quoted
from .client.http import client_for
from .client.mlflow_variables import TRACKING_URI, add_mlflow
from .client.outbox import store_file
from .compute.job import (
    BUILD_LOG,
    DRIVER_LOG,
    PROCESS_INFO,
    PROCESS_STATUS,
    STARTED,
    STD_LOG,
    read_job,
)
from .compute.process_tree import end_tree
from .compute.queue import ensure_runner
from .compute.script_outcome import error_of
from .compute.script_process import run_variables, start
from .consoles.folding import folded
from .core._run.log_shipping import LogShipping
from .core._run.output_collection import OutputCollection
from .core._run.starting import wake_service
from .exceptions import AuthenticationException, AzureMLException, ServiceException
from .importers.tool_variables import add_wandb
from .spool.live_runs import open_live
from .stand_in.finder import add_to_path

if TYPE_CHECKING:
    from .core.environment import Environment
    from .importers.tool_follower import ToolFollower

_LOOK_SECONDS = 0.1
_ASK_SECONDS = 2.0  # between two questions whether somebody canceled the run elsewhere

_log = logging.getLogger("runstream")


class Wrapper:
    """One submitted run, from its preparation to its end."""

    def __init__(
        self,
        directory: Path,
        worker: str = "",
        parent: int | None = None,
        *,
        settings: Settings | None = None,
        code: Path | None = None,
    ) -> None:
        self.directory, self.code = directory, code or directory / "code"
        self.worker, self._parent = worker, parent or os.getppid()
        self.job = read_job(directory)
        self.settings = settings or Settings.load()
        self.client = client_for(self.settings)
        self.live = open_live(self.settings, self.job.run_id, owner=True)
        self._asked = 0.0
        self._wandb: Path | None = None
        self._tools: ToolFollower | None = None
        self._tools_thread: threading.Thread | None = None
        watched = {directory / "azureml-logs": "azureml-logs"}
        if self.job.collect and code is None:  # a copy: nothing of earlier runs lies in there
            watched[self.code / "logs"] = "logs"
        outputs = ["outputs"] if self.job.collect else []
        self.collection = OutputCollection(self.client, self.job.run_id, outputs, self.code)
        self.shipping = LogShipping(
            self.client, self.job.run_id, watched, self._look, consoles=[directory / DRIVER_LOG]
        )

    def run(self) -> None:
        """Do it all."""
        from .core._submission.environment_build import BuildCanceled, interpreter_of, needs_build
        from .core.environment import Environment

        writer = self.live.writer
        environment = Environment.from_document(self.job.environment)
        writer.status("starting")
        wake_service(self.settings)
        self._ask()  # it may have been queued for long
        if self._cancel_asked():
            self._end("cancel")
            return
        self.shipping.start()
        try:
            if needs_build(environment):
                writer.status("preparing")
            python = interpreter_of(
                environment,
                self.job.interpreter if Path(self.job.interpreter).exists() else sys.executable,
                self.settings.home_path / "environments",
                self.directory / BUILD_LOG,
                self._cancel_asked,
            )
        except BuildCanceled:
            self._end("cancel")
            return
        except AzureMLException as error:
            self._end("fail", {"code": "EnvironmentBuildFailed", "message": error.message})
            return
        # No thread may hold a lock while the script's process is being made.
        self.shipping.stop()
        if self._cancel_asked():
            self._end("cancel")
            return
        try:
            process = self._launch(python, environment)
        except OSError as error:
            self._end("fail", {"code": "UserError", "message": f"The script could not be started: {error}"})
            return
        self._note(PROCESS_INFO, command=process.args, pid=process.pid, host=socket.gethostname())
        self.live.start()
        self.shipping.start()
        self._follow_tools(process.pid)
        kind, warning = self._watch(process)
        if warning:
            writer.status("warning", {"message": warning})
        error_body = None
        if kind == "fail":
            error_body = {
                "code": "WorkerLost",
                "message": f"{self.worker} was lost while it executed the run",
            }
        elif kind == "complete" and process.returncode != 0:
            kind, error_body = "fail", error_of(process.returncode, self.directory / DRIVER_LOG)
        self._note(PROCESS_STATUS, exitCode=process.returncode, status=ENDINGS[kind])
        self._end(kind, error_body)

    def _launch(self, python: str, environment: Environment) -> subprocess.Popen[bytes]:
        job = self.job
        words = [
            python if word == "python" and place == 0 else word for place, word in enumerate(job.command)
        ]
        variables = self._variables(environment, python)
        if job.shell:
            words = ["/bin/sh", "-c", *job.command]
        log = self.directory / DRIVER_LOG
        log.parent.mkdir(parents=True, exist_ok=True)
        for folder in ("outputs", "logs"):
            (self.code / folder).mkdir(exist_ok=True)
        with log.open("ab") as output:
            return start(
                words,
                variables,
                cwd=self.code,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _note(self, name: str, **facts: Any) -> None:
        """Leave facts about the script's process among the run's logs."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        with contextlib.suppress(OSError):
            (self.directory / name).write_text(json.dumps({**facts, "timeUtc": now}) + "\n", encoding="utf-8")

    def _variables(self, environment: Environment, python: str) -> dict[str, str]:
        from .core._submission.environment_build import needs_build

        job = self.job
        variables = dict(os.environ)
        if needs_build(environment):
            # A built environment is whole, and finds runstream by itself.
            variables.pop("PYTHONPATH", None)
            variables.pop("PYTHONHOME", None)
            variables["VIRTUAL_ENV"] = str(Path(python).parents[1])
            variables["PATH"] = f"{Path(python).parent}{os.pathsep}{variables.get('PATH', '')}"
        variables.update(run_variables(job, self.directory, self._endpoint(5.0)))
        variables.update(environment.environment_variables)
        variables.update(job.variables)
        if self.settings.provide_azureml:
            add_to_path(variables)
        self._lead_mlflow(variables, 5.0)
        self._lead_wandb(variables)
        return {key: str(value) for key, value in variables.items()}

    def _lead_mlflow(self, variables: dict[str, str], timeout: float) -> None:
        """Have scripts that use MLflow record at this service, as children of the run."""
        if not self.settings.provide_mlflow or TRACKING_URI in variables:
            return
        with contextlib.suppress(ServiceException):  # away: MLflow's client would not find it either
            add_mlflow(
                variables,
                self.client.address(timeout),
                self.job.workspace,
                experiment=self.job.experiment,
                parent_run_id=self.job.run_id,
            )

    def _lead_wandb(self, variables: dict[str, str]) -> None:
        """Have W&B write files that are followed."""
        if self.settings.follow_tools:
            try:
                self._wandb = add_wandb(variables, self.directory / "wandb")
            except OSError as error:
                _log.warning("what W&B records is not followed: %s", error)

    def _follow_tools(self, pid: int) -> None:
        """Follow what the script records by tools of its own; their runs are children of this one."""
        if self.settings.follow_tools:
            # What it needs is loaded in the thread: whoever passes output on does not wait.
            self._tools_thread = threading.Thread(
                target=self._begin_tools, args=(pid, time.time()), daemon=True, name="runstream tools"
            )
            self._tools_thread.start()

    def _begin_tools(self, pid: int, since: float) -> None:
        from .core.workspace import Workspace
        from .importers.runs import Below
        from .importers.tool_follower import ToolFollower

        workspace = Workspace(workspace_name=self.job.workspace, _settings=self.settings)
        record = json.loads((self.directory / "run.json").read_text(encoding="utf-8"))
        below = Below(self.job.run_id, record.get("root_run_id") or self.job.run_id)
        experiment = self.job.experiment
        self._tools = ToolFollower(workspace, experiment, below, pid, self._wandb, self.code, since)
        self._tools.follow()

    def _finish_tools(self) -> None:
        """Take over the rest of what tools have recorded, and say in the run what came of it."""
        if self._tools_thread is None:
            return
        while self._tools is None and self._tools_thread.is_alive():
            time.sleep(0.01)  # it is being loaded
        if self._tools is not None:
            self._tools.stop()
        self._tools_thread.join(60.0)
        if self._tools is not None:
            for line in self._tools.rest():
                self._say(line)
        self._tools_thread = None

    def _say(self, line: str) -> None:
        """Something about what tools have recorded."""
        self.live.writer.status("warning", {"message": line[:300]})

    def _endpoint(self, timeout: float) -> str:
        try:
            return self.client.address(timeout).url
        except ServiceException:
            return self.settings.url or "http://127.0.0.1"

    def _watch(self, process: subprocess.Popen[bytes]) -> tuple[str, str]:
        """How the script ended: kind of the ending status, and a warning."""
        started = time.monotonic()
        while True:
            try:
                process.wait(_LOOK_SECONDS)
                return ("cancel" if self._cancel_asked() else "complete"), ""
            except subprocess.TimeoutExpired:
                pass
            if self._cancel_asked():
                end_tree(process)
                return "cancel", ""
            if self.worker and os.getppid() != self._parent:
                end_tree(process)
                return "fail", ""
            limit = self.job.max_seconds
            if limit is not None and time.monotonic() - started > limit:
                end_tree(process)
                return (
                    "cancel",
                    f"The run was canceled: it took longer than {limit:g} s (max_run_duration_seconds)",
                )

    def _end(self, kind: str, error: dict[str, Any] | None = None) -> None:
        writer = self.live.writer
        writer.status("finalizing")
        self._finish_tools()
        if error is not None:
            writer.status("error", {"error": error})
        self.shipping.stop()
        for what, collect in (("logs", self._collect_logs), ("outputs", self.collection.finish)):
            try:
                collect()
            except (ServiceException, AuthenticationException, AzureMLException, OSError) as problem:
                message = f"{what} were not all stored: {getattr(problem, 'message', problem)}; they lie in {self.directory}"
                _log.warning("%s", message)
                writer.status("warning", {"message": message[:300]})
        self.live.end(kind)

    def _collect_logs(self) -> None:
        self.shipping.finish()
        if (self.directory / DRIVER_LOG).exists():
            with folded(self.directory / DRIVER_LOG, self.settings.console_limit) as stream:
                store_file(self.client, self.job.run_id, STD_LOG, stream, captured=True)

    def _look(self) -> None:
        self._ask()
        self.collection.look()

    def _cancel_asked(self) -> bool:
        return (self.directory / "cancel").exists()

    def _ask(self) -> None:
        """Whether somebody canceled the run from elsewhere."""
        if time.monotonic() - self._asked < _ASK_SECONDS:
            return
        self._asked = time.monotonic()
        try:
            status = self.client.get_json(f"/api/v1/runs/{quoted(self.job.run_id)}", fresh=False)["status"]
        except ServiceException as error:
            if error.status_code != 404:
                raise
            return
        if status in ("Canceled", "CancelRequested"):
            (self.directory / "cancel").touch()


def main(arguments: list[str]) -> int:
    """Execute the run of a directory, unless somebody did, or does, already."""
    directory, worker = Path(arguments[0]), arguments[1] if arguments[1:] else ""
    parent = int(arguments[2]) if arguments[2:] else None
    if os.getsid(0) != os.getpid() and os.getpgrp() != os.getpid():
        os.setsid()  # no terminal's Ctrl-C or end reaches the run
    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.WARNING)
    draft = directory / f".{STARTED}-{os.getpid()}"
    started = take(draft)
    assert started is not None, "nobody else knows of it yet"
    os.write(started, json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode())
    try:
        os.link(draft, directory / STARTED)  # whoever finds it finds it held, as long as we live
    except FileExistsError:
        return 0
    finally:
        draft.unlink()
    wrapper = Wrapper(directory, worker, parent)
    signal.signal(signal.SIGTERM, lambda *_: (directory / "cancel").touch())
    wrapper.run()
    with contextlib.suppress(OSError):
        ensure_runner(wrapper.settings)  # were it gone, what is queued would wait for the next submission
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
