"""Words the shell completes after an option: ids of runs, names of experiments."""

from __future__ import annotations

import argparse
import contextlib
from typing import Any

from .settings import settings_of

_PATIENCE = 1.0  # seconds a press of the tab key may take


def run_ids(prefix: str, parsed_args: argparse.Namespace, **_: Any) -> list[str]:
    """The newest runs' ids, if a service is there."""
    runs = _ask(parsed_args, f"/api/v1/runs?limit=50&{_workspace(parsed_args)}", "runs")
    return [run["run_id"] for run in runs]


def experiments(prefix: str, parsed_args: argparse.Namespace, **_: Any) -> list[str]:
    """The experiments' names, if a service is there."""
    experiments_ = _ask(parsed_args, f"/api/v1/experiments?{_workspace(parsed_args)}", "experiments")
    return [experiment["name"] for experiment in experiments_]


def _workspace(options: argparse.Namespace) -> str:
    from urllib.parse import quote

    return "workspace=" + quote(settings_of(options).workspace)


def _ask(options: argparse.Namespace, path: str, key: str) -> list[dict[str, Any]]:
    """One request that starts nothing, waits for nobody and never fails."""
    import http.client
    import json
    from urllib.parse import urlsplit

    from runstream.home.layout import open_home, read_service

    settings = settings_of(options)
    url, token = settings.url, settings.token
    try:
        if not url:
            info = read_service(open_home(settings, create=False))
            if info is None:
                return []
            url, token = info.url, info.token
        parts = urlsplit(url)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(parts.hostname or "", parts.port, timeout=_PATIENCE)
        with contextlib.closing(connection):
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            connection.request("GET", parts.path.rstrip("/") + path, headers=headers)
            records: list[dict[str, Any]] = json.loads(connection.getresponse().read())[key]
            return records
    except (OSError, ValueError, KeyError, http.client.HTTPException):
        return []
