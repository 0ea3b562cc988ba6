"""The topics: their names, how they are made and reached, and which incarnation of a topic it is.

Producer, consumer and admin client connect with the same options, `kafka_client_options`. A topic is identified by its id
and not by its name: one that was deleted and made again starts at offset 0 anew, and must not be taken for the old one.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

from ..errors import ServiceError, SettingsError
from ..settings import Settings

if TYPE_CHECKING:
    from aiokafka.client import AIOKafkaClient

logger = logging.getLogger(__name__)

MAX_MESSAGE_BYTES = 8 << 20
"""`max.message.bytes` of the topics; a producer's `max_request_size` must not exceed it."""

_ALREADY_EXISTS = 36
_SECURITY_PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
_SASL_MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")


@dataclass(frozen=True, slots=True)
class TopicNames:
    """The names of the four topics of one installation."""

    metrics: str
    tags: str
    status: str
    dead_letter: str

    @classmethod
    def of(cls, settings: Settings) -> TopicNames:
        """Names under the prefix that the settings give."""
        prefix = settings.topic_prefix
        return cls(f"{prefix}.metrics", f"{prefix}.tags", f"{prefix}.status", f"{prefix}.dead-letter")

    @property
    def events(self) -> tuple[str, str, str]:
        """The topics that hold events: what consumers subscribe to."""
        return self.metrics, self.tags, self.status

    @property
    def all(self) -> tuple[str, str, str, str]:
        """Every topic."""
        return self.metrics, self.tags, self.status, self.dead_letter


@dataclass(frozen=True, slots=True)
class Topic:
    """One incarnation of a topic.

    Attributes:
        name: its name.
        id: given by the cluster when the topic is created, different after it was deleted and made again.
        partitions: how many it has.
    """

    name: str
    id: UUID
    partitions: int


@dataclass(frozen=True, slots=True)
class Cluster:
    """What a broker says about itself.

    Attributes:
        id: given when the cluster was formatted.
        topics: the topics asked for that exist, by name.
    """

    id: str
    topics: dict[str, Topic]


def kafka_client_options(settings: Settings) -> dict[str, Any]:
    """Keyword arguments that make an aiokafka client reach the cluster: addresses, SASL and TLS.

    Raises:
        SettingsError: no broker is set, an unknown protocol or mechanism, no user for SASL, or a certificate file that
            cannot be read.
    """
    addresses = [part.strip() for part in settings.kafka.split(",") if part.strip()]
    if not addresses:
        raise SettingsError(
            "RUNSTREAM_KAFKA is empty: set it to the brokers' addresses, host:port[,host:port]"
        )
    protocol = settings.kafka_security_protocol.upper()
    if protocol not in _SECURITY_PROTOCOLS:
        raise SettingsError(
            f"RUNSTREAM_KAFKA_SECURITY_PROTOCOL={settings.kafka_security_protocol!r}: "
            f"expected one of {', '.join(_SECURITY_PROTOCOLS)}"
        )
    options: dict[str, Any] = {"bootstrap_servers": addresses, "security_protocol": protocol}
    if protocol.startswith("SASL"):
        mechanism = settings.kafka_sasl_mechanism.upper()
        if mechanism not in _SASL_MECHANISMS:
            raise SettingsError(
                f"RUNSTREAM_KAFKA_SASL_MECHANISM={settings.kafka_sasl_mechanism!r}: "
                f"expected one of {', '.join(_SASL_MECHANISMS)}"
            )
        if not settings.kafka_username:
            raise SettingsError(f"{protocol} needs RUNSTREAM_KAFKA_USERNAME and RUNSTREAM_KAFKA_PASSWORD")
        options["sasl_mechanism"] = mechanism
        options["sasl_plain_username"] = settings.kafka_username
        options["sasl_plain_password"] = settings.kafka_password
    if protocol.endswith("SSL"):
        options["ssl_context"] = _ssl_context(settings)
    return options


def _ssl_context(settings: Settings) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=settings.kafka_ca_file or None)
    except OSError as error:  # ssl.SSLError is one
        raise SettingsError(
            f"RUNSTREAM_KAFKA_CA_FILE={settings.kafka_ca_file}: cannot be used ({error})"
            "; see that it is a file in PEM that may be read"
        ) from None
    if settings.kafka_cert_file:
        try:
            context.load_cert_chain(settings.kafka_cert_file, settings.kafka_key_file or None)
        except OSError as error:
            raise SettingsError(
                f"RUNSTREAM_KAFKA_CERT_FILE={settings.kafka_cert_file}, RUNSTREAM_KAFKA_KEY_FILE="
                f"{settings.kafka_key_file}: cannot be used ({error})"
                "; see that it is a file in PEM that may be read"
            ) from None
    return context


async def ensure_topics(settings: Settings, *, timeout: float = 60.0) -> Cluster:
    """Create the topics that do not exist yet, and wait until all have an id. Those that exist stay as they are.

    May run in several processes at once. Waits for a broker that is not up yet, or that still deletes a topic of that name.

    Args:
        settings: names, partitions, replication and retention of the topics; the cluster's address.
        timeout: seconds to wait at most.

    Returns:
        The cluster, with all four topics.

    Raises:
        SettingsError: settings that cannot be, or that the cluster refuses (more replicas than brokers, for instance).
        ServiceError: the cluster cannot be reached, or does not answer in time.
    """
    names = TopicNames.of(settings)
    deadline = asyncio.get_running_loop().time() + timeout
    while True:
        remaining = deadline - asyncio.get_running_loop().time()
        try:
            cluster = await describe_topics(settings, names.all, timeout=max(remaining, 1.0))
            missing = [name for name in names.all if name not in cluster.topics]
            if not missing:
                await _check_message_size(settings, names.all)
                return cluster
            await _create(settings, missing, timeout=max(remaining, 1.0))
        except ServiceError:
            if remaining <= 0:
                raise
        if remaining <= 0:
            raise ServiceError(
                f"Kafka at {settings.kafka}: the topics {missing} were created but did not come up in {timeout:g} s"
                "; see that the brokers are well"
            )
        await asyncio.sleep(0.2)


async def _create(settings: Settings, names: Iterable[str], *, timeout: float) -> None:
    from aiokafka.admin import AIOKafkaAdminClient, NewTopic
    from aiokafka.errors import KafkaError, for_code

    configs = {
        "retention.ms": str(settings.topic_retention_hours * 3_600_000),
        "max.message.bytes": str(MAX_MESSAGE_BYTES),
    }
    new = [
        NewTopic(name, settings.topic_partitions, settings.topic_replication, topic_configs=configs)
        for name in names
    ]
    admin = AIOKafkaAdminClient(**kafka_client_options(settings))
    try:
        async with asyncio.timeout(timeout):
            await admin.start()
            response = await admin.create_topics(new)
    except (KafkaError, TimeoutError) as error:
        raise _away(settings, error) from error
    finally:
        await admin.close()
    for name, code, *rest in response.topic_errors:
        if code in (0, _ALREADY_EXISTS):
            continue
        problem = for_code(code)
        detail = (rest[0] if rest else None) or problem.description
        if problem.retriable:
            raise ServiceError(
                f"Kafka at {settings.kafka}: topic {name} cannot be created now: {detail}"
                "; see that enough brokers are there"
            )
        raise SettingsError(
            f"Kafka at {settings.kafka}: topic {name} cannot be created: {detail} "
            f"(RUNSTREAM_TOPIC_PARTITIONS={settings.topic_partitions}, "
            f"RUNSTREAM_TOPIC_REPLICATION={settings.topic_replication})"
            "; create it by hand, or change these two"
        )


async def _check_message_size(settings: Settings, names: Iterable[str]) -> None:
    """Warn of topics that somebody made with Kafka's default of 1 MiB a message: large events would be refused."""
    from aiokafka.admin import AIOKafkaAdminClient
    from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
    from aiokafka.errors import KafkaError

    resources = [ConfigResource(ConfigResourceType.TOPIC, name, {"max.message.bytes": ""}) for name in names]
    admin = AIOKafkaAdminClient(**kafka_client_options(settings))
    try:
        await admin.start()
        responses = await admin.describe_configs(resources)
    except KafkaError as error:
        raise _away(settings, error) from error
    finally:
        await admin.close()
    for response in responses:
        for code, _message, _kind, name, entries in response.resources:
            # With an error code we may not look, which is no reason not to work.
            for key, value, *_ in entries if code == 0 else ():
                if key == "max.message.bytes" and int(value) < MAX_MESSAGE_BYTES:
                    logger.warning(
                        "topic %s takes messages of %s bytes at most, events may have more: "
                        "set its max.message.bytes to %d",
                        name,
                        value,
                        MAX_MESSAGE_BYTES,
                    )


async def describe_topics(
    settings: Settings, names: Iterable[str] | None = None, *, timeout: float = 30.0
) -> Cluster:
    """The cluster's id, and the ids of its topics.

    Args:
        settings: the cluster's address.
        names: topics to ask for; None: those of the settings. One that does not exist is left out.
        timeout: seconds to wait at most.

    Raises:
        SettingsError: settings that cannot be.
        ServiceError: the cluster cannot be reached, does not answer in time, or is older than Kafka 2.8.
    """
    from aiokafka.client import AIOKafkaClient
    from aiokafka.errors import KafkaError

    client = AIOKafkaClient(**kafka_client_options(settings))
    try:
        async with asyncio.timeout(timeout):
            await client.bootstrap()
            return await read_topics(client, TopicNames.of(settings).all if names is None else names)
    except (KafkaError, TimeoutError) as error:
        raise _away(settings, error) from error
    finally:
        await client.close()


async def read_topics(client: AIOKafkaClient, names: Iterable[str]) -> Cluster:
    """As `describe_topics`, over a connected client, whose errors come through.

    Raises:
        ServiceError: the cluster is older than Kafka 2.8.
        aiokafka.errors.KafkaError: the broker cannot be reached.
    """
    from aiokafka.errors import IncompatibleBrokerVersion, LeaderNotAvailableError

    from .metadata import MetadataRequest

    try:
        response = await client.send(client.get_random_node(), MetadataRequest(list(names)))
    except (NotImplementedError, IncompatibleBrokerVersion):
        raise ServiceError("the Kafka cluster knows no topic ids; use Kafka 2.8 or newer") from None
    topics = {}
    for code, name, id_, _internal, partitions, _operations, _tags in response.topics:
        # UNKNOWN_TOPIC_OR_PARTITION: it does not exist. Anything else, such as LEADER_NOT_AVAILABLE, passes in a moment.
        if code == LeaderNotAvailableError.errno or any(
            part[0] == LeaderNotAvailableError.errno for part in partitions
        ):
            continue
        if code == 0 and name is not None:
            topics[name] = Topic(name, UUID(bytes=id_), len(partitions))
    return Cluster(response.cluster_id or "", topics)


def _away(settings: Settings, error: BaseException) -> ServiceError:
    return ServiceError(
        f"Kafka at {settings.kafka} cannot be used ({type(error).__name__}: {error}); "
        "see that it runs, and that RUNSTREAM_KAFKA and RUNSTREAM_KAFKA_SECURITY_PROTOCOL fit it"
    )
