"""The service of the SDK's tests, and a run that has something of everything."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from runstream import media
from runstream.core import Experiment, Run
from runstream.tensorboard import pictures
from tests.producers.conftest import experiment, served_home, workspace

__all__ = ["experiment", "served_home", "workspace"]

PIXELS = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
SOUND, _ = pictures.wav(np.linspace(-1, 1, 800), 8000)


@pytest.fixture
def full(experiment: Experiment, tmp_path: Path) -> Run:
    """A run of every class of series, with parameters, tags and files."""
    run = experiment.start_logging(
        outputs=False,
        snapshot_directory=None,
        display_name="all of it",
        tags={"team": "vision", "bare": None},
    )
    run.log_params({"lr": 0.1, "layers": 3, "opt": "adam", "amp": True, "none": None, "sizes": [1, 2]})
    for step in range(50):
        run.log("loss", 1 / (step + 3), step=step * 10)
    run.log("whole", 2**40)
    run.log("odd é/[0]", math.pi)
    run.log("gone", math.nan)
    run.log("gone", math.inf)
    run.log("said", "**words**")
    run.log_histogram("weights", np.linspace(-2, 2, 1000), step=4)
    run.log_media("seen", media.Image(pictures.png(PIXELS), caption="first"), step=7)
    run.log_media("heard", media.Audio(SOUND), step=8)
    run.log_media("page", media.Html("<b>bold</b>"), step=9)
    run.log_row("scores", who="a", score=1.5)
    run.log_row("scores", who="b", score=2.5)
    (tmp_path / "weights.bin").write_bytes(bytes(range(256)))
    run.upload_file("outputs/weights.bin", str(tmp_path / "weights.bin"))
    run.complete()
    return run
