"""Starts runstream for a measurement, embedded or with a real Kafka, in a home of its own; counts what is stored."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

STORED = "select coalesce(sum(count), 0)::bigint from summaries"
HOT = (
    "select coalesce(sum(points), 0)::bigint, coalesce(sum(length(payload)), 0)::bigint, "
    "pg_total_relation_size('chunks') from chunks"
)


@dataclass(slots=True)
class Cluster:
    """A home with services that may run. `environment` is what its processes get."""

    home: Path
    kafka: bool
    environment: dict[str, str]

    def command(self, *words: str, timeout: float = 120.0) -> str:
        """Run `runstream <words>`."""
        done = subprocess.run(
            [sys.executable, "-m", "runstream", *words],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"runstream {' '.join(words)}: {done.stderr or done.stdout}")
        return done.stdout

    def up(self) -> None:
        """Start the services."""
        self.command("up", *(["--kafka"] if self.kafka else []))

    def down(self) -> None:
        """End the services."""
        self.command("down")

    def dsn(self) -> str:
        """Address of the embedded Postgres."""
        from runstream_service.servers.postgres import PostgresServer

        return PostgresServer(self.home / "postgres").dsn

    def query(self, sql: str) -> list[int]:
        """First row of a query."""
        import asyncpg

        async def fetch() -> list[int]:
            connection = await asyncpg.connect(self.dsn())
            try:
                return list(await connection.fetchrow(sql))
            finally:
                await connection.close()

        return asyncio.run(fetch())

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """All rows of a query, or none of a command."""
        import asyncpg

        async def fetch() -> list[tuple[Any, ...]]:
            connection = await asyncpg.connect(self.dsn())
            try:
                return [tuple(row) for row in await connection.fetch(sql)]
            finally:
                await connection.close()

        return asyncio.run(fetch())

    def wait_stored(self, points: int, timeout: float = 300.0, *, compacted: bool = False) -> float:
        """Wait until so many points are stored (and none is hot any more); returns `time.perf_counter()` then."""
        import asyncpg

        async def wait() -> float:
            connection = await asyncpg.connect(self.dsn())
            deadline = time.perf_counter() + timeout
            try:
                while time.perf_counter() < deadline:
                    stored = await connection.fetchval(STORED)
                    if stored >= points and not (
                        compacted and (await connection.fetchval("select exists (select from chunks)"))
                    ):
                        return time.perf_counter()
                    await asyncio.sleep(0.02)
            finally:
                await connection.close()
            raise TimeoutError(f"only {stored} of {points} points were stored in {timeout} s")

        return asyncio.run(wait())

    def processes(self) -> list[int]:
        """Our own processes of this home: not Postgres, not Kafka."""
        pids = []
        for entry in Path("/proc").iterdir():
            try:
                if (
                    not entry.name.isdigit()
                    or f"RUNSTREAM_HOME={self.home}".encode() not in (entry / "environ").read_bytes()
                ):
                    continue
                line = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if (
                b"runstream" in line
                and b"postgres:" not in line
                and b"kafka.Kafka" not in line
                and b"bin/postgres" not in line
            ):
                pids.append(int(entry.name))
        return pids

    def cpu_of_postgres(self) -> float:
        """CPU seconds that the embedded Postgres has used so far, with its processes that have ended."""
        first = int((self.home / "postgres" / "data" / "postmaster.pid").read_text().split()[0])
        ticks = sum(_ticks(first, 4))
        for pid in Path(f"/proc/{first}/task/{first}/children").read_text().split():
            with contextlib.suppress(OSError):
                ticks += sum(_ticks(int(pid), 2))
        return ticks / os.sysconf("SC_CLK_TCK")

    def cpu_and_memory(self, but: Collection[int] = ()) -> tuple[float, int]:
        """CPU seconds used so far, and resident bytes, of `processes()` but some."""
        ticks, pages = 0, 0
        for pid in self.processes():
            if pid in but:
                continue
            try:
                used = sum(_ticks(pid, 2))
                pages += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
            except OSError:
                continue
            ticks += used
        return ticks / os.sysconf("SC_CLK_TCK"), pages * os.sysconf("SC_PAGE_SIZE")


def _ticks(pid: int, n: int) -> list[int]:
    """Of a process: in user and system mode, and the same of those it has waited for, as far as `n` goes."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return [int(field) for field in fields[11 : 11 + n]]


@contextmanager
def cluster(
    *, kafka: bool = False, settings: Mapping[str, str] | None = None, place: str | None = None
) -> Iterator[Cluster]:
    """A fresh home (in `place`, if given); its services are ended and it is removed afterwards."""
    home = Path(tempfile.mkdtemp(prefix="rsb", dir=place))
    environment = {**os.environ, "RUNSTREAM_HOME": str(home), "RUNSTREAM_AUTOSTART": "0", **(settings or {})}
    made = Cluster(home, kafka, environment)
    try:
        yield made
    finally:
        if (home / "service.json").exists():
            made.down()
        shutil.rmtree(home, ignore_errors=True)


def start_writers(made: Cluster, processes: int, *options: str) -> list[subprocess.Popen[str]]:
    """Writers that wait for `go`."""
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "bench.writers", *options],
            env=made.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(processes)
    ]
    for process in started:
        assert process.stdout
        process.stdout.readline()
    return started


def go(writers: list[subprocess.Popen[str]]) -> float:
    """Let the writers begin; returns `time.perf_counter()`."""
    start = time.perf_counter()
    for writer in writers:
        assert writer.stdin
        writer.stdin.write("go\n")
        writer.stdin.flush()
    return start


def finish(writers: list[subprocess.Popen[str]]) -> int:
    """Wait for the writers; returns the points they logged."""
    logged = 0
    for writer in writers:
        output, _ = writer.communicate(timeout=600)
        logged += int(output.split()[0])
    return logged
