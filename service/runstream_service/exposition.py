"""A role's own /metrics: a port beside its work, for Prometheus."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from runstream_schemas.metrics import Collected, registry_of
from runstream_schemas.settings import Settings

logger = logging.getLogger("runstream.service")


@contextmanager
def exposed(settings: Settings, *states: Collected) -> Iterator[None]:
    """Show states, and this process, at `metrics_host` and `metrics_port` while the block runs.

    A port that cannot be had, or the library that is not installed, is said in the log and stops no work.
    """
    if not settings.metrics_port:
        yield
        return
    place = f"RUNSTREAM_METRICS_PORT={settings.metrics_port}"
    try:
        from prometheus_client import start_http_server

        server, thread = start_http_server(settings.metrics_port, settings.metrics_host, registry_of(states))
    except ImportError:
        logger.error("%s: nothing is shown there: pip install prometheus-client", place)
        yield
        return
    except OSError as error:
        logger.error(
            "%s: nothing is shown there: cannot listen on %s (%s)",
            place,
            settings.metrics_host,
            error.strerror or error,
        )
        yield
        return
    logger.info("metrics at http://%s:%d/metrics", settings.metrics_host, settings.metrics_port)
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
