"""Sources that write no more: which processes are gone, and what is told for those that could not tell it themselves."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

from .. import process_lock
from .. import segment as seg
from .collected import Collected, CollectedSource
from .source_events import SourceEvents
from .sources import Sources, ends_of

logger = logging.getLogger("runstream.collector")

Steps = list[tuple[str, Mapping[str, object]]]


def note_death(source: CollectedSource, spool: Path, alive: dict[str, bool]) -> None:
    """Mark a source whose process is gone.

    Args:
        alive: what was found of processes in this look, by token.
    """
    token = source.reader.header.token
    if token not in alive:
        alive[token] = process_lock.process_alive(spool, token)
    if not alive[token]:
        source.dead = True
        source.reader.look_again()


def finish(source: CollectedSource, sources: Sources, events: SourceEvents) -> Iterator[Collected]:
    """A source that writes no more: what is left of it, and what has to be told for it."""
    yield from events.rest(source)
    header, state = source.reader.header, source.reader.state
    steps: Steps = []
    if state & seg.ENDING_LOST:
        yield from events.of_others(source)
        steps = [_lost_ending(state, sources.ends(source.run_id))]
    elif source.dead and header.owner and not state & seg.ENDED:
        logger.warning(
            "runstream: run %s: process %d is gone without ending the run", header.run_id, header.pid
        )
        yield from events.of_others(source)
        steps = _died(source, sources)
    elif not state & seg.ENDED and (source.positions.metrics or source.positions.tags):
        # It is gone from the spool when the run ends, so the run's ending cannot tell of it.
        steps = [("source_done", ends_of([source]))]
    if steps:
        yield source.report(steps, sources.latest_step(source))
    source.finished = True


def _lost_ending(state: int, ends: Mapping[str, object]) -> tuple[str, Mapping[str, object]]:
    """The end of a run that its writer had no room for."""
    kind = "fail" if state & seg.FAILED else "cancel" if state & seg.CANCELED else "complete"
    if kind != "fail":
        return kind, ends
    message = "The run failed; what it said of the reason was lost: the spool was full."
    return kind, {**ends, "error": {"code": "Unknown", "message": message}}


def _died(source: CollectedSource, sources: Sources) -> Steps:
    """A process that started its run and did not end it."""
    header = source.reader.header
    last = datetime.fromtimestamp((source.last_point_us / 1e6) or header.created, UTC).isoformat(
        timespec="milliseconds"
    )
    host = socket.gethostname()
    message = (
        f"The process of this run (pid {header.pid} on {host}) ended without completing it: killed, crashed, or the "
        f"machine went down. Its last record is of {last}. Everything it logged is kept."
    )
    if _runs_elsewhere(source, sources):
        return [("warning", {"message": message}), ("source_done", ends_of([source]))]
    error = {
        "code": "ProcessDied",
        "message": message,
        "pid": header.pid,
        "host": host,
        "last_record": last,
        "exit": "unknown: only its parent can tell",
    }
    return [("fail", {"error": error, **sources.ends(source.run_id)})]


def _runs_elsewhere(source: CollectedSource, sources: Sources) -> bool:
    """Whether another process that has started the run lives: a sweep resumed, a rank of several."""
    return any(other.reader.header.owner and not other.ended for other in sources.others(source))
