"""A run as W&B has it: what `init` returns, and the functions of the module mean."""

from __future__ import annotations

import datetime
import json
import os
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import Any

from ..core.run import Run as CoreRun
from . import active, artifacts, run_files
from .artifact import Artifact
from .definitions import Definitions, Metric
from .errors import UsageError
from .history import History
from .mapping import ALERTS, SUMMARY_FILE, alert_text, scalars_of
from .recorded import Listed, Rows, Typed, recorded
from .run_config import Config
from .run_identity import RunIdentity
from .run_summary import SummaryTree
from .settings import Settings
from .watching import Watching


class AlertLevel(Enum):
    """How grave an alert is."""

    INFO = "INFO"
    WARN = "WARN"
    ERROR = "ERROR"


class Run(RunIdentity):
    """A run. `init` makes it.

    Attributes:
        config: what it is made with.
        settings: what `init` was told.
        start_time: seconds since the epoch.
        resumed: it continues an earlier one of the same id.
        log: see `History.log`; of a disabled run it does nothing.
    """

    log: Callable[..., None]

    def __init__(
        self,
        core: CoreRun | None,
        settings: Settings,
        config: Config,
        *,
        folder: Path,
        owns: bool = True,
        resumed: bool = False,
        step: int = 0,
        summary: Mapping[str, Any] | None = None,
        on_finish: Callable[[int], None] = lambda code: None,
    ) -> None:
        self._core, self.settings, self.config = core, settings, config
        self._folder, self._owns, self.resumed = folder, owns, resumed
        self._on_finish = on_finish
        self.start_time = time.time()
        self._finished = False
        self._tree: dict[str, Any] = dict(summary or {})
        self.summary = SummaryTree(self._tree, self._converted)
        self._definitions = Definitions()
        self._saved: run_files.Saved = {}
        self._logged: artifacts.Aliases = {}
        self._history = None if core is None else History(core, self._definitions, self._tree, step)
        self.log = self._nothing if self._history is None else self._history.log
        self._watching = Watching(self.log)

    # --- recording ---

    def define_metric(
        self,
        name: str,
        step_metric: str | Metric | None = None,
        step_sync: bool | None = None,
        hidden: bool | None = None,
        summary: str | None = None,
        goal: str | None = None,
        overwrite: bool | None = None,
    ) -> Metric:
        """Say which metric is the step of others, and what of a metric goes into the summary.

        Args:
            name: a metric, or all that begin alike: `val/*`.
            step_metric: the metric that is their step.
            step_sync: log its latest value with them; default: if there is a step metric.
            hidden: accepted.
            summary: `min`, `max`, `mean`, `first`, `last`, `best`, `none`, several with commas; default: the last value.
            goal: `minimize` or `maximize`: which end is the good one, for `best`, and in lists and charts.
            overwrite: forget what was said of it before.

        Raises:
            Error: an argument of another type, or a statistic or goal there is not.
        """
        metric = self._definitions.define(name, step_metric, step_sync, hidden, summary, goal, overwrite)
        if self._history:
            self._history.defined(metric)
        return metric

    def alert(
        self, title: str, text: str, level: str | AlertLevel | None = None, wait_duration: Any = None
    ) -> None:
        """Give an alert, as `Run.alert` of runstream does; it is kept among the texts `wandb.alerts`, too.

        Raises:
            ValueError: a level that is none of INFO, WARN and ERROR.
        """
        name = level.value if isinstance(level, AlertLevel) else level or "INFO"
        if name not in {known.value for known in AlertLevel}:
            raise ValueError("level must be one of 'INFO', 'WARN', or 'ERROR'")
        if wait_duration is not None and not isinstance(wait_duration, (int, float, datetime.timedelta)):
            raise TypeError("wait_duration must be an int, float, or datetime.timedelta")
        if self._history:
            self._history.text(ALERTS, alert_text(name, title, text))
            self._history.alert(str(title), str(text), name)

    def watch(
        self,
        models: Any,
        criterion: Any = None,
        log: str | None = "gradients",
        log_freq: int = 1000,
        idx: int | None = None,
        log_graph: bool = False,
    ) -> None:
        """Record gradients, parameters or all of torch modules as histograms, every `log_freq` batches."""
        if self._core:
            self._watching.watch(models, log, log_freq, idx)

    def unwatch(self, models: Any = None) -> None:
        """Watch modules no longer; None: none."""
        self._watching.unwatch(models)

    def save(
        self,
        glob_str: str | os.PathLike[str],
        base_path: str | os.PathLike[str] | None = None,
        policy: str = "live",
    ) -> list[str]:
        """Keep files with the run, now, and again when it finishes if they have changed.

        Args:
            glob_str: a path or pattern.
            base_path: names begin below it; default: the current directory, of an absolute path its folder.
            policy: `live`, `end` (the same), or `now` (not again).

        Returns:
            Names of the files among the run's.
        """
        if policy not in ("live", "end", "now"):
            raise ValueError('Only "live" "now" and "end" policies are currently supported.')
        if self._core is None:
            return []
        saved = run_files.save(self._core, glob_str, base_path)
        if policy != "now":
            self._saved |= saved
        return list(saved)

    def restore(
        self, name: str, run_path: str | None = None, replace: bool = False, root: str | None = None
    ) -> Any:
        """Fetch a file of this run, or of another one, and open it.

        Raises:
            ValueError: the run has no such file.
        """
        from .api import Api

        target = Path(root or self.dir, name)
        if not target.exists() or replace:
            Api().run(run_path or self.path).file(name).download(root=str(root or self.dir), replace=True)
        return target.open(encoding="utf-8")

    def log_code(self, root: str | None = ".", name: str | None = None, **kwargs: Any) -> None:
        """Keep the source below a directory as the run's code snapshot."""
        if self._core and self._owns:
            self._core.take_snapshot(os.fspath(root or "."))

    # --- artifacts ---

    def log_artifact(
        self,
        artifact_or_path: Any,
        name: str | None = None,
        type: str | None = None,
        aliases: Sequence[str] | None = None,
        tags: Sequence[str] | None = None,
    ) -> Artifact:
        """Store an artifact, a file or a directory with the run; returns when it is stored, or kept until it can be.

        Args:
            artifact_or_path: it.
            name, type: those of an artifact that is made of a path.
            aliases: further names of this version; the newest one is `latest` in any case.
            tags: words for it.
        """
        default = f"run-{self.id}-{Path(str(artifact_or_path)).name}"
        artifact = artifacts.artifact_of(artifact_or_path, name, type, default)
        artifact.tags += list(tags or ())
        return artifact if self._core is None else artifacts.log(self._core, artifact, aliases, self._logged)

    upsert_artifact = log_artifact
    finish_artifact = log_artifact

    def use_artifact(
        self,
        artifact_or_name: str | Artifact,
        type: str | None = None,
        aliases: Sequence[str] | None = None,
        use_as: str | None = None,
    ) -> Artifact:
        """An artifact that a run of the project has logged, and note its use.

        Args:
            artifact_or_name: `NAME`, `NAME:ALIAS` or `NAME:vN`, also with `ENTITY/PROJECT/` before it.
            type: the type it has to have.
            aliases, use_as: accepted.

        Raises:
            CommError: there is none.
            ValueError: it is of another type.
            UsageError: the run is disabled.
        """
        if self._core is None:
            raise UsageError("Cannot use artifact when in disabled mode; start the run with another mode")
        if isinstance(artifact_or_name, Artifact):
            artifact = (
                self.log_artifact(artifact_or_name) if artifact_or_name.is_draft() else artifact_or_name
            )
        else:
            from .api import Api

            artifact = Api().artifact(
                artifact_or_name, default_project=self.project, experiment=self._core.experiment
            )
        if type is not None and artifact.type != type:
            raise ValueError(
                f"Supplied type {type} does not match type {artifact.type} of artifact {artifact.name}"
            )
        artifacts.note_use(self._core, artifact)
        return artifact

    def log_model(self, path: str, name: str | None = None, aliases: Sequence[str] | None = None) -> Artifact:
        """Store a model as an artifact, and register it as a model of the workspace."""
        return self.log_artifact(path, name or f"run-{self.id}-{Path(path).name}", "model", aliases)

    def use_model(self, name: str) -> str:
        """Fetch a model that was logged; the path of its file, or of its folder."""
        artifact = self.use_artifact(name, type="model")
        return artifact.file() if artifact.file_count == 1 else artifact.download()

    def link_artifact(
        self, artifact: Artifact, target_path: str, aliases: Sequence[str] | None = None
    ) -> Artifact:
        """Register an artifact as a model of the workspace, called as the last part of the path."""
        if self._core:
            artifacts.link(self._core, artifact, target_path, aliases, self._logged)
        return artifact

    def link_model(
        self,
        path: str,
        registered_model_name: str,
        name: str | None = None,
        aliases: Sequence[str] | None = None,
    ) -> Artifact:
        """Store a model and register it under a name."""
        return self.link_artifact(self.log_model(path, name, aliases), registered_model_name, aliases)

    # --- its end ---

    def finish(self, exit_code: int | None = None, quiet: bool | None = None) -> None:
        """Write what is left, and end the run: Completed, or Failed with an exit code other than 0.

        A run that a submitted script was given ends with the script instead.
        """
        if self._finished:
            return
        code = exit_code or 0
        self.write_rest()
        if self._core and self._owns:
            if code:
                self._core.fail(f"the run finished with exit code {code}")
            else:
                self._core.complete()
        self._finished = True
        self.log = self._refuse
        if active.current() is self:
            active.set_current(None)
        self._on_finish(code)

    def write_rest(self) -> None:
        """Write what waits for its commit or for the end: the last row, the summary, saved files."""
        core, history = self._core, self._history
        if core is None or history is None or self._finished:
            return
        history.flush()
        self._watching.unwatch()
        for name, value in scalars_of(self._tree):
            if name not in history.logged:
                history.rest_of_summary(
                    name, value if isinstance(value, (bool, int, float, str)) else json.dumps(value)
                )
        if self._tree:
            text = json.dumps(self._tree, indent=1, ensure_ascii=False, default=str)
            run_files.store(core, SUMMARY_FILE, text.encode("utf-8", "replace"))
        run_files.save_again(core, self._saved)
        run_files.save_folder(core, self._folder)

    def status(self) -> Any:
        """How it does, as `runstream`'s run says."""
        return self._core.get_status() if self._core else None

    def mark_preempting(self) -> None:
        """Accepted: the run is continued by `resume`."""

    def pin_config_keys(self, keys: Sequence[str] = ()) -> None:
        """Accepted: columns of the page's list are chosen there."""

    def display(self, height: int = 420, hidden: bool = False) -> bool:
        """False: there is no cell to show it in."""
        return False

    def to_html(self, height: int = 420, hidden: bool = False) -> str:
        """A link to its page."""
        url = self.url
        return f'<a href="{url}">{self.name}</a>' if url else ""

    def _nothing(self, data: Mapping[str, Any], step: int | None = None, commit: bool | None = None) -> None:
        """`log` of a run that is disabled."""

    def _refuse(self, data: Any, step: Any = None, commit: Any = None) -> None:
        raise UsageError(
            f"Run ({self.id}) is finished. The call to `log` cannot be recorded; call init() again"
        )

    def _converted(self, key: str, value: Any) -> Any:
        """What the summary keeps of a value that the script sets."""
        if self._core is None:
            return value
        tree: dict[str, Any] = {}
        for path, made in recorded(self._core, {key: value}, self.step):
            node = tree
            for part in path[:-1]:
                node = node.setdefault(part, {})
            node[path[-1]] = made.summary if isinstance(made, (Typed, Rows, Listed)) else made
        return tree.get(key)

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            traceback.print_exception(kind, error, trace)
        self.finish(1 if error is not None else 0)

    def __repr__(self) -> str:
        return f"<wandb run {self.path}>"
