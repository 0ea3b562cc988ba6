"""Follows what a command records by tools of its own: W&B's files, and event files of TensorBoard, while it executes.

Each becomes a run below the command's. A script that records the same by several tools is recorded once: of MLflow, W&B and
event files the first that is there wins, and what is left out is said by name.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import psutil

from ..client.records import list_records
from ..core.workspace import Workspace
from . import event_follower, wandb_follower
from .event_directories import is_event_file
from .runs import HOME_PROPERTY, Below, RunReport
from .tensorboard import TensorBoardImport
from .wandb import WandbImport
from .wandb_files import find

_LOOK_SECONDS = 1.0
_GRACE_SECONDS = 5.0  # a tool that starts by so much later than another one is seen before that is followed
_MOST_DIRECTORIES = 50  # of event files that are followed while they grow; others are read at the end
_MOST_FOLDERS = 5_000  # below the working directory, that are looked through for event files at the end
_PASSED_OVER = frozenset({"node_modules", "site-packages", "__pycache__", "wandb"})

_log = logging.getLogger("runstream")


class ToolFollower:
    """Follows the tools of one command.

    Args:
        workspace: the runs go to.
        experiment: the runs' experiment.
        below: the command's run.
        pid: the command's process.
        wandb: where W&B writes, or None.
        folder: the command's working directory.
        since: when the command began, seconds since the epoch.
    """

    def __init__(
        self,
        workspace: Workspace,
        experiment: str,
        below: Below,
        pid: int,
        wandb: Path | None,
        folder: Path,
        since: float,
    ) -> None:
        self._workspace, self._experiment, self._below = workspace, experiment, below
        self._pid, self._wandb, self._folder = pid, wandb, folder
        self._since = since - 1.0
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._wandb_began = 0.0
        self._wandb_followed = False
        self._events: dict[Path, float] = {}  # when they were seen first
        self._followed: list[Path] = []
        self._said: dict[str, str] = {}

    def stop(self) -> None:
        """Have `follow` return."""
        self._stop.set()

    def rest(self) -> list[str]:
        """Take over the rest, once the command has ended; what is to be said about it, a line each."""
        for take in (self._rest_of_wandb, self._rest_of_events):
            try:
                take()
            except Exception as error:  # whatever its files hold: the command's run ends as the command did
                why = getattr(error, "message", "") or f"{type(error).__name__}: {error}"
                self._say(take.__name__, f"what the command recorded by other tools is not all here: {why}")
        return list(self._said.values())

    # --- while it executes ---

    def follow(self) -> None:
        """Follow what is there, until `stop`."""
        while not self._stop.wait(_LOOK_SECONDS):
            try:
                self._look()
            except Exception as error:  # the command has no part in it
                _log.info("what the command records by other tools could not be looked at: %s", error)
        for thread in self._threads:
            thread.join(30.0)

    def _look(self) -> None:
        now = time.monotonic()
        if not self._wandb_began and self._has_wandb():
            self._wandb_began = now
        if (
            self._wandb_began
            and not self._wandb_followed
            and now - self._wandb_began > _LOOK_SECONDS
            and not self._mlflow()
        ):
            self._wandb_followed = True
            self._begin(wandb_follower.follow, self._import_of_wandb())
        for path in self._open_event_directories():
            first = self._events.setdefault(path, now)
            if now - first < _GRACE_SECONDS or len(self._followed) >= _MOST_DIRECTORIES:
                continue
            if not self._is_followed(path) and not self._winner():
                self._followed.append(path)
                self._begin(event_follower.follow, self._import_of_events(path))

    def _begin(self, follow: Callable[..., Any], importing: Any) -> None:
        def guarded() -> None:
            try:
                for report in follow(importing, self._stop, lambda report: None):
                    self._note(report)
            except Exception as error:  # read at the end, then
                _log.info("%s could not be followed: %s", type(importing).__name__, error)

        thread = threading.Thread(target=guarded, daemon=True, name="runstream tool")
        self._threads.append(thread)
        thread.start()

    # --- at the end ---

    def _rest_of_wandb(self) -> None:
        if not self._has_wandb():
            return
        if not self._wandb_followed and (winner := self._mlflow()):
            self._say(
                "wandb",
                f"W&B's runs in {self._wandb} are left out: {winner} wins; `runstream import wandb` has them",
            )
            return
        self._wandb_followed = True
        for report in self._import_of_wandb().once(still=0.0):
            self._note(report)

    def _rest_of_events(self) -> None:
        for path in self._written_event_directories():
            self._events.setdefault(path, 0.0)
        for path in sorted(self._events):
            if not self._is_followed(path):
                if winner := self._winner():
                    self._say(
                        str(path),
                        f"the event files in {path} are left out: {winner} wins; `runstream import tensorboard` has them",
                    )
                    continue
                self._followed.append(path)
        for path in self._followed:
            for report in self._import_of_events(path).once():
                self._note(report)

    # --- what is there ---

    def _has_wandb(self) -> bool:
        if self._wandb is None or not self._wandb.is_dir():
            return False
        return any(path.stat().st_mtime >= self._since for path in find(self._wandb))

    def _import_of_wandb(self) -> WandbImport:
        assert self._wandb is not None
        return WandbImport(
            self._workspace, self._wandb, self._experiment, below=self._below, since=self._since
        )

    def _import_of_events(self, path: Path) -> TensorBoardImport:
        return TensorBoardImport(self._workspace, path, self._experiment, below=self._below)

    def _winner(self) -> str | None:
        """What has recorded the run, so that event files are left out; None: nothing."""
        return "W&B" if self._wandb_began or self._has_wandb() else self._mlflow()

    def _mlflow(self) -> str | None:
        """`MLflow`, if the command has recorded by it: runs below the command's that no import has made."""
        question = [("workspace", self._workspace.name), ("parent", self._below.run_id)]
        for record in list_records(self._workspace._client, question):
            if HOME_PROPERTY not in record.properties and any(
                tag.startswith("mlflow.") for tag in record.tags
            ):
                return "MLflow"
        return None

    def _is_followed(self, path: Path) -> bool:
        return any(path == followed or followed in path.parents for followed in self._followed)

    def _open_event_directories(self) -> set[Path]:
        """Directories of event files that the command's processes have open for writing."""
        paths: set[Path] = set()
        try:
            command = psutil.Process(self._pid)
            processes = [command, *command.children(recursive=True)]
        except psutil.Error:
            return paths
        for process in processes:
            try:
                for file in process.open_files():
                    path = Path(file.path)
                    if (
                        is_event_file(path.name)
                        and getattr(file, "mode", "w") != "r"
                        and self._is_own(path.parent)
                    ):
                        paths.add(path.parent)
            except (psutil.Error, OSError):
                continue
        return paths

    def _written_event_directories(self) -> Iterator[Path]:
        """Directories below the working directory whose event files were written since the command began."""
        for folder, below, files in islice(os.walk(self._folder), _MOST_FOLDERS):
            below[:] = sorted(name for name in below if name not in _PASSED_OVER and not name.startswith("."))
            path = Path(folder)
            own = [path / name for name in files if is_event_file(name)] if self._is_own(path) else []
            if any(file.stat().st_mtime >= self._since for file in own):
                yield path.resolve()

    def _is_own(self, path: Path) -> bool:
        """Whether event files are the script's own, and not those that W&B keeps."""
        return self._wandb is None or self._wandb not in path.parents

    def _note(self, report: RunReport) -> None:
        if report.run_id:
            self._say(f"run {report.run_id}", f"what {report.directory} holds is in run {report.run_id}")

    def _say(self, what: str, text: str) -> None:
        self._said[what] = f"runstream: {text}"
