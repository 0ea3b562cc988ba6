"""Commands and packages of the original SDK in shell scripts and requirements: they are listed, never changed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from .imports import Finding
from .unsupported import COMMANDS

REQUIREMENTS = re.compile(r"(requirements.*\.txt|.*(conda|env).*\.ya?ml)$", re.IGNORECASE)
"""Names of files that list packages."""

PACKAGE_LINE = re.compile(r"^[\s\-\"']*(azureml[-_][\w-]+)", re.ASCII)
"""A line of such a file that names a package of the original."""


def of_text(
    path: Path, text: str, cell: int | None = None, pattern: re.Pattern[str] = PACKAGE_LINE
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
