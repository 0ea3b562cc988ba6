"""Follows a run in threads of its own and hands out what changed; also fetches what the page asks for.

All data of the widget goes through the kernel: in Colab, on a remote kernel or in a container the browser cannot reach the
server, and where it can it has no leave to. What is shown at first (state, newest points of the charts, log, child runs) is
pushed by these threads also while a cell is running. What is asked for (zoom, another log, images) is answered by the kernel
between cells, or at once where comms have subshells (ipykernel 7 with JupyterLab 4.4).
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from runstream_schemas.backoff import Backoff
from runstream_schemas.series import Kind, SeriesClass

from ..client.addresses import quoted
from ..client.http import Params, Response, ServiceClient
from ..client.records import TERMINAL
from ..core._run.facts import is_log
from ..exceptions import AzureMLException, ServiceException
from .logs import choose_log, log_note

OVERRIDE = "AZUREML_OVERRIDE_ALL_WIDGET_REFRESH_TIME"
"""Environment variable: seconds between two refreshes, instead of four a second."""

PUSHED_CHARTS = 16
"""Charts whose points are pushed; the page asks for others when they are scrolled to."""
MOST_SERIES = 500
"""Series the widget shows; the page shows all."""
CHILDREN = 200
LOG_TAIL = 64 << 10
WIDTH = 512
"""Buckets of a pushed chart: at least as many as pixels of a chart in a notebook's column."""

_SHORTEST = 0.25
_LOOK = 2.0  # logs and children grow without a notice of their own
_BYTES_A_SECOND = 1e6
_LONGEST_PAUSE = 30.0

_log = logging.getLogger("runstream")

Push = Callable[[str, Any], None]


class Feed:
    """One run's changes.

    Args:
        client: the client of the run's service.
        run_id: the run.
        push: called with a name (`run`, `series`, `total`, `charts`, `children`, `logs`, `notice`, `page`) and what it is
            now, from one thread at a time.
    """

    def __init__(self, client: ServiceClient, run_id: str, push: Push) -> None:
        self._client, self._run_id, self._push = client, run_id, push
        self._wanted_log = ""
        self._changed = threading.Event()
        self._stopped = self._settled = False
        self._looking = threading.Lock()
        self._looked = 0.0

    # --- following ---

    def start(self) -> None:
        """Begin to follow; returns at once."""
        for target in (self._follow, self._listen):
            threading.Thread(target=target, name=f"runstream-widget-{target.__name__}", daemon=True).start()

    def stop(self) -> None:
        """Follow no more."""
        self._stopped = True
        self._changed.set()

    def show_log(self, name: str) -> None:
        """Show this log from now on; '' for the one of the latest phase."""
        self._wanted_log = name
        self._looked = 0.0
        self._changed.set()

    def _follow(self) -> None:
        pauses = Backoff(_SHORTEST, _LONGEST_PAUSE)
        while not self._stopped:
            self._changed.clear()
            started = time.thread_time()
            try:
                size, over = self.refresh()
            except (AzureMLException, ServiceException) as error:
                away = not (isinstance(error, ServiceException) and error.status_code == 404)
                self._push(
                    "notice",
                    f"Live paused: {error.message}" if away else "Waiting for the run's first record",
                )
                self._changed.wait(next(pauses))
                continue
            pauses.reset()
            if over:
                # The thread stays: another log may be asked for, and what it has just sent is lost when it ends (a kernel's
                # output socket is woken by a socket of the sending thread).
                self._settled = True
                self._changed.wait()
                continue
            # Neither the network nor the training beside us is to be kept busy with drawing.
            rest = max(_SHORTEST, 4 * (time.thread_time() - started), size / _BYTES_A_SECOND)
            time.sleep(refresh_seconds() or rest)
            self._changed.wait(_LOOK)

    def _listen(self) -> None:
        pauses = Backoff(_SHORTEST, _LONGEST_PAUSE)
        while not self._over():
            try:
                for change in self._client.events([("run", self._run_id)]):
                    pauses.reset()
                    if change:
                        self._changed.set()
                    if self._over():
                        return
            except Exception as error:
                # Without the stream the run is still looked at every `_LOOK` seconds.
                _log.debug("widget of run %s: the stream of changes broke (%s)", self._run_id, error)
            time.sleep(next(pauses))

    def _over(self) -> bool:
        return self._stopped or self._settled

    def refresh(self) -> tuple[int, bool]:
        """Fetch and push everything that is shown.

        Returns:
            Bytes of points fetched, and whether nothing will change any more.

        Raises:
            ServiceException: no such run yet (status_code 404), or the service is away.
        """
        with self._looking:
            path = f"/api/v1/runs/{quoted(self._run_id)}"
            run = self._client.get_json(path, fresh=False)
            series = self._client.get_json(f"{path}/series", fresh=False)["series"]
            self._push("page", f"{self._client.address().url}/runs/{quoted(self._run_id)}")
            self._push("run", run)
            self._push("total", len({metric["name"] for metric in series}))
            self._push("series", series[:MOST_SERIES])
            charts = self._charts(series)
            self._push("charts", charts)
            over = run["status"] in TERMINAL and run["settled"]
            if over or time.monotonic() - self._looked > _LOOK:
                self._looked = time.monotonic()
                self._push("logs", self._logs(run))
                children = self._children(run)
                self._push("children", children)
                over = over and all(child["status"] in TERMINAL for child in children["runs"])
            else:
                over = False
            self._push("notice", "")
            return len(charts), over

    def _charts(self, series: list[dict[str, Any]]) -> bytes:
        names = charted(series)[:PUSHED_CHARTS]
        if not names:
            return b""
        params = [("run", self._run_id), ("width", str(WIDTH)), *(("name", name) for name in names)]
        return self._client.request("GET", "/api/v1/charts", params, fresh=False).body

    def _logs(self, run: Mapping[str, Any]) -> dict[str, Any]:
        path = f"/api/v1/runs/{quoted(self._run_id)}/files"
        sizes = {
            file["path"]: file["size"]
            for file in self._client.get_json(path, fresh=False)["files"]
            if is_log(file["path"])
        }
        chosen = self._wanted_log if self._wanted_log in sizes else choose_log(sizes)
        text, cut = "", False
        if chosen and sizes[chosen]:
            answer = self._client.request(
                "GET", f"{path}/{quoted(chosen)}", headers={"Range": f"bytes=-{LOG_TAIL}"}, fresh=False
            )
            cut = sizes[chosen] > len(answer.body)
            text = answer.body.decode(errors="replace")
        return {
            "names": sorted(sizes),
            "chosen": chosen or "",
            "text": text,
            "cut": cut,
            "note": log_note(run["status"], run["error"], not text),
        }

    def _children(self, run: Mapping[str, Any]) -> dict[str, Any]:
        params = [("parent", self._run_id), ("limit", str(CHILDREN)), ("archived", "all"), ("summaries", "1")]
        page = self._client.get_json("/api/v1/runs", params, fresh=False)
        return {"runs": page["runs"], "more": page["next"] is not None}

    # --- answering ---

    def fetch(self, path: str, params: Params, headers: Mapping[str, str]) -> Response:
        """What the page asks for: a GET of the HTTP API.

        Raises:
            ServiceException: the service says no, or is away.
        """
        if not path.startswith("/api/v1/") or ".." in path.split("/"):
            raise ServiceException(
                f"{path!r:.200} is no address of the HTTP API; use one of the service's", 400
            )
        return self._client.request("GET", path, params, headers=headers, fresh=False)

    def cancel(self) -> None:
        """Ask the run and its active descendants to stop.

        Raises:
            ServiceException: the service says no, or is away.
        """
        self._client.request("POST", f"/api/v1/runs/{quoted(self._run_id)}/cancel")
        self._changed.set()

    def page_address(self) -> str:
        """Address of the run's page that lets this browser in, good once."""
        return self._client.opened_page(f"/runs/{quoted(self._run_id)}")


def charted(series: list[dict[str, Any]]) -> list[str]:
    """Names of the series that are drawn as a line: numbers, more than one."""
    return [
        metric["name"]
        for metric in series
        if metric["cls"] == SeriesClass.METRIC
        and metric["kind"] not in (Kind.TEXT, Kind.NULL)
        and metric["count"] > 1
    ]


def refresh_seconds() -> float | None:
    """What `AZUREML_OVERRIDE_ALL_WIDGET_REFRESH_TIME` says; None if it says nothing, or no number above 0."""
    try:
        seconds = float(os.environ.get(OVERRIDE, ""))
    except ValueError:
        return None
    return seconds if 0 < seconds < float("inf") else None
