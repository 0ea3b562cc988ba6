"""Writes the pages of docs/reference that say what the code says, and dashboard/openapi.json: `make docs`.

A test fails when they differ.

python docs/generate.py
"""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

from runstream.agent import AgentState
from runstream.monitoring.sampler import SamplerState
from runstream_consumers.compaction.state import CompactorState
from runstream_consumers.storing.consumer import ConsumerState
from runstream_query.alerts.state import AlertsState
from runstream_query.http.counters import ServerCounters
from runstream_query.http.openapi import described, document, one_of, pages_document, who
from runstream_schemas.settings import PREFIX, PROJECT_KEYS, Settings
from runstream_service.migrate.unsupported import table

REFERENCE = Path(__file__).parent / "reference"
DASHBOARD = Path(__file__).parents[1] / "dashboard"

SETTINGS_HEAD = """\
# Settings

Each setting is an environment variable and an option of the roles, `up`, `sync`, `compact` and `doctor` (the reading
commands take a few of them): `RUNSTREAM_STORE`, `--store`. These may also be keys of a project's `config.json`: {keys}.
An option wins over the variable, the variable over the file, the file over the default.

What a file may not say, where data and secrets go, is passed over with a line on stderr: it may have come with somebody's
code. For the same reason a `config.json` that belongs to another user is not used unless `safe_directory` names its folder
or `Workspace.from_config(path=...)` the file, and a token from the environment is never sent to an address from a file.

Each secret (`token`, `kafka_password`, `database`, `store_key`, `store_secret`) can be given by a file that holds it and
nothing else: `RUNSTREAM_TOKEN_FILE=/run/secrets/token`, as Docker, Kubernetes and systemd provide them. The environment and
the command line of a process are seen by more people than a file. One of the two ways at a time; a file anyone may write to
is refused. The file is read when a process starts, and the processes it starts are given its name.

Relative paths are made absolute when they are read, and in the environment too: a program that changes its directory, and
the processes it starts, stay with the same home.

| variable | option | default | meaning |
|---|---|---|---|
"""


def settings_page() -> str:
    """The page of the settings."""
    rows = []
    for item in fields(Settings):
        option = "--" + item.name.replace("_", "-")
        if isinstance(item.default, bool):
            option += f", --no-{option[2:]}"
            default = f"`{int(item.default)}`"
        else:
            default = f"`{item.default}`" if item.default != "" else ""
        meaning = item.metadata["doc"].replace("|", "\\|")
        rows.append(f"| `{PREFIX}{item.name.upper()}` | `{option}` | {default} | {meaning} |\n")
    keys = ", ".join(f"`{key}`" for key in sorted(PROJECT_KEYS))
    return SETTINGS_HEAD.format(keys=keys) + "".join(rows)


NOT_SUPPORTED_HEAD = """\
# Not supported

What scripts of the Azure ML SDK v1 may use that runstream does not have, and what to do instead. `runstream migrate` lists
the places where a script does ([how](../how-to/from-azure-ml.md)). Modules (`.*`: with all below) cannot be imported;
classes and methods can, and raise `UserErrorException` with the same remedy when they are used.

| of the original | instead |
|---|---|
"""


def not_supported_page() -> str:
    """The page of what is not supported."""
    return NOT_SUPPORTED_HEAD + "".join(f"| `{name}` | {instead} |\n" for name, instead in table().items())


METRICS_HEAD = """\
# Metrics

What each role shows at `/metrics`, in Prometheus' text format ([how to scrape](../how-to/monitoring.md)). Counters count
from the start of the process. `loop` is what a consumer reads: `metrics`, `tags`, `status`, or `spool` in the embedded mode.
Beside these there are the usual ones of a process (`process_resident_memory_bytes`, `process_cpu_seconds_total`,
`process_open_fds` ...) where the system tells them.
"""
STATES = {
    "agent": AgentState,
    "sampler, in the agent and the embedded service": SamplerState,
    "consumer": ConsumerState,
    "compactor": CompactorState,
    "server": ServerCounters,
    "alerts, in the server": AlertsState,
}


def metrics_page() -> str:
    """The page of what the roles show to Prometheus."""
    page = METRICS_HEAD
    for role, state in STATES.items():
        page += f"\n## {role}\n\n| metric | kind | labels | meaning |\n|---|---|---|---|\n"
        for family in state().collect():
            name = family.name + ("_total" if family.type == "counter" else "")
            labels = ", ".join(f"`{label}`" for label in family._labelnames)  # type: ignore[attr-defined]
            page += f"| `{name}` | {family.type} | {labels} | {family.documentation} |\n"
    return page


HTTP_HEAD = """\
# HTTP API: endpoints and types

Every endpoint that others may build on, as the code declares it; what they do: [HTTP API](api.md). As OpenAPI 3.1 at
`/api/v1/openapi.json`, and as a page at `/docs`. Behind a parameter, `!`: needed, `*`: repeatable. A `GET` answers `HEAD` as
well. Errors are [problem documents](api.md), `application/problem+json`.
"""


def http_page() -> str:
    """The page of the HTTP API's endpoints and the types of their bodies and answers."""
    text = HTTP_HEAD
    for one in described():
        parameters = " ".join(f"`{item.name}`{'!' * item.needed}{'*' * item.many}" for item in one.parameters)
        facts = {
            "parameters": parameters,
            "body": _named(one.body),
            "answer": f"{', '.join(map(str, one.statuses))} {_named(one.answer)}".strip(),
            "on request": ", ".join(f"`{media}`" for media in one.also),
        }
        text += f"\n## `{one.method} {one.path_format}`\n\n{one.summary}. {who(one)}\n\n"
        text += "".join(f"- {name}: {fact}\n" for name, fact in facts.items() if fact)
    text += "\n# Types\n\nFields with `?` may be left out.\n"
    for name, schema in sorted(document()["components"]["schemas"].items()):
        said = " ".join(schema.get("description", "").partition("\n\n")[0].split())
        text += f"\n## `{name}`\n\n{said}{chr(10) * 2 if said else ''}| field | |\n|---|---|\n"
        for field, kind in schema["properties"].items():
            left_out = "" if field in schema.get("required", ()) else "?"
            text += f"| `{field}`{left_out} | {_kind(kind)} |\n"
    return text


def _named(kind: object) -> str:
    """A body or an answer: a type, or a media type."""
    return " or ".join(f"`{one if isinstance(one, str) else one.__name__}`" for one in one_of(kind))


def _kind(schema: dict[str, Any]) -> str:
    """A schema in words."""
    if "$ref" in schema:
        return f"`{schema['$ref'].rpartition('/')[2]}`"
    if "anyOf" in schema:
        return " or ".join(map(_kind, schema["anyOf"]))
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    kind = schema.get("type", "anything")
    if kind == "array":
        return f"list of {_kind(schema['items'])}" if "items" in schema else "list"
    if kind == "object" and "additionalProperties" in schema:
        return f"object of {_kind(schema['additionalProperties'])}"
    return str(kind)


def openapi() -> str:
    """What the types of the pages are made of, as a file: where they are built no server is installed."""
    return json.dumps(pages_document(), indent=1) + "\n"


PAGES = {
    DASHBOARD / "openapi.json": openapi,
    REFERENCE / "metrics.md": metrics_page,
    REFERENCE / "http.md": http_page,
    REFERENCE / "settings.md": settings_page,
    REFERENCE / "not-supported.md": not_supported_page,
}


def main() -> None:
    """Write every page."""
    REFERENCE.mkdir(exist_ok=True)
    for path, page in PAGES.items():
        path.write_text(page())


if __name__ == "__main__":
    main()
