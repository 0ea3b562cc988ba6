"""The record of a run is declared once: what the query layer makes is what the client reads and the API describes."""

from __future__ import annotations

import ast
from dataclasses import fields
from pathlib import Path

import pytest
from msgspec import to_builtins

from runstream_query.http.openapi import document
from runstream_schemas.runs.record import RunFacts, RunRecord
from runstream_schemas.runs.status import STATUSES, RunState, Step, fold

PACKAGES = ("schemas", "producers", "consumers", "query", "service")
NAMES = {item.name for item in fields(RunRecord)}


def test_what_is_sent_is_read_the_same() -> None:
    record = RunRecord(run_id="r", experiment="e", status="Failed", tags={"a": None}, dropped=3)
    assert RunRecord.from_json(to_builtins(record)) == record


def test_what_another_version_adds_or_leaves_out_does_no_harm() -> None:
    record = RunRecord.from_json({"run_id": "r", "of_a_later_version": 1, "tags": None, "number": 4})
    assert record == RunRecord(run_id="r", number=4)
    assert record.tags == {}


def test_what_is_described_is_the_record() -> None:
    schema = document()["components"]["schemas"]["RunRecord"]
    assert set(schema["properties"]) == NAMES
    assert set(schema["required"]) == NAMES - {"summaries", "params"}
    assert set(schema["properties"]["status"]["enum"]) == set(STATUSES)


def test_steps_of_a_run_amount_to_its_facts() -> None:
    state = fold(
        [Step(1, "a", 0, "create", {"experiment": "e", "display_name": "d"}), Step(2, "a", 1, "start")]
    )
    assert isinstance(state, RunState)
    assert isinstance(state, RunFacts)
    assert (state.experiment, state.display_name, state.status) == ("e", "d", "Running")


@pytest.mark.parametrize("package", PACKAGES)
def test_no_other_class_declares_it(package: str) -> None:
    """Half its fields in one class is a second declaration."""
    for file in (Path(__file__).parents[2] / package).rglob("*.py"):
        if file.name == "run_record.py":
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                declared = {
                    line.target.id
                    for line in node.body
                    if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name)
                }
                assert len(declared & NAMES) < len(NAMES) / 2, (file, node.name)
