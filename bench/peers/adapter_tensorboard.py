"""TensorBoard: event files by tensorboardX, from which PyTorch's writer comes; read with TensorBoard's own reader."""

from __future__ import annotations

import sys
from pathlib import Path

import measure

IMPORTS = ("tensorboardX",)
PACKAGES = ("tensorboard", "tensorboardX")


def prepare(home: Path) -> None:
    """Nothing is needed."""


def open_run(home: Path, name: str) -> measure.Writer:
    """A directory with one event file. Ten metrics are ten calls: `add_scalars` would open ten files."""
    from tensorboardX import SummaryWriter

    writer = SummaryWriter(str(home / "runs" / name))
    add = writer.add_scalar

    def ten(step: int, values: dict[str, float]) -> None:
        for key, value in values.items():
            add(key, value, step)

    return measure.Writer(lambda step, value: add("loss", value, step), ten, writer.close)


def read(home: Path, name: str) -> int:
    """Through the event accumulator, with its limit on points lifted."""
    return len(_accumulator(home / "runs" / name).Scalars("loss"))


def list_runs(home: Path) -> int:
    """Every event file, read whole: there is no index."""
    count = 0
    for place in sorted((home / "runs").iterdir()):
        events = _accumulator(place)
        last = {tag: events.Scalars(tag)[-1].value for tag in events.Tags()["scalars"]}
        count += len(last) == measure.LAST_METRICS
    return count


def disk(home: Path) -> int:
    """The event files."""
    return measure.allocated(home / "runs")


def _accumulator(place: Path):  # type: ignore[no-untyped-def]
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(place), size_guidance={"scalars": 0})
    events.Reload()
    return events


if __name__ == "__main__":
    measure.main(sys.modules[__name__])
