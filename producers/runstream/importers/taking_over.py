"""Takes over runs that are read as a whole: each run once, and of a run that is here already what is not.

Nothing is noted beside the runs themselves. A run that is here says by a property which home brought it, and what it
holds is compared with what the other tool has: so an import that is repeated changes nothing, and one that was killed
resumes.
"""

from __future__ import annotations

import json
import socket
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby, islice
from typing import Any

import numpy as np

from runstream_schemas.errors import LimitExceeded
from runstream_schemas.series import SeriesClass
from runstream_schemas.settings import Settings

from ..client import files
from ..client.addresses import quoted
from ..client.http import ServiceClient
from ..client.progress import progress
from ..client.reading import fetch_metrics, fetch_params, settle
from ..client.records import TERMINAL, RunRecord
from ..core._run.starting import checked_run_id, creation, wake_service
from ..core.workspace import Workspace
from ..exceptions import AzureMLException, ServiceException, UserErrorException
from ..spool.live_runs import LiveRun, open_live
from ..spool.param_values import convert_params
from .foreign_runs import ForeignRun, ForeignStore, Points
from .intake import refuse_drops, refused, wait_for_room
from .missing_points import missing
from .positions import PositionFile, home_id, imports_folder, key_of
from .runs import HOME_PROPERTY, RunReport, deleted_before, stored_points
from .shown_values import take_shown

TOOL_PROPERTY = "runstream.import.tool"
"""Property of an imported run: the tool it came from."""
ID_PROPERTY = "runstream.import.run_id"
"""Property of a run that could not keep its id: which one it was."""
_TOGETHER = 100  # runs that are made at once
_ROOM_POINTS = 250_000  # after which it is looked whether the spool has room


class TakingOver:
    """Takes runs over into a workspace.

    Args:
        workspace: the runs go to.
        source: they come from.
        experiment: the runs' experiment; default: the one each has there.
        late: adds points of a run that are to lie before others that are here, where it matters which is the latest.

    Attributes:
        ids: the id each run has there, to the one it has here.
    """

    def __init__(
        self,
        workspace: Workspace,
        source: ForeignStore,
        experiment: str | None = None,
        late: Callable[[str, Points], None] | None = None,
    ) -> None:
        self._settings: Settings = workspace._settings
        self._client: ServiceClient = workspace._client
        self._workspace, self._source, self._experiment = workspace.name, source, experiment
        self._folder = imports_folder(self._settings.home_path)
        self._home = home_id(self._folder)
        self.ids: dict[str, str] = {}
        self.late = late
        self._roots: dict[str, str] = {}
        self._points, self._caught_up = 0, False
        self._show: Callable[[int], None] = lambda done: None
        wake_service(self._settings)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep others of this home from taking over from the same tool meanwhile.

        Raises:
            ServiceException: another process does.
        """
        scope = {"tool": self._source.tool, "url": self._settings.url, "workspace": self._workspace}
        file = PositionFile(self._folder, key_of(scope))
        if not file.acquire():
            raise ServiceException(
                f"process {file.owner()} takes over runs of {self._source.tool} into {self._workspace} already; "
                "wait for its end",
                409,
            )
        try:
            yield
        finally:
            file.release()

    def once(self) -> Iterator[RunReport]:
        """Take over what there is now, and say what became of each run."""
        source = self._source
        with progress(f"{source.tool}: {source.place}", source.total(), "values") as self._show:
            runs = iter(source.runs())
            while some := list(islice(runs, _TOGETHER)):
                yield from self._take(some)

    def settled(self) -> None:
        """Wait until all that was taken over is stored.

        Raises:
            ServiceException: it takes too long.
        """
        if not settle(self._client, timeout=600.0):
            raise ServiceException(
                "what was taken over is not stored yet; see `runstream doctor`, then start the import again: "
                "it resumes where it stopped",
                503,
            )

    # --- some runs ---

    def _take(self, runs: Sequence[ForeignRun]) -> Iterator[RunReport]:
        chosen, fresh = self._make(runs)
        there = self._there([self.ids[run.run_id] for run in chosen])
        for run in runs:
            if run.run_id not in self.ids:
                why = f"a run of the id {run.run_id} is here already, and no import has made it; it stays as it is"
                yield self._skipped(run, why)
                continue
            run_id = self.ids[run.run_id]
            record = there.get(run_id)
            if record is None or record.workspace != self._workspace:
                del self.ids[run.run_id]
                yield self._skipped(run, deleted_before(run_id))
            elif (owner := record.properties.get(HOME_PROPERTY)) != self._home:
                yield self._skipped(run, f"another home ({owner}) takes it over, into run {run_id}")
            else:
                known = None if run_id in fresh else record
                yield _OneRun(self, run, open_live(self._settings, run_id), known).take()

    def _make(self, runs: Sequence[ForeignRun]) -> tuple[list[ForeignRun], dict[str, LiveRun]]:
        """Find the run of each, or make it; the runs that have one, and those that were made, by their ids."""
        there = self._there([run.run_id for run in runs])
        others = {run.run_id: self._other_id(run.run_id) for run in runs}
        taken = [id_ for id_, record in there.items() if record.workspace != self._workspace]
        there |= self._there([others[id_] for id_ in taken])
        chosen: list[ForeignRun] = []
        fresh: dict[str, LiveRun] = {}
        for run in runs:
            run_id = run.run_id
            if run_id in taken or not _can_be_id(run_id):
                run_id = others[run.run_id]
            record = there.get(run_id)
            if record is not None and HOME_PROPERTY not in record.properties:
                continue
            self.ids[run.run_id] = run_id
            self._roots[run.run_id] = self._roots.get(
                run.parent or "", self.ids.get(run.parent or "", run_id)
            )
            chosen.append(run)
            if record is None:
                fresh[run_id] = self._create(run, run_id)
        if fresh:
            self.settled()
        return chosen, fresh

    def _there(self, run_ids: Sequence[str]) -> dict[str, RunRecord]:
        """Those of the runs that are there, in whatever workspace."""
        if not run_ids:
            return {}
        question = [
            ("archived", "all"),
            ("limit", str(2 * _TOGETHER)),
            *(("run", run_id) for run_id in run_ids),
        ]
        # What an import before this one has left in the spool is waited for once.
        answer = self._client.get_json("/api/v1/runs", question, fresh=not self._caught_up)
        self._caught_up = True
        return {run["run_id"]: RunRecord.from_json(run) for run in answer["runs"]}

    def _other_id(self, run_id: str) -> str:
        suffix = key_of({"run": run_id, "workspace": self._workspace})
        return (
            f"{run_id}-{suffix[:8]}" if _can_be_id(run_id) else f"{self._source.tool.lower()}-{suffix[:24]}"
        )

    def _create(self, run: ForeignRun, run_id: str) -> LiveRun:
        parent = self.ids.get(run.parent, run.parent) if run.parent else None
        record = RunRecord(
            run_id=run_id,
            experiment=self._experiment or run.experiment,
            workspace=self._workspace,
            status="Running",
            parent_run_id=parent,
            root_run_id=self._roots[run.run_id] if parent else run_id,
            name=run.name,
            display_name=run.name,
            description=run.description,
            target="local",
            details={"host": socket.gethostname(), "directory": self._source.place},
        )
        facts = {HOME_PROPERTY: self._home, TOOL_PROPERTY: self._source.tool, **run.properties}
        if run_id != run.run_id:
            facts[ID_PROPERTY] = run.run_id
        live = open_live(self._settings, run_id)
        # In one record: a run that is there without them is somebody else's.
        live.writer.status("create", {**creation(record), "properties": facts}, when=run.started)
        live.writer.status("start", when=run.started)
        return live

    def _skipped(self, run: ForeignRun, why: str) -> RunReport:
        return RunReport(self._source.place, "", run.name or run.run_id, "skipped", notes=[why])

    def count(self, n: int) -> None:
        """So many points were read."""
        before, self._points = self._points, self._points + n
        self._show(self._points)
        if before // _ROOM_POINTS != self._points // _ROOM_POINTS:
            wait_for_room(self._settings)


class _OneRun:
    """One run that is taken over.

    Args:
        record: what is known of it here; None: it was made just now, and has nothing.
    """

    def __init__(self, whole: TakingOver, run: ForeignRun, live: LiveRun, record: RunRecord | None) -> None:
        self._whole, self._run, self._live, self._record = whole, run, live, record
        self._client, self._writer = whole._client, live.writer
        self._taken: Counter[str] = Counter()
        self._left_out = run.left_out

    def take(self) -> RunReport:
        run, record = self._run, self._record
        stored: Counter[str] = Counter()
        if record is not None:
            stored = stored_points(self._whole._settings, self._client, self._live.run_id)
            there = self._whole._there([self._live.run_id])  # as it is when all of that is stored
            record = self._record = there.get(self._live.run_id, record)
            if record.start_time_utc is None:  # killed between the run's creation and its start
                self._writer.status("start", when=run.started)
        self._params()
        self._labels()
        for name, parts in groupby(run.points(), lambda points: points.name):
            if (why := refused(name)) is not None:
                self._left_out[f"values: {why}"] += sum(map(len, parts))
                continue
            self._series(name, parts, stored[f"{int(SeriesClass.METRIC)}/{name}"])
        self._taken += take_shown(self._live, self._client, run.shown(), stored, self._left_out)
        self._files()
        if run.ending and (record is None or record.status not in TERMINAL):
            self._writer.status(run.ending, when=max(run.ended or 0.0, run.started + 1e-5))
            self._taken["endings"] += 1
        if run.archived and (record is None or record.archived_utc is None):
            self._archive()
        refuse_drops(self._live)
        self._writer.close()
        outcome = "new" if record is None else "continued" if self._taken.total() else "unchanged"
        del self._taken["endings"], self._taken["archived"]
        points = {what: n for what, n in self._taken.items() if n}
        return RunReport(
            self._whole._source.place, self._live.run_id, run.name, outcome, points, dict(+self._left_out)
        )

    def _archive(self) -> None:
        path = f"/api/v1/runs/{quoted(self._live.run_id)}"
        headers = {"Content-Type": "application/json"}
        self._client.request("PATCH", path, body=json.dumps({"archived": True}).encode(), headers=headers)
        self._taken["archived"] += 1

    def _params(self) -> None:
        known = (
            fetch_params(self._client, self._live.run_id)
            if self._record is not None and self._run.params
            else {}
        )
        new = {name: value for name, value in self._run.params.items() if name not in known}
        texts: dict[str, str] = {}
        for name, value in new.items():
            try:
                texts |= convert_params("import", {name: value})
            except (AzureMLException, ValueError) as error:
                self._left_out[f"parameters: {getattr(error, 'message', error)}"[:300]] += 1
        texts = {name: text for name, text in texts.items() if name not in known}
        try:
            self._writer.log_params(texts, overwrite=False, author=self._whole._source.tool)
            self._taken["parameters"] += len(texts)
        except LimitExceeded as error:
            self._left_out[f"parameters: {error}"[:300]] += len(texts)

    def _labels(self) -> None:
        run, record = self._run, self._record
        for key, text in run.tags.items():
            if record is not None and key in record.tags and record.tags[key] == text:
                continue
            try:
                self._writer.tag(key, text)
                self._taken["tags"] += 1
            except (LimitExceeded, UserErrorException) as error:
                self._left_out[f"tags: {getattr(error, 'message', error)}"[:300]] += 1
        if record is not None:
            for field, text in (("display_name", run.name), ("description", run.description)):
                if text and text != getattr(record, field):
                    self._writer.set_field(field, text)
                    self._taken["tags"] += 1

    def _series(self, name: str, parts: Iterator[Points], stored: int) -> None:
        if not stored:
            for points in parts:
                self._put(points)
                self._whole.count(len(points))
            return
        whole = list(parts)
        n = sum(map(len, whole))
        self._whole.count(n)
        if n != stored:
            run_id, late = self._live.run_id, self._whole.late
            answer = fetch_metrics(self._client, [run_id], name=name, classes=[SeriesClass.METRIC])
            held = answer.get(run_id, [])
            newest = max((max(series.steps) for series in held if series.steps), default=None)
            for rest in missing(whole, held):
                if late is not None and newest is not None and rest.steps[0] <= newest:
                    late(run_id, rest)
                    self._taken["numbers"] += len(rest)
                else:
                    self._put(rest)

    def _put(self, points: Points) -> None:
        times = np.full(len(points), self._run.started) if points.times is None else points.times / 1e6
        if isinstance(points.values, list):
            for step, when, text in zip(points.steps.tolist(), times.tolist(), points.values, strict=True):
                try:
                    self._writer.text(points.name, text, step, when=when)
                    self._taken["texts"] += 1
                except (LimitExceeded, UnicodeError) as error:
                    self._left_out[f"texts: {error}"[:200]] += 1
        else:
            self._writer.log_array(points.name, points.values, points.steps, times)
            self._taken["numbers"] += len(points)
        refuse_drops(self._live)

    def _files(self) -> None:
        stored: dict[str, Any] = {}
        if self._record is not None:
            stored = {file["path"]: file for file in files.list_files(self._client, self._live.run_id)}
        for file in self._run.files():
            try:
                path = files.normalised(file.path)
                held = stored.get(path)
                if held is not None and held["size"] == file.size:
                    if not file.local:
                        continue
                    if file.sha256() == held["sha256"]:
                        continue
                with file.open() as stream:
                    files.put(self._client, self._live.run_id, path, stream, captured=True)
                self._taken["files"] += 1
            except (OSError, AzureMLException, ServiceException) as error:
                raise_unless_refused(error)
                self._left_out[f"files: {file.path}: {getattr(error, 'message', error)}"[:300]] += 1


def raise_unless_refused(error: Exception) -> None:
    """Raise an error again that is no refusal of one thing, but ends the import."""
    if isinstance(error, ServiceException) and error.status_code not in range(400, 500):
        raise error


def _can_be_id(run_id: str) -> bool:
    try:
        checked_run_id(run_id)
    except UserErrorException:
        return False
    return bool(run_id)
