"""The commands `runstream dead-letters ...`: what could not be stored, why, and once more."""

from __future__ import annotations

import argparse
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runstream.home.layout import open_home, read_service
from runstream_schemas.errors import EventError, QueryError
from runstream_schemas.settings import Settings

from .options import Group, add_output
from .output import emit
from .settings import add_settings, settings_of

if TYPE_CHECKING:
    from runstream_consumers.sources.kept_letters import KeptLetter
    from runstream_schemas.wire.events import Event

_MOST_OPS = 20


def add_dead_letter_commands(parser: argparse.ArgumentParser) -> None:
    """Add the commands below `runstream dead-letters`."""
    group = Group(parser, "commands")
    listing = group.add(
        "list",
        "list what could not be stored, and why",
        list_,
        "Of the home, and of the topic where there is a Kafka.",
    )
    listing.add_argument("--limit", type=int, default=100, metavar="N", help="the newest of each place [100]")
    showing = group.add("show", "show one: where it came from, and what is in it", show)
    showing.add_argument("id", metavar="ID", help="of `runstream dead-letters list`")
    showing.add_argument("--save", type=Path, metavar="FILE", help="write its bytes there")
    sending = group.add(
        "send",
        "store again what had been refused, once what refused it is mended",
        send,
        "Nothing comes twice. One of the home that is stored is removed; those of the topic stay as long as it keeps them.\n"
        "Exit code 1 where one is refused again.",
    )
    sending.add_argument("ids", nargs="*", metavar="ID", help="of `runstream dead-letters list`")
    sending.add_argument("--all", action="store_true", help="all that hold an event")
    for command in (listing, showing, sending):
        if command is not sending:
            add_output(command)
        add_settings(command)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where letters are, and where they are sent."""

    settings: Settings
    directory: Path

    @classmethod
    def of(cls, options: argparse.Namespace) -> _Place:
        settings = settings_of(options)
        home = open_home(settings)
        info = read_service(home)
        # `runstream up --kafka` is known by the home alone.
        kafka = settings.kafka or (info.kafka if info else "")
        return cls(replace(settings, kafka=kafka), home.root / "dead-letters")

    async def letters(self) -> AsyncIterator[KeptLetter]:
        from runstream_consumers.sources.kept_letters import letters_in, letters_of_topic

        for letter in letters_in(self.directory):
            yield letter
        if self.settings.kafka:
            async for letter in letters_of_topic(self.settings):
                yield letter

    def forget(self, letter: KeptLetter) -> None:
        """Remove one of the home; those of a topic stay."""
        from runstream_consumers.sources.kept_letters import SUFFIX

        (self.directory / f"{letter.id}{SUFFIX}").unlink(missing_ok=True)


def list_(options: argparse.Namespace) -> int:
    """`runstream dead-letters list`."""
    import asyncio

    rows = asyncio.run(_rows(_Place.of(options), max(options.limit, 0)))
    emit(rows, options.output, options.query)
    return 0


async def _rows(place: _Place, limit: int) -> list[dict[str, Any]]:
    rows: deque[dict[str, Any]] = deque(maxlen=limit)
    async for letter in place.letters():
        rows.append(_row(letter))  # without its bytes: a topic may hold many
    return list(rows)


def _row(letter: KeptLetter) -> dict[str, Any]:
    return {
        "id": letter.id,
        "run_id": letter.run_id,
        "bytes": letter.size,
        "origin": letter.origin,
        "reason": letter.reason,
    }


def show(options: argparse.Namespace) -> int:
    """`runstream dead-letters show ID`."""
    import asyncio

    letter = asyncio.run(_named(_Place.of(options), [options.id]))[0]
    if options.save is not None:
        with options.save.open("xb") as file:
            file.write(letter.value)
    try:
        content: dict[str, Any] = {"event": _described(letter.event())}
    except EventError as error:
        content = {"event": None, "why_none": str(error), "begins_with": letter.value[:64].hex(" ")}
    emit({**_row(letter), **content}, options.output, options.query)
    return 0


def _described(event: Event) -> dict[str, Any]:
    from runstream_schemas.wire.events import MetricsEvent, topic_of

    about = {
        "topic": topic_of(event),
        "source": event.source.hex(),
        "first_slot": event.first,
        "slots": event.count,
    }
    if isinstance(event, MetricsEvent):
        names = sorted({key.name for key, _ in event.series[:_MOST_OPS]})
        return {**about, "points": event.points, "series": len(event.series), "names": names}
    ops = [{"kind": getattr(op, "kind", None) or getattr(op, "op", None), "slot": op.seq} for op in event.ops]
    return {**about, "steps": len(ops), "first_steps": ops[:_MOST_OPS]}


async def _named(place: _Place, ids: list[str]) -> list[KeptLetter]:
    names = dict.fromkeys(ids)
    there = {letter.id: letter async for letter in place.letters() if letter.id in names}
    if missing := [name for name in names if name not in there]:
        raise QueryError(
            f"no dead letter is called {', '.join(missing)}; `runstream dead-letters list` shows those there are"
        )
    return [there[name] for name in names]


def send(options: argparse.Namespace) -> int:
    """`runstream dead-letters send ID ...`."""
    if bool(options.ids) == options.all:
        raise QueryError("name one ID or several of `runstream dead-letters list`, or --all")
    import asyncio

    return asyncio.run(_send(_Place.of(options), options.ids))


async def _send(place: _Place, ids: list[str]) -> int:
    if ids:
        letters = await _named(place, ids)
        for letter in letters:
            letter.event()  # all of them, before the first is sent
        return await _send_each(place, letters)
    refused = 0
    async for letter in place.letters():
        try:
            letter.event()
        except EventError as error:
            print(f"left: {error}")
            continue
        refused += await _send_each(place, [letter])
    return int(refused > 0)


async def _send_each(place: _Place, letters: list[KeptLetter]) -> int:
    """Exit code: 1 if one is refused again."""
    from runstream_consumers.compaction.recall import Recall
    from runstream_consumers.storing.again import publish_again, store_again
    from runstream_schemas.database import create_pool

    if place.settings.kafka:
        for letter in letters:
            await publish_again(place.settings, [letter.event()])
            place.forget(letter)
            print(f"sent: {letter.id}; a consumer stores it, or makes it a dead letter again")
        return 0
    from ..sync import embedded_database

    settings = replace(place.settings, database=embedded_database(place.settings))
    pool = await create_pool(settings, max_size=2)
    refused = 0
    try:
        for letter in letters:
            why = await store_again(pool, settings, letter.event(), Recall(pool, settings))
            if why:
                refused += 1
                print(f"refused again: {letter.id}: {why}")
            else:
                place.forget(letter)
                print(f"stored: {letter.id}")
    finally:
        await pool.close()
    return int(refused > 0)
