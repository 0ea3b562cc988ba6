"""Uploads of many files in one call: a few at a time, and one that fails does not keep the others from being stored."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ..exceptions import AzureMLAggregatedException, AzureMLException
from .files import UploadResult, normalised
from .http import ServiceClient
from .outbox import store_file
from .upload_sources import opened

SENDERS = 8
"""Files on their way at a time."""


def upload_all(
    client: ServiceClient,
    run_id: str,
    pairs: Sequence[tuple[str, Any]],
    timeout: float | None = None,
) -> UploadResult:
    """Store files of a run.

    Args:
        client: the client of the run's service.
        run_id: the run.
        pairs: name among the run's files, and a path or stream.
        timeout: seconds after which no further file is begun.

    Raises:
        AzureMLAggregatedException: names that are taken by other bytes; all other files are stored.
        AzureMLException: not all were stored within `timeout`.
        Exception: what the first file raised that could not be stored for another reason.
    """
    names = [normalised(name) for name, _ in pairs]
    # Of one name that occurs twice the second one meets the first, whatever the threads do.
    senders = SENDERS if len(set(names)) == len(names) else 1
    deadline = None if timeout is None else time.monotonic() + timeout
    shares = [pairs[start::senders] for start in range(min(senders, len(pairs)))]
    done: list[list[dict[str, Any] | Exception]]
    if len(shares) == 1:
        done = [_share(client, run_id, shares[0], deadline)]
    else:
        with ThreadPoolExecutor(SENDERS, "runstream upload") as pool:
            done = list(pool.map(lambda share: _share(client, run_id, share, deadline, leave=True), shares))
    result, taken = UploadResult(), []
    for outcome in (upload for share in done for upload in share):
        if isinstance(outcome, AzureMLAggregatedException):
            taken.append(outcome.message)
        elif isinstance(outcome, Exception):
            raise outcome
        else:
            result.artifacts[outcome["path"]] = outcome
    if taken:
        raise AzureMLAggregatedException(sorted(taken))
    if len(result.artifacts) < len(set(names)):
        left = sorted(set(names) - result.artifacts.keys())
        raise AzureMLException(
            f"{len(left)} of {len(names)} files were not stored within {timeout:g} seconds: {', '.join(left[:5])}"
            "; wait longer with timeout_seconds=, or look at the service's log"
        )
    return result


def _share(
    client: ServiceClient,
    run_id: str,
    pairs: Sequence[tuple[str, Any]],
    deadline: float | None,
    *,
    leave: bool = False,
) -> list[dict[str, Any] | Exception]:
    done: list[dict[str, Any] | Exception] = []
    try:
        for name, source in pairs:
            if deadline is not None and time.monotonic() > deadline:
                break
            try:
                with opened(source) as stream:
                    done.append(store_file(client, run_id, name, stream))
            except Exception as error:
                done.append(error)
                if not isinstance(error, AzureMLAggregatedException):
                    break
    finally:
        if leave:
            client.close()  # the thread's own connection
    return done
