"""Media, histograms and archived runs of another tool: each once, whatever ended an import between two of them."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from runstream import media
from runstream.core import Experiment, Run, Workspace
from runstream.importers.foreign_runs import ForeignRun, Shown
from runstream.importers.runs import RunReport
from runstream.importers.taking_over import TakingOver
from runstream.spool.binning import histogram_text
from runstream.spool.writing.writer import RunWriter
from runstream_schemas.series import SeriesClass

FIRST = 1_772_366_400.0
STEPS = 3
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010800000000"
    "3a7e9b550000000a49444154789c6360000000020001489dafa40000000049454e44ae426082"
)


class Gallery:
    """A store of one run, which shows two pictures and a histogram at each step."""

    tool, place = "Gallery", "here"

    def __init__(self, read: Callable[[int, int], Any] | None = None, archived: bool = False) -> None:
        self.run_id, self.archived = uuid.uuid4().hex, archived
        self.read = read or (lambda step, place: media.Image(PNG, f"{step}.{place}"))
        self.steps = STEPS
        self.looked_at = 0

    def total(self) -> int:
        return 0

    def close(self) -> None:
        pass

    def runs(self) -> Iterator[ForeignRun]:
        yield ForeignRun(
            self.run_id,
            "gallery",
            "shows",
            FIRST,
            FIRST + 60,
            "complete",
            shown=self.shown,
            archived=self.archived,
        )

    def shown(self) -> Iterator[Shown]:
        for step in range(self.steps):
            yield Shown(
                SeriesClass.MEDIA,
                "pictures",
                step,
                self.time(step),
                2,
                lambda place, step=step: self.looked(step, place),
            )
        for step in range(self.steps):
            text = histogram_text("weights", ([step, 1], [0.0, 1.0, 2.0]))
            yield Shown(
                SeriesClass.HISTOGRAM, "weights", step, self.time(step), 1, lambda place, text=text: text
            )

    def looked(self, step: int, place: int) -> Any:
        self.looked_at += 1
        return self.read(step, place)

    @staticmethod
    def time(step: int) -> int:
        return int((FIRST + step) * 1e6)


def take(workspace: Workspace, store: Gallery) -> RunReport:
    importing = TakingOver(workspace, store)
    with importing.alone():
        (report,) = importing.once()
        importing.settled()
    return report


def shown_in(workspace: Workspace, run_id: str) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    run = Run(Experiment(workspace, "gallery"), run_id)
    pictures, weights = run.get_media("pictures"), run.get_histograms("weights")
    return (
        [(each.step, each.time, each.caption) for each in pictures],
        [(each.step, each.time, each.counts) for each in weights],
    )


EVERYTHING = (
    [(step, Gallery.time(step), f"{step}.{place}") for step in range(STEPS) for place in (0, 1)],
    [(step, Gallery.time(step), [step, 1]) for step in range(STEPS)],
)


def test_media_and_histograms_come_with_their_steps_and_times_and_once(workspace: Workspace) -> None:
    store = Gallery()
    report = take(workspace, store)
    assert (report.outcome, report.points, report.left_out) == ("new", {"media": 6, "histograms": 3}, {})
    assert shown_in(workspace, report.run_id) == EVERYTHING
    run = Run(Experiment(workspace, "gallery"), report.run_id)
    assert run.get_media("pictures")[0].read() == PNG  # type: ignore[union-attr]
    looked_at = store.looked_at
    assert take(workspace, store).outcome == "unchanged"
    assert store.looked_at == looked_at, "what is here is not read again"
    store.steps += 1
    assert take(workspace, store).points == {"media": 2, "histograms": 1}


@pytest.mark.parametrize("after", range(1, 6))
def test_what_was_killed_between_two_steps_is_taken_on(
    after: int, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, calls = Gallery(), 0
    real = RunWriter.typed

    class Killed(BaseException):
        pass

    def typed(writer: RunWriter, *args: Any, **named: Any) -> None:
        nonlocal calls
        calls += 1
        if calls > after:
            raise Killed
        real(writer, *args, **named)

    with monkeypatch.context() as patched, suppress(Killed):
        patched.setattr(RunWriter, "typed", typed)
        take(workspace, store)
    assert calls == after + 1
    assert take(workspace, store).outcome == "continued"
    assert shown_in(workspace, store.run_id) == EVERYTHING


def test_one_that_is_no_picture_is_left_out_and_does_not_displace_others(workspace: Workspace) -> None:
    store = Gallery(
        lambda step, place: media.Image(b"no" if (step, place) == (1, 0) else PNG, f"{step}.{place}")
    )
    for outcome in ("new", "unchanged"):
        report = take(workspace, store)
        assert report.outcome == outcome
        ((why, count),) = report.left_out.items()
        assert (why.startswith("media: "), count) == (True, 1), why
        pictures, _ = shown_in(workspace, report.run_id)
        assert [caption for _, _, caption in pictures] == ["0.0", "0.1", "1.1", "2.0", "2.1"]


def test_a_run_that_is_archived_there_is_archived_here(workspace: Workspace) -> None:
    store = Gallery(archived=True)
    run_id = take(workspace, store).run_id
    record = workspace._client.get_json(f"/api/v1/runs/{run_id}")
    assert (record["status"], bool(record["archived_utc"])) == ("Completed", True)
    assert take(workspace, store).outcome == "unchanged"
