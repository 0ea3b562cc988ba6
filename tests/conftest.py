"""Real servers for the tests: one Postgres and one Kafka a session, started when first asked for.

`postgres` gives a test a migrated database of its own, `kafka` topics of its own, `home` a home of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import shutil
import signal
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from hypothesis import settings as hypothesis_settings

from runstream_schemas.database import migrate
from runstream_schemas.kafka.topics import TopicNames, ensure_topics, kafka_client_options
from runstream_schemas.settings import Settings
from runstream_service.servers.kafka import KafkaServer
from runstream_service.servers.postgres import SERVER_OPTIONS, PostgresServer
from tests.processes import end_processes_of
from tests.seeds import SEED, VARIABLE

hypothesis_settings.register_profile("runstream", database=None)
hypothesis_settings.load_profile("runstream")

TEMPLATE = "migrated"
LONG = ("tests/chaos", "tests/service")
"""Folders of the files that take longest."""
MEMORY_FOR_SERVERS = 8 << 30
"""Bytes of a file system in memory from which on homes and servers lie there."""
_databases = itertools.count()


@pytest.fixture(scope="session", autouse=True)
def no_settings_of_the_developer() -> Iterator[None]:
    """A test sees no RUNSTREAM_ variable but those of its own, and no service is started behind its back."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith("RUNSTREAM_") and not name.startswith("RUNSTREAM_TEST_"):
                patch.delenv(name)
        patch.setenv("RUNSTREAM_AUTOSTART", "0")
        # A test that forgets its home must not write into the developer's.
        patch.setenv("RUNSTREAM_HOME", "/nonexistent/runstream-home-of-no-test")
        yield


@pytest.fixture(scope="session", autouse=True)
def ctrl_c_works() -> None:
    """Shells start what runs in the background with the signal ignored; tests send it."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """One embedded Postgres for the session, with a migrated template."""
    with _directory() as directory:
        server = PostgresServer(directory / "pg")
        with pytest.MonkeyPatch.context() as patch:
            # Only a machine that loses its power tells the difference; making and dropping a database takes 30 ms, not 600.
            patch.setitem(SERVER_OPTIONS, "fsync", "off")
            server.start()
        try:
            asyncio.run(_make_template(server.dsn))
            yield server
        finally:
            server.stop()


async def _make_template(dsn: str) -> None:
    admin = await asyncpg.connect(dsn)
    await admin.execute(f"create database {TEMPLATE}")
    await admin.close()
    connection = await asyncpg.connect(dsn, database=TEMPLATE)
    await migrate(connection)
    await connection.close()


@pytest.fixture
async def postgres(postgres_server: PostgresServer) -> AsyncIterator[str]:
    """Address of a fresh, migrated database: `Settings(database=postgres)`."""
    name = f"test_{next(_databases)}"
    admin = await asyncpg.connect(postgres_server.dsn)
    await admin.execute(f"create database {name} template {TEMPLATE} strategy file_copy")
    await admin.close()
    yield postgres_server.dsn.replace("/postgres", f"/{name}", 1)
    # The test may have restarted the server.
    admin = await asyncpg.connect(postgres_server.dsn)
    await admin.execute(f"drop database {name} with (force)")
    await admin.close()


@dataclass(frozen=True, slots=True)
class KafkaTopics:
    """The topics of one test.

    Attributes:
        bootstrap: the broker, host:port.
        prefix: prefix of the test's topics, which exist, with 4 partitions each.
    """

    bootstrap: str
    prefix: str

    def settings(self, **more: Any) -> Settings:
        """Settings that lead to them."""
        own = {
            "kafka": self.bootstrap,
            "topic_prefix": self.prefix,
            "topic_partitions": 4,
            "consumer_group": self.prefix,
        }
        return Settings(**(own | more))

    @property
    def names(self) -> TopicNames:
        """Their names."""
        return TopicNames.of(self.settings())


@pytest.fixture(scope="session")
def kafka_broker() -> Iterator[str]:
    """host:port of the session's broker, a real one; `RUNSTREAM_TEST_KAFKA` names another one."""
    given = os.environ.get("RUNSTREAM_TEST_KAFKA")
    if given:
        yield given
        return
    with _directory() as directory, KafkaServer(directory / "kafka") as server:
        yield server.bootstrap


@pytest.fixture
async def kafka(kafka_broker: str) -> AsyncIterator[KafkaTopics]:
    """Topics of the test's own on the session's broker."""
    from aiokafka.admin import AIOKafkaAdminClient

    topics = KafkaTopics(kafka_broker, f"test-{uuid.uuid4().hex[:12]}")
    await ensure_topics(topics.settings())
    yield topics
    admin = AIOKafkaAdminClient(**kafka_client_options(topics.settings()))
    try:
        await admin.start()
        await admin.delete_topics(list(topics.names.all))
    finally:
        await admin.close()


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty home, at a path short enough for a socket; what was started in it is ended."""
    with _directory() as directory:
        home = directory / "home"
        home.mkdir(mode=0o700)
        monkeypatch.setenv("RUNSTREAM_HOME", str(home))
        try:
            yield home
        finally:
            end_processes_of(home)


@contextlib.contextmanager
def _directory() -> Iterator[Path]:
    # In memory where there is plenty: a test's database is some 700 files, which a disk takes ten times as long to make.
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and shutil.disk_usage(memory).free >= MEMORY_FOR_SERVERS
    # Not pytest's own directory: its path may be too long for a socket.
    directory = Path(tempfile.mkdtemp(prefix="rs-", dir=memory if roomy else None))
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Hypothesis takes the run's seed as well."""
    if config.option.hypothesis_seed is None:
        config.option.hypothesis_seed = str(SEED)
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(_FailuresAtOnce(config))


class _FailuresAtOnce:
    """Prints a failure when it happens: a run that is broken off, or ended by a time limit, tells what it found."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            terminal = self._config.pluginmanager.get_plugin("terminalreporter")
            assert isinstance(terminal, pytest.TerminalReporter)
            terminal.ensure_newline()
            terminal.write_sep("_", f"{report.nodeid} ({report.when})", red=True)
            terminal.write_line(report.longreprtext)


_CTRL_C = pytest.StashKey[Any]()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    item.stash[_CTRL_C] = signal.getsignal(signal.SIGINT)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    """A test leaves Ctrl-C as it found it: a command run in this process once took it from the tests that came after."""
    yield
    before, after = item.stash[_CTRL_C], signal.getsignal(signal.SIGINT)
    if after != before and before != signal.SIG_IGN:
        signal.signal(signal.SIGINT, before)
        pytest.fail(f"it left Ctrl-C to {after}")


def pytest_report_header() -> str:
    """What repeats this run's random tests."""
    return f"seed of random tests: {VARIABLE}={SEED}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The same again, where a failure is looked at."""
    terminalreporter.write_line(pytest_report_header())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first: started last, they would leave the other workers idle."""
    items.sort(key=lambda item: not item.nodeid.startswith(LONG))
