"""Calls about workspaces."""

from __future__ import annotations

from ...mlflow import workspaces
from ..tokens import Role
from .calls import call

_ONE = "workspaces/{workspace_name}"

ENDPOINTS = (
    call("GET workspaces", Role.READ, workspaces.list_all, version="3.0"),
    call("POST workspaces", Role.WRITE, workspaces.create, version="3.0", status=201),
    call(f"GET {_ONE}", Role.READ, workspaces.get, version="3.0"),
    call(f"PATCH {_ONE}", Role.WRITE, workspaces.update, version="3.0"),
    call(f"DELETE {_ONE}", Role.ADMIN, workspaces.delete, version="3.0", status=204),
)
