"""The chaos would notice: what cannot be in an answer is told apart from every prefix of what was logged."""

from __future__ import annotations

import socket
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .edits import OutsideTag
from .programs import PROGRAMS, Program, perform
from .progress import FINISHED, FINISHING, Notes, read_progress
from .proxy import Proxy


class _Recorder:
    """Stands where a run stands, and keeps what is logged and tagged."""

    def __init__(self) -> None:
        self.vectors: dict[str, list[Any]] = {}
        self.tags: dict[str, str] = {}

    def log(self, name: str, value: Any) -> None:
        self.vectors.setdefault(name, []).append(value)

    def log_metrics(self, values: dict[str, Any]) -> None:
        for name, value in values.items():
            self.log(name, value)

    def log_row(self, table: str, **columns: Any) -> None:
        self.log_metrics({f"{table}.{column}": value for column, value in columns.items()})

    def tag(self, key: str, value: str) -> None:
        self.tags[key] = value

    def remove_tags(self, keys: list[str]) -> None:
        for key in keys:
            self.tags.pop(key, None)


def _after(program: Program, calls: int) -> tuple[_Recorder, int]:
    """What is there after so many calls, and how many children were made."""
    run, counts, children = _Recorder(), Counter[str](), 0

    def child() -> None:
        nonlocal children
        children += 1

    for call in range(calls):
        round_, at = divmod(call, len(program.steps))
        step = program.steps[at]
        perform(run, step, [program.series[name].value(counts[name]) for name in step.series], round_, child)
        counts.update(step.series)
    return run, children


@pytest.mark.parametrize("name", list(PROGRAMS))
@pytest.mark.parametrize("rounds", [0, 0.4, 1, 6.7, 27])
def test_what_a_program_logs_is_what_is_foretold(name: str, rounds: float) -> None:
    program = PROGRAMS[name]
    calls = int(rounds * len(program.steps))
    run, children = _after(program, calls)
    assert {key: n for key, n in program.counts(calls).items() if n} == {
        key: len(values) for key, values in run.vectors.items()
    }
    assert (program.tags(calls), program.children(calls)) == (run.tags, children)
    assert program.points(calls) == sum(map(len, run.vectors.values()))
    assert not program.impossible(run.vectors, calls, gaps=False)
    assert not program.impossible(run.vectors, calls, gaps=True)


DAMAGE: dict[str, Callable[[list[Any]], list[Any]]] = {
    "hole": lambda values: [*values[:5], *values[6:]],
    "beginning": lambda values: values[1:],
    "twice": lambda values: [*values[:5], values[4], *values[5:]],
    "order": lambda values: [*values[:5], values[6], values[5], *values[7:]],
    "foreign": lambda values: [*values[:5], -1, *values[6:]],
    "end": lambda values: values[:-2],
    "more": lambda values: [*values, len(values)],
}


@pytest.mark.parametrize("what", list(DAMAGE))
def test_what_cannot_be_is_noticed(what: str) -> None:
    program = PROGRAMS["plain"]
    run, _ = _after(program, 100)
    damaged = {**run.vectors, "int": DAMAGE[what](run.vectors["int"])}
    assert program.impossible(damaged, 100, gaps=False)
    # Where values may be missing, the rest is held to its order all the same.
    assert bool(program.impossible(damaged, 100, gaps=True)) == (what not in ("hole", "beginning", "end"))


def test_a_whole_series_that_is_missing_is_noticed() -> None:
    run, _ = _after(PROGRAMS["wide"], 6)
    del run.vectors["w0100"]
    assert "of w0100" in PROGRAMS["wide"].impossible(run.vectors, 6, gaps=False)
    assert PROGRAMS["wide"].impossible({"strange": [1]}, 6, gaps=False) == "strange was never logged"


def test_a_text_that_is_cut_is_noticed() -> None:
    run, _ = _after(PROGRAMS["long"], 400)
    texts = run.vectors["text"]
    assert max(map(len, texts)) > 100_000
    whole = max(range(len(texts)), key=lambda k: len(texts[k]))
    texts[whole] = texts[whole][:-1]
    for gaps in (False, True):
        assert PROGRAMS["long"].impossible(run.vectors, 400, gaps=gaps)


def test_a_tag_nobody_answered_for_may_be_either() -> None:
    tag = OutsideTag(last="3", unsure={"2", "4"})
    assert [value for value in (None, "1", "2", "3", "4") if tag.allows(value)] == ["2", "3", "4"]


def test_notes_are_read_while_they_are_written(tmp_path: Path) -> None:
    notes = Notes(tmp_path / "run.progress", "plain")
    notes.note(0, 1 << 40)
    notes.note(1, (1 << 40) - 1)
    progress = read_progress(tmp_path / "run.progress")
    assert (progress.begun, progress.returned, progress.finished) == (1 << 40, (1 << 40) - 1, False)
    assert progress.program == "plain"
    endings = []
    for ending in (
        FINISHING,
        FINISHED,
    ):  # killed in between, where a full disk is waited for, it may have completed
        notes.note(2, ending)
        progress = read_progress(tmp_path / "run.progress")
        endings.append((progress.finishing, progress.finished))
    assert endings == [(True, False), (True, True)]


def test_a_deaf_proxy_asks_and_does_not_answer() -> None:
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                while piece := connection.recv(100):
                    asked.append(piece)
                    connection.sendall(b"done")

        threading.Thread(target=serve, daemon=True).start()
        proxy = Proxy(server.getsockname())
        with socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as client:
            client.sendall(b"one")
            assert client.recv(100) == b"done"
            proxy.deaf = True
            client.sendall(b"two")
            while len(asked) < 2:
                pass
            proxy.repair()
            assert client.recv(100) == b""  # a connection that has lost an answer is of no use
        proxy.stop()
    assert asked == [b"one", b"two"]
