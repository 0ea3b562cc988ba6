"""Rewrites the imports of Python source written for the original SDK, and finds what in it does not carry over.

Python is parsed, never searched for text: what looks like a module in a comment or a string (`azureml-logs/`, the tag
`azureml.batch_child_number`) stays. Strings count only where they name a module: annotations, and the first argument of
`import_module`, `__import__`, `importorskip`, `find_spec` and `patch`.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from runstream.stand_in.missing import ROOT, offered

from .unsupported import curated, instead_of, refusals, working_methods

TARGET = "runstream"
_MODULE_READERS = frozenset({"__import__", "import_module", "importorskip", "find_spec", "patch"})


@dataclass(frozen=True, slots=True)
class Finding:
    """Something a script uses that does not carry over.

    Attributes:
        path: the file.
        lines: numbers of the lines, from 1; in a notebook those of the cell.
        name: the name of the original, what is used there.
        instead: what to use or do instead.
        cell: number of the notebook's code cell, from 1 over all cells; None elsewhere.
    """

    path: Path
    lines: tuple[int, ...]
    name: str
    instead: str
    cell: int | None = None

    @property
    def place(self) -> str:
        """`file:line`, which editors and terminals make a link of; further lines after commas."""
        lines = ",".join(map(str, self.lines))
        return f"{self.path}:{lines}" if self.cell is None else f"{self.path}:cell {self.cell}:{lines}"


def migrate_source(
    source: str, path: Path = Path("<text>"), bound: bool | None = None, cell: int | None = None
) -> tuple[str, list[Finding]]:
    """Python source with its import root changed, and what in it does not carry over.

    Args:
        source: the text.
        path: the path to give with findings.
        bound: whether the name `azureml` is the package; None: found out from the source's own imports.
        cell: the cell of a notebook, for the findings.

    Raises:
        SyntaxError: not Python 3.
    """
    tree = ast.parse(source)
    visitor = _Visitor(tokens_of(source), binds_root(tree) if bound is None else bound)
    visitor.visit(tree)
    lines = [line.encode() for line in lines_of(source)]
    for number, column in sorted(set(visitor.edits), reverse=True):
        line, end = lines[number], column + len(ROOT)
        if line[column:end] == ROOT.encode():  # not so in a string put together of several
            lines[number] = line[:column] + TARGET.encode() + line[end:]
    findings = [
        Finding(path, tuple(sorted(set(numbers))), name, instead, cell)
        for (name, instead), numbers in visitor.missing.items()
    ]
    return b"".join(lines).decode(), sorted(findings, key=lambda finding: finding.lines)


def lines_of(source: str) -> list[str]:
    """Its lines, with their ends."""
    # As Python counts them: not at form feeds and the like, where str.splitlines() ends a line too.
    return io.StringIO(source, newline="").readlines()


def tokens_of(source: str) -> list[tokenize.TokenInfo]:
    """The names in a source, with their places."""
    return [
        token
        for token in tokenize.generate_tokens(io.StringIO(source, newline="").readline)
        if token.type == tokenize.NAME
    ]


def binds_root(tree: ast.AST) -> bool:
    """Whether the name `azureml` is the package, by the imports of a source."""
    return any(
        alias.asname is None and _of_root(alias.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    )


def _of_root(module: str) -> bool:
    return module.partition(".")[0] == ROOT


class _Visitor(ast.NodeVisitor):
    """Collects the edits and the findings of one source."""

    def __init__(self, names: Sequence[tokenize.TokenInfo], bound: bool) -> None:
        self.edits: list[tuple[int, int]] = []  # line from 0, column in bytes of UTF-8
        self.missing: dict[tuple[str, str], list[int]] = {}
        self._names, self._bound = names, bound
        self._local: dict[str, tuple[str, str]] = {}  # names bound to what is missing

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            if not _of_root(alias.name):
                continue
            if instead := instead_of(alias.name):
                self._report(alias.name, instead, node.lineno)
                if alias.asname:
                    self._local[alias.asname] = (alias.name, instead)
            else:
                self._replace(alias.lineno, alias.col_offset)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        module = node.module or ""
        if node.level or not _of_root(module):
            return
        if not offered(module):
            instead = instead_of(module) or ""
            for alias in node.names:
                self._missing(f"{module}.{alias.name}", alias.asname or alias.name, instead, alias.lineno)
            return
        for alias in node.names:
            if missing := instead_of(module, alias.name):
                self._missing(f"{module}.{alias.name}", alias.asname or alias.name, missing, alias.lineno)
        begin = (
            node.lineno,
            node.col_offset,
        )  # of `from`; the module's name has no place of its own in the tree
        first = next(
            token for token in self._names if token.string == ROOT and (token.start[0], _bytes(token)) > begin
        )
        self._replace(first.start[0], _bytes(first))

    def visit_Attribute(self, node: ast.Attribute) -> None:
        chain = _chain(node)
        if chain is not None and self._bound and chain[0].id == ROOT:
            self._dotted(chain[0], chain[1])
            return
        for dotted, instead in refusals().items():
            if node.attr == dotted.rpartition(".")[2] and _telling(node, dotted):
                self._report(dotted, instead, node.end_lineno or node.lineno)
        self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> None:
        if node.id in self._local:
            self._report(*self._local[node.id], node.lineno)
        elif node.id == ROOT and self._bound:
            self._replace(node.lineno, node.col_offset)

    def visit_Call(self, node: ast.Call) -> None:
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if name in _MODULE_READERS and node.args:
            self._string(node.args[0])
        if name == "get":
            for given in (*node.args, *(keyword.value for keyword in node.keywords)):
                if isinstance(given, ast.Constant) and (instead := curated(given.value)):
                    self._report(str(given.value), instead, given.lineno)
        self.generic_visit(node)

    def visit_arg(self, node: ast.arg) -> None:
        self._annotation(node.annotation)
        self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self._annotation(node.annotation)
        self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self._annotation(node.returns)
        self.generic_visit(node)

    visit_AsyncFunctionDef = visit_FunctionDef

    def _annotation(self, node: ast.expr | None) -> None:
        for inner in ast.walk(node) if node is not None else ():
            self._string(inner)

    def _string(self, node: ast.AST) -> None:
        """A string that names a module is changed in place, whatever its quotes."""
        if not (isinstance(node, ast.Constant) and isinstance(node.value, str) and _of_root(node.value)):
            return
        if node.lineno != node.end_lineno or not re.fullmatch(r"[\w.]+", node.value):
            return
        parts = node.value.split(".")
        module = next(
            (".".join(parts[:n]) for n in range(len(parts), 1, -1) if offered(".".join(parts[:n]))), None
        )
        if module is None and len(parts) > 1:
            self._report(node.value, instead_of(node.value) or "", node.lineno)
            return
        quote = (node.end_col_offset or 0) - node.col_offset - len(node.value.encode())
        if module and len(parts) > module.count(".") + 1:
            name = parts[module.count(".") + 1]
            if instead := instead_of(module, name):
                self._report(f"{module}.{name}", instead, node.lineno)
        self._replace(node.lineno, node.col_offset + (quote + 1) // 2)

    def _dotted(self, root: ast.Name, parts: list[str]) -> None:
        modules = [".".join([ROOT, *parts[:n]]) for n in range(len(parts), -1, -1)]
        module = next(name for name in modules if offered(name))
        rest = parts[module.count(".") :]
        if module == ROOT and rest:
            return  # of a package that stays as it is, and was reported where it is imported
        if rest and (known := instead_of(module, rest[0])):
            self._report(f"{module}.{rest[0]}", known, root.lineno)
        self._replace(root.lineno, root.col_offset)

    def _missing(self, dotted: str, local: str, instead: str, line: int) -> None:
        self._report(dotted, instead, line)
        self._local[local] = (dotted, instead)

    def _report(self, name: str, instead: str, line: int) -> None:
        self.missing.setdefault((name, instead), []).append(line)

    def _replace(self, line: int, column: int) -> None:
        self.edits.append((line - 1, column))


def _bytes(token: tokenize.TokenInfo) -> int:
    return len(token.line[: token.start[1]].encode())


def _telling(node: ast.Attribute, dotted: str) -> bool:
    """`build` and the like are methods of many things: they count on the class, or on something named after it."""
    owner, _, name = dotted.rpartition(".")
    if (len(name) > 8 or "_" in name) and name not in working_methods():
        return True
    value = node.value
    called = value.attr if isinstance(value, ast.Attribute) else getattr(value, "id", "")
    return called == owner or called.lower() in (owner.lower(), owner.lower()[:3])


def _chain(node: ast.Attribute) -> tuple[ast.Name, list[str]] | None:
    parts: list[str] = []
    inner: ast.expr = node
    while isinstance(inner, ast.Attribute):
        parts.insert(0, inner.attr)
        inner = inner.value
    return (inner, parts) if isinstance(inner, ast.Name) else None
