"""`python -m bench [NAME ...] [--quick] [--write]`: run the measurements and print the table."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import subprocess
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .result import Measured, Result, table

MODULES = (
    "calls",
    "start",
    "sdk",
    "media",
    "system_metrics",
    "submit",
    "tensorboard",
    "wandb",
    "compaction",
    "query",
    "wide_run",
    "runs_list",
    "dashboard",
    "workspace",
    "latency",
    "many_runs",
    "runs_many",
    "pipeline",
    "load",
    "peers",
    "storage",
    "growth",
)
PAGE = Path(__file__).parent.parent / "docs" / "performance.md"
PLOTS = PAGE.parent / "plots"
BEGIN, END = "<!-- begin measured -->", "<!-- end measured -->"


def main() -> int:
    """Run each module in a process of its own, so that none warms another."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure runstream on this machine.")
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"which measurements; default: all of {', '.join(MODULES)}"
    )
    parser.add_argument("--quick", action="store_true", help="fewer points and repeats")
    parser.add_argument(
        "--write",
        action="store_true",
        help=f"put the tables of what was measured into {PAGE.name}; others stay",
    )
    parser.add_argument("--json", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.json:
        module = importlib.import_module(f"bench.{options.names[0]}")
        measured = module.run(options.quick)
        if not isinstance(measured, Measured):
            measured = Measured(measured)
        print(json.dumps(asdict(measured)))
        return 0
    unknown = set(options.names) - set(MODULES)
    if unknown:
        parser.error(f"no measurement is called {', '.join(sorted(unknown))}; there are {', '.join(MODULES)}")
    sections: dict[str, str] = {}
    for name in options.names or MODULES:
        command = [sys.executable, "-m", "bench", name, "--json", *(["--quick"] if options.quick else [])]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            print(f"{name}: failed with exit code {done.returncode}", file=sys.stderr)
            return 1
        section = _section(name, json.loads(done.stdout.splitlines()[-1]), write=options.write)
        print(section, flush=True)
        sections[name] = section
    if options.write:
        page = PAGE.read_text()
        before, _, rest = page.partition(BEGIN)
        measured, _, after = rest.partition(END)
        kept = {part.split("\n", 1)[0]: f"### {part.rstrip()}\n" for part in measured.split("### ")[1:]}
        kept.update(sections)
        PAGE.write_text(
            f"{before}{BEGIN}\n\n"
            + "\n".join(kept[name] for name in MODULES if name in kept)
            + f"{END}{after}"
        )
    return 0


def _section(name: str, measured: dict[str, Any], *, write: bool) -> str:
    """Heading, machine, table, notes and plots; the plots are written as files beside the page."""
    parts = [f"### {name}", f"{machine()}; medians"]
    if measured["results"]:
        parts.append(table([Result(**item) for item in measured["results"]]))
    parts.extend(measured["notes"])
    for file, drawing in measured["plots"].items():
        if write:
            PLOTS.mkdir(exist_ok=True)
            (PLOTS / file).write_text(drawing)
        parts.append(f"![{Path(file).stem.replace('_', ' ')}]({PLOTS.name}/{file})")
    return "\n\n".join(parts) + "\n"


def machine() -> str:
    """The day, and what it was measured on."""
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {platform.system()} {platform.machine()}, {os.cpu_count()} cores, "
        f"CPython {platform.python_version()}"
    )


if __name__ == "__main__":
    sys.exit(main())
