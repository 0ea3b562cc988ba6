"""What the records of `.wandb` files say of metrics (`define_metric`)."""

from __future__ import annotations

from runstream_schemas.errors import LimitExceeded
from runstream_schemas.runs.definitions import MetricDefinition, MetricGoal, MetricStatistic

from ..spool.writing.writer import RunWriter
from ..tensorboard.wire import as_bytes, as_int, as_text, fields

_STATISTICS: dict[int, MetricStatistic] = {
    1: "min", 2: "max", 3: "mean", 4: "best", 5: "last", 6: "none", 8: "first",
}  # fmt: skip
_GOALS: dict[int, MetricGoal] = {1: "min", 2: "max"}


def decode_definition(message: bytes) -> tuple[str, MetricDefinition] | None:
    """Name and definition of a metric, of all that begin alike with `*` at its end; None: of a metric of those, by itself.

    Raises:
        WireError: the bytes are none.
    """
    name, definition = "", MetricDefinition()
    for number, value in fields(message):
        if number in (1, 2):
            name = as_text(value)
        elif number == 4 and (step_metric := as_text(value)):
            definition["step_metric"] = step_metric
        elif number == 7:
            chosen = [at for at, given in fields(as_bytes(value)) if at in _STATISTICS and as_int(given)]
            if chosen:
                definition["summary"] = [_STATISTICS[at] for at in chosen]
        elif number == 8 and (goal := _GOALS.get(as_int(value))):
            definition["goal"] = goal
        elif number == 10 and as_int(value):
            return None
    return (name, definition) if name else None


def take_definition(writer: RunWriter, message: bytes) -> bool:
    """Write the definition of a record; False: it cannot be held. Doing it twice changes nothing.

    Raises:
        WireError: the bytes are none.
    """
    try:
        if (decoded := decode_definition(message)) is not None:
            writer.define_metric(*decoded)
    except LimitExceeded:
        return False
    return True
