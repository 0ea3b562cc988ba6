"""Reads of a run over HTTP that see this process's own writes: a watermark goes with the request, never a sleep."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from runstream_schemas.runs.params import value_of

from ..exceptions import ServiceException
from ..spool.live_runs import confirm, find_live, give_up, unconfirmed
from .addresses import portions, quoted
from .http import ServiceClient
from .metrics import Series, decode_series
from .records import RunRecord
from .waits import as_text, by_request

RUNS_A_REQUEST = 200

_log = logging.getLogger("runstream")
_STALE = "x-runstream-stale"
_IN_VAIN = "the service has not stored all of this process's writes within its time; what is read may lack the newest"
_LONGEST_WAIT = 30.0  # seconds the service waits in one request


def fetch_record(client: ServiceClient, run_id: str) -> RunRecord:
    """A run's record, after the service has stored what this process wrote to the run.

    Raises:
        ServiceException: no such run (status_code 404), or the service is away.
    """
    return RunRecord.from_json(fetch_of_run(client, run_id, ""))


def fetch_params(client: ServiceClient, run_id: str) -> dict[str, Any]:
    """A run's parameters by name, after the service has stored what this process wrote to the run.

    Raises:
        ServiceException: no such run (status_code 404), or the service is away.
    """
    records = fetch_of_run(client, run_id, "/params")["params"]
    return {name: value_of(record) for name, record in records.items()}


def fetch_of_run(client: ServiceClient, run_id: str, path: str) -> Any:
    """What is at a path below a run's address, after the service has stored what this process wrote to the run.

    Raises:
        ServiceException: no such run (status_code 404), or the service is away.
    """
    if "/" in run_id:  # in an address it would be two parts
        raise ServiceException(f"no run {run_id!r}: ids have no slash; look at the id", 404)
    live = find_live(client.settings, run_id)
    rest = _wait_for_most(client, live.unconfirmed() if live else {})
    params = [("wait", as_text(rest))] if rest else []
    answer = client.request("GET", f"/api/v1/runs/{quoted(run_id)}{path}", params)
    _note(client, answer.headers, rest)
    return answer.json()


def fetch_metrics(
    client: ServiceClient,
    run_ids: Sequence[str],
    *,
    name: str | None = None,
    recursive: bool = False,
    run_type: str | None = None,
    classes: Sequence[int] = (),
    waits: Mapping[str, int] | None = None,
) -> dict[str, list[Series]]:
    """Series of several runs, in the service's order of runs and the order first logged, in one request per 200 runs.

    Args:
        run_ids: the runs.
        name: only series of this name.
        recursive: also the runs' descendants.
        run_type: only descendants of this type.
        classes: which classes of series (`SeriesClass`); none: those of `Run.get_metrics`.
        waits: positions the service has to have stored first.
    """
    import msgpack

    by_run: dict[str, list[Series]] = {}
    for body in fetch_vectors(
        client,
        run_ids,
        name=name,
        recursive=recursive,
        run_type=run_type,
        classes=classes,
        waits=waits,
    ):
        for run in msgpack.unpackb(body, strict_map_key=False)["runs"]:
            by_run[run["run_id"]] = [decode_series(series) for series in run["series"]]
    return by_run


def fetch_vectors(
    client: ServiceClient,
    run_ids: Sequence[str],
    *,
    name: str | None = None,
    recursive: bool = False,
    run_type: str | None = None,
    classes: Sequence[int] = (),
    waits: Mapping[str, int] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Iterator[bytes]:
    """The service's answers, one per 200 runs, or fewer with long ids; as `fetch_metrics`.

    Args:
        headers: `Accept`: in which form; default: msgpack.
    """
    rest = _wait_for_most(client, waits or {})
    for some in portions(run_ids, RUNS_A_REQUEST):
        params = [("run", run_id) for run_id in some]
        if name is not None:
            params.append(("name", name))
        params += [("cls", str(int(cls))) for cls in classes]
        if recursive:
            params.append(("recursive", "1"))
        if run_type is not None:
            params.append(("type", run_type))
        if rest:
            params.append(("wait", as_text(rest)))
        answer = client.request("GET", "/api/v1/metrics", params, headers=headers)
        _note(client, answer.headers, rest)
        yield answer.body


def settle(client: ServiceClient, run_id: str | None = None, timeout: float = 30.0) -> bool:
    """Wait until the service has stored what this process wrote.

    Args:
        run_id: narrows to one run; None: to all.
        timeout: seconds to wait.

    Returns:
        Whether it has.

    Raises:
        ServiceException: the service is away.
    """
    if run_id is None:
        waits = unconfirmed(client.settings)
    else:
        live = find_live(client.settings, run_id)
        waits = live.unconfirmed() if live else {}
    deadline = time.monotonic() + timeout
    for part in by_request(waits):
        while part and not _wait(client, part, deadline - time.monotonic()):
            if time.monotonic() >= deadline:
                if timeout >= _LONGEST_WAIT:
                    _note_in_vain(client, part)
                return False
    return True


def _wait_for_most(client: ServiceClient, waits: Mapping[str, int]) -> Mapping[str, int]:
    """Wait for all but what fits into the request that is about to be made; that rest is returned."""
    *most, rest = by_request(waits)
    for part in most:
        if not _wait(client, part):
            _note_in_vain(client, part)
    return rest


def _wait(client: ServiceClient, waits: Mapping[str, int], seconds: float = _LONGEST_WAIT) -> bool:
    params = [("wait", as_text(waits)), ("timeout", str(min(max(seconds, 0.0), _LONGEST_WAIT)))]
    if not client.get_json("/api/v1/stored", params)["stored"]:
        return False
    confirm(client.settings, waits)
    return True


def _note(client: ServiceClient, headers: Mapping[str, str], waits: Mapping[str, int]) -> None:
    if headers.get(_STALE) == "1":
        _note_in_vain(client, waits)
    else:
        confirm(client.settings, waits)


def _note_in_vain(client: ServiceClient, waits: Mapping[str, int]) -> None:
    _log.warning(_IN_VAIN)
    give_up(client.settings, waits)
