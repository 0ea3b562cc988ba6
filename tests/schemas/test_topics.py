"""Topics: made once however many make them, told apart when made again, and the options that reach aiokafka."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from runstream_schemas.errors import ServiceError, SettingsError
from runstream_schemas.kafka.topics import (
    Cluster,
    TopicNames,
    describe_topics,
    ensure_topics,
    kafka_client_options,
)
from runstream_schemas.settings import Settings


async def configuration(settings: Settings, topic: str) -> dict[str, str]:
    admin = AIOKafkaAdminClient(**kafka_client_options(settings))
    await admin.start()
    try:
        [response] = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
    finally:
        await admin.close()
    return {entry[0]: entry[1] for entry in response.resources[0][4]}


async def delete(settings: Settings, topic: str) -> None:
    admin = AIOKafkaAdminClient(**kafka_client_options(settings))
    await admin.start()
    try:
        await admin.delete_topics([topic])
    finally:
        await admin.close()


def test_names() -> None:
    names = TopicNames.of(Settings(topic_prefix="team.a"))
    assert names.all == ("team.a.metrics", "team.a.tags", "team.a.status", "team.a.dead-letter")
    assert names.events == names.all[:3]


async def test_made_as_the_settings_say(kafka: Any) -> None:
    settings = kafka.settings(topic_prefix=kafka.prefix + "-own", topic_partitions=3, topic_retention_hours=5)
    try:
        cluster = await ensure_topics(settings)
        assert set(cluster.topics) == set(TopicNames.of(settings).all)
        assert {topic.partitions for topic in cluster.topics.values()} == {3}
        assert len({topic.id for topic in cluster.topics.values()}) == 4
        configs = await configuration(settings, TopicNames.of(settings).metrics)
        assert configs["retention.ms"] == str(5 * 3600 * 1000)
        assert configs["max.message.bytes"] == str(8 << 20)
    finally:
        for name in TopicNames.of(settings).all:
            await delete(settings, name)


async def test_many_may_make_them_at_once(kafka: Any) -> None:
    settings = kafka.settings(topic_prefix=kafka.prefix + "-race")
    try:
        results: list[Cluster] = await asyncio.gather(*(ensure_topics(settings) for _ in range(4)))
        assert all(result == results[0] for result in results)
    finally:
        for name in TopicNames.of(settings).all:
            await delete(settings, name)


async def test_a_topic_made_again_has_another_id(kafka: Any) -> None:
    settings, names = kafka.settings(), kafka.names
    before = await describe_topics(settings)
    await delete(settings, names.tags)
    async with asyncio.timeout(20):  # a broker may know the deleted topic for a moment
        while names.tags in (await describe_topics(settings)).topics:
            await asyncio.sleep(0.05)
    after = await ensure_topics(settings)
    assert after.id == before.id
    assert after.topics[names.tags].id != before.topics[names.tags].id
    assert after.topics[names.metrics] == before.topics[names.metrics]


async def test_a_topic_that_is_not_there_is_left_out(kafka: Any) -> None:
    cluster = await describe_topics(kafka.settings(), [kafka.names.metrics, "nobody"])
    assert list(cluster.topics) == [kafka.names.metrics]


async def test_a_topic_made_by_hand_for_small_messages_is_warned_of(
    kafka: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings = kafka.settings(topic_prefix=kafka.prefix + "-small", topic_partitions=1)
    names = TopicNames.of(settings)
    admin = AIOKafkaAdminClient(**kafka_client_options(settings))
    await admin.start()
    await admin.create_topics([NewTopic(names.metrics, 1, 1, topic_configs={"max.message.bytes": "1000000"})])
    try:
        await ensure_topics(settings)
        [warning] = [
            record.getMessage()
            for record in caplog.records
            if record.name == "runstream_schemas.kafka.topics"
        ]
        assert warning.startswith(f"topic {names.metrics} takes messages of 1000000 bytes at most")
        assert warning.endswith("set its max.message.bytes to 8388608")
    finally:
        await admin.delete_topics(list(names.all))
        await admin.close()


async def test_what_the_cluster_refuses_names_the_setting(kafka: Any) -> None:
    with pytest.raises(SettingsError, match=r"RUNSTREAM_TOPIC_REPLICATION=9"):
        await ensure_topics(kafka.settings(topic_prefix="refused", topic_replication=9))


async def test_no_broker_is_said_in_time() -> None:
    async with asyncio.timeout(10):
        with pytest.raises(ServiceError, match=r"Kafka at 127\.0\.0\.1:9 cannot be used"):
            await ensure_topics(Settings(kafka="127.0.0.1:9"), timeout=1)


def test_options_of_a_plain_cluster() -> None:
    options = kafka_client_options(Settings(kafka="a:1, b:2"))
    assert options == {"bootstrap_servers": ["a:1", "b:2"], "security_protocol": "PLAINTEXT"}


def test_options_of_sasl_and_tls() -> None:
    settings = Settings(
        kafka="a:1",
        kafka_security_protocol="sasl_ssl",
        kafka_sasl_mechanism="scram-sha-512",
        kafka_username="me",
        kafka_password="secret",
    )
    options = kafka_client_options(settings)
    context = options.pop("ssl_context")
    assert isinstance(context, ssl.SSLContext)
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert options == {
        "bootstrap_servers": ["a:1"],
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_plain_username": "me",
        "sasl_plain_password": "secret",
    }


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"kafka": ""}, "RUNSTREAM_KAFKA is empty"),
        ({"kafka_security_protocol": "TLS"}, "RUNSTREAM_KAFKA_SECURITY_PROTOCOL='TLS'"),
        ({"kafka_security_protocol": "SASL_PLAINTEXT"}, "RUNSTREAM_KAFKA_USERNAME"),
        (
            {"kafka_security_protocol": "SASL_SSL", "kafka_sasl_mechanism": "GSSAPI", "kafka_username": "x"},
            "RUNSTREAM_KAFKA_SASL_MECHANISM='GSSAPI'",
        ),
        (
            {"kafka_security_protocol": "SSL", "kafka_ca_file": "/nowhere.pem"},
            r"RUNSTREAM_KAFKA_CA_FILE=/nowhere\.pem",
        ),
        (
            {"kafka_security_protocol": "SSL", "kafka_cert_file": "/no.pem"},
            r"RUNSTREAM_KAFKA_CERT_FILE=/no\.pem",
        ),
    ],
)
def test_settings_that_cannot_be(given: dict[str, str], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        kafka_client_options(Settings(**({"kafka": "a:1"} | given)))


def test_a_file_that_is_no_certificate(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("not a certificate")
    settings = Settings(kafka="a:1", kafka_security_protocol="SSL", kafka_ca_file=str(tmp_path / "ca.pem"))
    with pytest.raises(SettingsError, match="RUNSTREAM_KAFKA_CA_FILE"):
        kafka_client_options(settings)
