"""What a local Kafka is told: its properties, who may talk to it, and what it logs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

MAX_MESSAGE_BYTES = 8 << 20

_LOG4J_CONFIG = """\
status = error
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{ISO8601} %p %c{1}: %m%n
rootLogger.level = warn
rootLogger.appenderRef.console.ref = console
"""


@dataclass(frozen=True, slots=True)
class Security:
    """Who may talk to the broker, and how.

    Attributes:
        users: SASL/PLAIN users and their passwords; empty: no SASL.
        certificate: PEM file holding the broker's key (PKCS 8) followed by its certificate chain; None: no TLS.
    """

    users: Mapping[str, str]
    certificate: Path | None = None

    @property
    def protocol(self) -> str:
        """The name Kafka has for the combination."""
        return ("SASL_" if self.users else "") + ("SSL" if self.certificate else "PLAINTEXT")


def write_configuration(
    directory: Path, host: str, ports: Sequence[int], security: Security | None, own: Mapping[str, str]
) -> Path:
    """Write `server.properties` and what it logs into `directory`.

    Args:
        directory: the directory of the broker's data.
        host: it listens on.
        ports: those for clients, for the controller, and for the broker's way to itself, which only one with `security` has.
        security: who may talk to it; None: everybody.
        own: properties that win over these.
    """
    clients, controller, internal = ports
    listeners = {"CLIENT": (clients, security.protocol if security else "PLAINTEXT")}
    if security:
        listeners["INTERNAL"] = (
            internal,
            "PLAINTEXT",
        )  # the broker's way to itself needs neither user nor trust store
    advertised = ",".join(f"{name}://{host}:{port}" for name, (port, _) in listeners.items())
    protocols = ",".join(f"{name}:{protocol}" for name, (_, protocol) in listeners.items())
    properties = {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@{host}:{controller}",
        "controller.listener.names": "CONTROLLER",
        "listeners": f"{advertised},CONTROLLER://{host}:{controller}",
        "advertised.listeners": advertised,
        "listener.security.protocol.map": f"{protocols},CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "INTERNAL" if security else "CLIENT",
        "log.dirs": str(directory / "log"),
        "offsets.topic.replication.factor": "1",
        "offsets.topic.num.partitions": "4",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        "group.initial.rebalance.delay.ms": "0",
        "group.min.session.timeout.ms": "1000",
        "auto.create.topics.enable": "false",
        "message.max.bytes": str(MAX_MESSAGE_BYTES),
        # After a kill -9 the controller lets the broker back in once the old session ran out: 4 s instead of 12.
        "broker.session.timeout.ms": "2000",
        "broker.heartbeat.interval.ms": "400",
        # Of nothing to tell the controller tells twice a second, for brokers elsewhere that would believe it gone.
        "metadata.max.idle.interval.ms": "5000",
    }
    if security:
        properties |= _security_properties(security)
    properties |= own
    path = directory / "server.properties"
    path.touch(mode=0o600)  # it may hold passwords
    path.write_text("".join(f"{key}={_escape(value)}\n" for key, value in properties.items()))
    (directory / "log4j2.properties").write_text(_LOG4J_CONFIG)
    return path


def _escape(value: str) -> str:
    """As a Java properties file wants it: backslashes start an escape."""
    return value.replace("\\", "\\\\").replace("\n", "\\n")


def _quote(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _security_properties(security: Security) -> dict[str, str]:
    properties: dict[str, str] = {}
    if security.users:
        users = " ".join(f"user_{name}={_quote(password)}" for name, password in security.users.items())
        module = "org.apache.kafka.common.security.plain.PlainLoginModule"
        properties["sasl.enabled.mechanisms"] = "PLAIN"
        properties["listener.name.client.plain.sasl.jaas.config"] = f"{module} required {users};"
    if security.certificate:
        properties["listener.name.client.ssl.keystore.type"] = "PEM"
        properties["listener.name.client.ssl.keystore.location"] = str(security.certificate)
    return properties
