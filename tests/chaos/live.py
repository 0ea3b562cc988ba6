"""A page that stays open: it shows what it read when it was last told of a change, and never asks by itself.

In the end it must show what there is; a change nobody was told of would leave it behind for good.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path

from .api import Away, Refused, ask, open_answer

METRIC = 0
"""The class of the series that are shown; former branches have others."""
SILENCE = 40.0
"""Seconds without a sign of life, which comes every 15, after which the stream is opened anew."""
LAST_PATIENCE = 60.0
"""Seconds the last changes may take to arrive."""


@dataclass(slots=True)
class Page:
    """A page that shows all runs.

    Attributes:
        shown: run id to how many values of `int` it has, and its status, as last read.
        behind: runs it was told of and could not read yet.
        anew: whether it was told to read all runs, and could not list them yet.
    """

    home: Path
    shown: dict[str, tuple[int, str]] = field(default_factory=dict)
    behind: set[str] = field(default_factory=set)
    anew: bool = False
    _position: str = ""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def follow(self) -> None:
        """Follow the stream of changes; opened again when it breaks, as a browser does, from where it had got to."""
        while True:
            try:
                parameters = {"after": self._position} if self._position else {}
                connection, answer = open_answer(
                    self.home, "/api/v1/events", parameters, accept="text/event-stream", timeout=SILENCE
                )
                try:
                    kind = ""
                    while line := answer.readline():
                        name, _, value = line.decode().strip().partition(": ")
                        if name == "id":
                            self._position = value
                        elif name == "event":
                            kind = value
                        elif name == "data":
                            self._told(kind, json.loads(value))
                finally:
                    connection.close()
            except (OSError, HTTPException, Away, Refused, ValueError):
                pass
            time.sleep(0.5)

    def _told(self, kind: str, changes: dict[str, list[str] | None]) -> None:
        named = list(changes.values())
        if kind != "change" or None in named:
            self.behind |= set(self.shown)
            self.anew = True
        self.behind |= {run_id for runs in named for run_id in runs or ()}
        self._read()

    def _read(self) -> None:
        with self._lock:
            if self.anew:
                with contextlib.suppress(Away, Refused, ValueError):
                    self.behind |= self._listed()
                    self.anew = False
            for run_id in sorted(self.behind):
                try:
                    series = json.loads(ask(self.home, f"/api/v1/runs/{run_id}/series"))["series"]
                    status = json.loads(ask(self.home, f"/api/v1/runs/{run_id}"))["status"]
                except Refused as error:
                    if error.status == 404:
                        self.shown.pop(run_id, None)
                        self.behind.discard(run_id)
                    continue
                except (Away, ValueError):
                    continue
                count = sum(
                    entry["count"] for entry in series if (entry["cls"], entry["name"]) == (METRIC, "int")
                )
                self.shown[run_id] = (count, status)
                self.behind.discard(run_id)

    def _listed(self) -> set[str]:
        listed: set[str] = set()
        parameters = {"limit": "500"}
        while True:
            page = json.loads(ask(self.home, "/api/v1/runs", parameters))
            listed |= {run["run_id"] for run in page["runs"]}
            if page["next"] is None:
                return listed
            parameters["after"] = page["next"]

    def wait_for_end(self) -> str:
        """Once the trial says what there is: what the page shows else; empty if it is the same."""
        last = self.home / "last.json"
        while not last.exists():
            time.sleep(0.2)
        there = {run_id: (count, status) for run_id, (count, status) in json.loads(last.read_text()).items()}
        deadline = time.monotonic() + LAST_PATIENCE
        while True:
            self._read()  # what it was told of while services were down
            wrong = {
                run: (self.shown.get(run), real) for run, real in there.items() if self.shown.get(run) != real
            }
            if not wrong:
                return ""
            if time.monotonic() > deadline:
                return f"an open page shows (count, status) and there is: {wrong}"
            time.sleep(0.5)
