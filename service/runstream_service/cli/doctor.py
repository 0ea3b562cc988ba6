"""The command `runstream doctor`."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from .options import add_output, performs
from .output import emit, table
from .settings import add_settings, settings_of


def add_doctor(parser: argparse.ArgumentParser) -> None:
    """Add what `runstream doctor` takes."""
    performs(parser, doctor)
    add_output(parser)
    add_settings(parser)


def doctor(options: argparse.Namespace) -> int:
    """`runstream doctor`: exit code 1 when something is BAD."""
    from ..doctor import BAD, examine

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
