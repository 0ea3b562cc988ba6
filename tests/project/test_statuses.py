"""One list of statuses, `runstream_schemas.status.STATUSES`, wherever one is named."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from runstream.client import records
from runstream_query.runs.search import search
from runstream_schemas import status
from runstream_schemas.status import STATUSES, Step, fold
from runstream_service.cli.main import build_parser

ROOT = Path(__file__).parents[2]


def test_every_status_a_run_can_come_to_is_on_the_list() -> None:
    assert set(status._STATUSES.values()) | set(status._ENDINGS.values()) | {"NotStarted"} == set(STATUSES)
    assert set(status.ACTIVE) | status.TERMINAL == set(STATUSES)


@pytest.mark.parametrize("name", STATUSES)
def test_every_status_is_taken_everywhere(name: str) -> None:
    assert build_parser().parse_args(["run", "list", "--status", name]).status == [name]
    assert search(f"status:{name.lower()}").status == [name]
    records.check_filters(None, None, name)
    assert re.search(
        rf"\b{name}\b", (ROOT / "docs" / "reference" / "statuses.md").read_text(encoding="utf-8")
    )


def test_the_dashboard_has_a_look_for_each_and_no_others() -> None:
    text = (ROOT / "dashboard" / "src" / "lib" / "status.ts").read_text(encoding="utf-8")
    looks = text.split("const LOOKS")[1].split("\n};")[0]
    assert set(re.findall(r"^  (\w+): \{", looks, re.MULTILINE)) == set(STATUSES)
    for source in (ROOT / "dashboard" / "src").rglob("*.ts"):
        if source.name != "status.ts":
            assert "NotResponding" not in source.read_text(encoding="utf-8"), source


@pytest.mark.parametrize("kind", sorted({**status._STATUSES, **status._ENDINGS}))
def test_every_step_leads_to_one_of_them(kind: str) -> None:
    assert fold([Step(1, "a", 0, kind)]).status in STATUSES
