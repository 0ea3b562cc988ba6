"""Lists of runs, points and tables as CSV and Parquet."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.query.conftest import utc
from tests.query.runs.test_runs import label

from runstream_schemas.series import Kind, SeriesClass, SeriesKey

from .test_api import serving

SOURCE = b"e" * 16


@pytest.fixture
async def http(database: Any) -> AsyncIterator[httpx.AsyncClient]:
    key = await database.add_run(
        "r,1", start_time=utc(10), end_time=utc(12.5), display_name='a "name",\nof two lines', number=7
    )
    await label(database, "tags", key, "lr", "0.1")
    await database.add_summary(key, "loss", last=0.1 + 0.2, min=float("-inf"), sum=3.0, finite=2, count=2)
    await database.add_summary(key, "note", kind=3, last_text="good, very")
    await database.add_summary(key, "epoch", kind=1)
    await database.add_run("r2", start_time=utc(5), status="Failed")
    loss, epoch, note = (SeriesKey(SeriesClass.METRIC, name) for name in ("loss", "epoch", "note"))
    await database.add_chunk(
        key,
        SOURCE,
        [
            (loss, Kind.FLOAT, 0, 0, 1_000_000, 0.1 + 0.2),
            (loss, Kind.FLOAT, 1, 1, 2_000_000, float("nan")),
            (epoch, Kind.INT, 2, 0, 3_000_000, (1 << 53) + 1),
            (note, Kind.TEXT, 3, 0, 4_000_000, "a,b"),
            (SeriesKey(SeriesClass.TABLE, "t", "x"), Kind.INT, 4, 0, 5_000_000, 3),
            (SeriesKey(SeriesClass.TABLE, "t", "y"), Kind.TEXT, 4, 0, 5_000_000, "z"),
        ],
    )
    async with serving(database) as client:
        yield client


async def read(http: httpx.AsyncClient, path: str) -> tuple[pd.DataFrame, Any]:
    """The same export in both formats."""
    text = await http.get(f"/api/v1/export/{path}&format=csv")
    assert text.headers["content-type"] == "text/csv; charset=utf-8"
    assert text.headers["content-disposition"].startswith("attachment; filename=")
    assert text.status_code == 200
    binary = await http.get(f"/api/v1/export/{path}&format=parquet")
    return pd.read_csv(io.BytesIO(text.content)), pq.read_table(io.BytesIO(binary.content))


async def test_runs_with_chosen_columns(http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runstream_query.points.exports._PAGE", 1)  # several pages
    asked = [
        "run_id",
        "display_name",
        "duration",
        "start_time",
        "tag:lr",
        "metric:loss:last",
        "metric:loss:mean",
    ]
    asked += ["metric:loss:min", "metric:note:last", "metric:loss:count", "number", "status"]
    frame, table = await read(http, "runs?" + "&".join(f"column={name}" for name in asked))
    assert list(frame.columns) == table.column_names == asked
    assert table.to_pylist()[0] == {
        "run_id": "r,1", "display_name": 'a "name",\nof two lines', "duration": 2.5, "start_time": utc(10), "tag:lr": "0.1",
        "metric:loss:last": 0.1 + 0.2, "metric:loss:mean": 1.5, "metric:loss:min": float("-inf"),
        "metric:note:last": "good, very", "metric:loss:count": 2, "number": 7, "status": "Completed",
    }  # fmt: skip
    first = frame.iloc[0].to_dict()
    assert pd.Timestamp(first.pop("start_time")) == pd.Timestamp(utc(10))
    assert first == {name: value for name, value in table.to_pylist()[0].items() if name != "start_time"} | {
        "tag:lr": 0.1
    }
    assert frame.iloc[1].isna()["metric:loss:last"]


async def test_filters_order_and_usual_columns(http: httpx.AsyncClient) -> None:
    frame, table = await read(http, "runs?status=Completed")
    assert frame["run_id"].tolist() == ["r,1"]
    assert frame["tags"].tolist() == ['{"lr": "0.1"}']
    assert table.column("tags").to_pylist() == [[("lr", "0.1")]]
    frame, _ = await read(http, "runs?order=start_time&column=run_id")
    assert frame["run_id"].tolist() == ["r2", "r,1"]
    frame, table = await read(http, "runs?q=nothing&column=run_id")
    assert (len(frame), len(table), table.column_names) == (0, 0, ["run_id"])


async def test_points(http: httpx.AsyncClient) -> None:
    frame, table = await read(http, "points?run=r,1&run=r2")
    assert len(frame) == len(table) == 4
    assert table.column("int_value").to_pylist() == [None, None, (1 << 53) + 1, None]
    text = (await http.get("/api/v1/export/points?run=r,1")).text.splitlines()
    assert text[1:] == [
        '"r,1","loss",0,"1970-01-01T00:00:01.000000Z","0.30000000000000004"',
        '"r,1","loss",1,"1970-01-01T00:00:02.000000Z","nan"',
        f'"r,1","epoch",0,"1970-01-01T00:00:03.000000Z","{(1 << 53) + 1}"',
        '"r,1","note",0,"1970-01-01T00:00:04.000000Z","a,b"',
    ]
    text = (await http.get("/api/v1/export/points?run=r,1&name=loss")).text.splitlines()
    assert [line.rpartition(",")[2] for line in text] == ['"value"', "0.30000000000000004", "nan"]
    frame, _ = await read(http, "points?run=r,1&name=epoch")
    assert frame["name"].tolist() == ["epoch"]


@pytest.mark.parametrize("piece", [1, 2, 3, 1 << 20])
async def test_points_as_an_arrow_stream(
    http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, piece: int
) -> None:
    """However large the pieces are in which the server looks at them, all is there, a series in order of logging."""
    monkeypatch.setattr("runstream_query.points.exports._PIECE", piece)
    monkeypatch.setattr("runstream_query.points.export_formats._BATCH", 2)
    answer = await http.get("/api/v1/export/points?run=r,1&run=r2&format=arrow")
    assert answer.headers["content-type"] == "application/vnd.apache.arrow.stream"
    table = pa.ipc.open_stream(answer.content).read_all()
    assert table.column_names == ["run_id", "name", "step", "time", "value", "int_value", "text"]
    by_series: dict[str, list[Any]] = {}
    for row in table.to_pylist():
        value = next(row[kind] for kind in ("text", "int_value", "value") if row[kind] is not None)
        by_series.setdefault(row["name"], []).append(repr(value))
    assert by_series == {"loss": [repr(0.1 + 0.2), "nan"], "epoch": [repr((1 << 53) + 1)], "note": ["'a,b'"]}
    some = await http.get("/api/v1/export/points?run=r,1&name=loss&format=arrow")
    assert pa.ipc.open_stream(some.content).read_all().num_rows == 2
    none = await http.get("/api/v1/export/points?run=unknown&format=arrow")
    assert pa.ipc.open_stream(none.content).read_all().num_rows == 0


async def test_a_table(http: httpx.AsyncClient) -> None:
    frame, table = await read(http, "table?run=r,1&name=t")
    assert table.select(["row", "x", "y"]).to_pylist() == [{"row": 0, "x": 3, "y": "z"}]
    assert frame[["x", "y"]].to_numpy().tolist() == [[3, "z"]]
    assert (await http.get("/api/v1/export/table?run=r,1&name=none")).status_code == 404


async def test_what_makes_no_sense_is_refused(http: httpx.AsyncClient) -> None:
    for path in (
        "runs?format=xls",
        "runs?column=colour",
        "runs?column=metric:loss",
        "runs?column=run_id&column=run_id",
        "points?",
        "table?run=r",
        "runs?order=colour",
        "runs?column=metric:loss:median",
    ):
        answer = await http.get(f"/api/v1/export/{path}")
        assert answer.status_code == 400, path
        assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.attack
async def test_no_text_is_a_formula_to_a_spreadsheet_and_numbers_stay_numbers(database: Any) -> None:
    key = await database.add_run("r")
    texts = [
        "=1+1",
        "+cmd|' /C calc'!A0",
        "-2+3",
        "@SUM(A1)",
        "\t=1",
        "\r=1",
        "-1.5",
        "+1e-5",
        "-inf",
        "- x",
        "a=b",
        "1-1",
    ]
    rows = [
        (SeriesKey(SeriesClass.TABLE, "t", "=x"), Kind.TEXT, i, i, i, text) for i, text in enumerate(texts)
    ]
    rows += [(SeriesKey(SeriesClass.TABLE, "t", "y"), Kind.FLOAT, i, i, i, -1.5) for i in range(len(texts))]
    await database.add_chunk(key, SOURCE, sorted(rows, key=lambda row: row[2]))
    async with serving(database) as client:
        read: dict[str, Any] = {}
        for format in ("csv", "csv-raw"):
            answer = await client.get(f"/api/v1/export/table?run=r&name=t&format={format}")
            assert answer.headers["content-type"] == "text/csv; charset=utf-8"
            assert answer.headers["content-disposition"].endswith('.csv"')
            read[format] = list(csv.DictReader(io.StringIO(answer.content.decode(), newline="")))
    assert [row["=x"] for row in read["csv-raw"]] == texts
    plain = {"-1.5", "+1e-5", "-inf", "a=b", "1-1"}
    assert [row["'=x"] for row in read["csv"]] == [text if text in plain else f"'{text}" for text in texts]
    assert {row["y"] for row in read["csv"]} == {"-1.5"}
