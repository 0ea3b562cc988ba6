"""Writes runstream/values.schema.json, which Helm holds values against: `make docs`, or `python charts/generate.py`.

A test fails when they differ. The settings are those of `Settings`, but secrets and what the chart decides by itself.
"""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

from runstream_schemas.settings import SECRETS, Settings

FILE = Path(__file__).parent / "runstream" / "values.schema.json"
OF_THE_CHART = (
    "autostart", "home", "host", "metrics_host", "metrics_port", "port", "spool", "tls_cert_file", "tls_key_file", "url",
)  # fmt: skip
"""Settings that the chart gives each role. TLS ends at the ingress."""
TYPES = {"bool": "boolean", "int": "integer", "float": "number", "str": "string"}


def thing(required: tuple[str, ...] = (), **properties: Any) -> dict[str, Any]:
    """An object with these properties and no others."""
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
        **({"required": list(required)} if required else {}),
    }


def files() -> list[str]:
    """Settings that name a file of the Secret."""
    return [
        item.name
        for item in fields(Settings)
        if item.name.endswith("_file") and item.name not in OF_THE_CHART
    ]


def settings(*, of_all: bool) -> dict[str, Any]:
    """The settings that may be given, for all roles or for one."""
    left_out = {*OF_THE_CHART, *SECRETS, *files()}
    known = {
        item.name: {"type": TYPES[str(item.type)], "description": item.metadata["doc"]}
        for item in fields(Settings)
        if item.name not in left_out
    }
    if not of_all:
        del known["store"]  # one for all
        return thing(**known)
    known["kafka"] |= {"minLength": 1}
    known["store"] |= {"pattern": "^([a-z0-9]+://.+)?$"}
    return thing(("kafka",), **known)


def role(**more: Any) -> dict[str, Any]:
    """What each role has."""
    return thing(resources=OBJECT, settings=settings(of_all=False), pod=OBJECT, **more)


TEXT, OBJECT, COUNT = {"type": "string"}, {"type": "object"}, {"type": "integer", "minimum": 0}
SOME = {"type": "integer", "minimum": 1}
NAME = {"type": "string", "minLength": 1}
PORT = {"type": "integer", "minimum": 1, "maximum": 65535}
SWITCH = {"type": "boolean"}


def schema() -> dict[str, Any]:
    """The schema of values.yaml."""
    keys = thing(("token_file", "database_file"), **dict.fromkeys(files(), NAME))
    service = thing(type={"enum": ["ClusterIP", "NodePort", "LoadBalancer"]}, port=PORT, annotations=OBJECT)
    ingress = thing(enabled=SWITCH, className=TEXT, host=TEXT, tlsSecret=TEXT, annotations=OBJECT)
    modes = {"enum": ["ReadWriteMany", "ReadWriteOnce"]}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        **thing(
            **{"global": OBJECT},
            image=thing(
                ("repository",),
                repository=NAME,
                tag=TEXT,
                digest={"type": "string", "pattern": "^(sha256:[0-9a-f]{64})?$"},
                pullPolicy={"enum": ["Always", "IfNotPresent", "Never"]},
                pullSecrets={"type": "array", "items": thing(("name",), name=NAME)},
            ),
            settings=settings(of_all=True),
            secret=thing(("name", "keys"), name=NAME, keys=keys),
            volume=thing(claim=TEXT, size=NAME, storageClass=TEXT, accessMode=modes),
            serviceAccount=TEXT,
            server=role(replicas=SOME, service=service, ingress=ingress),
            consumer=role(replicas=SOME, autoscaling=thing(enabled=SWITCH, least=SOME, most=SOME, lag=SOME)),
            compactor=role(replicas=COUNT),
            agent=role(enabled=SWITCH, home={"type": "string", "pattern": "^/."}, user=COUNT, hostPID=SWITCH),
        ),
    }


def text() -> str:
    """What the file holds."""
    return json.dumps(schema(), indent=1) + "\n"


if __name__ == "__main__":
    FILE.write_text(text())
