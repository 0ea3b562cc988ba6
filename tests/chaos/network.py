"""A broker and a database of their own, each behind a proxy that can be slow, cut what it carries, or let nobody in."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from runstream_service.servers.kafka import KafkaServer
from runstream_service.servers.postgres import PostgresServer
from runstream_service.servers.postgres_directory import SOCKET_PORT

from .proxy import Proxy


class Network:
    """Starts both servers below a home; the services reach them by the proxies only."""

    def __init__(self, home: Path) -> None:
        self.kafka, self.postgres = KafkaServer(home / "kafka"), PostgresServer(home / "postgres")
        self.postgres.start()
        self.database = Proxy(str(self.postgres.directory.path / f".s.PGSQL.{SOCKET_PORT}"))
        self.kafka.start()
        host, _, port = self.kafka.bootstrap.rpartition(":")
        self.kafka.stop()
        self.broker = Proxy((host, int(port)))
        # What the broker tells its clients to connect to is the proxy.
        address = f"CLIENT://127.0.0.1:{self.broker.port}"
        self.kafka = KafkaServer(home / "kafka", properties={"advertised.listeners": address})
        self.kafka.start()

    @property
    def dsn(self) -> str:
        """Address of the database, by its proxy."""
        parts = urlsplit(self.postgres.dsn)
        user = parts.netloc.rpartition("@")[0]
        return f"postgresql://{user}@127.0.0.1:{self.database.port}{parts.path}"

    def repair(self) -> None:
        """Let everybody in, and start what was killed."""
        for proxy in (self.broker, self.database):
            proxy.repair()
        for server in (self.postgres, self.kafka):
            if not server.running:
                server.start()

    def end(self) -> None:
        """Stop both."""
        for proxy in (self.broker, self.database):
            proxy.stop()
        self.kafka.stop()
        self.postgres.stop()
