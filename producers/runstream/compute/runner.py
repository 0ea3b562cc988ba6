"""Executes the queue of one home: `python -m runstream.compute.runner`. One process, started by whoever submits.

It hands runs over to their targets in the order they came, as many at once as each target takes, and sees to it that none
is left without an end. Everything it knows it reads from the queue, the runs' directories and the targets: killed and
restarted, it resumes. The service of the home starts it again when it is gone; so does the next submission.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

from runstream_schemas.settings import Settings

from ..client.addresses import quoted
from ..client.http import client_for
from ..client.records import TERMINAL
from ..exceptions import AzureMLException, ComputeTargetException, ServiceException
from ..spool.live_runs import open_live
from .backend import Backend, Report, State, TargetAway, Work
from .places import places_taken
from .queue import Entry, compute_directory, entries, remove, sole_runner
from .registry import LOCAL, TargetRecord, open_backend, targets

LINGER_SECONDS = 5.0
"""Time without a run after which the runner ends."""

_LOOK_SECONDS = 0.05
_SLOW_SECONDS = 1.0  # between two looks at a queue nobody touched
_ASK_SECONDS = 2.0  # between two questions whether queued runs were canceled elsewhere
_ASK_MOST = 200
_AWAY_SECONDS = 2.0  # until a target that was away is tried again

_log = logging.getLogger("runstream.compute")


@dataclass(slots=True)
class _Lane:
    """One target of one workspace, and its part of the queue."""

    record: TargetRecord
    backend: Backend
    handed_over: dict[str, Work] = field(default_factory=dict)  # by file name of the entry
    begun: set[str] = field(default_factory=set)  # of those handed over: a wrapper looks after them
    ended: dict[str, Report] = field(default_factory=dict)  # of those handed over: how, until it is recorded
    unknown: set[str] = field(default_factory=set)  # an earlier runner may have handed them over
    retry_at: float = 0.0
    away: bool = False

    @property
    def places(self) -> int | None:
        return self.record.concurrency or self.backend.concurrency


class Runner:
    """The queue at work.

    Args:
        settings: those of the home; runs have the settings of the process that submitted them.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.queue: dict[str, Entry] = {}
        self._lanes: dict[tuple[str, str], _Lane] = {}
        self._woken = 0
        self._targets_changed = 0
        self._looked_at = self._asked_at = 0.0

    def serve(self) -> None:
        """Until nothing was queued for `LINGER_SECONDS`, or the home is gone."""
        busy_at = time.monotonic()
        while True:
            try:
                self.look()
            except FileNotFoundError:
                if not compute_directory(self.settings).is_dir():
                    return
                raise
            if self.queue:
                busy_at = time.monotonic()
            elif time.monotonic() - busy_at > LINGER_SECONDS:
                break
            time.sleep(_LOOK_SECONDS)
        for lane in self._lanes.values():
            lane.backend.close()

    def look(self) -> None:
        """One pass: what is new, what has ended, what can begin."""
        woken = _touched(compute_directory(self.settings) / "wake")
        slow = time.monotonic() - self._looked_at >= _SLOW_SECONDS
        if woken != self._woken or slow:
            self._woken, self._looked_at = woken, time.monotonic()
            self.queue = entries(self.settings, self.queue)
            self._forget_changed_targets()
            self._end_canceled()
        by_lane: dict[tuple[str, str], list[str]] = {}
        for name, entry in self.queue.items():
            by_lane.setdefault((entry.workspace, entry.target), []).append(name)
        for key, names in by_lane.items():
            self._serve_lane(key, names)

    # --- one target ---

    def _serve_lane(self, key: tuple[str, str], names: list[str]) -> None:
        lane = self._lanes.get(key)
        if lane is None:
            try:
                lane = self._lanes[key] = self._open(key)
            except ComputeTargetException as error:
                for name in names:
                    self._fail(name, error.message, "ComputeTargetError")
                return
            lane.unknown = set(names)
        if time.monotonic() < lane.retry_at:
            return
        try:
            self._adopt(lane)
            self._settle(lane)
            self._begin(lane, [name for name in names if name in self.queue and name not in lane.handed_over])
        except TargetAway as away:
            if not lane.away:
                _log.warning("target %s: %s; trying again until it answers", lane.record.name, away)
            lane.away, lane.retry_at = True, time.monotonic() + _AWAY_SECONDS
            self._let_go(lane)
            return
        if lane.away:
            _log.warning("target %s answers again", lane.record.name)
            lane.away = False

    def _let_go(self, lane: _Lane) -> None:
        """Take runs that have ended out of the queue of a target that is away: it may never come back to say so."""
        for name in self._in_status([*lane.handed_over, *lane.unknown], TERMINAL):
            lane.handed_over.pop(name, None)
            lane.ended.pop(name, None)
            lane.begun.discard(name)
            lane.unknown.discard(name)
            self._remove(name)

    def _open(self, key: tuple[str, str]) -> _Lane:
        record = self._record(key)
        if record is None:
            raise ComputeTargetException(
                f"compute target {key[1]!r} was detached while the run was queued"
                "; attach it again and submit anew"
            )
        return _Lane(record, open_backend(record))

    def _record(self, key: tuple[str, str]) -> TargetRecord | None:
        record = targets(self.settings, key[0]).get(key[1])
        if record is not None and record.name == LOCAL and record.concurrency is None:
            return replace(record, concurrency=self.settings.local_runs or None)
        return record

    def _adopt(self, lane: _Lane) -> None:
        """Find again what an earlier runner handed over: until that is known, a run could be handed over twice."""
        for name in sorted(lane.unknown):
            work = self._work(name) if name in self.queue else None
            if work is not None:
                state = lane.backend.report(work).state
                if state is not State.NEW:
                    lane.handed_over[name] = work
                if state in (State.RUNNING, State.ENDED):
                    lane.begun.add(name)
            lane.unknown.discard(name)

    def _settle(self, lane: _Lane) -> None:
        for name, work in list(lane.handed_over.items()):
            report = lane.ended.get(name) or lane.backend.report(work)
            if report.state is State.ENDED:
                lane.ended[name] = report
                if self._record_end(lane, name, work, report):
                    del lane.handed_over[name], lane.ended[name]
                    lane.begun.discard(name)
                continue
            if report.state is State.RUNNING:
                lane.begun.add(name)
            if (work.directory / "cancel").exists():
                lane.backend.cancel(work)

    def _record_end(self, lane: _Lane, name: str, work: Work, report: Report) -> bool:
        """Take a run its target has done with out of the queue; False: not yet."""
        if report.problem:
            over = self._is_over(work) if name in lane.begun else False
            if over is None:
                return False
            if not over:
                self._fail(name, report.problem, report.code)
                return True
        elif name not in lane.begun and (work.directory / "cancel").exists():
            self._cancel(name, work)  # taken out of the target's own queue
            return True
        self._remove(name)
        return True

    def _is_over(self, work: Work) -> bool | None:
        """Whether a run has an end already, which a failure would overwrite: its worker may have been lost right after it.

        None: the service cannot be asked now.
        """
        try:
            client = client_for(work.settings)
            client.address(0.0)
            status = client.get_json(f"/api/v1/runs/{quoted(work.run_id)}", fresh=False)["status"]
        except ServiceException as error:
            return False if error.status_code == 404 else None
        return status in TERMINAL

    def _begin(self, lane: _Lane, waiting: list[str]) -> None:
        taken = places_taken(self.queue, lane.handed_over)
        for name in waiting:
            if lane.places is not None and taken >= lane.places:
                return
            work = self._work(name)
            if work is None:
                continue
            if (work.directory / "cancel").exists():
                self._cancel(name, work)
                continue
            try:
                lane.backend.start(work)
            except (OSError, AzureMLException) as error:
                message = getattr(error, "message", None) or f"{type(error).__name__}: {error}"
                self._fail(
                    name, f"target {lane.record.name} cannot start the run: {message}", "ComputeTargetError"
                )
                continue
            lane.handed_over[name] = work
            taken += 1

    # --- ends ---

    def _end_canceled(self) -> None:
        """Cancel what is to end before it began."""
        begun = {name for lane in self._lanes.values() for name in lane.begun}
        waiting = {name: entry for name, entry in self.queue.items() if name not in begun}
        if waiting and time.monotonic() - self._asked_at >= _ASK_SECONDS:
            self._asked_at = time.monotonic()
            self._note_canceled_elsewhere(waiting)
        handed_over = {name for lane in self._lanes.values() for name in lane.handed_over}
        for name, entry in waiting.items():
            if name in handed_over:
                continue  # its target's
            if (self._directory(entry) / "cancel").exists() and (work := self._work(name)):
                self._cancel(name, work)

    def _note_canceled_elsewhere(self, names: Iterable[str]) -> None:
        for name in self._in_status(names, {"Canceled", "CancelRequested"}):
            (self._directory(self.queue[name]) / "cancel").touch()

    def _in_status(self, names: Iterable[str], statuses: Iterable[str]) -> list[str]:
        """Those of the runs that have one of the statuses; none, while the service is away."""
        by_id = {self.queue[name].run_id: name for name in islice(names, _ASK_MOST) if name in self.queue}
        if not by_id:
            return []
        params = [("run", run_id) for run_id in by_id] + [("status", status) for status in sorted(statuses)]
        try:
            client = client_for(self.settings)
            client.address(0.0)
            answer = client.get_json("/api/v1/runs", [*params, ("limit", str(_ASK_MOST))], fresh=False)
        except ServiceException:
            return []
        return [by_id[run["run_id"]] for run in answer["runs"]]

    def _cancel(self, name: str, work: Work) -> None:
        live = open_live(work.settings, work.run_id)
        live.writer.status("cancel")
        live.writer.close()
        self._remove(name)

    def _fail(self, name: str, message: str, code: str) -> None:
        work = self._work(name)
        if work is not None:
            _log.warning("run %s: %s", work.run_id, message)
            live = open_live(work.settings, work.run_id)
            live.writer.status("error", {"error": {"code": code, "message": message}})
            live.writer.status("fail")
            live.writer.close()
            self._remove(name)

    def _remove(self, name: str) -> None:
        remove(self.settings, name)
        self.queue.pop(name, None)

    def _work(self, name: str) -> Work | None:
        """The work of an entry; one whose directory was deleted is forgotten."""
        try:
            return Work.of(self._directory(self.queue[name]))
        except (OSError, ValueError, TypeError) as error:
            _log.warning("run %s is dropped from the queue: %s", self.queue[name].run_id, error)
            self._remove(name)
            return None

    def _directory(self, entry: Entry) -> Path:
        return self.settings.home_path / "runs" / entry.directory

    def _forget_changed_targets(self) -> None:
        """A target attached anew takes effect at once; its runs are found again."""
        changed = _touched(compute_directory(self.settings) / "targets.json")
        if changed == self._targets_changed:
            return
        self._targets_changed = changed
        for key, lane in list(self._lanes.items()):
            record = self._record(key)
            if record is None:
                continue  # detached: what is queued there runs
            if (record.type, dict(record.options)) == (lane.record.type, dict(lane.record.options)):
                lane.record = record
            else:
                lane.backend.close()
                del self._lanes[key]


def _touched(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def main() -> int:
    """Serve the home of the environment."""
    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.WARNING)
    if os.getsid(0) != os.getpid() and os.getpgrp() != os.getpid():
        os.setsid()
    settings = Settings.load()
    while True:
        with sole_runner(settings) as alone:
            if not alone:
                return 0
            Runner(settings).serve()
        # A run queued while we were ending saw the lock held, and started no runner.
        if not compute_directory(settings).is_dir() or not entries(settings):
            return 0


if __name__ == "__main__":
    raise SystemExit(main())
