"""Everything that can be seen from outside has its place in docs/; what has none on purpose is listed here."""

from __future__ import annotations

import argparse
import importlib
import inspect
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from pkgutil import iter_modules

import pyarrow as pa
import pytest

from runstream import core, data, query
from runstream.cloud import CloudCall
from runstream.core.conda_dependencies import CondaDependencies
from runstream.data.data_reference import DataReference
from runstream.data.dataset_factory import FileDatasetFactory, TabularDatasetFactory
from runstream_query.http.endpoint import Endpoint
from runstream_query.http.openapi import ENDPOINTS, described
from runstream_query.points.point_views import POINT_VIEWS
from runstream_query.sql import sql_statement, sql_tables
from runstream_schemas import errors, limits
from runstream_schemas.parquet import arrow
from runstream_schemas.runs import status
from runstream_schemas.settings import PREFIX, Settings
from runstream_schemas.wire import events
from runstream_service.cli.main import build_parser

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference"

OPTIONS_WITHOUT_A_PLACE = {"--help", "--output", "--query", "--version", "--parent", "--started-by-itself"}
"""Of every command, or between our own processes. `run list --parent` is looked for under its own heading."""

OPTIONS_OF_A_GROUP = {
    "--workspace-name", "--path", "--resource-group", "--subscription-id", "--output-metadata-file", "--debug", "--verbose",
    "--only-show-errors", "--experiment",
}  # fmt: skip
"""They stand once, above the commands that have them."""

MODULES_OF_THE_PAGES = {"runstream_query.http.pages"}
"""Their routes are between our own pages and our own server, and may change with both."""


def page(name: str) -> str:
    return (REFERENCE / name).read_text(encoding="utf-8")


def section(text: str, heading: str) -> str:
    """What stands under a heading, up to the next one of its level or above."""
    level = heading.split(" ", 1)[0]
    assert f"\n{heading}\n" in text, f"no heading {heading!r}"
    body = text.split(f"\n{heading}\n", 1)[1]
    return re.split(rf"\n#{{1,{len(level)}}} ", body, maxsplit=1)[0]


def commands(
    parser: argparse.ArgumentParser, words: str = "runstream"
) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not groups:
        yield words, parser
    for group in groups:
        for name, command in group.choices.items():
            yield from commands(command, f"{words} {name}")


COMMANDS = dict(commands(build_parser()))


@pytest.mark.parametrize("item", fields(Settings), ids=lambda item: item.name)
def test_every_setting_is_in_the_table(item: object) -> None:
    assert f"`{PREFIX}{item.name.upper()}`" in page("settings.md")  # type: ignore[attr-defined]


@pytest.mark.parametrize("words", COMMANDS)
def test_every_command_has_a_heading_with_its_options(words: str) -> None:
    text = section(page("cli.md"), f"### `{words}`")
    settings = {"--" + item.name.replace("_", "-") for item in fields(Settings)}
    own = {
        action.option_strings[-1]
        for action in COMMANDS[words]._actions
        if action.option_strings and not action.dest.startswith("setting_")
    }
    shared = section(page("cli.md"), "## Runs, experiments, folders").partition("\n### ")[0]
    assert {option for option in OPTIONS_OF_A_GROUP if f"`{option}" not in shared} == set()
    own -= settings | OPTIONS_WITHOUT_A_PLACE | OPTIONS_OF_A_GROUP
    missing = {option for option in own if option not in text}
    assert not missing


def test_no_heading_names_a_command_that_is_gone() -> None:
    named = re.findall(r"^### `(runstream [a-z -]+)`$", page("cli.md"), re.MULTILINE)
    assert set(named) == set(COMMANDS)


@pytest.mark.parametrize("kind", [events.METRICS, events.TAGS, events.STATUS])
def test_every_event_type_has_a_heading(kind: str) -> None:
    assert section(page("events.md"), f"## Event type `{kind}`")


def test_every_field_of_a_metrics_event_is_described() -> None:
    text = section(page("events.md"), f"## Event type `{events.METRICS}`")
    names = {
        "points",
        "series",
        "summary",
        "texts",
        "payload",
        "dropped",
        *events.SUMMARY_INTS,
        *events.SUMMARY_FLOATS,
    }
    assert {name for name in names if f"`{name}`" not in text} == set()


def test_every_step_of_a_run_is_described() -> None:
    steps = {*status._STATUSES, *status.ENDINGS, "create", "error", "warning", "heartbeat", "source_done"}
    assert {step for step in steps if f"`{step}`" not in page("statuses.md")} == set()


HEADINGS: dict[type, str] = {
    core.Workspace: "Workspace",
    core.Experiment: "Experiment",
    core.Run: "Run",
    core.Model: "Model",
    core.Datastore: "Datastore",
    core.Dataset: "Dataset",
    core.Keyvault: "Keyvault",
    data.FileDataset: "Dataset",
    data.TabularDataset: "Dataset",
    FileDatasetFactory: "Dataset",
    TabularDatasetFactory: "Dataset",
    DataReference: "Datastore",
    core.Environment: "Submitting",
    core.RunConfiguration: "Submitting",
    core.ScriptRunConfig: "Submitting",
    CondaDependencies: "Submitting",
    core.ComputeTarget: "Submitting",
}
"""Under which heading of the page a class is described."""


@pytest.mark.parametrize("kind", HEADINGS, ids=lambda kind: kind.__name__)
def test_every_public_member_is_named(kind: type) -> None:
    text = section(page("python.md"), f"## {HEADINGS[kind]}")
    names = {
        name
        for name, value in inspect.getmembers_static(kind)
        if not name.startswith("_") and not isinstance(value, CloudCall)
    }
    assert {name for name in names if not re.search(rf"[`. ]{name}\b", text)} == set()


def test_every_module_scripts_import_is_named() -> None:
    text = section(page("python.md"), "## Modules")
    modules = [
        f"{package}.{module.name}"
        for package in ("core", "data")
        for module in iter_modules(importlib.import_module(f"runstream.{package}").__path__)
        if not module.name.startswith("_")
    ]
    internal = {"data.abstract_dataset", "data.dataset_registry"}
    assert {name for name in modules if f"`{name}`" not in text} - internal == set()


def test_every_reader_and_its_arguments_are_named() -> None:
    text = section(page("python.md"), "## runstream.query")
    for reader in (query.sql, query.metrics, query.runs):
        names = {reader.__name__, *inspect.signature(reader).parameters} - {"settings"}
        assert {name for name in names if not re.search(rf"\b{name}\b", text)} == set(), reader.__name__
    methods = {name for name in dir(query.Result) if not name.startswith("_")}
    assert {name for name in methods if f"`{name}" not in text} == set()


VIEW_COLUMNS = {
    **{view: schema.names for view, schema in POINT_VIEWS.items()},
    "runs": sql_tables.RUNS.names,
    "params": sql_tables.PARAMS.names,
    "summaries": sql_tables.SUMMARIES.names,
}


@pytest.mark.parametrize("view", sql_statement.VIEWS)
def test_every_column_of_a_view_is_described(view: str) -> None:
    described = re.findall(r"^\| `(\w+)` \|", section(page("sql.md"), f"## View `{view}`"), re.MULTILINE)
    assert described == VIEW_COLUMNS[view]


@pytest.mark.parametrize("kind", arrow.SCHEMAS)
def test_every_column_of_a_file_is_described(kind: str) -> None:
    text = section(page("parquet.md"), f"## {kind}")
    assert {name for name in arrow.SCHEMAS[kind].names if f"`{name}`" not in text} == set()
    for item in arrow.SCHEMAS[kind]:
        if pa.types.is_list(item.type) and pa.types.is_struct(item.type.value_type):
            assert {part.name for part in item.type.value_type if f"`{part.name}`" not in text} == set()


def routes() -> list[str]:
    return sorted(
        {
            endpoint.path_format
            for endpoint in ENDPOINTS
            if endpoint.handler.__module__ not in MODULES_OF_THE_PAGES and endpoint.dialect is None
        }
    )


@pytest.mark.parametrize("route", routes())
def test_every_route_is_described(route: str) -> None:
    assert re.search(rf"`(?:GET|PUT|POST|PATCH|DELETE) {re.escape(route)}`", page("api.md")), route


@pytest.mark.parametrize(
    "endpoint", described(), ids=lambda endpoint: f"{endpoint.method} {endpoint.path_format}"
)
def test_every_parameter_of_an_endpoint_is_described(endpoint: Endpoint) -> None:
    chapters = re.split(r"\n(?=## )", page("api.md"))
    # An export takes the filters of the list.
    paths = [endpoint.path_format, *(["/api/v1/runs"] if endpoint.path == "/api/v1/export/runs" else [])]
    text = "".join(
        part for part in chapters for path in paths if re.search(rf"`[A-Z]+ {re.escape(path)}[`?]", part)
    )
    assert {item.name for item in endpoint.parameters if not re.search(rf"\b{item.name}\b", text)} == set()


def test_every_error_is_in_the_tree() -> None:
    names = {
        name
        for name, kind in vars(errors).items()
        if inspect.isclass(kind) and issubclass(kind, errors.RunstreamError)
    }
    assert {name for name in names if name not in page("errors.md")} == set()


def test_limits_are_those_of_the_code() -> None:
    text = page("errors.md")
    for value in (limits.MAX_NAME_BYTES, limits.MAX_RUN_ID_BYTES, limits.MAX_EVENT_POINTS):
        assert f"{value:,}" in text
    assert f"{limits.MAX_TEXT_BYTES >> 20} MiB of UTF-8" in text
    assert f"| event | {limits.MAX_EVENT_BYTES >> 20} MiB" in text


def test_every_table_of_the_database_is_named() -> None:
    folder = ROOT / "schemas" / "runstream_schemas" / "migrations"
    steps = "\n".join(path.read_text() for path in sorted(folder.glob("*.sql")))
    created = set(re.findall(r"^create table (\w+)", steps, re.MULTILINE))
    created -= set(re.findall(r"^drop table (\w+)", steps, re.MULTILINE))
    text = section(page("sql.md"), "## Tables of the database")
    assert {name for name in created if f"`{name}`" not in text} == set()
