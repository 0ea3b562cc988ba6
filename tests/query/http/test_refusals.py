"""Every refusal names the thing and the remedy: what was wrong in the request, and what to do instead."""

from __future__ import annotations

import ast
import re
from collections.abc import AsyncIterator, Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import httpx
import pytest

from runstream_schemas.source_snapshot import SourceFile, snapshot_id

from .test_api import serving

pytestmark = pytest.mark.attack

OWNER = "the-token-of-this-server"
JSON = {"Content-Type": "application/json"}

DIGEST = "0" * 64
LISTED = {"path": "a", "size": 1, "sha256": DIGEST, "executable": False}
SNAPSHOT = snapshot_id([SourceFile("a", 1, DIGEST)])

REFUSALS = [
    # token, method, path, more, status, the thing, the remedy
    ("none", "GET", "runs", {}, 401, "bearer token is missing or wrong", "set RUNSTREAM_TOKEN"),
    ("wrong", "GET", "runs", {}, 401, "bearer token is missing or wrong", "set RUNSTREAM_TOKEN"),
    ("read", "PUT", "experiments/x", {}, 403, "PUT /api/v1/experiments/x", "needs write"),
    ("read", "DELETE", "runs/mine-run", {}, 403, "DELETE /api/v1/runs/mine-run", "needs admin"),
    ("read", "GET", "runs?workspace=victim", {}, 403, "not for 'victim'", "is for the workspace 'mine' only"),
    ("read", "GET", "runs/victim-run", {}, 404, "no run 'victim-run'", "list the runs"),
    ("read", "GET", "views", {}, 403, "/api/v1/views shows those of others too", "is for the workspace 'mine' only"),
    ("admin", "POST", "runs/victim-run/cancel", {}, 404, "no run 'victim-run'", "list the runs"),
    ("admin", "PATCH", "runs/nobody", {"json": {"archived": True}}, 404, "no run 'nobody'", "may not have arrived yet"),
    ("owner", "GET", "nothing", {}, 404, "'/api/v1/nothing'", "/docs shows what there is"),
    ("owner", "PUT", "runs", {}, 405, "'/api/v1/runs'", "takes GET"),
    ("owner", "GET", "runs", {"headers": {"Host": "evil.example"}}, 403, "Host 'evil.example'", "RUNSTREAM_ALLOWED_HOSTS"),
    ("owner", "GET", "runs", {"headers": {"Sec-Fetch-Site": "cross-site"}}, 403, "another origin", "open this server's"),
    ("owner", "POST", "sql", {"content": b"{}"}, 415, "the (query|body)", "application/json"),
    ("owner", "POST", "sql", {"content": b"{", "headers": JSON}, 400, "JSON", "expected|send"),
    ("owner", "PATCH", "runs/mine-run", {"content": b"[]", "headers": JSON}, 400, "the body", "send|expected"),
    ("owner", "PATCH", "runs/mine-run", {"json": {"x": 1}}, 400, "'x'", "it may have"),
    ("owner", "POST", "tokens", {"json": {"name": "n"}}, 400, "role", "needed|send"),
    ("owner", "POST", "tokens", {"json": {"name": "n", "role": "king"}}, 400, "role", "read, write, admin"),
    ("owner", "POST", "tokens", {"json": {"name": "read", "role": "read"}}, 409, "a token 'read'", "rotate or revoke"),
    ("owner", "PATCH", "runs/mine-run", {"json": {"tags": {"set": dict.fromkeys(map(str, range(1001)), "x")}}}, 400,
     "1001", "send several requests"),
    ("owner", "GET", "runs?" + "metric=a:min<1&" * 17, {}, 400, "metric= is there 17 times", "narrow the list"),
    ("owner", "GET", "runs?q=" + "a" * 5000, {}, 400, "q= has 5000 characters", "the most is 4000"),
    ("owner", "GET", "runs?limit=x", {}, 400, "limit='x'", "expected a whole number"),
    ("owner", "PUT", "runs/r/files/..%2F..%2Fa", {}, 400, "leads out of the run's folder", "file path"),
    ("owner", "PATCH", "uploads/x", {}, 400, "'x' is not a SHA-256", "64 digits"),
    ("owner", "PATCH", f"uploads/{DIGEST}?offset=5", {"content": b"x"}, 409, "0 bytes of", "resume from there"),
    ("owner", "POST", "runs/r/files/logs/a?append_at=5", {"content": b"x"}, 409, "logs/a has 0 bytes", "send what"),
    ("owner", "PUT", f"snapshots/{SNAPSHOT}", {"json": {"files": [LISTED]}}, 409, "1 contents are not", "PUT them to"),
    ("owner", "POST", "sql", {"json": {"query": "copy runs to 'x'"}}, 400, "not allowed", "only"),
]  # fmt: skip


@pytest.fixture
async def http(database: Any) -> AsyncIterator[httpx.AsyncClient]:
    await database.pool.execute("""
        insert into experiments (workspace, name) values ('mine', 'e'), ('victim', 'e');
        insert into runs (run_id, experiment_id, status, created_at)
        select workspace || '-run', id, 'Running', now() from experiments""")
    async with serving(database, token=OWNER) as client:
        yield client


async def test_what_is_refused_says_what_and_what_to_do(http: httpx.AsyncClient) -> None:
    tokens = {"owner": OWNER, "wrong": "rst_wrong"}
    for role in ("read", "admin"):
        made = await http.post("/api/v1/tokens", json={"name": role, "role": role, "workspace": "mine"})
        tokens[role] = made.json()["token"]
    for token, method, path, more, status, thing, remedy in REFUSALS:
        more = dict(more)
        headers = {"Authorization": f"Bearer {tokens[token]}"} if token in tokens else {"Authorization": ""}
        headers |= more.pop("headers", {})
        answer = await http.request(method, f"/api/v1/{path}", headers=headers, **more)
        assert (path[:60], answer.status_code) == (path[:60], status), answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        problem = answer.json()
        assert (problem["type"], problem["status"], bool(problem["title"])) == ("about:blank", status, True)
        said = problem["detail"]
        assert re.search(thing, said), said
        assert re.search(remedy, said), said
        assert "Traceback" not in said
        assert tokens.get(token, OWNER) not in said


ROOT = Path(__file__).parents[3]
SOURCES = [
    file
    for part in ("schemas", "producers", "consumers", "query", "service")
    for file in (ROOT / part).rglob("*.py")
]
NOBODY_READS = {"EventError", "CorruptEvent", "UnsupportedVersion", "FenceLost", "WireError"}
"""Errors that are no answer: of what an event or a file of others holds, which is counted, and between our own parts."""
ANSWERS = {"problem", "_forbidden", "HTTPException", "BadTarget", "Stalled", "Revoked"}
TITLES = {
    "Store Error",
    "Content Too Large",
    "Range Not Satisfiable",
    *(status.phrase for status in HTTPStatus),
}
"""Of answers whose detail is what was raised."""
REMEDY = re.compile(
    r"; |expected |the most is |set (\{\}|RUNSTREAM)|use |takes |needs |set it to |it may have |does not fit|only\b"
    r"|\b(give|name|send|read|pip install) |[.:]\s(Cancel|Write|Name) |does without: "
    # Texts of azureml-core, which programs look for.
    r"|available files include|should be inside|Resource Conflict: .* already exists\.$"
    # One of MLflow's, and two of W&B's.
    r"|Content-Type must be one of |^You must call wandb\.init\(\) before |pass allow_val_change=True"
)
"""What a refusal says after what was wrong: what to do, or what would have been right."""


def _errors() -> set[str]:
    """Names of our errors that people get to read."""
    bases: dict[str, set[str]] = {}
    for file in SOURCES:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                bases.setdefault(node.name, set()).update(
                    ast.unparse(base).rpartition(".")[2] for base in node.bases
                )
    ours = {"RunstreamError"}
    while more := {
        name for name, above in bases.items() if name not in ours and above & (ours - NOBODY_READS)
    }:
        ours |= more
    return ours - NOBODY_READS


def _refusals(file: Path, names: set[str]) -> Iterator[tuple[ast.expr, str]]:
    """Text of whatever is raised or answered there, and the longest one of it."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", "")) in names:
            said = max(node.args, key=lambda argument: len(_text(argument)), default=None)
            if said is not None and " " in (text := _text(said)) and text not in TITLES:
                yield said, text


def _text(node: ast.expr) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) if isinstance(part, ast.Constant) else "{}" for part in node.values)
    if isinstance(node, ast.BinOp):
        return _text(node.left) + _text(node.right)
    if isinstance(node, ast.IfExp):
        return min(_text(node.body), _text(node.orelse), key=len)
    return ""


def test_every_refusal_has_a_remedy() -> None:
    names = _errors() | ANSWERS
    refusals = [
        (f"{file.relative_to(ROOT)}:{said.lineno}", text)
        for file in SOURCES
        for said, text in _refusals(file, names)
    ]
    assert len(refusals) > 450
    assert [refusal for refusal in refusals if not REMEDY.search(refusal[1])] == []
