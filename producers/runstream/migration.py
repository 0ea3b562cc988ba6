"""Rewrites scripts and notebooks of the original SDK: the import root, and nothing else.

Python is parsed, never searched for text: what looks like a module in a comment or a string (`azureml-logs/`, the tag
`azureml.batch_child_number`) stays. Strings count only where they name a module: annotations, and the first argument of
`import_module`, `__import__`, `importorskip`, `find_spec` and `patch`.
"""

from __future__ import annotations

import ast
import io
import json
import os
import re
import tokenize
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .unsupported import COMMANDS, ROOT, curated, instead_of, offered, refusals, working_methods

TARGET = "runstream"
_MODULE_READERS = frozenset({"__import__", "import_module", "importorskip", "find_spec", "patch"})
_SKIPPED_FOLDERS = frozenset({"__pycache__", "node_modules", "site-packages"})
_SUFFIXES = (".py", ".ipynb", ".sh")
_PIP_PACKAGE = re.compile(r"^[\s\-\"']*(azureml[-_][\w-]+)", re.ASCII)
_REQUIREMENTS = re.compile(r"(requirements.*\.txt|.*(conda|env).*\.ya?ml)$", re.IGNORECASE)
_PYTHON_CELLS = ("%%time", "%%timeit", "%%capture", "%%prun")
_SHELL_CELLS = ("%%bash", "%%sh", "%%script", "%%cmd", "%%system", "%%!")
_WRITES = re.compile(r"%%(?:write)?file\s+(?:(?:-a|--append)\s+)?[\"']?(.+?)[\"']?\s*$")


@dataclass(frozen=True, slots=True)
class Finding:
    """Something a script uses that does not carry over.

    Attributes:
        path: the file.
        lines: where, from 1; in a notebook within the cell.
        name: what.
        instead: what to do.
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


@dataclass(slots=True)
class Migration:
    """One file.

    Attributes:
        path: the file.
        before, after: its text; equal when nothing changes.
        findings: what does not carry over.
        problem: why it could not be read; '' when it could.
        encoding: of the file.
    """

    path: Path
    before: str = ""
    after: str = ""
    findings: list[Finding] = field(default_factory=list)
    problem: str = ""
    encoding: str = "utf-8"

    def write(self) -> None:
        """Put the new text in the file's place, whole or not at all."""
        content = self.after.encode(self.encoding)
        place = self.path.resolve()  # what a link names is changed, the link stays
        temporary = place.with_name(f".{place.name}.migrating")
        temporary.write_bytes(content)
        temporary.chmod(place.stat().st_mode & 0o7777)
        os.replace(temporary, place)


def migrate(place: Path) -> Iterator[Migration]:
    """Every file of a folder (or the one file) that names the original SDK.

    Raises:
        FileNotFoundError: there is no such place.
    """
    if not place.exists():
        raise FileNotFoundError(place)
    for path in sorted(_files(place)) if place.is_dir() else [place]:
        found = _migrate_file(path)
        if found.problem or found.findings or found.before != found.after:
            yield found


def _files(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".")
            and name not in _SKIPPED_FOLDERS
            and not Path(place, name, "pyvenv.cfg").exists()
        ]
        for name in names:
            path = Path(place, name)
            if (path.suffix in _SUFFIXES or _REQUIREMENTS.match(name)) and path.is_file():
                yield path


def _migrate_file(path: Path) -> Migration:
    found = Migration(path)
    try:
        content = path.read_bytes()
        if path.suffix == ".py":
            found.encoding, _ = tokenize.detect_encoding(io.BytesIO(content).readline)
        # Shell scripts and the like are only looked through, never written.
        strict = "strict" if path.suffix in (".py", ".ipynb") else "replace"
        found.before = found.after = content.decode(found.encoding, strict)
    except (OSError, SyntaxError, UnicodeDecodeError, LookupError) as error:
        found.problem = f"cannot be read: {error}"
        return found
    if ROOT not in found.before and "az ml" not in found.before:
        return found
    try:
        if path.suffix == ".ipynb":
            _notebook(found)
        elif path.suffix == ".py":
            found.after, found.findings = migrate_source(found.before, path)
        else:
            found.findings = list(_of_text(path, found.before))
    except (SyntaxError, RecursionError) as error:
        line = f"line {error.lineno}: " if isinstance(error, SyntaxError) and error.lineno else ""
        found.problem = f"left as it is, not Python 3: {line}{getattr(error, 'msg', None) or error}"
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        found.problem = f"left as it is, not a notebook: {error}"
    return found


# --- Python ---


def migrate_source(
    source: str, path: Path = Path("<text>"), bound: bool | None = None, cell: int | None = None
) -> tuple[str, list[Finding]]:
    """Python source with its import root changed, and what in it does not carry over.

    Args:
        source: the text.
        path: for the findings.
        bound: whether the name `azureml` is the package; None: found out from the source's own imports.
        cell: of a notebook, for the findings.

    Raises:
        SyntaxError: not Python 3.
    """
    tree = ast.parse(source)
    visitor = _Visitor(tokens_of(source), _binds_root(tree) if bound is None else bound)
    visitor.visit(tree)
    lines = [line.encode() for line in _lines(source)]
    for number, column in sorted(set(visitor.edits), reverse=True):
        line, end = lines[number], column + len(ROOT)
        if line[column:end] == ROOT.encode():  # not so in a string put together of several
            lines[number] = line[:column] + TARGET.encode() + line[end:]
    findings = [
        Finding(path, tuple(sorted(set(numbers))), name, instead, cell)
        for (name, instead), numbers in visitor.missing.items()
    ]
    return b"".join(lines).decode(), sorted(findings, key=lambda one: one.lines)


def _lines(source: str) -> list[str]:
    # As Python counts them: not at form feeds and the like, where str.splitlines() ends a line too.
    return io.StringIO(source, newline="").readlines()


def tokens_of(source: str) -> list[tokenize.TokenInfo]:
    """The names in a source, with their places."""
    return [
        token
        for token in tokenize.generate_tokens(io.StringIO(source, newline="").readline)
        if token.type == tokenize.NAME
    ]


def _binds_root(tree: ast.AST) -> bool:
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
        module = next(one for one in modules if offered(one))
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


# --- notebooks ---


def _notebook(found: Migration) -> None:
    document = json.loads(found.before)
    cells = [
        (number, cell) for number, cell in enumerate(document["cells"], 1) if cell["cell_type"] == "code"
    ]
    sources = [(number, cell, _python_of(_text(cell))) for number, cell in cells]
    bound = any(
        _binds_root(tree)
        for _, cell, source in sources
        if not _written(_text(cell)) and (tree := _parsed(source)) is not None
    )
    for number, cell, source in sources:
        found.findings += _of_cell(found.path, _text(cell), number)
        if not source.strip() or (ROOT not in source and _parsed(source) is None):
            continue
        try:
            # A script that a cell writes to a file is a program of its own.
            own = None if _written(_text(cell)) else bound
            after, findings = migrate_source(source, found.path, own, number)
        except SyntaxError as error:
            why = f"not Python 3 ({error.msg}): cell left as it is"
            found.findings.append(Finding(found.path, (error.lineno or 1,), "syntax error", why, number))
            continue
        found.findings += findings
        originals = _lines(_text(cell))
        masked, changed = _lines(source), _lines(after)
        lines = [
            old if before == new else new
            for old, before, new in zip(originals, masked, changed, strict=True)
        ]  # fmt: skip
        if lines != originals:
            cell["source"] = lines if isinstance(cell["source"], list) else "".join(lines)
    found.after = _in_place(found.before, _strings(json.loads(found.before)), _strings(document))


def _in_place(text: str, before: Iterator[str], after: Iterator[str]) -> str:
    """A JSON document with strings changed where they stand, so that all else keeps its form.

    Args:
        text: the document.
        before, after: all its strings and keys, in order.
    """

    def literal(match: re.Match[str]) -> str:
        old, new = next(before), next(after)
        return match[0] if old == new else json.dumps(new, ensure_ascii="\\u" in match[0])

    return re.sub(r'"(?:[^"\\]|\\.)*"', literal, text)


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from _strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)


def _text(cell: dict[str, Any]) -> str:
    source = cell["source"]
    return source if isinstance(source, str) else "".join(source)


def _parsed(source: str) -> ast.AST | None:
    try:
        return ast.parse(source)
    except SyntaxError:
        return None


def _python_of(source: str) -> str:
    """A cell with what only IPython understands taken out, line by line."""
    lines = _lines(source)
    if lines and lines[0].startswith("%%"):
        if not lines[0].startswith(_PYTHON_CELLS) and not _written(source).endswith(".py"):
            return "\n" * source.count("\n")
        lines[0] = "\n"
    return "".join(_python_line(line) for line in lines)


def _written(source: str) -> str:
    """The file a cell writes with `%%writefile`; '' when it writes none."""
    match = _WRITES.match(source.partition("\n")[0])
    return match[1] if match else ""


def _python_line(line: str) -> str:
    code = line.strip()
    magic = code.startswith(("%", "!", "?")) or (code.endswith("?") and not code.startswith("#"))
    if magic or re.match(r"[\w, ]+=\s*[!%]\w", code):
        indent = line[: len(line) - len(line.lstrip())]
        return indent + "pass" + ("\n" if line.endswith("\n") else "")
    return line


# --- what is only listed ---


def _of_cell(path: Path, source: str, cell: int) -> Iterator[Finding]:
    """The same in a notebook's cell: in what it writes or gives to a shell, elsewhere behind `!` and `%`."""
    first = source.partition("\n")[0]
    written = _written(first)
    whole = bool(_REQUIREMENTS.match(written) or written.endswith(".sh") or first.startswith(_SHELL_CELLS))
    lines = [
        line if (whole and number) or line.lstrip().startswith(("!", "%")) else ""
        for number, line in enumerate(_lines(source))
    ]
    # A line of a requirements file holds nothing else; of a command, the package may stand anywhere.
    pattern = _PIP_PACKAGE if _REQUIREMENTS.match(written) else re.compile(r".*\b(azureml-[\w-]+)", re.ASCII)
    yield from _of_text(path, "\n".join(line.rstrip("\r\n") for line in lines), cell, pattern)


def _of_text(
    path: Path, text: str, cell: int | None = None, pattern: re.Pattern[str] = _PIP_PACKAGE
) -> Iterator[Finding]:
    """Commands of shells and packages of requirements."""
    for number, line in enumerate(text.splitlines(), 1):
        for command in sorted(COMMANDS, key=len, reverse=True):
            if re.search(rf"\b{command}\b", line):
                yield Finding(path, (number,), command, COMMANDS[command], cell)
                break
        package = pattern.match(line)
        if package and "azureml-logs" not in line and path.suffix != ".sh":
            yield Finding(path, (number,), package.group(1), "the package runstream", cell)
