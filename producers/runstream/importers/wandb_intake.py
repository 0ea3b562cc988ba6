"""Takes over the `.wandb` files of one run into one run, batch by batch, each value once.

A batch is written down, goes to the spool, and is written down as done with the next one, as of event files (`positions`).
What is no point is written such that doing it twice changes nothing: parameters and tags have one value, console output goes
to its place in the file, files have a name.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from runstream_schemas.errors import LimitExceeded
from runstream_schemas.series import SeriesClass

from ..client.http import ServiceClient
from ..exceptions import AzureMLException, ServiceException
from ..spool.live_runs import LiveRun
from ..spool.param_values import convert_params
from ..spool.writing.system_writer import SystemWriter
from ..spool.writing.writer import ARRAY_POINTS
from ..tensorboard.wire import WireError
from ..wandb.mapping import ALERTS, INTERNAL, SUMMARY_FILE, put_at, remove_at, scalars_of
from . import wandb_charts, wandb_media, wandb_records
from .intake import Intake, refused
from .positions import Position, PositionFile
from .wandb_definitions import take_definition
from .wandb_files import HEADER, WandbFile
from .wandb_keeping import Keeping, write_info
from .wandb_media import NotTaken
from .wandb_points import Point, alike, as_array, bounded, step_and_time
from .wandb_records import RunInfo, WandbRun

_VISIBLE_SECONDS = 5.0  # after which all of a write to a file of a network filesystem is seen


class WandbIntake(Intake):
    """Takes over one run.

    Attributes:
        run: what it reads.
    """

    def __init__(
        self, run: WandbRun, file: PositionFile, position: Position, live: LiveRun, client: ServiceClient
    ) -> None:
        super().__init__(file, position, live)
        self.run = run
        self._keeping = Keeping(live, client)
        self._system: SystemWriter | None = None
        self._points: dict[str, list[Point]] = defaultdict(list)
        self._config: dict[str, Any] = {}
        self._console: list[str] = []
        self._changed: dict[tuple[str, ...], bytes] = {}
        self._told: RunInfo | None = None
        self._stuck: dict[str, tuple[int, float]] = {}

    @property
    def ended(self) -> str | None:
        """How the run has ended, as far as it is read: `complete`, `fail`; None: it has not."""
        code = self.position.state.get("exit")
        return None if code is None else "fail" if code else "complete"

    def resume(self, stored: Mapping[str, int]) -> None:
        """Finish a batch that was begun and perhaps not finished.

        Args:
            stored: points of each series that the service has, by `class/name`.

        Raises:
            FileNotFoundError: the file it is of is not there any more.
        """
        if not self.position.pending:
            return
        part, start, end = self.position.pending
        if part not in self.run.parts:
            raise FileNotFoundError(2, "it was being read when the import was interrupted, and is gone", part)
        self._expect(stored)
        file = WandbFile(self.run.parts[part], start)
        while records := file.read(end):
            self._put(records, self.run.parts[part])
        self._skip.clear()
        self._commit()

    def take(self, *, at_once: bool = True, on_bytes: Callable[[int], None] = lambda n: None) -> bool:
        """Take over what the files hold now and did not before; as `EventIntake.take`."""
        taken = False
        for part, path in self.run.parts.items():
            at = self.position.read_to().get(part, len(HEADER))
            file = WandbFile(path, at)
            while True:
                records = file.read(past_damage=at_once or self._has_stayed(part, file.position))
                if file.position == at:
                    break
                self._open(self.run.info.started)
                self._commit_to((part, at, file.position), {})
                self._note_damage(file)
                self._wait_for_room()
                self._put(records, path)
                on_bytes(file.position - at)
                at, taken = file.position, True
            self._note_rest(part, path, at, at_once)
        return taken

    def keep_files(self) -> None:
        """Store the files that lie beside the run's records and have changed."""
        known = self.position.state.setdefault("files", {})
        for path in self.run.parts.values():
            kept, refusals = self._keeping.folder(
                path.parent / "files", known, bool(self.position.state.get("console"))
            )
            self.done.points["files"] += kept
            for why in refusals:
                self._leave_out(why, 1)
        self.done.points += type(self.done.points)()  # without those of 0

    def waits(self) -> bool:
        """Whether a file could not be read to its end, and may be by now."""
        return bool(self._stuck)

    def close(self, ending: str | None) -> None:
        """As of any intake."""
        if self._system is not None:
            self._system.close()
            self._system = None
        super().close(ending)

    # --- one batch ---

    def _put(self, records: list[bytes], path: Path) -> None:
        for record in records:
            try:
                kind, message = wandb_records.decode_record(record)
                self._put_record(kind, message, path)
            except WireError as error:
                self._leave_out(f"records that cannot be read ({error})"[:200], 1)
        for name, points in self._points.items():
            self._put_points(name, points)
        self._points.clear()
        self._whole_summary()
        self._put_settings()
        if self._console:
            text = "".join(self._console).encode("utf-8", "replace")
            self._console.clear()
            at = self.position.state.get("console", 0)
            self._keeping.console(at, text)
            self.position.state["console"] = at + len(text)
            self.done.points["bytes of console"] += len(text)
        self._refuse_drops()
        if self._system is not None and self._system.dropped:
            raise ServiceException("the spool cannot be written; make room, then start the import again", 507)

    def _put_record(self, kind: int, message: bytes, path: Path) -> None:
        if kind == wandb_records.HISTORY:
            self._history(message, path.parent / "files")
        elif kind == wandb_records.SUMMARY:
            self._summary(message)
        elif kind in (wandb_records.OUTPUT_RAW, wandb_records.OUTPUT):
            self._console.append(wandb_records.decode_output(message))
        elif kind == wandb_records.STATS:
            self._stats(message)
        elif kind == wandb_records.CONFIG:
            for item in wandb_records.decode_items(message):
                put_at(self._config, item.path, item.value)
                wandb_charts.note(self.position.state, item.path, item.value)
        elif kind == wandb_records.RUN:
            self._told = wandb_records.decode_run(message)
            self.position.state.pop("exit", None)
            for item in self._told.config:
                put_at(self._config, item.path, item.value)
        elif kind == wandb_records.EXIT:
            self._exit(wandb_records.decode_exit(message))
        elif kind == wandb_records.ALERT:
            self._value(ALERTS, wandb_records.decode_alert(message), *self._now())
        elif kind == wandb_records.ENVIRONMENT:
            for name, value in wandb_records.decode_environment(message).items():
                if text := value if isinstance(value, str) else json.dumps(value, ensure_ascii=False):
                    self._live.writer.add_property(f"wandb.{name}", text)
        elif kind == wandb_records.ARTIFACT:
            kept, refusals = self._keeping.artifact(wandb_records.decode_artifact(message))
            self.done.points["files of artifacts"] += kept
            for why in refusals:
                self._leave_out(why, 1)
        elif kind == wandb_records.METRIC:
            if not take_definition(self._live.writer, message):
                self._leave_out("definitions of metrics that cannot be held", 1)
        elif kind in wandb_records.NOT_TAKEN:
            self._leave_out(wandb_records.NOT_TAKEN[kind], 1)

    def _history(self, message: bytes, files: Path) -> None:
        nested: dict[str, Any] = {}
        flat: dict[str, Any] = {}
        for path, text in wandb_records.raw_items(message):
            value = wandb_records.value_of(text)
            if len(path) > 1 or isinstance(value, dict):
                put_at(nested, path, value)
            else:
                flat[path[0]] = value
        said = flat.get("_step")
        step, when = step_and_time(
            wandb_records.decode_step(message) if said is None else said,
            flat.get("_timestamp"),
            self.position.latest_step + 1,
            self.position.latest_time or self.run.info.started,
        )
        self.position.latest_step = max(self.position.latest_step, step)
        self.position.latest_time = max(self.position.latest_time, when)
        for name, value in flat.items():
            if name not in INTERNAL:
                self._value(name, value, step, when)
        for name, value in nested.items():
            if name not in INTERNAL:
                self._nested(name, value, step, when, files)

    def _nested(self, name: str, value: Any, step: int, when: float, files: Path) -> None:
        if not isinstance(value, dict):
            self._value(name, value, step, when)
            return
        kind = value.get("_type")
        if not isinstance(kind, str):
            for key, inner in value.items():
                self._nested(f"{name}.{key}", inner, step, when, files)
            return
        try:
            if (why := refused(name)) is not None:
                raise NotTaken(f"{kind}: {why}")
            if kind == "histogram":
                text = wandb_media.histogram_of(value)
                if not self._reserve(SeriesClass.HISTOGRAM, name, 1):
                    self._live.writer.typed(SeriesClass.HISTOGRAM, name, [text], step, when)
                self.done.points["histograms"] += 1
            elif kind == "table-file":
                columns = wandb_media.table_of(files, value, step)
                self._table(name, columns, when)
                chart = wandb_charts.keep(self._live, self.position.state, name, columns)
                if chart is not None and not self._reserve(SeriesClass.MEDIA, chart.name, 1):
                    self._live.writer.typed(SeriesClass.MEDIA, chart.name, [chart.text], step, when)
            elif wandb_media.is_media(value):
                self._media(name, value, step, when, files)
            else:
                raise NotTaken(f"values of the type {kind}"[:200])
        except (NotTaken, OSError, AzureMLException, ValueError) as error:
            self._leave_out(str(getattr(error, "message", error))[:300], 1)

    def _media(self, name: str, value: dict[str, Any], step: int, when: float, files: Path) -> None:
        described = wandb_media.media_of(value)
        texts = []
        for place, medium in enumerate(described):
            try:
                texts.append(wandb_media.keep(self._live, name, files, medium, place))
            except NotTaken as error:
                self._leave_out(str(error), 1)
        skipped = self._reserve(SeriesClass.MEDIA, name, len(texts))
        if texts[skipped:]:
            self._live.writer.typed(SeriesClass.MEDIA, name, texts[skipped:], step, when)
        self.done.points["media"] += len(texts)

    def _table(self, name: str, columns: dict[str, list[Any]], when: float) -> None:
        rows = len(next(iter(columns.values()), ()))
        skipped = self._reserve(SeriesClass.TABLE, name, rows)
        if rows > skipped:
            rest = {column: values[skipped:] for column, values in columns.items()}
            self._live.writer.log_table(name, rest, when)
        self.done.points["rows of tables"] += rows

    def _value(self, name: str, value: Any, step: int, when: float) -> None:
        """One value of a metric: numbers are gathered, texts go at once."""
        points = self._points.get(name)
        if points is not None and isinstance(value, (bool, int, float)):
            points.append((step, when, value))
            return
        if (why := refused(name)) is not None:
            self._leave_out(f"values: {why}", 1)
        elif value is None:
            self._leave_out("values that are null", 1)
        elif isinstance(value, (bool, int, float)):
            self._points[name].append((step, when, value))
        else:
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            try:
                if not self._reserve(SeriesClass.METRIC, name, 1):
                    self._live.writer.text(name, text, step, when=when)
                self.done.points["texts"] += 1
            except (LimitExceeded, UnicodeError) as error:
                self._counts[f"{int(SeriesClass.METRIC)}/{name}"] -= 1
                self._leave_out(f"texts: {error}"[:200], 1)

    def _put_points(self, name: str, points: list[Point]) -> None:
        first = self._reserve(SeriesClass.METRIC, name, len(points))
        for start in range(first, len(points), ARRAY_POINTS):
            for cut in alike(points[start : start + ARRAY_POINTS]):
                steps, times, values = zip(*cut, strict=True)
                self._live.writer.log_array(
                    name, as_array(values), np.array(steps, np.int64), np.array(times)
                )
            self._refuse_drops()
        self.done.points["numbers"] += len(points) - first

    # --- around it ---

    def _stats(self, message: bytes) -> None:
        when, values = wandb_records.decode_stats(message)
        step = self.position.state.get("stats", 0)
        self.position.state["stats"] = step + 1
        self.position.latest_time = max(self.position.latest_time, when := bounded(when))
        new = {
            name: value
            for name, value in values.items()
            if refused(name) is None and not self._reserve(SeriesClass.SYSTEM, name, 1)
        }
        if new:
            if self._system is None:
                host = self.run.info.host
                self._system = SystemWriter(
                    self._live.settings, self.position.run_id, "unknown" if refused(host) else host
                )
            self._system.sample(new, when, step)
        self.done.points["system metrics"] += len(new)

    def _summary(self, message: bytes) -> None:
        """Note what changed of the summary: each step says most of it anew, so it is decoded once a batch."""
        changes, removed = wandb_records.summary_changes(message)
        self._changed.update(changes)
        if removed:
            summary = self._whole_summary()
            for path in removed:
                remove_at(summary, path)

    def _whole_summary(self) -> dict[str, Any]:
        summary: dict[str, Any] = self.position.state.setdefault("summary", {})
        for path, text in self._changed.items():
            try:
                put_at(summary, path, wandb_records.value_of(text))
            except WireError as error:
                self._leave_out(f"values of the summary ({error})"[:200], 1)
        self._changed.clear()
        return summary

    def _exit(self, code: int) -> None:
        """The end: what only the summary says becomes a value of the last step."""
        self.position.state["exit"] = code
        summary = self._whole_summary()
        known = self.position.counts.keys() | self._counts.keys()
        known |= {f"{int(SeriesClass.METRIC)}/{name}" for name in self._points}
        for name, value in scalars_of(summary):
            if name not in INTERNAL and f"{int(SeriesClass.METRIC)}/{name}" not in known:
                self._value(name, value, *self._now())
        if summary:
            self._keeping.text(SUMMARY_FILE, json.dumps(summary, indent=1, ensure_ascii=False))

    def _now(self) -> tuple[int, float]:
        return max(0, self.position.latest_step), self.position.latest_time or self.run.info.started

    def _put_settings(self) -> None:
        """Parameters, name, notes and tags, as the batch has left them."""
        writer = self._live.writer
        for key, value in self._config.items():
            if key == "_wandb":
                continue
            try:
                writer.log_params(
                    texts := convert_params("config", {key: value}), overwrite=True, author="wandb"
                )
                self.done.points["parameters"] += len(texts)
            except (AzureMLException, ValueError) as error:
                self._leave_out(f"config: {getattr(error, 'message', error)}"[:300], 1)
        self._config.clear()
        if self._told is not None and (why := write_info(writer, self._told)):
            self._leave_out(why, 1)
        self._told = None

    def _has_stayed(self, part: str, at: int) -> bool:
        return (
            self._stuck.get(part, (-1,))[0] == at
            and time.monotonic() - self._stuck[part][1] > _VISIBLE_SECONDS
        )

    def _note_rest(self, part: str, path: Path, at: int, at_once: bool) -> None:
        """Note the bytes behind the last whole record: a torn end, or one that is being written."""
        rest = path.stat().st_size - at
        if rest <= 0:
            self._stuck.pop(part, None)
            return
        if self._stuck.get(part, (-1, 0.0))[0] != at:
            self._stuck[part] = (at, time.monotonic())
        if at_once:
            self.done.notes.append(f"{path.name}: the last {rest} bytes are no whole record (yet)")

    def _note_damage(self, file: WandbFile) -> None:
        for damage in file.damage:
            self.done.notes.append(
                f"{file.path.name}: {damage.size} bytes from byte {damage.start} on are passed over: {damage.reason}"
            )
        file.damage.clear()
