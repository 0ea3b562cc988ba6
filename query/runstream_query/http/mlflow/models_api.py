"""Calls about logged models, registered models and their versions."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from ...mlflow import artifacts, logged_models, registry, taken_over, versions
from ...mlflow.places import safe_path
from ..endpoint import Endpoint
from ..tokens import Role
from .artifacts_api import declared, send
from .calls import call, refused, scope_of, sent_of

ONE = "logged-models/{model_id}"
IMPORT = "mlflow-import"
"""What `runstream import mlflow` asks, and no client of MLflow."""


async def file_of_model(request: Request) -> Response:
    """A file of a logged model."""
    sent, scope = await sent_of(request), scope_of(request)
    path = safe_path(sent.text("artifact_file_path", needed=True))
    row = await logged_models.find(scope, request.path_params["model_id"])
    folder = await logged_models.folder_of(scope, row["artifact_location"], path)
    return await send(request, await artifacts.find(scope, folder))


async def file_of_version(request: Request) -> Response:
    """A file of a version of a registered model."""
    sent, scope = await sent_of(request), scope_of(request)
    path = safe_path(sent.text("path", needed=True))
    place = versions.place_of(await versions.find(scope, sent))
    root = artifacts.own_path(place)
    if root is None:
        return refused("NOT_IMPLEMENTED", f"the files of this version lie at {place}, and not in this server")
    return await send(
        request, await artifacts.find(scope, await artifacts.folder_of(scope, f"{root}/{path}"))
    )


ENDPOINTS: tuple[Endpoint, ...] = (
    call("POST logged-models", Role.WRITE, logged_models.create),
    call("POST logged-models/search", Role.READ, logged_models.search),
    call(f"GET {ONE}", Role.READ, logged_models.get),
    call(f"PATCH {ONE}", Role.WRITE, logged_models.finalize),
    call(f"DELETE {ONE}", Role.WRITE, logged_models.delete),
    call(f"POST {ONE}/params", Role.WRITE, logged_models.log_params),
    call(f"PATCH {ONE}/tags", Role.WRITE, logged_models.set_tags),
    call(f"DELETE {ONE}/tags/{{tag_key:path}}", Role.WRITE, logged_models.delete_tag),
    call(f"GET {ONE}/artifacts/directories", Role.READ, logged_models.list_files),
    declared("GET /ajax-api/2.0/mlflow/logged-models/{model_id}/artifacts/files", Role.READ, file_of_model),
    declared("GET /model-versions/get-artifact", Role.READ, file_of_version),
    declared("GET //model-versions/get-artifact", Role.READ, file_of_version),
    call("POST registered-models/create", Role.WRITE, registry.create),
    call("GET registered-models/get", Role.READ, registry.get),
    call("PATCH registered-models/update", Role.WRITE, registry.update),
    call("POST registered-models/rename", Role.WRITE, registry.rename),
    call("DELETE registered-models/delete", Role.ADMIN, registry.delete),
    call("GET registered-models/search", Role.READ, registry.search),
    call("GET registered-models/get-latest-versions", Role.READ, registry.latest_versions),
    call("POST registered-models/get-latest-versions", Role.READ, registry.latest_versions),
    call("POST registered-models/set-tag", Role.WRITE, registry.set_tag),
    call("DELETE registered-models/delete-tag", Role.WRITE, registry.delete_tag),
    call("POST registered-models/alias", Role.WRITE, registry.set_alias),
    call("DELETE registered-models/alias", Role.WRITE, registry.delete_alias),
    call("GET registered-models/alias", Role.READ, registry.get_by_alias),
    call("POST model-versions/create", Role.WRITE, versions.create),
    call("GET model-versions/get", Role.READ, versions.get),
    call("PATCH model-versions/update", Role.WRITE, versions.update),
    call("POST model-versions/transition-stage", Role.WRITE, versions.transition),
    call("DELETE model-versions/delete", Role.ADMIN, versions.delete),
    call("GET model-versions/search", Role.READ, versions.search),
    call("GET model-versions/get-download-uri", Role.READ, versions.download_uri),
    call("POST model-versions/set-tag", Role.WRITE, versions.set_tag),
    call("DELETE model-versions/delete-tag", Role.WRITE, versions.delete_tag),
    call("POST experiments", Role.WRITE, taken_over.add_experiments, of=IMPORT),
    call("POST inputs", Role.WRITE, taken_over.add_inputs, of=IMPORT),
    call("POST logged-models", Role.WRITE, taken_over.add_logged_models, of=IMPORT),
    call("POST registered-model", Role.WRITE, taken_over.add_registered_model, of=IMPORT),
)
