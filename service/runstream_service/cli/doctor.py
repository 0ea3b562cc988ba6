"""The command `runstream doctor`."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from ..doctor import BAD, examine
from .main import settings_of
from .output import emit, table


def command(options: argparse.Namespace) -> int:
    """`runstream doctor`: exit code 1 when something is BAD."""
    findings = list(examine(settings_of(options)))
    if options.output == "table" and not options.query:
        print(table(("", "check", "found"), [(item.result, item.check, item.found) for item in findings]))
        remedies = [item for item in findings if item.remedy]
        for item in remedies:
            print(f"\n{item.check}: {item.remedy}")
        if not remedies:
            print("\neverything is in order")
    else:
        emit([asdict(item) for item in findings], options.output, options.query)
    return 1 if any(item.result == BAD for item in findings) else 0
