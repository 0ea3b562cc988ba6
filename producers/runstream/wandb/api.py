"""`Api`: runs and artifacts of projects are read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..client.reading import fetch_record, settle
from ..client.records import list_records
from ..core.experiment import Experiment
from ..core.workspace import Workspace
from ..exceptions import ServiceException
from .artifact import Artifact
from .artifacts import find
from .errors import CommError
from .filters import fits, order_key
from .mapping import experiment_of
from .public_run import PublicRun


class Runs:
    """Runs of a project, fetched page by page as they are gone through; `len` fetches all."""

    def __init__(self, runs: Iterator[PublicRun]) -> None:
        self._rest, self._fetched = runs, list[PublicRun]()

    def __iter__(self) -> Iterator[PublicRun]:
        yield from self._fetched
        for run in self._rest:
            self._fetched.append(run)
            yield run

    def __len__(self) -> int:
        self._fetched += self._rest
        return len(self._fetched)

    def __getitem__(self, place: Any) -> Any:
        len(self)
        return self._fetched[place]


class Api:
    """Reads what is stored.

    Args:
        overrides: `project` that is meant where a path names none.
        timeout, api_key: accepted.
    """

    def __init__(
        self,
        overrides: Mapping[str, Any] | None = None,
        timeout: int | None = None,
        api_key: str | None = None,
    ) -> None:
        self._project = str((overrides or {}).get("project") or "")
        self._workspace = Workspace.from_config()

    def runs(
        self,
        path: str | None = None,
        filters: Mapping[str, Any] | None = None,
        order: str = "-created_at",
        per_page: int = 50,
        include_sweeps: bool = True,
        lazy: bool = True,
    ) -> Runs:
        """The runs of a project.

        Args:
            path: `ENTITY/PROJECT` or `PROJECT`; the entity is not looked at.
            filters: those of MongoDB over `state`, `display_name`, `tags`, `group`, `job_type`, `created_at`, `config.NAME`,
                `summary_metrics.NAME`.
            order: a key, with `-` for the greatest first.
            per_page: runs in one request.

        Raises:
            ServiceException: the service is away (when they are gone through).
        """
        name = self._experiment(path)
        key, greatest_first = order_key(order)

        def runs() -> Iterator[PublicRun]:
            settle(self._workspace._client)
            question = [("workspace", self._workspace.name), ("experiment", name)]
            records = list_records(self._workspace._client, question, max(1, min(per_page, 500)))
            passing = (
                run for record in records if fits(filters, (run := PublicRun(self._workspace, record)).look)
            )
            if key == "created_at" and greatest_first:  # as the service lists them
                yield from passing
                return
            known, unknown = list[PublicRun](), list[PublicRun]()
            for run in passing:
                (unknown if run.look(key) is None else known).append(run)
            yield from sorted(known, key=lambda run: run.look(key), reverse=greatest_first)
            yield from unknown

        return Runs(runs())

    def run(self, path: str) -> PublicRun:
        """A run by `ENTITY/PROJECT/ID`, or any end of that.

        Raises:
            CommError: there is none.
            ServiceException: the service is away.
        """
        run_id = path.strip("/").rsplit("/", 1)[-1]
        try:
            return PublicRun(self._workspace, fetch_record(self._workspace._client, run_id))
        except ServiceException as error:
            if error.status_code != 404:
                raise
            raise CommError(f"Could not find run {path}; runs() lists those of a project") from None

    def artifact(
        self,
        name: str,
        type: str | None = None,
        *,
        default_project: str = "",
        experiment: Experiment | None = None,
    ) -> Artifact:
        """An artifact by `ENTITY/PROJECT/NAME:VERSION`.

        Args:
            name: it; the version is `vN`, an alias, or `latest`.
            type: the type it has to have.
            default_project: where it is when the name has no project.
            experiment: the same as an experiment.

        Raises:
            CommError: there is none.
            ValueError: it is of another type.
        """
        project, _, base = name.rpartition("/")
        if project or experiment is None:
            place = self._experiment(project or default_project or self._project)
        else:
            place = experiment.name
        artifact = find(self._workspace._client, self._workspace.name, place, base)
        if type is not None and artifact.type != type:
            raise ValueError(
                f"type {type} specified but this artifact is of type {artifact.type}; leave it out"
            )
        return artifact

    def _experiment(self, path: str | None) -> str:
        return experiment_of((path or self._project).strip("/").rsplit("/", 1)[-1])
