"""Workspaces, as far as clients ask for them by name."""

from __future__ import annotations

import re
from typing import Final

from ..not_there import NotThere
from ..runs import registry
from .errors import MlflowError, exists, invalid, missing
from .scope import Document, Scope
from .sent import Sent

DEFAULT: Final = "default"
_NAME: Final = re.compile(r"(?!-)[a-z0-9-]{2,63}(?<!-)")


def _document(workspace: registry.Workspace) -> Document:
    return {"name": workspace["name"], "description": workspace["description"] or ""}


async def _all(scope: Scope) -> list[registry.Workspace]:
    """Those a token may know of, by name."""
    there = await registry.list_workspaces(scope.pool)
    return [workspace for workspace in there if scope.only in (None, workspace["name"])]


async def list_all(scope: Scope, sent: Sent) -> Document:
    """workspaces: those there are."""
    shown = [_document(workspace) for workspace in await _all(scope)]
    if scope.only in (None, DEFAULT) and not any(workspace["name"] == DEFAULT for workspace in shown):
        shown.append({"name": DEFAULT, "description": ""})
    return {"workspaces": shown}


async def get(scope: Scope, sent: Sent) -> Document:
    """workspaces/NAME."""
    name = sent.text("workspace_name")
    for workspace in (await list_all(scope, sent))["workspaces"]:
        if workspace["name"] == name:
            return {"workspace": workspace}
    raise _none(name)


def _none(name: str) -> MlflowError:
    return missing(f"Workspace '{name}' not found")


async def create(scope: Scope, sent: Sent) -> Document:
    """workspaces: a new one."""
    name = sent.text("name", needed=True)
    if not _NAME.fullmatch(name):
        raise invalid(
            f"Workspace name '{name}' must be 2 to 63 lower case letters, digits and hyphens, the first and last no hyphen."
        )
    if scope.only not in (None, name):
        raise MlflowError(
            "PERMISSION_DENIED", f"the token is for the workspace {scope.only!r} only, not for {name!r}"
        )
    if any(workspace["name"] == name for workspace in await _all(scope)):
        raise exists(f"Workspace '{name}' already exists.")
    return {
        "workspace": _document(
            await registry.set_workspace(scope.pool, name, None, sent.optional("description"))
        )
    }


async def update(scope: Scope, sent: Sent) -> Document:
    """workspaces/NAME: another description."""
    await get(scope, sent)
    name, description = sent.text("workspace_name"), sent.optional("description")
    return {"workspace": _document(await registry.set_workspace(scope.pool, name, None, description))}


async def delete(scope: Scope, sent: Sent) -> Document:
    """workspaces/NAME: delete one that holds neither runs nor models."""
    name = sent.text("workspace_name")
    await get(scope, sent)
    try:
        await registry.delete_workspace(scope.pool, name)
    except NotThere:
        raise _none(name) from None
    return {}
