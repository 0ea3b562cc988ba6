"""The HTTP API of a home under attack, asked as a stranger's program would: by its address and token, nothing else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException, HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

TIMEOUT = 30.0
"""Seconds an answer may take; a process that was stopped is no defect."""


class Away(Exception):
    """The service does not answer, or says that what it needs is away."""


class Refused(Exception):
    """The service answered with an error that being killed does not explain.

    Attributes:
        status: of HTTP.
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"HTTP {status}: {text[:500]}")
        self.status = status


def overdue(error: Exception) -> bool:
    """Whether an error says that a question took longer than one may: of a busy machine, no defect."""
    return "RUNSTREAM_QUERY_TIMEOUT" in str(error)


def ask(
    home: Path,
    path: str,
    parameters: Mapping[str, Any] | None = None,
    *,
    method: str = "GET",
    body: Any = None,
    accept: str = "application/json",
) -> bytes:
    """One request.

    Raises:
        Away: no answer, a broken one, or a 503 or 504 with a reason.
        Refused: any other error.
    """
    try:
        connection, answer = open_answer(home, path, parameters, method=method, body=body, accept=accept)
        try:
            content = answer.read()
        finally:
            connection.close()
    except (OSError, HTTPException) as error:
        raise Away(repr(error)) from None
    return content


def open_answer(
    home: Path,
    path: str,
    parameters: Mapping[str, Any] | None = None,
    *,
    method: str = "GET",
    body: Any = None,
    accept: str = "application/json",
    timeout: float = TIMEOUT,
) -> tuple[HTTPConnection, HTTPResponse]:
    """As `ask`, with the body unread: OSError and HTTPException as they come."""
    try:
        address = urlsplit(json.loads((home / "service.json").read_text())["url"])
        token = (home / "token").read_text().strip()
    except (OSError, ValueError) as error:
        raise Away(f"no address: {error}") from None
    connection = HTTPConnection(address.hostname or "", address.port, timeout=timeout)
    try:
        query = f"?{urlencode(parameters, doseq=True)}" if parameters else ""
        headers = {"Authorization": f"Bearer {token}", "Accept": accept}
        if body is not None:
            headers["Content-Type"] = "application/json"
        connection.request(method, quote(path) + query, None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        if answer.status >= 400:
            text = answer.read().decode(errors="replace")
            if answer.status in (503, 504) and text.strip():
                raise Away(text)
            raise Refused(answer.status, text)
    except BaseException:
        connection.close()
        raise
    return connection, answer
