"""Takes over what series hold that are no metrics, media and histograms: each once, step by step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from itertools import groupby

from runstream_schemas.errors import CorruptEvent, LimitExceeded
from runstream_schemas.series import SeriesClass
from runstream_schemas.values.media import Medium, decode_medium, encode_medium

from ..client import media_outbox
from ..client.http import ServiceClient
from ..client.reading import fetch_metrics
from ..core._run.media_contents import contents_of
from ..exceptions import AzureMLException
from ..spool.live_runs import LiveRun
from .foreign_runs import Shown
from .intake import refuse_drops, refused, wait_for_room

_ROOM_BYTES = 16 << 20  # after which it is looked whether the spool has room
_WHAT = {SeriesClass.MEDIA: "media", SeriesClass.HISTOGRAM: "histograms"}


def take_shown(
    live: LiveRun,
    client: ServiceClient,
    shown: Iterator[Shown],
    stored: Counter[str],
    left_out: Counter[str],
) -> Counter[str]:
    """Take over what is not here yet, and count it.

    Args:
        live: the run.
        client: reads what the run has.
        shown: what there is: all steps of a name one after the other.
        stored: values of each series that the run has, by `class/name`.
        left_out: told of what cannot be taken.

    Raises:
        OSError: the home cannot be written.
        ServiceException: nobody takes what lies in the spool.
    """
    taken: Counter[str] = Counter()
    written = 0
    for (cls, name), steps in groupby(shown, lambda each: (each.cls, each.name)):
        what = _WHAT[cls]
        if (why := refused(name)) is not None:
            left_out[f"{what}: {why}"] += sum(each.count for each in steps)
            continue
        held = _held(client, live.run_id, cls, name) if stored[f"{int(cls)}/{name}"] else Counter()
        for step in steps:
            places = []
            for place in range(step.count):
                key = (step.step, step.time, place)
                if held[key] > 0:
                    held[key] -= 1
                else:
                    places.append(place)
            texts = list(_texts(live, step, places, left_out)) if places else []
            if texts:
                live.writer.typed(cls, name, texts, step.step, when=step.time / 1e6)
                refuse_drops(live)
                taken[what] += len(texts)
            written += sum(map(len, texts))
            if written > _ROOM_BYTES:
                wait_for_room(live.settings)
                written = 0
    return taken


def _held(client: ServiceClient, run_id: str, cls: SeriesClass, name: str) -> Counter[tuple[int, int, int]]:
    """What of a series is here: how often at a step, a time and a place among those of the step."""
    held: Counter[tuple[int, int, int]] = Counter()
    for series in fetch_metrics(client, [run_id], name=name, classes=[cls]).get(run_id, []):
        for step, time, value in zip(series.steps, series.times, series.values, strict=True):
            place = 0
            if cls == SeriesClass.MEDIA:
                with suppress(CorruptEvent):
                    place = decode_medium(str(value)).place
            held[step, time, place] += 1
    return held


def _texts(live: LiveRun, step: Shown, places: list[int], left_out: Counter[str]) -> Iterator[str]:
    """The texts of some of what a step has; bytes of media are kept."""
    for place in places:
        try:
            value = step.read(place)
            if isinstance(value, str):
                yield value
                continue
            (content,) = contents_of(step.name, value, None)
        except (AzureMLException, LimitExceeded, ValueError) as error:
            left_out[f"{_WHAT[step.cls]}: {getattr(error, 'message', error)}"[:300]] += 1
            continue
        with content.open() as source:
            sha256, size = media_outbox.keep(live.settings, live.run_id, source, content.content_type)
        yield encode_medium(
            Medium(
                content.type, content.content_type, size, sha256, place, content.caption, content.file_name
            )
        )
