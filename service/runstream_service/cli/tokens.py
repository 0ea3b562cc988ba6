"""The commands `runstream token ...`: give out tokens of a server, each with a role, and take them back."""

from __future__ import annotations

import argparse
import json
from typing import Any

from runstream.client.addresses import quoted
from runstream.client.http import client_for

from .options import Group, add_output
from .output import emit
from .settings import WHERE, add_settings, settings_of


def add_token_commands(parser: argparse.ArgumentParser) -> None:
    """Add the commands below `runstream token`."""
    group = Group(parser, "commands")
    making = group.add(
        "create",
        "make a token and print it: it is shown once",
        create,
        "read: look at everything; write: also create and change; admin: also delete, and give out tokens.",
    )
    making.add_argument("name", help="what to call it: who or what it is for")
    making.add_argument("--role", choices=("read", "write", "admin"), required=True)
    making.add_argument("--only-workspace", metavar="NAME", help="for this workspace only; default: for all")
    making.add_argument(
        "--days", type=float, metavar="N", help="good for so many days; default: until revoked"
    )
    rotating = group.add("rotate", "replace a token by a new one, and print that", rotate)
    rotating.add_argument("name")
    rotating.add_argument(
        "--keep-minutes", type=float, default=0.0, metavar="N", help="how long the old one stays good [0]"
    )
    revoking = group.add("revoke", "take a token back", revoke)
    revoking.add_argument("name")
    listing = group.add("list", "list tokens, without the secrets", list_)
    listing_sessions = group.add("sessions", "list the browsers that are signed in", sessions)
    signing_out = group.add("sign-out", "sign a browser out", sign_out)
    signing_out.add_argument("id", metavar="ID", help="of `runstream token sessions`")
    for command in (making, rotating, revoking, listing, listing_sessions, signing_out):
        if command not in (revoking, signing_out):
            add_output(command)
        add_settings(command, WHERE)


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
    token: dict[str, Any] = answer.json()
    return token


def _show(options: argparse.Namespace, token: dict[str, Any]) -> int:
    if options.output == "table" and not options.query:
        print(token["token"])
    else:
        emit(token, options.output, options.query)
    return 0
