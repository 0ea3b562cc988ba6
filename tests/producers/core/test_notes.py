"""Notes of runs and experiments, written and read by a script."""

from __future__ import annotations

from typing import Any

import pytest

from runstream.core import Experiment
from runstream.exceptions import ServiceException, UserErrorException

TEXT = "# What this was\n\nLower is *better* ☃ `loss`\n"


def test_a_note_is_what_was_written_last(experiment: Experiment) -> None:
    run = experiment.start_logging(outputs=False)
    assert run.get_note() == ""
    run.set_note("first")
    run.set_note(TEXT)
    run.complete()
    assert run.get_note() == TEXT
    run.set_note("")
    assert run.get_note() == ""
    assert experiment.get_note() == ""
    experiment.set_note(TEXT)
    assert Experiment(experiment.workspace, experiment.name).get_note() == TEXT


@pytest.mark.parametrize("text", [None, 7, b"bytes", "\ud83d"])
def test_what_is_no_text_is_refused_before_anything_is_sent(experiment: Experiment, text: Any) -> None:
    run = experiment.start_logging(outputs=False)
    with pytest.raises(UserErrorException, match="note"):
        run.set_note(text)
    with pytest.raises(UserErrorException, match="note"):
        experiment.set_note(text)
    run.complete()


def test_a_note_that_is_too_long_is_refused_and_the_former_stays(experiment: Experiment) -> None:
    with experiment.start_logging(outputs=False) as run:
        run.set_note("kept")
        with pytest.raises(UserErrorException, match="1048577 bytes"):
            run.set_note("x" * ((1 << 20) + 1))
        assert run.get_note() == "kept"


def test_an_experiment_that_is_not_there_has_no_note(experiment: Experiment) -> None:
    missing = Experiment(experiment.workspace, "never-made")
    with pytest.raises(ServiceException, match="no experiment 'never-made'"):
        missing.get_note()
