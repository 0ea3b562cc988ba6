"""Looks at what is there, without starting it: whether a server answers, how much a directory holds."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def answers(url: str, path: str, timeout: float = 3.0) -> bool:
    """Whether a server says 200 to a GET."""
    import http.client
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(url)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(parts.hostname or "", parts.port, timeout=timeout)
    except ValueError:  # no address at all
        return False
    try:
        connection.request("GET", parts.path.rstrip("/") + path)
        return connection.getresponse().status == 200
    except (OSError, UnicodeError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def directory_size(path: Path) -> int:
    """Bytes on disk below a directory; what vanishes meanwhile does not count."""
    total = 0
    for place, _, files in os.walk(path):
        for name in files:
            with suppress(OSError):
                total += os.lstat(os.path.join(place, name)).st_blocks * 512
    return total
