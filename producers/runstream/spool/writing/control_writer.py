"""What is told of a run beside its points: tags, properties, fields, parameters and the steps of its life, a frame each."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import partial
from typing import Any

import msgpack

from runstream_schemas.errors import brief
from runstream_schemas.runs.alerts import ALERT_STEP, AlertLevel, text_of, title_of
from runstream_schemas.runs.definitions import DEFINE_STEP, MOST_DEFINED, MetricDefinition
from runstream_schemas.settings import Settings

from ...exceptions import LimitExceeded
from .. import segment as seg
from ..fitting import pack_step
from ..param_values import WrittenParams
from ..values import check_name, check_text
from .source_writer import SourceWriter

logger = logging.getLogger("runstream")

_MOST_DESCRIBED = 1000  # each costs a row of the run's life
_MOST_ALERTS = 1000  # of one process: the same


class ControlWriter(SourceWriter):
    """The part of a `RunWriter` whose records go to the topics of tags and statuses."""

    def __init__(self, settings: Settings, run_id: str, *, owner: bool) -> None:
        self._described: set[str] = set()
        self._alerts = 0
        self._defined: dict[str, MetricDefinition] = {}
        self._params = WrittenParams(run_id)
        super().__init__(settings, run_id, owner=owner)

    def tag(self, key: str, value: str | None = None) -> None:
        """Set a tag."""
        self._tag("set", check_name("tag", key), None if value is None else check_text(f"tag {key!r}", value))

    def remove_tag(self, key: str) -> None:
        """Remove a tag; an unknown one is ignored."""
        try:
            self._tag("remove", check_name("tag", key), None)
        except LimitExceeded:  # no run has it
            return

    def add_property(self, key: str, value: str | None) -> None:
        """Add a property. The first value of a key stays."""
        self._tag(
            "property",
            check_name("property", key),
            value if value is None else check_text(f"property {key!r}", value),
        )

    def set_field(self, name: str, value: str | None) -> None:
        """Set `display_name` or `description`."""
        self._tag("field", name, value if value is None else check_text(name, value))

    def log_params(self, texts: Mapping[str, str], *, overwrite: bool, author: str) -> None:
        """Write parameters, of their JSON texts (`param_values.convert_params`).

        Args:
            overwrite: also those that this process has written already with another value.
            author: who does.

        Raises:
            UserErrorException: one of those, and they are not to be overwritten. Nothing is written then.
            LimitExceeded: more than a run may have. Nothing is written then.
        """
        self._in_turn(partial(self._param_frames, dict(texts), overwrite, author))

    def _param_frames(self, texts: Mapping[str, str], overwrite: bool, author: str) -> None:
        for name, text in self._params.take(texts, overwrite=overwrite).items():
            body = ["overwrite", name, text, author] if overwrite else ["param", name, text]
            self._control(seg.TAG, msgpack.packb(body))

    def _tag(self, op: str, key: str, value: str | None) -> None:
        self._in_turn(partial(self._control, seg.TAG, msgpack.packb([op, key, value])))

    def status(self, kind: str, data: Mapping[str, Any] | None = None, when: float | None = None) -> None:
        """Note a step in the run's life: create, start, complete, fail, cancel, error ... Never refused: what is too large
        for a record is cut, and says so; see `fitting.pack_step`.

        Args:
            when: seconds since the epoch; default: now.
        """
        self._in_turn(partial(self._status_frame, kind, pack_step(kind, data or {}), when))

    def _status_frame(self, kind: str, body: bytes, when: float | None) -> None:
        ends = kind in ("complete", "fail", "cancel")
        if ends:
            self._state |= seg.ENDED | {"fail": seg.FAILED, "cancel": seg.CANCELED}.get(kind, 0)
        self._control(seg.STATUS, body, when)
        if ends and self._held_back:
            self._say_ending_is_lost(True)

    def describe(self, name: str, text: Any) -> None:
        """Note what a metric is. The first text a name comes with stays; what is no text is passed over, with a warning."""
        # No truth is asked of what is no text: that may raise, and the point is recorded already.
        if text is None or text is False or (isinstance(text, str) and not text):
            return
        if name in self._described or len(self._described) >= _MOST_DESCRIBED:
            return
        self._described.add(name)
        if isinstance(text, str):
            self.status("describe", {"name": name, "text": text[:5000]})
        else:
            logger.warning(
                "the description of %r is %s, no text; a step is given as step=", name, brief(text)
            )

    def define_metric(self, name: str, definition: MetricDefinition) -> None:
        """Note what was said of a metric as a step of the run's life. What says nothing new costs nothing.

        Raises:
            LimitExceeded: a name that cannot be held, or more of them than a run may have.
        """
        for word in (name, definition.get("step_metric", name)):
            check_name("metric", word)
        before = self._defined.get(name)
        after: MetricDefinition = {**(before or {}), **definition}
        if after == before:
            return
        if before is None and len(self._defined) >= MOST_DEFINED:
            raise LimitExceeded(
                f"define_metric({name!r:.80}): run {self.run_id} has definitions of {MOST_DEFINED} names, which is the "
                "most; define those that begin alike by one name with * at its end"
            )
        self._defined[name] = after
        self.status(DEFINE_STEP, {"name": name, **definition})

    def alert(self, title: str, text: str, level: AlertLevel) -> None:
        """Note an alert as a step of the run's life; title and text are bounded (`runs.alerts`). Of those that one process
        gives beyond `_MOST_ALERTS`, the first is said in the log and none is kept."""
        self._alerts += 1
        if self._alerts <= _MOST_ALERTS:
            self.status(ALERT_STEP, {"title": title_of(title), "text": text_of(text), "level": level})
        elif self._alerts == _MOST_ALERTS + 1:
            logger.warning(
                "%d alerts of this process are kept; further ones of run %s are not: give one for what somebody has to "
                "look at, and log() the rest",
                _MOST_ALERTS,
                self.run_id,
            )
