"""The rights that docs/how-to/tls-and-sasl.md gives each role: with them all of it works, and nothing else may be done."""

from __future__ import annotations

import asyncio
import re
import shlex
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import TopicAuthorizationFailedError
from aiokafka.protocol.admin import CreateAclsRequest
from tests.project.described import TOKEN, Cluster, Role

from runstream_schemas.errors import SettingsError
from runstream_schemas.kafka.topics import TopicNames, describe_topics, ensure_topics, kafka_client_options
from runstream_schemas.settings import Settings
from runstream_service.servers.kafka import KafkaServer, Security

pytestmark = [pytest.mark.attack, pytest.mark.kafka]

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "tls-and-sasl.md"
USERS = {name: f"password of {name}" for name in ("admin", "agent", "consumer")}
# Numbers of Kafka's protocol.
OPERATIONS = {"Read": 3, "Write": 4, "Create": 5, "Describe": 8, "DescribeConfigs": 10}
RESOURCES = {"topic": 2, "group": 3}
PATTERNS = {"literal": 3, "prefixed": 4}
ANY_HOST, ALLOW = "*", 3


def documented() -> Iterator[tuple[int, str, int, str, int]]:
    """Resource, its name, pattern, user and operation of each rule on the page."""
    for command in re.findall(r"^\$ \$acls (.*)$", PAGE.read_text(), re.MULTILINE):
        given: dict[str, list[str]] = {}
        words = shlex.split(command)
        for option, value in zip(words[::2], words[1::2], strict=True):
            given.setdefault(option.removeprefix("--"), []).append(value)
        [user] = given.pop("allow-principal")
        [pattern] = given.pop("resource-pattern-type", ["literal"])
        operations = given.pop("operation")
        for resource, names in given.items():
            for name in names:
                for operation in operations:
                    yield RESOURCES[resource], name, PATTERNS[pattern], user, OPERATIONS[operation]


def settings_of(user: str, bootstrap: str) -> Settings:
    return Settings(
        kafka=bootstrap,
        kafka_security_protocol="SASL_PLAINTEXT",
        kafka_username=user,
        kafka_password=USERS[user],
        topic_partitions=2,
    )


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[str]:
    """A broker with the rights of the page and no topic."""
    properties = {
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:admin;User:ANONYMOUS",  # the broker itself has no name on its own listener
        "allow.everyone.if.no.acl.found": "false",
    }
    with KafkaServer(tmp_path / "kafka", security=Security(users=USERS), properties=properties) as server:
        admin = AIOKafkaAdminClient(**kafka_client_options(settings_of("admin", server.bootstrap)))
        await admin.start()
        try:
            for resource, name, pattern, user, operation in documented():
                rule = CreateAclsRequest(resource, name, pattern, user, ANY_HOST, operation, ALLOW)
                answer = await admin._send_request(rule)
                assert [code for code, _ in answer.creation_responses] == [0]
        finally:
            await admin.close()
        yield server.bootstrap


def test_the_page_gives_rights_to_agents_and_consumers_on_all_topics() -> None:
    names = TopicNames.of(Settings())
    rules = list(documented())
    assert {user for _, _, _, user, _ in rules} == {"User:agent", "User:consumer"}
    for user in ("User:agent", "User:consumer"):
        assert {name for kind, name, how, who, _ in rules if (who, kind, how) == (user, 2, 3)} == set(
            names.all
        )


async def test_with_these_rights_all_of_it_works_and_nothing_else_may_be_done(
    broker: str, home: Path, postgres: str
) -> None:
    agent, consumer = settings_of("agent", broker), settings_of("consumer", broker)
    with pytest.raises(SettingsError, match="cannot be created"):
        await ensure_topics(agent, timeout=5)

    def role(name: str, settings: Settings | None, **more: str) -> Role:
        own = {
            "RUNSTREAM_HOME": str(home),
            "RUNSTREAM_DATABASE": postgres,
            "RUNSTREAM_TOPIC_PARTITIONS": "2",
            **more,
        }
        if settings is not None:
            own |= {
                "RUNSTREAM_KAFKA_SECURITY_PROTOCOL": settings.kafka_security_protocol,
                "RUNSTREAM_KAFKA_USERNAME": settings.kafka_username,
                "RUNSTREAM_KAFKA_PASSWORD": settings.kafka_password,
            }
        return Role([name], own)

    roles = {
        "consumer": role("consumer", consumer),
        "server": role("server", None, RUNSTREAM_HOST="0.0.0.0", RUNSTREAM_TOKEN=TOKEN),
        "agent": role("agent", agent, RUNSTREAM_URL="http://server", RUNSTREAM_TOKEN=TOKEN),
    }
    cluster = Cluster(home, roles, {}, SimpleNamespace(bootstrap=broker, prefix="runstream"))
    try:
        cluster.start("consumer", "server")
        async with asyncio.timeout(30):
            while len((await describe_topics(settings_of("admin", broker))).topics) < 4:
                await asyncio.sleep(0.2)
        cluster.start("agent")
        cluster.train()
        cluster.check()
    finally:
        cluster.close()

    names = TopicNames.of(agent)
    stranger = AIOKafkaConsumer(**kafka_client_options(agent), auto_offset_reset="earliest")
    await stranger.start()
    try:
        stranger.subscribe(list(names.events))
        with pytest.raises(TopicAuthorizationFailedError):
            await stranger.getone()
    finally:
        await stranger.stop()
    for settings, topic in ((consumer, names.metrics), (consumer, names.status), (agent, names.dead_letter)):
        producer = AIOKafkaProducer(**kafka_client_options(settings))
        await producer.start()
        try:
            with pytest.raises(TopicAuthorizationFailedError):
                await producer.send_and_wait(topic, b"forged")
        finally:
            await producer.stop()
    assert set((await describe_topics(agent)).topics) >= set(names.events)
