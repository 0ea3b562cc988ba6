"""Every engine of docs/how-to/analytics.md reads the same points as our own readers, while compactors are killed: make
test-engines, which installs them in an environment of their own.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pytest
from tests.query.engines.reader import ARROW, digest
from tests.query.http.kinds import server_of

from runstream_schemas.runs.deletion import delete_rows
from runstream_schemas.series import Kind, SeriesClass, SeriesKey

ENGINES = os.environ.get("RUNSTREAM_TEST_ENGINES", ",".join(ARROW)).split(",")
PYTHON = os.environ.get("RUNSTREAM_TEST_ENGINES_PYTHON", sys.executable)
CHILD = Path(__file__).parents[2] / "consumers/compaction/crash_child.py"
VALUES: list[tuple[Kind, Any]] = [
    (Kind.FLOAT, 0.1), (Kind.FLOAT, float("nan")), (Kind.FLOAT, float("-inf")), (Kind.INT, 2**53 + 1), (Kind.BOOL, True),
    (Kind.TEXT, "ä\n"), (Kind.NULL, None),
]  # fmt: skip
POINTS = 210
"""Of a run."""


@dataclass
class Reader:
    """An engine in a process of its own."""

    engine: str
    process: asyncio.subprocess.Process

    async def read(self) -> dict[str, Any]:
        """What it reads now."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(b"read\n")
        async with asyncio.timeout(300):
            while line := await self.process.stdout.readline():
                if line.startswith(b'{"'):
                    answer: dict[str, Any] = json.loads(line)
                    assert "error" not in answer, f"{self.engine}: {answer['error']}"
                    return answer
        raise AssertionError(f"{self.engine} ended")


@asynccontextmanager
async def reader(engine: str, base: str, token: str, home: Path) -> AsyncIterator[Reader]:
    environment = os.environ | {
        "RUNSTREAM_TOKEN": token,
        "RAY_raylet_start_wait_time_s": "300",
        "HOME": str(home),
        "POLARS_ICEBERG_PLANNER": "pyiceberg",
    }
    words = [PYTHON, str(Path(__file__).with_name("reader.py")), engine, base]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    process = await asyncio.create_subprocess_exec(*words, env=environment, limit=1 << 24, **pipes)
    try:
        yield Reader(engine, process)
    finally:
        process.terminate()
        await process.wait()


async def round_of(database: Any, step: int = 1 << 30) -> int:
    """Compaction, merging and publishing in a process that dies at that step; 9: it did."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, str(CHILD), "iceberg", "kept", stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    out, _ = await child.communicate(
        f"{database.settings.database} {database.settings.store} {step}\n".encode()
    )
    return int(out)


async def add_run(database: Any, number: int) -> int:
    key: int = await database.add_run(f"run-{number}", f"an experiment/{number % 2}")
    points = [
        (
            SeriesKey(SeriesClass.METRIC, f"loss/{place % 2}"),
            kind,
            place,
            place,
            1_790_000_000_000_000 + 10 * place,
            value,
        )
        for place, (kind, value) in enumerate(VALUES * (POINTS // len(VALUES)))
    ]
    await database.add_chunk(key, (number + 1).to_bytes(16, "big"), points)
    await database.pool.execute(
        "update runs set settled_at = now() - interval '1 minute' where key = $1", key
    )
    await database.pool.execute("update chunks set created_at = now() - interval '1 minute'")
    return key


@pytest.mark.timeout(1500)
async def test_every_engine_reads_the_same_while_compactors_are_killed(database: Any, tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        base, token = await stack.enter_async_context(server_of("cluster", database))
        client = await stack.enter_async_context(
            httpx.AsyncClient(base_url=base, headers={"Authorization": f"Bearer {token}"}, timeout=60)
        )
        readers = [
            await stack.enter_async_context(reader(engine, base, token, tmp_path)) for engine in ENGINES
        ]

        async def ours() -> dict[str, Any]:
            answer = await client.post(
                "/api/v1/sql",
                json={"query": "select run_id, name, step, time, value, int_value, text from metrics"},
                headers={"Accept": "application/vnd.apache.arrow.stream"},
            )
            return digest(pa.ipc.open_stream(answer.content).read_all())

        async def same(when: str) -> None:
            expected = await ours()
            assert {r.engine: await r.read() for r in readers} == dict.fromkeys(ENGINES, expected), when

        keys = [await add_run(database, 0)]
        assert await round_of(database) == 0
        await same("after compaction")
        step, number = 1, 1
        while True:
            keys.append(await add_run(database, number))
            dying = asyncio.create_task(round_of(database, step))
            for engine in readers:
                answer = await engine.read()
                assert answer["points"] == answer["different"], engine.engine
                assert answer["points"] % POINTS == 0, engine.engine
            if await dying == 0:
                break
            step, number = step + 17, number + 1
        await same("after compactors were killed")
        async with database.pool.acquire() as connection, connection.transaction():
            await delete_rows(connection, [keys[0]])
        assert await round_of(database) == 0
        await same("after a run was deleted")
        assert (await ours())["points"] == POINTS * (len(keys) - 1)
