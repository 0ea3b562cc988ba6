"""Who asks an object for its workspace is told, by its type too, that it gets one with all a workspace can do."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import runstream

ROOT = Path(runstream.__file__).parent


def types_of_workspaces() -> Iterator[tuple[str, str]]:
    """Of what users are given and give: the place, and the type that it says."""
    for file in sorted([*(ROOT / "core").glob("*.py"), *(ROOT / "data").glob("*.py"), ROOT / "query.py"]):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.FunctionDef):
                continue
            place = f"{file.name}: {node.name}"
            if node.name == "workspace" and node.returns is not None:
                yield place, ast.unparse(node.returns)
            for argument in [*node.args.args, *node.args.kwonlyargs]:
                if argument.arg == "workspace" and argument.annotation is not None:
                    yield place, ast.unparse(argument.annotation)


def test_a_workspace_is_typed_as_one() -> None:
    types = dict(types_of_workspaces())
    assert {"_datastore.py: workspace", "keyvault.py: __init__", "compute.py: __init__"} <= set(types)
    wrong = {place: said for place, said in types.items() if "Workspace" not in said.split(" | ")}
    assert not wrong
