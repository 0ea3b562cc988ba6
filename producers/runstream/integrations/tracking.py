"""What all integrations record by: one run, of the first process of a distributed training only, which may be continued."""

from __future__ import annotations

import json
import logging
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..client import outbox
from ..client.folder_contents import contents
from ..client.http import ServiceClient
from ..core.experiment import Experiment
from ..core.run import Run
from ..core.workspace import Workspace
from ..exceptions import AzureMLException, RunEnvironmentException, ServiceException
from ..spool.param_values import convert_params
from ..tensorboard.names import experiment_name

CHECKPOINTS = "checkpoints"
"""Folder among a run's files."""
_RANKS = ("RANK", "OMPI_COMM_WORLD_RANK", "PMI_RANK", "SLURM_PROCID", "LOCAL_RANK")
_log = logging.getLogger("runstream")


def is_first_process() -> bool:
    """Whether this process records: the first one of those a launcher has started, or a process without a launcher."""
    for name in _RANKS:
        if os.environ.get(name, "").isdigit():
            return int(os.environ[name]) == 0
    return True


class Tracking:
    """Records a training of a framework.

    Nothing it does ends a training: what cannot be recorded costs a warning.

    Args:
        run: the run; default: that of the script that runstream has submitted or executes, else one that is started when the
            first thing is recorded.
        experiment: name of the experiment of a run that is started; default: the working directory's name.
        name: the name of a run that is started.
        run_id: its id; the run continues if there is one of that id.
        prefix: comes before the names of metrics.
        checkpoints: keep checkpoints among the run's files.
        first: whether this process records; default: what the launcher's variables say.

    Attributes:
        prefix, checkpoints: as given.
        owns: whether the run was started here, and is ended here.
    """

    def __init__(
        self,
        run: Run | None = None,
        *,
        experiment: str | None = None,
        name: str | None = None,
        run_id: str | None = None,
        prefix: str = "",
        checkpoints: bool = True,
        first: bool | None = None,
    ) -> None:
        self._run, self._experiment, self._name, self._run_id = run, experiment, name, run_id
        self.prefix, self.checkpoints = prefix, checkpoints
        self.owns = False
        self._first = is_first_process() if first is None else first
        self._said: set[str] = set()

    @property
    def records(self) -> bool:
        """Whether this process records."""
        return self._first

    @property
    def run(self) -> Run | None:
        """The run, which is started now if there is none; None in processes that do not record."""
        if self._run is None and self._first:
            self._run = self._find_or_start()
        return self._run

    @property
    def run_id(self) -> str | None:
        """The run's id, as far as it is known."""
        return self._run.id if self._run else self._run_id

    def _find_or_start(self) -> Run:
        try:
            submitted: Run = Run.get_context(allow_offline=False)
            return submitted
        except RunEnvironmentException:
            pass
        workspace = Workspace.from_config()
        self.owns = True
        if self._run_id is not None:
            try:
                run = Run.get(workspace, self._run_id)
                run.start()
                return run
            except ServiceException as error:
                if error.status_code != 404:
                    raise
        experiment = Experiment(workspace, self._experiment or experiment_name(Path.cwd()))
        return experiment.start_logging(
            name=self._name, run_id=self._run_id, outputs=False, snapshot_directory=None
        )

    # --- recording ---

    def params(self, values: Any) -> None:
        """Record parameters, each if it can be one; later values take the place of earlier ones."""
        run = self.run
        if run is None:
            return
        for name, value in dict(values if isinstance(values, Mapping) else vars(values)).items():
            try:
                texts = convert_params("params", {str(name): value})
                run._live().writer.log_params(texts, overwrite=True, author="runstream.integrations")
            except (AzureMLException, ValueError) as error:
                self.say(f"param {name}", f"parameter {name!s:.80}: {getattr(error, 'message', error)}")

    def metrics(self, values: Mapping[str, Any], step: int | None = None) -> None:
        """Record what of some values are numbers; arrays of one element count, texts and the like are left out."""
        numbers = {
            f"{self.prefix}{name}": number
            for name, value in values.items()
            if (number := number_of(value)) is not None
        }
        run = self.run
        if run is not None and numbers:
            try:
                run.log_metrics(numbers, None if step is None else int(step))
            except AzureMLException as error:
                self.say("metrics", error.message)

    def tags(self, values: Mapping[str, Any]) -> None:
        """Set tags."""
        run = self.run
        if run is not None:
            run.set_tags({name: None if value is None else str(value) for name, value in values.items()})

    def table(self, name: str, columns: Mapping[str, Any]) -> None:
        """Record rows of a table."""
        run = self.run
        if run is not None:
            try:
                run.log_table(name, columns)
            except AzureMLException as error:
                self.say(f"table {name}", f"table {name}: {error.message}")

    def document(self, name: str, value: Any) -> None:
        """Keep a JSON document among the run's files."""
        with tempfile.TemporaryDirectory(prefix="runstream-") as folder:
            path = Path(folder, "document.json")
            path.write_text(json.dumps(value, indent=1, default=str), encoding="utf-8")
            self.keep(path, name)

    def checkpoint(self, path: str | os.PathLike[str], name: str | None = None) -> None:
        """Keep a checkpoint, a file or a folder, among the run's files, if checkpoints are kept."""
        if self.checkpoints:
            self.keep(path, f"{CHECKPOINTS}/{name or Path(path).name}")

    def keep(self, path: str | os.PathLike[str], name: str) -> None:
        """Keep a file, or all below a folder, under a name, in place of an earlier state; also while the service is away."""
        run = self.run
        if run is None:
            return
        client = run.experiment.workspace._client
        source = Path(path)
        files = (
            [(f"{name}/{below}", file) for below, file in contents(source, [])]
            if source.is_dir()
            else [(name, source)]
        )
        for stored, file in files:
            try:
                _store(client, run.id, stored, file)
            except (OSError, AzureMLException, ServiceException) as error:
                self.say(f"file {stored}", f"{stored} is not kept: {getattr(error, 'message', error)}")

    def finish(self, error: BaseException | str | None = None) -> None:
        """End the run, if it was started here."""
        if self._run is None or not self.owns:
            return
        if error is None:
            self._run.complete()
        else:
            self._run.fail(error)

    def say(self, what: str, message: str) -> None:
        """Say something, once."""
        if what not in self._said:
            self._said.add(what)
            _log.warning("runstream: %s", message)


def _store(client: ServiceClient, run_id: str, name: str, file: Path) -> None:
    with file.open("rb") as stream:
        outbox.store_file(client, run_id, name, stream, captured=True)


def number_of(value: Any) -> float | int | None:
    """A number, also of numpy, or of an array or tensor of one element; None: it is none."""
    if isinstance(value, (bool, int, float)):
        return value
    if hasattr(value, "item") and getattr(value, "size", None) is not None:
        size = value.numel() if hasattr(value, "numel") else value.size
        if size == 1:
            number = value.item()
            return number if isinstance(number, (bool, int, float)) else None
    return None
