"""What MLflow's clients ask of the server itself, and what is said of calls there are not."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from ...mlflow.scope import Document, Scope
from ...mlflow.sent import Sent
from ..endpoint import Door, Reach, endpoint
from ..tokens import Role
from .calls import MLFLOW, call, refused

SPEAKS: Final = "3.18.0"
"""The version of MLflow whose interface this is: its clients choose by it what they ask."""
_NOT_KEPT: Final = (
    "assessments", "datasets", "demo", "gateway", "issues", "jobs", "label-schemas", "labeling", "prompts", "review-queues",
    "scorers", "secrets", "traces", "webhooks",
)  # fmt: skip


@endpoint(
    "GET /version", Door.PROBE, Reach.ALL, "The version of the interface", answer="text/plain", dialect=MLFLOW
)
async def version(request: Request) -> Response:
    return PlainTextResponse(SPEAKS)


@endpoint("GET /health", Door.PROBE, Reach.ALL, "The process lives", answer="text/plain", dialect=MLFLOW)
async def health(request: Request) -> Response:
    return PlainTextResponse("OK")


async def server_info(scope: Scope, sent: Sent) -> Document:
    """What this server has."""
    return {
        "store_type": "RunstreamStore",
        "workspaces_enabled": True,
        "trace_archival_enabled": False,
        "multipart_uploads_enabled": False,
        "multipart_downloads_enabled": False,
        "presigned_upload_run_id_supported": False,
        "presigned_upload_model_id_supported": False,
        "features_enabled": [],
    }


async def _unknown(request: Request) -> Response:
    path: str = request.path_params["rest"]
    first = path.partition("/")[0]
    if first in _NOT_KEPT:
        return refused(
            "NOT_IMPLEMENTED",
            f"runstream keeps no {first} of MLflow: {request.method} {path:.200} is not supported",
        )
    return refused("ENDPOINT_NOT_FOUND", f"there is no call {request.method} {path:.200}")


ENDPOINTS = (
    version,
    health,
    call("GET server-info", Role.READ, server_info, version="3.0"),
)
REST = tuple(
    endpoint(
        f"{method} /{{api:mlflow_api}}/{{version}}/mlflow/{{rest:path}}",
        Role.READ,
        Reach.HANDLER,
        "A call there is not",
        answer="application/json",
        dialect=MLFLOW,
    )(_unknown)
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE")
)
