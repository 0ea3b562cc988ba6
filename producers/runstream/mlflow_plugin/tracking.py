"""MLflow's tracking store at a service of runstream: what is logged goes to the spool, everything else is asked over HTTP.

A metric, parameter or tag is in this machine's spool when its call returns: no request is waited for, and a `kill -9` loses
nothing. What is asked waits until the service has stored that. Some goes over HTTP nevertheless: what belongs to a model or
a data set, tags that MLflow gives a meaning (`mlflow.*`), and points of a series that are not later than the one before.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from mlflow.entities import Metric, Param, Run, RunInfo, RunStatus, RunTag
from mlflow.exceptions import MlflowException
from mlflow.protos import service_pb2 as calls
from mlflow.store.tracking.rest_store import RestStore
from mlflow.tracking._model_registry import utils as registry_uris
from mlflow.utils.validation import _validate_metric, _validate_param, _validate_tag

from runstream_schemas.limits import INT_MAX, INT_MIN, TIME_MAX_US

from ..exceptions import AzureMLException
from ..spool.live_runs import LiveRun, open_live
from ..spool.param_values import convert_params
from .connection import Connection

_ENDINGS: Final = {RunStatus.FINISHED: "complete", RunStatus.FAILED: "fail", RunStatus.KILLED: "cancel"}
_OF_MLFLOW: Final = "mlflow."
_FIELDS: Final = (
    "run_id", "experiment_id", "user_id", "status", "start_time", "end_time", "lifecycle_stage", "artifact_uri", "run_name",
)  # fmt: skip
_LATEST_MS: Final = TIME_MAX_US // 1000
# Calls whose answer, or effect, depends on what was logged. Those about one run have its id in their request.
_LOOK: Final = frozenset(
    {
        calls.DeleteRun, calls.DeleteTag, calls.GetLoggedModel, calls.GetMetricHistory, calls.GetMetricHistoryBulkInterval,
        calls.GetRun, calls.LogBatch, calls.LogMetric, calls.LogParam, calls.RestoreRun, calls.SearchLoggedModels,
        calls.SearchRuns, calls.UpdateRun,
    }
)  # fmt: skip

_Point = tuple[
    int, int, float
]  # step, milliseconds, value: in the order in which points are later than others


@dataclass(slots=True)
class _Logged:
    """A run this process logs to.

    Attributes:
        latest: the latest point of each series.
        params: the parameters it has, as far as this process knows.
    """

    info: RunInfo
    live: LiveRun
    latest: dict[str, _Point] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)


class TrackingStore(RestStore):
    """See the module.

    Args:
        store_uri: `runstream://`.
    """

    def __init__(self, store_uri: str) -> None:
        self._connection = Connection(store_uri)
        self._logged: dict[str, _Logged] = {}
        self._through_spool: bool | None = None
        _look_for_spark_where_it_is()
        super().__init__(self._connection.host)

    # --- what goes to the spool ---

    def log_metric(self, run_id: str, metric: Metric) -> None:
        """Log a point."""
        logged = self._logged.get(run_id)
        key, value, step, when = metric._key, metric._value, metric._step, metric._timestamp
        if logged is not None and type(value) is float and metric._model_id is metric._dataset_name is None:
            point = (step, when, value)
            before = logged.latest.get(key)
            # A series' first point is looked at as a whole; NaN is after nothing, and before nothing.
            if (
                before is not None
                and type(step) is type(when) is int
                and before < point
                and when <= _LATEST_MS
            ):
                logged.live.writer.log_at(key, value, step, when / 1000)
                logged.latest[key] = point
                return
        self.log_batch(run_id, [metric], [], [])

    def log_param(self, run_id: str, param: Param) -> None:
        """Log a parameter."""
        self.log_batch(run_id, [], [param], [])

    def set_tag(self, run_id: str, tag: RunTag) -> None:
        """Set a tag."""
        self.log_batch(run_id, [], [], [tag])

    def log_batch(
        self, run_id: str, metrics: Sequence[Metric], params: Sequence[Param], tags: Sequence[RunTag]
    ) -> None:
        """Log several points, parameters and tags; nothing of them if one is refused."""
        logged = self._open(run_id)
        if logged is None:
            super().log_batch(run_id, metrics, params, tags)
            return
        single = len(metrics) + len(params) + len(tags) == 1
        new_params = self._new_params(logged, params, "" if single else "params")
        checked = [
            _validate_tag(tag.key, tag.value, "" if single else f"tags[{i}]") for i, tag in enumerate(tags)
        ]
        points, by_request = self._new_points(logged, metrics, single)
        if new_params:
            try:
                texts = convert_params("log_param", new_params)
                logged.live.writer.log_params(texts, overwrite=False, author="")
            except AzureMLException as error:
                raise MlflowException.invalid_parameter_value(error.message) from None
            logged.params |= new_params
        log_at = logged.live.writer.log_at
        for key, (step, when, value) in points:
            log_at(key, value, step, when / 1000)
            logged.latest[key] = max(logged.latest.get(key, (INT_MIN, 0, -math.inf)), (step, when, value))
        special = [tag for tag in checked if tag.key.startswith(_OF_MLFLOW)]
        for tag in checked:
            if not tag.key.startswith(_OF_MLFLOW):
                logged.live.writer.tag(tag.key, str(tag.value))
        if by_request or special:
            super().log_batch(run_id, by_request, [], special)

    def _new_points(
        self, logged: _Logged, metrics: Sequence[Metric], single: bool
    ) -> tuple[list[tuple[str, _Point]], list[Metric]]:
        """Points for the spool, and those that need the service: to tell whether they are there, or what they belong to."""
        points: list[tuple[str, _Point]] = []
        by_request = []
        ahead: dict[str, _Point] = {}
        for at, metric in enumerate(metrics):
            _validate_metric(
                metric.key, metric.value, metric.timestamp, metric.step, "" if single else f"metrics[{at}]"
            )
            point = (int(metric.step or 0), int(metric.timestamp), float(metric.value))
            before = ahead.get(metric.key) or logged.latest.get(metric.key)
            belongs = metric.model_id is not None or metric.dataset_name is not None
            if belongs or not INT_MIN <= point[0] <= INT_MAX or point[1] > _LATEST_MS:
                by_request.append(metric)
            elif before is None or before < point:
                points.append((metric.key, point))
                ahead[metric.key] = point
            elif before != point:
                by_request.append(metric)
        return points, by_request

    def _new_params(self, logged: _Logged, params: Sequence[Param], path: str) -> dict[str, str]:
        """Parameters the run does not have.

        Raises:
            MlflowException: it has one of them with another value.
        """
        new: dict[str, str] = {}
        for at, param in enumerate(params):
            checked = _validate_param(param.key, param.value, f"{path}[{at}]" if path else "")
            key, value = checked.key, str(checked.value)
            held = logged.params.get(key, new.get(key))
            if held is not None and held != value:
                raise MlflowException.invalid_parameter_value(
                    f"Changing param values is not allowed. Param with key='{key}' was already logged with "
                    f"value='{held}' for run ID='{logged.info.run_id}'. Attempted logging new value '{value}'."
                )
            if held is None:
                new[key] = value
        return new

    # --- runs ---

    def create_run(
        self, experiment_id: str, user_id: str, start_time: int, tags: Sequence[RunTag], run_name: str | None
    ) -> Run:
        """Create a run, which this process may log to."""
        run = super().create_run(experiment_id, user_id, start_time, tags, run_name)
        self._know(run)
        return run

    def update_run_info(
        self, run_id: str, run_status: int | None, end_time: int | None, run_name: str | None
    ) -> RunInfo:
        """Change a run's status or name. The end of a run that this process has logged to is noted behind what it logged."""
        logged = self._logged.get(run_id)
        kind = None if run_status is None else _ENDINGS.get(run_status)
        if logged is None or kind is None or run_name:
            return super().update_run_info(run_id, run_status, end_time, run_name)
        logged.live.writer.status(kind, {} if end_time is None else {"ended_us": int(end_time) * 1000})
        logged.live.writer.close()
        del self._logged[run_id]
        shown = {**dict(logged.info), "status": RunStatus.to_string(run_status), "end_time": end_time}
        return RunInfo(**{name: shown[name] for name in _FIELDS})

    def delete_run(self, run_id: str) -> None:
        """Delete a run."""
        self._logged.pop(run_id, None)
        super().delete_run(run_id)

    def _open(self, run_id: str) -> _Logged | None:
        """The run, if what is logged to it goes to the spool."""
        logged = self._logged.get(run_id)
        if logged is None and self._spool():
            run = self.get_run(run_id)
            if run.info.lifecycle_stage != "active":
                raise MlflowException.invalid_parameter_value(
                    f"The run {run_id} must be in the 'active' state. Current state is {run.info.lifecycle_stage}."
                )
            logged = self._know(run)
        return logged

    def _know(self, run: Run) -> _Logged | None:
        if not self._spool():
            return None
        live = open_live(self._connection.settings, run.info.run_id)
        latest = {
            metric.key: (metric.step, metric.timestamp, metric.value) for metric in run.data._metric_objs
        }
        logged = self._logged[run.info.run_id] = _Logged(run.info, live, latest, dict(run.data.params))
        return logged

    def _spool(self) -> bool:
        if self._through_spool is None:
            self._through_spool = self._connection.reads_spool()
        return self._through_spool

    # --- what is asked ---

    def _call_endpoint(self, api: Any, json_body: str | None = None, *args: Any, **more: Any) -> Any:
        if api in _LOOK:
            self._connection.catch_up(_run_of(json_body))
        return super()._call_endpoint(api, json_body, *args, **more)


def _run_of(body: str | None) -> str | None:
    """The one run a request is about."""
    asked = json.loads(body) if body else {}
    run_id = asked.get("run_id") if isinstance(asked, dict) else None
    return run_id if isinstance(run_id, str) and run_id else None


def _look_for_spark_where_it_is() -> None:
    """MLflow asks for a session of Spark whenever a client is made, twice a logged metric. Where pyspark is not installed,
    its import is tried each time: hundreds of microseconds. Without a module that was imported there is no session."""
    asks = getattr(registry_uris, "_get_registry_uri_from_spark_session", None)
    if asks is None or getattr(asks, "looks_first", False):
        return

    def look_first() -> Any:
        return asks() if "pyspark" in sys.modules else None

    look_first.looks_first = True  # type: ignore[attr-defined]
    registry_uris._get_registry_uri_from_spark_session = look_first
