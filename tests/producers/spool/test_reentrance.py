"""A signal handler that logs, at any instruction of a call that records: nothing is lost, doubled or damaged."""

from __future__ import annotations

import errno
import os
import shutil
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest
from tests.seeds import new_random

from runstream.spool import process_lock, segment
from runstream.spool.collecting.collector import Collector
from runstream.spool.writing.writer import RunWriter

from ..reading import drain, logged, settings_for, steps_of_life, tags_of

SPOOL = os.sep + "spool" + os.sep


def _fill(writer: RunWriter) -> None:
    """Until the segment has no slot left."""
    from operator import length_hint

    while length_hint(writer._slots) > 0:
        writer.log("filling", 0)


CALLS: dict[str, tuple[Callable[[RunWriter], Any], Callable[[RunWriter], Any]]] = {
    "the first point": (lambda w: None, lambda w: w.log("outer", 1.0)),
    "a point of a new series": (lambda w: w.log("other", 0), lambda w: w.log("outer", 1.0)),
    "a point": (lambda w: w.log("outer", 0.0), lambda w: w.log("outer", 1.0)),
    "a point in the next segment": (lambda w: (w.log("outer", 0.0), _fill(w)), lambda w: w.log("outer", 1.0)),
    "several": (lambda w: None, lambda w: w.log_metrics({"outer": 1.0, "more": 2})),
    "a list": (lambda w: None, lambda w: w.log_list("outer", [1.0])),
    "an array in the next segment": (
        lambda w: (w.log("outer", 0.0), _fill(w)),
        lambda w: w.log_array("outer", np.ones(1)),
    ),
    "a text": (lambda w: None, lambda w: w.log("outer", "text")),
    "a boolean": (lambda w: None, lambda w: w.log("outer", True)),
    "a row": (lambda w: None, lambda w: w.log_row("outer", {"a": 1})),
    "a tag": (lambda w: None, lambda w: w.tag("outer", "v")),
    "a status": (lambda w: None, lambda w: w.status("create", {})),
    "the end": (lambda w: w.status("create"), lambda w: (w.status("complete"), w.close())),
}
HANDLERS: dict[str, Callable[[RunWriter], Any]] = {
    "a point": lambda w: w.log("inner", 7),
    "a row": lambda w: w.log_row("inner", {"a": 7}),
    "a tag": lambda w: w.tag("inner", "7"),
    "a status": lambda w: w.status("warning", {"message": "inner"}),
}


def _interrupted(call: Callable[[], Any], at: int, handler: Callable[[], Any]) -> bool:
    """Do `call`, and `handler` before its instruction number `at` in the spool's code; False when it has fewer."""
    count, done = 0, False

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal count, done
        if SPOOL not in frame.f_code.co_filename:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode" and not done:
            count += 1
            if count > at:
                done = True
                sys.settrace(None)
                handler()
        return trace

    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(None)
    return done


def _read(directory: Path) -> dict[str, Any]:
    events = drain(Collector(settings_for(directory)))
    recorded: dict[str, Any] = {key[1]: values for key, values in logged(events).items()}
    recorded["tags"] = sorted(tags_of(events), key=str)
    recorded["life"] = sorted(kind for _, kind, _ in steps_of_life(events))
    return recorded


STRIDE = 61
"""Of the instructions of a call every so many are tried, from a new first one in each run: a call has a thousand."""


@pytest.mark.parametrize("handler", HANDLERS)
@pytest.mark.parametrize("call", CALLS)
def test_at_any_instruction(tmp_path: Path, call: str, handler: str) -> None:
    prepare, outer = CALLS[call]
    inner = HANDLERS[handler]

    def record(at: int | None) -> tuple[bool, dict[str, Any]]:
        directory = tmp_path / "spool"
        writer = RunWriter(settings_for(directory), "run", owner=True)
        prepare(writer)
        interrupted = at is not None and _interrupted(lambda: outer(writer), at, lambda: inner(writer))
        if at is None:
            outer(writer)
            inner(writer)
        recorded = {**_read(directory), "dropped": writer.dropped}
        process_lock.forget_tokens()
        shutil.rmtree(directory)
        return interrupted, recorded

    expected = record(None)[1]
    at = new_random(zlib.crc32(f"{call}, {handler}".encode())).randrange(STRIDE)
    while True:
        interrupted, recorded = record(at)
        if not interrupted:
            break
        assert recorded == expected, f"before instruction {at}"
        at += STRIDE


def test_a_handler_that_logs_while_a_segment_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = RunWriter(settings_for(tmp_path / "spool"), "run", owner=True)
    writer.log("outer", 0)
    _fill(writer)
    make = segment.create_segment

    def interrupted(*words: Any) -> Any:
        monkeypatch.setattr(segment, "create_segment", make)
        writer.log("outer", 2)
        writer.tag("inner", "v")
        return make(*words)

    monkeypatch.setattr(segment, "create_segment", interrupted)
    writer.log("outer", 1)
    recorded = _read(tmp_path / "spool")
    assert sorted(recorded["outer"]) == [0, 1, 2]  # which of the two comes first is nobody's business
    assert recorded["tags"] == [("set", "inner", "v")]
    assert writer.dropped == 0


def test_a_handler_that_logs_while_the_process_takes_its_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = RunWriter(settings_for(tmp_path / "spool"), "run", owner=True)
    take = process_lock.process_token

    def interrupted(spool: str) -> str:
        monkeypatch.setattr(process_lock, "process_token", take)
        writer.log("inner", 7)
        return take(spool)

    monkeypatch.setattr(process_lock, "process_token", interrupted)
    writer.log("outer", 1)
    recorded = _read(tmp_path / "spool")
    assert (recorded["outer"], recorded["inner"]) == ([1], [7])


def test_what_a_handler_gives_wrongly_is_no_error_of_the_call_it_came_into(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    writer = RunWriter(settings_for(tmp_path / "spool"), "run", owner=True)
    make = segment.create_segment

    def interrupted(*words: Any) -> Any:
        monkeypatch.setattr(segment, "create_segment", make)
        writer.log("", 2)
        return make(*words)

    monkeypatch.setattr(segment, "create_segment", interrupted)
    writer.log("outer", 1)
    assert _read(tmp_path / "spool")["outer"] == [1]
    assert "signal handler" in caplog.text


def test_a_handler_that_comes_into_what_another_one_left_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The text that the first handler logs needs a segment of its own; the second handler comes while that one is made."""
    writer = RunWriter(settings_for(tmp_path / "spool"), "run", owner=True)
    make = segment.create_segment
    handlers = [lambda: writer.log("text", "x" * 60_000), lambda: writer.log("second", 2)]

    def interrupted(*words: Any) -> Any:
        if handlers:
            handlers.pop(0)()
        return make(*words)

    monkeypatch.setattr(segment, "create_segment", interrupted)
    writer.log("outer", 1)
    assert not handlers
    recorded = _read(tmp_path / "spool")
    assert (recorded["outer"], recorded["second"], recorded["text"]) == ([1], [2], ["x" * 60_000])
    assert writer.dropped == 0


def test_a_handler_that_comes_while_a_reader_asks_how_far_the_run_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = segment.create_segment

    def no_room(*_: Any) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    def interrupted(*words: Any) -> Any:
        monkeypatch.setattr(segment, "create_segment", make)
        writer.log("inner", 7)
        return make(*words)

    writer = RunWriter(settings_for(tmp_path / "spool"), "run", owner=True)
    monkeypatch.setattr(segment, "create_segment", no_room)
    writer.tag("held", "back")
    writer._retry_at = 0.0
    monkeypatch.setattr(segment, "create_segment", interrupted)
    assert writer.positions()
    recorded = _read(tmp_path / "spool")
    assert (recorded["inner"], recorded["tags"]) == ([7], [("set", "held", "back")])
    assert writer.dropped == 0
