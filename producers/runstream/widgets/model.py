"""The anywidget: what is synchronised with the notebook's page, and the page's questions."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Mapping
from typing import Any

import anywidget
import traitlets

from ..client.http import ServiceClient
from ..exceptions import AzureMLException, ServiceException
from .feed import Feed
from .frontend import SCRIPT, STYLES, text_of


class RunWidget(anywidget.AnyWidget):
    """One run on a notebook's page. Traits hold what is shown, so that it is there again after a reload of the page, and
    in a saved notebook without a kernel."""

    run = traitlets.Dict().tag(sync=True)
    series: traitlets.List[Any] = traitlets.List().tag(sync=True)
    total = traitlets.Int().tag(sync=True)
    charts = traitlets.Bytes().tag(sync=True)
    children = traitlets.Dict().tag(sync=True)
    logs = traitlets.Dict().tag(sync=True)
    notice = traitlets.Unicode().tag(sync=True)
    page = traitlets.Unicode().tag(sync=True)
    wanted_log = traitlets.Unicode().tag(sync=True)
    settings = traitlets.Dict().tag(sync=True)

    def __init__(self, client: ServiceClient, run: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
        self._esm, self._css = text_of(SCRIPT), text_of(STYLES)
        super().__init__(run=dict(run), settings=dict(settings))
        self.feed = Feed(client, run["run_id"], self.push)
        self._questions: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self.on_msg(self._asked)
        self.observe(lambda change: self.feed.show_log(change["new"]), "wanted_log")
        threading.Thread(target=self._answer, name="runstream-widget-answers", daemon=True).start()
        self.feed.start()

    def push(self, name: str, value: Any) -> None:
        """Take over what a feed found."""
        setattr(self, name, value)

    def close(self) -> None:
        """Take the widget from the page, and follow the run no more."""
        self.feed.stop()
        self._questions.put(None)
        super().close()

    def _asked(self, _widget: Any, content: Any, _buffers: Any) -> None:
        # Answered in a thread: the kernel runs its cells meanwhile.
        if isinstance(content, dict) and "id" in content:
            self._questions.put(content)

    def _answer(self) -> None:
        while (question := self._questions.get()) is not None:
            answer, body = reply(self.feed, question)
            self.send({"id": question["id"], **answer}, [body])


def reply(feed: Feed, question: Mapping[str, Any]) -> tuple[dict[str, Any], bytes]:
    """The answer to a question of the page, and its body.

    Args:
        feed: the feed of the widget's run.
        question: `{"what": "get", "path", "params": [[name, value] ...], "range"}`, `{"what": "page"}` or
            `{"what": "cancel"}`.
    """
    try:
        what = question.get("what")
        if what == "page":
            return {"status": 200}, feed.page_address().encode()
        if what == "cancel":
            feed.cancel()
            return {"status": 200}, b""
        params = [(str(name), str(value)) for name, value in question.get("params", [])]
        headers = {"Range": str(question["range"])} if question.get("range") else {}
        answer = feed.fetch(str(question.get("path")), params, headers)
    except ServiceException as error:
        return {"status": error.status_code}, json.dumps({"detail": error.message}).encode()
    except AzureMLException as error:
        return {"status": 401}, json.dumps({"detail": error.message}).encode()
    return {"status": answer.status, "range": answer.headers.get("content-range", "")}, answer.body
