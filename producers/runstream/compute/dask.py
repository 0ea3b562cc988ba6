"""The target `dask`: runs are tasks of an existing Dask scheduler (extra `dask`).

What is known of a run lies with the scheduler, so that a runner started anew finds it there:

- a published data set holds the task's future, for else the scheduler would forget a task whose client has left;
- the scheduler's metadata hold what the worker that carries it out says of it (see `runstream.compute.dask_worker`):
  all of this home's runs under one key, for one request.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import socket
import time
import warnings
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..exceptions import ComputeTargetException
from .backend import Report, State, TargetAway, Work
from .dask_worker import carry_out, request_cancel

MARKER = "dask.json"
"""File of a run's directory: it was handed over to a scheduler."""

_CONNECT_SECONDS = 5.0
_ASK_SECONDS = 0.25  # between two questions to the scheduler
_ASK_SECONDS_A_CLAIM = 1e-4  # they are sent whole
_ADDRESS = re.compile(r"([a-z]+://)?\S+:\d+")
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_SECURITY = frozenset({"tls_ca_file", "tls_client_cert", "tls_client_key"})

if find_spec("distributed") is None:
    raise ImportError("it needs the package distributed: pip install 'runstream[dask]'")


class DaskBackend:
    """A scheduler at work.

    Args:
        options: `address` of the scheduler, such as `tcp://host:8786`; `resources` a run takes of its worker, such as
            `{"GPU": 1}`; `tls_ca_file`, `tls_client_cert` and `tls_client_key` for an address that begins with `tls://`.

    Raises:
        ComputeTargetException: other options, or no such address.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        unknown = set(options) - {"address", "resources"} - _SECURITY
        if unknown:
            raise ComputeTargetException(
                f"a compute target of type 'dask' has no option {', '.join(sorted(unknown))}; there are address, resources, "
                f"{', '.join(sorted(_SECURITY))}"
            )
        if not _ADDRESS.fullmatch(str(options.get("address", ""))):
            raise ComputeTargetException(
                f"address {options.get('address')!r} of a compute target of type 'dask': expected that of its scheduler, "
                "such as tcp://host:8786"
            )
        self._address, self._resources = str(options["address"]), options.get("resources")
        self._tls = {key: options[key] for key in _SECURITY if options.get(key)}
        self._client: Any = None
        self._futures: dict[str, Any] = {}
        self._claims: dict[str, dict[str, Any]] = {}
        self._workers: dict[str, dict[str, Any]] = {}
        self._asked_at = -1e9
        self._asked_to_end: set[str] = set()
        self._home: str = ""

    @property
    def concurrency(self) -> int | None:
        """As many runs as the workers have threads: others wait in the home's own queue, which a scheduler cannot lose."""
        self._ask()
        return sum(int(worker["nthreads"]) for worker in self._workers.values())

    def start(self, work: Work) -> None:
        """Submit the task that runs a run; submitted twice, it runs once."""
        self._of(work)
        key = _key(work)
        with self._scheduler() as client, warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Sending large graph", UserWarning)  # it is the run's source
            seen_by_all = all(worker["host"] in _LOOPBACK for worker in self._workers.values())
            future = client.submit(
                carry_out,
                work.run_id,
                str(work.directory),
                socket.gethostname(),
                None if seen_by_all else work.bundle(),
                self._home,
                key=key,
                pure=False,
                resources=self._resources,
            )
            client.publish_dataset(future, name=key, override=True)
        self._futures[work.run_id] = future
        (work.directory / MARKER).touch()

    def report(self, work: Work) -> Report:
        """What its worker says of a run, or the scheduler if no worker has begun it."""
        self._of(work)
        self._ask()
        claim = self._claims.get(work.run_id)
        if claim is None and not (work.directory / MARKER).exists():
            return Report(State.NEW)
        future = self._future(work)
        if claim is not None:
            if claim.get("ended"):
                return self._ended(work, claim.get("problem", ""), claim.get("code", ""))
            if claim["worker"] in self._workers:
                return Report(State.RUNNING)
            return self._ended(work, f"{claim['name']} was lost while it executed the run", "WorkerLost")
        if future is None or future.status == "lost":
            return self._ended(
                work,
                f"the scheduler {self._address} does not know the run any more; it was most likely restarted",
            )
        if future.status == "cancelled":
            problem = "" if work.run_id in self._asked_to_end else "its task was cancelled at the scheduler"
            return self._ended(work, problem)
        if future.status == "error":
            return self._ended(work, f"no worker could begin the run: {future.exception()!r}")
        return Report(State.QUEUED)

    def cancel(self, work: Work) -> None:
        """Have the worker end the run, or take it out of the scheduler's queue."""
        if work.run_id in self._asked_to_end:
            return
        with self._scheduler() as client:
            claim = self._claims.get(work.run_id)
            if claim is None:
                future = self._future(work)
                if future is not None:
                    client.cancel([future])  # were it begun meanwhile: its wrapper asks the service first
            elif claim.get("directory") != str(
                work.directory
            ):  # in its own directory the wrapper sees the request
                client.run(request_cancel, claim["directory"], workers=[claim["worker"]], on_error="ignore")
        self._asked_to_end.add(work.run_id)

    def close(self) -> None:
        """Leave the scheduler; its tasks continue."""
        client, self._client = self._client, None
        if client is not None:
            with contextlib.suppress(OSError, TimeoutError):
                if not self._futures and client.status == "running" and self._claims:
                    # Metadata cannot be deleted one by one; nobody will ask for these runs again.
                    client.set_metadata(["runstream", self._home], {})
                client.close()
        self._futures.clear()

    # --- the scheduler ---

    @contextlib.contextmanager
    def _scheduler(self) -> Iterator[Any]:
        """The connection to the scheduler, made anew if need be.

        Raises:
            TargetAway: it does not answer.
        """
        from distributed import Client, Security
        from distributed.comm.core import CommClosedError

        try:
            if self._client is None or self._client.status != "running":
                self.close()
                _knock(self._address)
                self._client = Client(
                    self._address,
                    timeout=_CONNECT_SECONDS,
                    set_as_default=False,
                    name="runstream",
                    security=Security(**self._tls, require_encryption=True) if self._tls else None,
                )
            yield self._client
        except (OSError, TimeoutError, CommClosedError) as error:
            self.close()
            raise TargetAway(f"scheduler {self._address}: {type(error).__name__}: {error}") from error

    def _ask(self) -> None:
        """Fetch what is known of all runs and workers, at most so often."""
        if time.monotonic() - self._asked_at < max(_ASK_SECONDS, len(self._claims) * _ASK_SECONDS_A_CLAIM):
            return
        with self._scheduler() as client:
            if self._home:
                self._claims = client.get_metadata(["runstream", self._home], default={})
            self._workers = client.scheduler_info(n_workers=-1)["workers"]
        self._asked_at = time.monotonic()

    def _of(self, work: Work) -> None:
        """Note which home's runs these are: its claims have a place of their own at the scheduler."""
        if not self._home:
            place = f"{socket.gethostname()}:{Path(work.directory).parent}"
            self._home = hashlib.sha256(place.encode()).hexdigest()[:16]
            self._asked_at = -1e9

    def _future(self, work: Work) -> Any:
        if work.run_id not in self._futures:
            with self._scheduler() as client:
                self._futures[work.run_id] = client.get_dataset(_key(work), default=None)
        return self._futures[work.run_id]

    def _ended(self, work: Work, problem: str = "", code: str = "") -> Report:
        """Have the scheduler forget a run that has ended."""
        with self._scheduler() as client:
            # Its task may be on its way to another worker, which must not begin it again.
            client.set_metadata(["runstream", self._home, work.run_id], {"ended": True})
            client.unpublish_dataset(_key(work))
        self._futures.pop(work.run_id, None)
        self._asked_to_end.discard(work.run_id)
        return Report(State.ENDED, problem, code or "ComputeTargetError")


def _knock(address: str) -> None:
    """Raise OSError at once where nobody listens: `Client` would try until its time is over, while other targets wait."""
    from distributed.comm.addressing import parse_address, parse_host_port

    protocol, place = parse_address(address)
    if protocol in ("tcp", "tls"):
        socket.create_connection(parse_host_port(place), timeout=1.0).close()


def _key(work: Work) -> str:
    return f"runstream-{work.run_id}"
