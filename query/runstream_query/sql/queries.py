"""What SQL over everything reads of the database: the files, the hot tier, and the views that lie in tables.

Braces are places that `sql_tables` fills with SQL of its own, never with data.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

ALL_LIVE_FILES: Final = """
select f.id, f.kind, f.path, e.name as experiment
from files f left join experiments e on e.id = f.experiment_id
where f.state = 'live' and f.kind = any($1::text[]) and ($2::text is null or e.workspace = $2)
order by f.id
"""

# Until they are purged, files still hold their points.
DELETED_IN_FILES: Final = """
select d.run_id, array_agg(f.id) as files
from deleted_runs d join file_runs fr on fr.run_key = d.key join files f on f.id = fr.file_id
left join experiments e on e.id = f.experiment_id
where f.state = 'live' and ($1::text is null or e.workspace = $1)
group by d.run_id order by d.run_id
"""

_RUN_OF_CHUNK = "join runs r on r.key = c.run_key left join experiments e on e.id = r.experiment_id"


def hot_points(*, with_runs: bool) -> str:
    """Every chunk, with its payload if that is not large; with the names of their runs and experiments, or nulls.

    Without names nothing is joined, which took most of the time; nor can runs be chosen then.
    """
    return f"""
select c.run_key, c.source_key, c.first, {_named(with_runs)},
    octet_length(c.payload) as size, case when octet_length(c.payload) <= $1 then c.payload end as payload
from chunks c {_RUN_OF_CHUNK if with_runs else ""}
{_RUNS_CHOSEN if with_runs else ""}
"""


_RUNS_CHOSEN = """
where ($2::text is null or e.workspace = $2) and ($3::text[] is null or r.run_id = any($3))
    and ($4::text[] is null or e.name = any($4))
"""


def hot_payloads(*, with_runs: bool) -> str:
    """These chunks, with their payloads."""
    return f"""
select c.run_key, c.source_key, c.first, {_named(with_runs)}, octet_length(c.payload) as size, c.payload
from unnest($1::int8[], $2::int8[], $3::int8[]) as w (run_key, source_key, first)
join chunks c using (run_key, source_key, first) {_RUN_OF_CHUNK if with_runs else ""}
"""


def _named(with_runs: bool) -> str:
    return (
        f"{'r.run_id' if with_runs else 'null'} as run_id, {'e.name' if with_runs else 'null'} as experiment"
    )


SQL_RUNS_COLUMNS: Final = {
    "experiment": "e.name",
    "workspace": "e.workspace",
    **{
        name: f"r.{name}"
        for name in (
            "run_id", "parent_run_id", "root_run_id", "number", "name", "display_name", "description", "type", "target",
            "status", "start_time", "end_time", "dropped",
        )
    },
    "created_time": "r.created_at",
    "settled": "r.settled_at is not null",
    "tags": "(select jsonb_object_agg(t.key, t.value) from tags t where t.run_key = r.key and not t.removed)",
    "properties": "(select jsonb_object_agg(p.key, p.value) from properties p where p.run_key = r.key)",
}  # fmt: skip
"""Columns of the view `runs`."""

SQL_RUNS: Final = """
select {columns} from runs r left join experiments e on e.id = r.experiment_id
where ($1::text is null or e.workspace = $1) and ($2::text[] is null or r.run_id = any($2))
    and ($3::text[] is null or e.name = any($3))
"""

SQL_PARAMS: Final = """
select {columns} from params k join runs r on r.key = k.run_key left join experiments e on e.id = r.experiment_id
where ($1::text is null or e.workspace = $1) and ($2::text[] is null or r.run_id = any($2))
    and ($3::text[] is null or e.name = any($3)) and ($4::text[] is null or k.name = any($4))
"""

# float8 reads NaN and Infinity as they are stored.
SQL_PARAMS_COLUMNS: Final = {
    "experiment": "e.name",
    "run_id": "r.run_id",
    "name": "k.name",
    "kind": "(array['float', 'int', 'bool', 'text', 'null', 'json'])[k.kind + 1]",
    "value": "case when k.kind in (0, 1) then k.text::float8 end",
    "int_value": "case when k.kind = 1 then k.text::int8 end",
    "bool_value": "case when k.kind = 2 then k.text::bool end",
    "text": "case when k.kind <> 4 then k.text end",
}
"""Columns of the view `params`."""

SQL_SUMMARY_NUMBERS: Final = {
    "count": "m.count",
    **{name: f"m.{name}" for name in ("first", "last", "min", "max")},
    "mean": "m.sum / nullif(m.finite, 0)",
    "last_step": "m.last_step",
}
"""Columns of the view `summaries` that are numbers."""

_PACKED = {name: f"{name}s" for name in ("first", "last", "min", "max", "sum", "last_text")}
_PACKED_ONCE = {name: f"{name}s" for name in ("count", "finite", "last_step")}
"""Arrays of `packed_summaries`; the second have one element where all series have the same."""

_FEW_NAMES = 3
"""Names up to which each is looked up in every row, which is faster than to unpack all."""

_OF_SUMMARIES = """
where m.series_id in (select id from series where cls = 0 and ($3::text[] is null or name = any($3)))
    and (($1::text is null and $2::text[] is null) or m.run_key in (
        select r.key from runs r left join experiments e on e.id = r.experiment_id
        where ($1 is null or e.workspace = $1) and ($2 is null or r.run_id = any($2))))
"""


def sql_summaries(
    columns_asked: Sequence[str], which: str, names: Sequence[str] | None, *, live_only: bool = False
) -> str:
    """Columns of summaries for COPY, none of them null, and the bits of those that are, from the first number on.

    Args:
        columns_asked: `run_key` or `series_id`, or both or none, and then keys of `SQL_SUMMARY_NUMBERS`.
        which: a condition besides.
        names: the third argument of the statement: the series wanted, None: all.
        live_only: without those that are packed, which `sql_packed` copies.
    """
    columns = [f"m.{name}" for name in columns_asked if name not in SQL_SUMMARY_NUMBERS]
    expressions = {name: SQL_SUMMARY_NUMBERS[name] for name in columns_asked if name in SQL_SUMMARY_NUMBERS}
    for name, expression in expressions.items():
        columns.append(f"coalesce({expression}, {0 if name in ('count', 'last_step') else repr('NaN')})")
    bits = [
        f"case when {text} is null then {1 << bit} else 0 end"
        for bit, text in enumerate(expressions.values())
    ]
    columns.append(f"({' + '.join(bits) or '0'})::bigint")
    said = f"{list(expressions.values())} {which}"
    needed = [name for name in (*_PACKED, *_PACKED_ONCE) if re.search(rf"m\.{name}\b", said)]
    return (
        f"select {', '.join(columns)} from ({_needed_summaries(needed, names, live_only=live_only)}) m "
        f"{_OF_SUMMARIES} and {which}"
    )


def few_names(names: Sequence[str] | None) -> bool:
    """Whether each is better looked up in every packed row than all of these unpacked."""
    return names is not None and len(names) <= _FEW_NAMES


SQL_PACKED: Final = {
    "count": ("counts",),
    **{name: (f"{name}s",) for name in ("first", "last", "min", "max")},
    "mean": ("sums", "finites"),
    "last_step": ("last_steps",),
}
"""Arrays of `packed_summaries` that the numbers of the view `summaries` are made of."""


def sql_packed(arrays: Sequence[str]) -> str:
    """Packed rows for COPY: key of the run, series, and these arrays."""
    columns = ", ".join(f"p.{name}" for name in ("run_key", "series_ids", *arrays))
    return f"""
select {columns} from packed_summaries p
where ($1::text is null and $2::text[] is null) or p.run_key in (
    select r.key from runs r left join experiments e on e.id = r.experiment_id
    where ($1 is null or e.workspace = $1) and ($2 is null or r.run_id = any($2)))
"""


def _needed_summaries(needed: Sequence[str], names: Sequence[str] | None, *, live_only: bool) -> str:
    """These columns of `summaries`, without unpacking the others."""
    live = f"select {', '.join(['run_key', 'series_id', *needed])} from live_summaries"
    if live_only:
        return live
    columns = ["p.run_key", "p.series_id"]
    for name in needed:
        column = f"p.{name}"
        if name in _PACKED_ONCE:
            packed = f"p.{_PACKED_ONCE[name]}"
            column = f"case when cardinality({packed}) = 1 then {packed}[1] else {column} end"
        columns.append(column)
    arrays = {**_PACKED, **_PACKED_ONCE}
    kept = [arrays[name] for name in needed if name in _PACKED_ONCE]
    if few_names(names):
        inner_columns = ["w.id as series_id", *(f"p.{arrays[name]}[a.place] as {name}" for name in needed)]
        source = (
            "from packed_summaries p join series w on w.cls = 0 and w.name = any($3) and p.series_ids @> array[w.id] "
            "cross join lateral (select array_position(p.series_ids, w.id) as place offset 0) a"
        )
    else:
        inner_columns = [
            "unnest(p.series_ids) as series_id",
            *(f"unnest(p.{arrays[name]}) as {name}" for name in needed),
        ]
        source = "from packed_summaries p"
    inner = f"select {', '.join(['p.run_key', *inner_columns, *(f'p.{name}' for name in kept)])} {source}"
    return f"{live} union all select {', '.join(columns)} from ({inner}) p"


SQL_TEXT_SUMMARIES: Final = f"""
select (select run_id from runs where key = m.run_key) as run_id, (select name from series where id = m.series_id) as name,
    {", ".join(f"{text} as {name}" for name, text in SQL_SUMMARY_NUMBERS.items())}, m.last_text
from (
    select * from live_summaries
    union all
    select u.* from packed_summaries p cross join lateral unpacked(p) u where p.last_texts is not null
) m {_OF_SUMMARIES} and m.last_text is not null
"""

SQL_SERIES_NAMES: Final = """
select id, name from series where cls = 0 and ($1::text[] is null or name = any($1)) order by id
"""

SQL_RUN_NAMES: Final = """
select r.key, r.run_id from runs r left join experiments e on e.id = r.experiment_id
where ($1::text is null or e.workspace = $1) and ($2::text[] is null or r.run_id = any($2))
"""
