"""HTTP for what a workspace keeps beside runs: its facts, experiments, environments."""

from __future__ import annotations

from typing import Any, TypedDict

import msgspec
from msgspec import UNSET, UnsetType
from starlette.requests import Request

from ...runs import registry
from ...runs.registry import Environment, Experiment, ExperimentChange, Workspace
from ..context import server_of
from ..endpoint import Reach, endpoint
from ..tokens import Role
from .registered import MAX_BODY_BYTES, InWorkspace, Texts, checked_texts, needed

# --- workspaces ------------------------------------------------------------------------------------------------------


class WorkspacesQuery(msgspec.Struct, kw_only=True):
    name: str | None = None
    workspace: str | None = None


class Workspaces(TypedDict):
    """Workspaces that were created or hold something, by name."""

    workspaces: list[Workspace]


@endpoint("GET /api/v1/workspaces", Role.READ, Reach.WORKSPACE, "Workspaces")
async def workspaces(request: Request, asked: WorkspacesQuery) -> Workspaces:
    # A token of one workspace is narrowed to it by `workspace`; `name` is what was asked for.
    names = {name for name in (asked.name, asked.workspace) if name}
    listed = [] if len(names) > 1 else await registry.list_workspaces(server_of(request).pool, *names)
    return {"workspaces": listed}


class WorkspaceChanges(msgspec.Struct):
    tags: Texts | UnsetType = UNSET
    description: str | None = None


@endpoint(
    "PUT /api/v1/workspaces/{name:path}",
    Role.ADMIN,
    Reach.ALL,
    "Create or change a workspace",
    most=MAX_BODY_BYTES,
)
async def set_workspace(request: Request, name: str, body: WorkspaceChanges) -> Workspace:
    tags = None if body.tags is UNSET else checked_texts("tags", body.tags)
    return await registry.set_workspace(server_of(request).pool, name, tags, body.description)


@endpoint(
    "DELETE /api/v1/workspaces/{name:path}",
    Role.ADMIN,
    Reach.ALL,
    "Delete a workspace that holds no runs and no models",
)
async def delete_workspace(request: Request, name: str) -> None:
    await registry.delete_workspace(server_of(request).pool, name)


# --- experiments -----------------------------------------------------------------------------------------------------


class ExperimentsQuery(msgspec.Struct, kw_only=True):
    workspace: str | None = None


class Experiments(TypedDict):
    """Experiments."""

    experiments: list[Experiment]


@endpoint("GET /api/v1/experiments", Role.READ, Reach.WORKSPACE, "Experiments")
async def experiments(request: Request, asked: ExperimentsQuery) -> Experiments:
    return {"experiments": await registry.list_experiments(server_of(request).pool, asked.workspace)}


@endpoint(
    "PUT /api/v1/experiments/{name:path}", Role.WRITE, Reach.WORKSPACE, "Create an experiment if need be"
)
async def add_experiment(request: Request, name: str, asked: InWorkspace) -> Experiment:
    return await registry.add_experiment(server_of(request).pool, asked.workspace, name)


class ExperimentChanges(msgspec.Struct):
    tags: Texts = None
    remove_tags: list[str] | None = None
    archived: bool | None = None
    description: str | UnsetType | None = UNSET


@endpoint(
    "PATCH /api/v1/experiments/{name:path}",
    Role.WRITE,
    Reach.WORKSPACE,
    "Change an experiment",
    most=MAX_BODY_BYTES,
)
async def change_experiment(
    request: Request, name: str, asked: InWorkspace, body: ExperimentChanges
) -> Experiment:
    change = ExperimentChange(
        checked_texts("tags", body.tags),
        body.remove_tags or (),
        body.archived,
        body.description is not UNSET,
        None if body.description is UNSET else body.description,
    )
    return await registry.change_experiment(server_of(request).pool, asked.workspace, name, change)


@endpoint(
    "DELETE /api/v1/experiments/{name:path}", Role.ADMIN, Reach.WORKSPACE, "Delete an experiment without runs"
)
async def delete_experiment(request: Request, name: str, asked: InWorkspace) -> None:
    await registry.delete_experiment(server_of(request).pool, asked.workspace, name)


# --- environments ----------------------------------------------------------------------------------------------------


class EnvironmentsQuery(InWorkspace, kw_only=True):
    name: str | None = None
    version: str | None = None
    label: str | None = None
    latest: bool = False


class Environments(TypedDict):
    """Registered environments."""

    environments: list[Environment]


@endpoint("GET /api/v1/environments", Role.READ, Reach.WORKSPACE, "Registered environments")
async def environments(request: Request, asked: EnvironmentsQuery) -> Environments:
    listed = await registry.list_environments(
        server_of(request).pool,
        asked.workspace,
        name=asked.name,
        version=asked.version,
        label=asked.label,
        latest=asked.latest,
    )
    return {"environments": listed}


class NewEnvironment(msgspec.Struct):
    name: str
    document: dict[str, Any]
    version: str | None = None


@endpoint(
    "POST /api/v1/environments", Role.WRITE, Reach.WORKSPACE, "Register an environment", most=MAX_BODY_BYTES
)
async def register_environment(request: Request, asked: InWorkspace, body: NewEnvironment) -> Environment:
    return await registry.register_environment(
        server_of(request).pool, asked.workspace, needed("name", body.name), body.version, body.document
    )


class Labels(msgspec.Struct):
    name: str
    version: str
    labels: list[str] | None = None


@endpoint(
    "PUT /api/v1/environment-labels",
    Role.WRITE,
    Reach.WORKSPACE,
    "Let labels point to a version",
    most=MAX_BODY_BYTES,
)
async def label_environment(request: Request, asked: InWorkspace, body: Labels) -> None:
    await registry.label_environment(
        server_of(request).pool,
        asked.workspace,
        needed("name", body.name),
        needed("version", body.version),
        body.labels or (),
    )


ENDPOINTS = (
    workspaces, set_workspace, delete_workspace,
    experiments, add_experiment, change_experiment, delete_experiment,
    environments, register_environment, label_environment,
)  # fmt: skip
