"""The commands `runstream token ...`: give out tokens of a server, each with a role, and take them back."""

from __future__ import annotations

import argparse
import json
from typing import Any

from runstream.client.http import client_for, quoted

from .main import settings_of
from .output import emit


def create(options: argparse.Namespace) -> int:
    """`runstream token create NAME --role read`: prints the token, once."""
    document: dict[str, Any] = {"name": options.name, "role": options.role}
    if options.only_workspace:
        document["workspace"] = options.only_workspace
    if options.days is not None:
        document["days"] = options.days
    return _show(options, _post(options, "/api/v1/tokens", document))


def rotate(options: argparse.Namespace) -> int:
    """`runstream token rotate NAME`: another secret under the same name."""
    path = f"/api/v1/tokens/{quoted(options.name)}"
    return _show(options, _post(options, path, {"keep_minutes": options.keep_minutes}))


def revoke(options: argparse.Namespace) -> int:
    """`runstream token revoke NAME`."""
    client_for(settings_of(options)).request("DELETE", f"/api/v1/tokens/{quoted(options.name)}")
    print(f"revoked: {options.name}; servers believe it for 10 s at most")
    return 0


def list_(options: argparse.Namespace) -> int:
    """`runstream token list`."""
    answer = client_for(settings_of(options)).get_json("/api/v1/tokens")
    emit(answer["tokens"], options.output, options.query)
    return 0


def sessions(options: argparse.Namespace) -> int:
    """`runstream token sessions`."""
    emit(
        client_for(settings_of(options)).get_json("/api/v1/sessions")["sessions"],
        options.output,
        options.query,
    )
    return 0


def sign_out(options: argparse.Namespace) -> int:
    """`runstream token sign-out ID`."""
    client_for(settings_of(options)).request("DELETE", f"/api/v1/sessions/{quoted(options.id)}")
    print(f"signed out: {options.id}; servers believe it for 10 s at most")
    return 0


def _post(options: argparse.Namespace, path: str, document: dict[str, Any]) -> dict[str, Any]:
    answer = client_for(settings_of(options)).request(
        "POST", path, body=json.dumps(document).encode(), headers={"Content-Type": "application/json"}
    )
    found: dict[str, Any] = answer.json()
    return found


def _show(options: argparse.Namespace, made: dict[str, Any]) -> int:
    if options.output == "table" and not options.query:
        print(made["token"])
    else:
        emit(made, options.output, options.query)
    return 0
