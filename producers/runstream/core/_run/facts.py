"""What can be asked about a run: how it does, what it recorded, what it works with, and where its page is.

The service's answers know what this process recorded.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from runstream_schemas.series import SeriesClass

from ...client import files
from ...client.addresses import quoted
from ...client.logged_media import LoggedMedium, logged_media
from ...client.metrics import (
    ArtifactMetric,
    LoggedHistogram,
    Metrics,
    Series,
    SystemSample,
    logged_histograms,
    shape_metrics,
    system_samples,
)
from ...client.notes import Note, Noted, run_note
from ...client.reading import fetch_metrics, fetch_params
from ...client.records import TERMINAL
from ...exceptions import RunEnvironmentException, UserErrorException
from ...spool.live_runs import unconfirmed
from .handle import RunHandle

if TYPE_CHECKING:
    from ..environment import Environment

_ARTIFACT_TYPES = ("image", "confusion_matrix", "accuracy_table", "residuals", "predictions")


class RunFacts(RunHandle, Noted):
    """The part of `Run` that asks: status, details, metrics, environment, secrets, page."""

    def get_status(self) -> str:
        """The status now; a run that has ended is not asked about again.

        Raises:
            ServiceException: the service is away.
        """
        if self._record.status not in TERMINAL:
            self._refresh()
        return self._record.status

    def get_detailed_status(self) -> dict[str, str | None]:
        """The status now, and what it is waiting for: `{"status", "details"}`."""
        status = self.get_status()
        waits = f"The run waits for a place at the compute target {self._record.target}."
        return {"status": status, "details": waits if status == "Queued" else None}

    def get_tags(self) -> dict[str, str | None]:
        """The tags now.

        Raises:
            ServiceException: the service is away.
        """
        return dict(self._refresh().tags)

    def get_properties(self) -> dict[str, str | None]:
        """The properties now.

        Raises:
            ServiceException: the service is away.
        """
        self._await_snapshot()
        return dict(self._refresh().properties)

    def _noted(self) -> Note:
        return run_note(self._client, self._id)

    def get_params(self) -> dict[str, Any]:
        """The parameters now, by name, with the types they were logged with; lists and tuples are lists.

        Raises:
            ServiceException: the service is away.
        """
        return fetch_params(self._client, self._id)

    def get_details(self) -> dict[str, Any]:
        """The run under the original's keys: `runId`, `target`, `status`, `startTimeUtc`, `endTimeUtc`, `error` ...

        Raises:
            ServiceException: the service is away.
        """
        self._await_snapshot()
        record = self._refresh()
        details: dict[str, Any] = {
            "runId": self._id,
            "target": record.target,
            "status": record.status,
            "startTimeUtc": record.start_time_utc,
            "endTimeUtc": record.end_time_utc,
            "error": {"error": record.error} if record.error else None,
            "warnings": record.warnings or None,
            "runDefinition": record.details.get("runDefinition"),
            "services": {},
            "properties": dict(record.properties),
            "inputDatasets": [],
            "outputDatasets": [],
            "logFiles": {},
            "submittedBy": record.details.get("user"),
        }
        log_files = [
            file["path"] for file in files.list_files(self._client, self._id) if is_log(file["path"])
        ]
        base = f"{self._client.address().url}/api/v1/runs/{quoted(self._id)}/files/"
        details["logFiles"] = {path: base + quoted(path) for path in log_files}
        return {key: value for key, value in details.items() if value is not None}

    def get_metrics(
        self,
        name: str | None = None,
        recursive: bool = False,
        run_type: str | None = None,
        populate: bool = False,
    ) -> dict[str, Any]:
        """What was logged, all of it in one request.

        One value is the value, several are a list in order of logging, a table is a dictionary of columns, an image is its
        address. Integers among floats are floats. A single None is left out.

        Args:
            name: only this series.
            recursive: also of all descendants: `{run id: {name: value}}`, descendants newest start first,
                then this run; runs without metrics are left out.
            run_type: with `recursive`, only descendants of this type.
            populate: images and other files as `ArtifactMetric`, with their content.

        Raises:
            ServiceException: the service is away.
        """
        if name is not None and not isinstance(name, str):
            raise UserErrorException(f"get_metrics: name: expected a text, got {type(name).__name__}")
        waits = (
            unconfirmed(self._settings)
            if recursive
            else self._live_run.unconfirmed()
            if self._live_run
            else {}
        )
        fetched = fetch_metrics(
            self._client,
            [self._id],
            name=name,
            recursive=recursive,
            run_type=run_type if recursive else None,
            waits=waits,
        )
        shaped = {run_id: self._shape(run_id, series, populate) for run_id, series in fetched.items()}
        if not recursive:
            return dict(shaped.get(self._id, {}))
        if self._id in shaped:
            shaped[self._id] = shaped.pop(self._id)
        return {run_id: metrics for run_id, metrics in shaped.items() if metrics}

    def get_histograms(
        self, name: str | None = None
    ) -> dict[str, list[LoggedHistogram]] | list[LoggedHistogram]:
        """The histograms of `log_histogram`, in order of logging.

        Args:
            name: only this series, which is then returned by itself; an empty list if there is none.

        Raises:
            ServiceException: the service is away.
        """
        if name is not None and not isinstance(name, str):
            raise UserErrorException(f"get_histograms: name: expected a text, got {type(name).__name__}")
        all_series = self._typed(SeriesClass.HISTOGRAM, name)
        histograms = {series.name: logged_histograms(series) for series in all_series}
        return histograms if name is None else histograms.get(name, [])

    def get_media(self, name: str | None = None) -> dict[str, list[LoggedMedium]] | list[LoggedMedium]:
        """What `log_media` logged, in order of logging; `read` and `save` of each fetch its bytes.

        Args:
            name: only this series, which is then returned by itself; an empty list if there is none.

        Raises:
            ServiceException: the service is away.
        """
        if name is not None and not isinstance(name, str):
            raise UserErrorException(f"get_media: name: expected a text, got {type(name).__name__}")
        series = self._typed(SeriesClass.MEDIA, name)
        media = {each.name: logged_media(self._client, self._id, each) for each in series}
        return media if name is None else media.get(name, [])

    def get_system_metrics(
        self, name: str | None = None
    ) -> dict[str, list[SystemSample]] | list[SystemSample]:
        """What the run's machines were doing, sampled beside it, by metric and in order of time.

        Args:
            name: only this metric, e.g. `system/cpu_utilization_percentage`, which is then returned by itself; an empty
                list if there is none.

        Raises:
            ServiceException: the service is away.
        """
        if name is not None and not isinstance(name, str):
            raise UserErrorException(f"get_system_metrics: name: expected a text, got {type(name).__name__}")
        samples = system_samples(self._typed(SeriesClass.SYSTEM, name))
        return samples if name is None else samples.get(name, [])

    def _typed(self, cls: SeriesClass, name: str | None) -> list[Series]:
        waits = self._live_run.unconfirmed() if self._live_run else {}
        by_run = fetch_metrics(self._client, [self._id], name=name, classes=(cls,), waits=waits)
        return by_run.get(self._id, [])

    def _shape(self, run_id: str, series: list[Series], populate: bool) -> Metrics:
        def content(series: Series) -> ArtifactMetric:
            uri = str(series.values[0])
            path = uri.partition(f"dcid.{run_id}/")[2]
            body = self._client.request("GET", f"/api/v1/runs/{quoted(run_id)}/files/{quoted(path)}").body
            return ArtifactMetric(
                body, path.rsplit("/", 1)[-1], uri, f"azureml.v2.{_ARTIFACT_TYPES[series.cls - 2]}"
            )

        return shape_metrics(series, content if populate else None)

    def get_environment(self) -> Environment:
        """The environment the run was submitted with.

        Raises:
            RunEnvironmentException: it was not submitted.
            ServiceException: the service is away.
        """
        from ..environment import Environment

        definition = self._record.details.get("runDefinition") or self._refresh().details.get("runDefinition")
        if not definition:
            raise RunEnvironmentException(
                f"run {self._id} was not submitted, and took place in the environment of the process that started it"
                "; use Run.get_details()"
            )
        return Environment.from_document(definition["environment"])

    def get_secret(self, name: str) -> str | None:
        """A secret of the workspace, as `Keyvault.get_secret`; None when there is none of that name."""
        from ..keyvault import Keyvault

        return Keyvault(self._workspace).get_secret(name)

    def get_secrets(self, secrets: Iterable[str]) -> dict[str, str | None]:
        """Several secrets of the workspace by name; None for those there are not."""
        from ..keyvault import Keyvault

        return Keyvault(self._workspace).get_secrets(secrets)

    @property
    def portal_url(self) -> str:
        """Address of the service's pages; `get_portal_url` has that of the run's page.

        Raises:
            ServiceException: the service is away.
        """
        return self._client.address().url

    def get_portal_url(self) -> str:
        """Address of the run's page. It opens by a click on the machine of one's own service; where that cannot tell whose
        browser it is (not on Linux, or in some containers), the address is good once and for ten minutes.

        Raises:
            ServiceException: the service is away.
        """
        return self._client.page(f"/runs/{quoted(self._id)}?wsid={self._workspace._scope()}")


def is_log(path: str) -> bool:
    """Whether a file of a run is one of its logs."""
    return path.startswith(("logs/", "azureml-logs/", "user_logs/", "system_logs/"))
