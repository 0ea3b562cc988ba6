"""What each process spends its time on under load, by py-spy: `python -m bench.profiles [--write]`.

With `--write` the tables go into docs/explanation/profiles.md.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from .__main__ import machine
from .cluster import Cluster, cluster, go, start_writers
from .growth import environment_of
from .load import role
from .peers.measure import processes_of

PAGE = Path(__file__).parent.parent / "docs" / "explanation" / "profiles.md"
BEGIN, END = "<!-- begin measured -->", "<!-- end measured -->"
RATE = 200
"""Samples a second."""

OURS = ("runstream", "bench")
EAGER = {"RUNSTREAM_COMPACT_BYTES": str(1 << 20), "RUNSTREAM_COMPACT_INTERVAL": "0.5"}
"""So that runs which still log are compacted meanwhile."""

FOREIGN = ("Postgres", "Kafka", "other")


@dataclass(slots=True)
class Profile:
    """Samples of one process: in the functions themselves, and in them or what they called."""

    name: str
    samples: int
    own: Counter[str]
    total: Counter[str]


def main() -> int:
    """Profile embedded, then through Kafka; half a minute each."""
    parser = argparse.ArgumentParser(prog="python -m bench.profiles", description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--write", action="store_true", help=f"put the tables into {PAGE.name}")
    options = parser.parse_args()
    spy = shutil.which("py-spy", path=str(Path(sys.executable).parent)) or shutil.which("py-spy")
    if spy is None:
        parser.error("py-spy is missing: it comes with the extra dev")
    sections = []
    for kafka in (False, True):
        with (
            cluster(kafka=kafka, settings=EAGER) as made,
            environment_of(made),
        ):
            made.up()
            profiles = take(made, spy, options.seconds)
        sections.append(f"### {'Through Kafka' if kafka else 'Embedded'}\n")
        sections += [table(profile, options.seconds) for profile in profiles]
    text = "\n".join([f"{machine()}\n", *sections])
    print(text)
    if options.write:
        before, _, rest = PAGE.read_text().partition(BEGIN)
        PAGE.write_text(f"{before}{BEGIN}\n\n{text}\n{END}{rest.partition(END)[2]}")
    return 0


def take(made: Cluster, spy: str, seconds: float) -> list[Profile]:
    """All Python processes of the home at the same time, while two writers log and a reader reads."""
    writers = start_writers(made, 2, "--runs", "32", "--steps", "10000000")
    stop = threading.Event()
    reader = threading.Thread(target=read, args=(stop,))
    try:
        go(writers)
        reader.start()
        time.sleep(6)  # the first segments are small, and libraries load at first use
        named: dict[str, int] = {}
        for process in sorted(processes_of(f"RUNSTREAM_HOME={made.home}")):
            try:
                name = role(Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:
                continue
            if name not in FOREIGN:
                named.setdefault(name, process)
        return [parse(name, text) for name, text in record(spy, named, seconds).items() if text.strip()]
    finally:
        stop.set()
        for writer in writers:
            writer.kill()
            writer.wait()
        if reader.is_alive():
            reader.join(30)


def read(stop: threading.Event) -> None:
    """What an open page of runs asks for, five times a second."""
    import runstream.query
    from runstream.exceptions import ServiceException

    while not stop.wait(0.2):
        try:
            runstream.query.runs(limit=50)
        except ServiceException:  # the services are ending
            continue


def record(spy: str, named: dict[str, int], seconds: float) -> dict[str, str]:
    """The collapsed stacks of each process."""
    with tempfile.TemporaryDirectory(prefix="rsb") as place:
        options = ["--duration", str(max(1, round(seconds))), "--rate", str(RATE), "--format", "raw"]
        options += ["--function", "--nonblocking"]
        started = [
            subprocess.Popen(
                [spy, "record", "--pid", str(process), *options, "--output", f"{place}/{number}"],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            for number, process in enumerate(named.values())
        ]
        for process in started:
            try:
                process.wait(seconds * 3 + 30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        files = [Path(place, str(number)) for number in range(len(named))]
        return {
            name: file.read_text() if file.exists() else "" for name, file in zip(named, files, strict=True)
        }


def parse(name: str, collapsed: str) -> Profile:
    """Stacks as py-spy writes them: frames from the outermost on, a space, a count."""
    own: Counter[str] = Counter()
    total: Counter[str] = Counter()
    samples = 0
    for line in collapsed.splitlines():
        stack, _, count = line.rpartition(" ")
        if not stack or not count.isdigit():
            continue
        frames = [short(frame) for frame in stack.split(";")]
        samples += int(count)
        own[frames[-1]] += int(count)
        for frame in set(frames):
            total[frame] += int(count)
    return Profile(name, samples, own, total)


def short(frame: str) -> str:
    """`collect (runstream/agent.py)` as `runstream.agent.collect`, without paths of this machine."""
    match = re.fullmatch(r"(.+) \((.+?)(?::\d+)?\)", frame)
    if not match:
        return re.sub(r"\S*/", "", frame)
    function, path = match.groups()
    parts = Path(path).with_suffix("").parts
    for place, part in enumerate(parts):
        if part.startswith(OURS):
            return ".".join([*parts[place:], function])
    return ".".join([*parts[-2:], function]) if not path.startswith("/") else f"{parts[-1]}.{function}"


def table(profile: Profile, seconds: float, rows: int = 10) -> str:
    """The functions with the most time of their own, and ours with the most time below them."""
    share = profile.samples / RATE / seconds
    lines = [
        f"**{profile.name}**, busy for {share:.0%} of the time",
        "",
        "| function | itself | with what it calls |",
        "|---|---:|---:|",
    ]
    ours = [name for name, _ in profile.total.most_common() if name.startswith(OURS)]
    chosen = [name for name, _ in profile.own.most_common(rows)]
    chosen += [name for name in ours if name not in chosen][: rows // 2]
    for name in chosen:
        own, total = (
            100 * counter[name] / max(1, profile.samples) for counter in (profile.own, profile.total)
        )
        lines.append(f"| `{name}` | {own:.1f} % | {total:.1f} % |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    sys.exit(main())
