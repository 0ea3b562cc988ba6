"""Every refusal of the reproduced API: the class of its exception, and the parts of its text that do not change."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.producers.core.refusals_of_runs import FILES, LIFE, LOGGING, NAMES, Place
from tests.producers.core.refusals_of_workspaces import READING, SUBMITTING

from runstream.core import (
    Experiment,
    Workspace,
)
from runstream.exceptions import (
    UserErrorException,
)

ROWS = [*NAMES, *LOGGING, *FILES, *LIFE, *READING, *SUBMITTING]


@pytest.fixture(scope="module")
def place(served_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("refusals")
    (folder / "train.py").write_text("print('never run')\n")
    (folder / "bad.yml").write_text("- a list\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RUNSTREAM_HOME", str(served_home))
        patch.chdir(folder)
        experiment = Experiment(Workspace(workspace_name=f"refusals-{uuid.uuid4().hex}"), "refusals")
        failed = experiment.start_logging(outputs=False, snapshot_directory=None)
        failed.fail("broken", "E7")
        run = experiment.start_logging(outputs=False, snapshot_directory=None)
        run.flush()
        yield Place(run, failed, folder)
        assert run.get_status() == "Running"  # nothing refused has changed it
        assert run.tags == run.get_tags() == {}
        assert len(list(experiment.get_runs())) == 2
        # One of the rows logs it, if this process has come to that one.
        assert run.get_metrics().keys() <= {"twice"}
        run.complete()


@pytest.mark.parametrize(("call", "kind", "texts"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_refused(
    place: Place, call: Callable[[Place], Any], kind: type[BaseException], texts: list[str]
) -> None:
    with pytest.raises(kind) as refused:
        call(place)
    assert [text for text in texts if text not in str(refused.value)] == []
    if not isinstance(refused.value, (TypeError, FileNotFoundError)):
        assert len(str(refused.value)) > 20  # says more than a name


def test_text_of_a_refusal_is_of_several_lines(place: Place) -> None:
    with pytest.raises(UserErrorException) as refused:
        place.run.log("a", [1])
    text = str(refused.value)
    assert text.startswith("UserErrorException:\n\tMessage: log('a')")
    assert "\n\tInnerException None\n\tErrorResponse \n{" in text
    assert "\n" not in refused.value.message
