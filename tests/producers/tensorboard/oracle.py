"""TensorBoard's own reader, without its reservoir, as what ours is held to; and event files to read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter

EVERYTHING = dict.fromkeys(
    ("scalars", "tensors", "images", "audio", "histograms", "compressedHistograms", "graph"), 0
)

Point = tuple[int, float, float]
"""Step, wall time, value."""


def accumulated(directory: Path) -> Any:
    """What TensorBoard makes of a directory."""
    accumulator = EventAccumulator(str(directory), size_guidance=EVERYTHING)
    accumulator.Reload()
    return accumulator


def oracle_scalars(directory: Path) -> dict[str, list[Point]]:
    """Tag to its scalars, of old summaries and of new ones."""
    from tensorboard.util import tensor_util

    accumulator = accumulated(directory)
    scalars = {
        tag: [(event.step, event.wall_time, event.value) for event in accumulator.Scalars(tag)]
        for tag in accumulator.Tags()["scalars"]
    }
    for tag in accumulator.Tags()["tensors"]:
        if accumulator.SummaryMetadata(tag).plugin_data.plugin_name == "scalars":
            scalars[tag] = [
                (event.step, event.wall_time, float(tensor_util.make_ndarray(event.tensor_proto)))
                for event in accumulator.Tensors(tag)
            ]
    return scalars


def write_events(directory: Path, events: list[Event], suffix: str = "") -> Path:
    """An event file of these, by TensorBoard's own writer."""
    before = set(directory.iterdir()) if directory.is_dir() else set()
    writer = EventFileWriter(str(directory), filename_suffix=suffix)
    for event in events:
        writer.add_event(event)
    writer.close()
    (path,) = set(directory.iterdir()) - before
    return path


def scalar_event(tag: str, value: float, step: int, wall_time: float) -> Event:
    """An old scalar."""
    return Event(
        wall_time=wall_time,
        step=step,
        summary=Summary(value=[Summary.Value(tag=tag, simple_value=value)]),
    )


def restart_event(step: int, wall_time: float) -> Event:
    """What a writer says that resumes at a step."""
    event = Event(wall_time=wall_time, step=step)
    event.session_log.status = event.session_log.START
    return event


def flipped(content: bytes) -> Iterator[bytes]:
    """A content with one bit turned over, at a place of each byte in turn."""
    for place in range(len(content)):
        yield content[:place] + bytes([content[place] ^ 1 << place % 8]) + content[place + 1 :]
