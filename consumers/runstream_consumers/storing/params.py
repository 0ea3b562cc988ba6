"""Storing parameters, inside the writer's transaction and under the lock of their runs.

Most are written once: those are inserted. Only of what is there already are all writes read, and what holds is found anew
(`runstream_schemas.runs.params.fold`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

import asyncpg

from runstream_schemas.runs.params import KINDS, ParamWrite, as_stored, fold, from_stored

Name = tuple[int, str]
"""Key of a run, and the name of one of its parameters."""

_COLUMNS: Final = "run_key, name, kind, text, origin, time_us, source, seq, author"

# Under the lock of the runs, so no other writer adds one in between.
KNOWN: Final = f"""
select {_COLUMNS} from params p where (run_key, name) in (select * from unnest($1::bigint[], $2::text[]))
union all
select {_COLUMNS} from former_params p where (run_key, name) in (select * from unnest($1::bigint[], $2::text[]))
"""

SET_PARAMS: Final = """
insert into params (run_key, name, kind, text, number, origin, time_us, source, seq, author)
select * from unnest($1::bigint[], $2::text[], $3::smallint[], $4::text[], $5::float8[], $6::smallint[], $7::bigint[],
                     $8::uuid[], $9::bigint[], $10::text[])
on conflict (run_key, name) do update set
    kind = excluded.kind, text = excluded.text, number = excluded.number, origin = excluded.origin,
    time_us = excluded.time_us, source = excluded.source, seq = excluded.seq, author = excluded.author
"""

FORGET_FORMER: Final = """
delete from former_params where (run_key, name) in (select * from unnest($1::bigint[], $2::text[]))
"""

ADD_FORMER: Final = """
insert into former_params (run_key, name, refused, kind, text, origin, time_us, source, seq, author)
select * from unnest($1::bigint[], $2::text[], $3::bool[], $4::smallint[], $5::text[], $6::smallint[], $7::bigint[],
                     $8::uuid[], $9::bigint[], $10::text[])
"""


async def store_params(
    connection: asyncpg.Connection[Any], writes: Mapping[Name, Sequence[ParamWrite]]
) -> None:
    """Write what became of these parameters. Call it under the lock of their runs."""
    if not writes:
        return
    names = sorted(writes)
    all_writes = {name: list(writes[name]) for name in names}
    known = await connection.fetch(KNOWN, [key for key, _ in names], [name for _, name in names])
    for row in known:
        value = from_stored(KINDS[row["kind"]], row["text"])
        all_writes[row["run_key"], row["name"]].append(
            ParamWrite(value, row["origin"], row["time_us"], row["source"].hex, row["seq"], row["author"])
        )
    had_former = sorted({(row["run_key"], row["name"]) for row in known})
    held: list[tuple[Any, ...]] = []
    former: list[tuple[Any, ...]] = []
    for name in names:
        folded = fold(all_writes[name])
        held.append(_row(name, folded.held, with_number=True))
        former += [_row(name, write, refused=False) for write in folded.replaced]
        former += [_row(name, write, refused=True) for write in folded.refused]
    await connection.execute(SET_PARAMS, *_columns(held))
    if had_former:
        await connection.execute(FORGET_FORMER, [key for key, _ in had_former], [n for _, n in had_former])
    if former:
        await connection.execute(ADD_FORMER, *_columns(former))


def _row(
    name: Name, write: ParamWrite, *, with_number: bool = False, refused: bool | None = None
) -> tuple[Any, ...]:
    kind, text, number = as_stored(write.value)
    told = () if refused is None else (refused,)
    compared = (number,) if with_number else ()
    return (
        *name,
        *told,
        kind,
        text,
        *compared,
        write.origin,
        write.time_us,
        UUID(hex=write.source),
        write.seq,
        write.author,
    )


def _columns(rows: Sequence[tuple[Any, ...]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]
