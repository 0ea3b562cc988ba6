"""Vectors and tables over both tiers."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runstream_query.points import hot
from runstream_query.points.vectors import PointColumns, join
from runstream_query.sql.sql import run_sql
from runstream_schemas.errors import StoreError
from runstream_schemas.series import Kind, SeriesClass, SeriesKey

LOSS = SeriesKey(SeriesClass.METRIC, "loss")
KEYS = [
    LOSS,
    SeriesKey(SeriesClass.METRIC, "ü\x01"),
    SeriesKey(SeriesClass.IMAGE, "loss"),
    SeriesKey(1, "t", "a"),
    SeriesKey(1, "t", "b"),
    SeriesKey(SeriesClass.SYSTEM, "loss", "a"),
    SeriesKey(SeriesClass.SYSTEM, "loss", "b"),
]
VALUES = {
    Kind.FLOAT: st.floats(width=64),
    Kind.INT: st.integers(-(2**63), 2**63 - 1),
    Kind.BOOL: st.booleans(),
    Kind.TEXT: st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=5),
    Kind.NULL: st.none(),
}
POINT = st.sampled_from(list(Kind)).flatmap(
    lambda kind: st.tuples(st.sampled_from(KEYS), st.just(kind), st.integers(0, 1 << 30), VALUES[kind])
)
SOURCE = b"a" * 16


def shown(vectors: Any) -> list[Any]:
    """What a caller sees of vectors, comparable with == (NaN too)."""
    return [
        (s.run_id, s.key, [repr(v) for v in s.python_values()], s.steps.tolist(), s.times.tolist())
        for s in vectors
    ]


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    points=st.lists(POINT, min_size=1, max_size=40),
    cuts=st.lists(st.integers(0, 39), max_size=6),
    compacted=st.lists(st.booleans(), min_size=7, max_size=7),
)
def test_any_split_over_chunks_and_files_gives_the_same_vectors(
    points: list[Any],
    cuts: list[int],
    compacted: list[bool],
    postgres: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    from tests.query.conftest import opened

    async def check() -> None:
        async with opened(postgres, tmp_path_factory.mktemp("split")) as database:
            await database.pool.execute(
                "truncate experiments, runs, chunks, files, sources restart identity cascade"
            )
            await database.pool.execute(
                "insert into series (cls, name, \"column\") values (9, 'loss', 'a') on conflict do nothing"
            )
            rows = [
                (key, kind, i, step, 1000 + i, value) for i, (key, kind, step, value) in enumerate(points)
            ]
            run = await database.add_run("r")
            for number, part in enumerate(_split(rows, cuts)):
                await database.add_chunk(run, SOURCE, part)
                if compacted[number % len(compacted)]:
                    await database.compact()
            vectors = shown(await database.query.vectors(["r"]))
            expected: dict[SeriesKey, list[Any]] = {}
            for row in rows:
                expected.setdefault(row[0], []).append(row)
            assert vectors == [
                ("r", key, [repr(row[5]) for row in part], [row[3] for row in part], [row[4] for row in part])
                for key, part in expected.items()
            ]
            chosen = await database.query.vectors(["r"], names=["loss"], cls=[SeriesClass.METRIC])
            assert shown(chosen) == [item for item in vectors if item[1] == LOSS]

    asyncio.run(check())


def _split(rows: list[Any], cuts: list[int]) -> list[list[Any]]:
    borders = [0, *sorted({cut for cut in cuts if 0 < cut < len(rows)}), len(rows)]
    return [rows[a:b] for a, b in itertools.pairwise(borders)]


async def test_many_runs_and_one_name_over_many_runs(database: Any) -> None:
    for n in range(6):
        run = await database.add_run(f"r{n}")
        rows = [
            (key, Kind.FLOAT, 2 * i + k, i, i, float(n)) for i in range(50) for k, key in enumerate(KEYS[:2])
        ]
        await database.add_chunk(run, bytes([n]) * 16, rows)
        await database.add_summary(run, "loss")
        if n == 2:
            await database.compact()  # r0 to r2 lie in one row group
    vectors = await database.query.vectors(["r5", "r1", "unknown", "r0"])
    assert [(s.run_id, s.name, s.to_numpy()[0], len(s)) for s in vectors] == [
        (f"r{n}", key.name, float(n), 50) for n in (5, 1, 0) for key in KEYS[:2]
    ]
    named = await database.query.vectors([f"r{n}" for n in range(6)], names=("loss",))
    assert [(s.run_id, s.name) for s in named] == [(f"r{n}", "loss") for n in range(6)]
    assert (await database.query.vectors([])).series == []


async def test_fronts(database: Any) -> None:
    run = await database.add_run("r")
    await database.add_chunk(run, SOURCE, [(LOSS, Kind.FLOAT, i, i, i, i / 2) for i in range(3)])
    vectors = await database.query.vectors(["r"])
    frame = vectors.to_pandas()
    assert frame["value"].tolist() == [0.0, 0.5, 1.0]
    assert str(frame["time"].dtype) == "datetime64[us, UTC]"
    assert vectors.to_polars()["name"].to_list() == ["loss"] * 3
    assert vectors.get("loss").to_numpy().dtype == np.float64
    assert vectors.get("none") is None


async def test_tables(database: Any) -> None:
    run = await database.add_run("r")

    def cell(column: str, kind: Kind, seq: int, row: int, value: Any) -> Any:
        return (SeriesKey(SeriesClass.TABLE, "t", column), kind, seq, row, 100 + row, value)

    await database.add_chunk(
        run,
        SOURCE,
        [cell("x", Kind.INT, 0, 0, 1), cell("y", Kind.TEXT, 1, 0, "a"), cell("x", Kind.FLOAT, 2, 1, 2.5)],
    )
    await database.add_chunk(run, b"b" * 16, [cell("y", Kind.TEXT, 0, 0, "other writer")], ordinal=1)
    before = (await database.query.tables("r"))["t"].data
    await database.compact()
    after = (await database.query.tables("r", "t"))["t"].data
    for data in (before, after):
        assert data.column_names == ["row", "time", "x", "y"]
        assert data.column("x").to_pylist() == [1.0, 2.5, None]
        assert data.column("y").to_pylist() == ["a", None, "other writer"]
        assert data.column("row").to_pylist() == [0, 1, 1 << 40]
    assert (await database.query.tables("r"))["t"].to_pandas().shape == (3, 2)
    assert await database.query.tables("r", "none") == {}


async def test_columns_of_tables_come_in_the_order_first_logged(database: Any) -> None:
    def cell(run: str, column: str, kind: Kind, seq: int, row: int, value: Any) -> Any:
        return (SeriesKey(SeriesClass.TABLE, "t", column), kind, seq, row, 100 + row, value)

    rows = {
        "one": [("name", Kind.TEXT, "a"), ("epoch", Kind.INT, 1), ("loss", Kind.FLOAT, 0.5)],
        "two": [("loss", Kind.FLOAT, 0.5), ("name", Kind.TEXT, "a"), ("epoch", Kind.INT, 1)],
    }
    for n, (run_id, columns) in enumerate(rows.items()):
        run = await database.add_run(run_id)
        for part in range(2):  # the second chunk brings a column more, of the kind that lies first
            more = [("grad", Kind.FLOAT, 2.0)] if part else []
            cells = [
                cell(run_id, column, kind, part, part, value) for column, kind, value in [*columns, *more]
            ]
            await database.add_chunk(run, bytes([n]) * 16, cells)

    async def columns_of_tables() -> dict[str, list[str]]:
        return {run_id: (await database.query.tables(run_id))["t"].data.column_names[2:] for run_id in rows}

    expected = {"one": ["name", "epoch", "loss", "grad"], "two": ["loss", "name", "epoch", "grad"]}
    assert await columns_of_tables() == expected
    await database.compact()
    assert await columns_of_tables() == expected


async def test_every_reader_sees_every_point_once_while_points_move(database: Any) -> None:
    n = 40
    for number in range(n):
        run = await database.add_run(f"r{number}")
        await database.add_chunk(
            run, number.to_bytes(16, "big"), [(LOSS, Kind.FLOAT, i, i, i, float(i)) for i in range(100)]
        )
    names = [f"r{number}" for number in range(n)]
    counts = []

    async def read(moving: asyncio.Task[Any]) -> None:
        while not moving.done():
            vectors = await database.query.vectors(names)
            counts.append({len(s) for s in vectors} | {len(vectors)})

    moving = asyncio.create_task(database.compact())
    await asyncio.gather(moving, read(moving), read(moving))
    await read(moving)
    assert counts
    assert all(seen == {100, n} for seen in counts)


async def test_a_file_replaced_meanwhile_is_found_in_the_trash(database: Any) -> None:
    run = await database.add_run("r")
    await database.add_chunk(run, SOURCE, [(LOSS, Kind.FLOAT, 0, 0, 0, 1.0)])
    await database.compact()
    path = await database.pool.fetchval("select path from files where kind = 'metrics'")
    database.store.retire(path)
    assert (await database.query.series("r", "loss")).to_numpy().tolist() == [1.0]


def _damage(file: Path, how: str) -> None:
    data = bytearray(file.read_bytes())
    if how == "missing":
        file.unlink()
        return
    data[100:2000] = bytes(1900)
    file.write_bytes({"empty": b"", "cut": data[: len(data) // 2], "flipped": data}[how])


@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "flipped"])
async def test_a_damaged_file_is_named(database: Any, damage: str) -> None:
    run = await database.add_run("r")
    rng = np.random.default_rng(0)
    await database.add_chunk(
        run, SOURCE, [(LOSS, Kind.FLOAT, i, i, i, float(rng.normal())) for i in range(5000)]
    )
    await database.compact()
    path = await database.pool.fetchval("select path from files where kind = 'metrics'")
    _damage(Path(database.store.locate(path)), damage)
    with pytest.raises(StoreError, match=path.rpartition("/")[2]):
        await database.query.vectors(["r"])


GARBAGE = {
    "cut": "substr(payload, 1, octet_length(payload) - 9)",
    "no payload": "'garbage'",
    "empty": "''",
    "a header that never comes": "'\\x52500101ffff5f00'::bytea",
    "its header": "overlay(payload placing '\\xffffffff'::bytea from 12)",
}


@pytest.mark.attack
@pytest.mark.parametrize("damage", GARBAGE)
async def test_a_chunk_that_cannot_be_read_is_left_out_and_said_once(
    database: Any, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    """By vectors, series, charts and SQL alike: what one trainer sent must not keep others from theirs."""
    hot._told.clear()  # another database's
    bad, good = await database.add_run("bad"), await database.add_run("good")
    for first in (0, 5000):
        rows = [(LOSS, Kind.FLOAT, i, i, i, float(i * 7919 % 1009)) for i in range(first, first + 5000)]
        await database.add_chunk(bad, SOURCE, rows)
    await database.add_chunk(good, bytes(16), [(LOSS, Kind.FLOAT, i, i, i, float(i)) for i in range(9)])
    await database.pool.execute(
        f"update chunks set payload = {GARBAGE[damage]} where run_key = $1 and first = 0", bad
    )
    for _ in range(2):
        read = {
            vector.run_id: len(vector.steps)
            for vector in (await database.query.vectors(["bad", "good"])).series
        }
        assert read == {"bad": 5000, "good": 9}
        counts = (
            await run_sql(
                database.pool,
                database.store,
                database.settings,
                "SELECT run_id, count(value) AS n FROM metrics GROUP BY 1",
            )
        ).to_pylist()
        assert {row["run_id"]: row["n"] for row in counts} == read
    assert caplog.text.count("cannot be read and is left out") == 1


async def test_times_of_a_chunk_that_cannot_be_are_read_as_ones_that_can(database: Any) -> None:
    run = await database.add_run("r")
    rows = [(LOSS, Kind.FLOAT, i, i, time, float(i)) for i, time in enumerate([-(2**62), 0, 2**62])]
    await database.add_chunk(run, SOURCE, rows)
    table = await run_sql(
        database.pool, database.store, database.settings, "SELECT time FROM metrics ORDER BY step"
    )
    assert [row["time"].year for row in table.to_pylist()] == [1, 1970, 9999]


def test_joining_keeps_texts_apart() -> None:
    def texts(*values: str) -> PointColumns:
        n = len(values)
        return PointColumns(
            Kind.TEXT, np.arange(n), np.arange(n), np.arange(n, dtype=np.uint64), list(values)
        )

    floats = PointColumns(Kind.FLOAT, np.arange(1), np.arange(1), np.array([0.5]).view(np.uint64))
    whole = join([texts("a", "b"), floats, texts("c")])
    assert whole.kind is None
    assert [
        whole.texts[int(v)] for v, k in zip(whole.values, whole.kind_array(), strict=True) if k == Kind.TEXT
    ] == ["a", "b", "c"]
