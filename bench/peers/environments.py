"""An environment of its own for each peer, from the pinned list beside this file; made once, below the checkout."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

PINS = Path(__file__).parent / "pins"
PLACE = Path(__file__).parents[2] / ".bench" / "peers"
"""Not in version control."""

INSTALL_SECONDS = 300.0


class NoEnvironmentError(Exception):
    """A peer cannot be installed here; the message says why, in one line."""


def environment(peer: str, place: Path = PLACE, pins: Path = PINS) -> Path:
    """The Python that has the peer; installs it the first time, and again when its pins changed.

    Raises:
        NoEnvironmentError: it could not be installed for any Python of this machine.
    """
    pinned = pins / f"{peer}.txt"
    state = hashlib.sha256(pinned.read_bytes()).hexdigest()
    home = place / peer
    stamp, python = home / "installed", home / "bin" / "python"
    if stamp.exists() and stamp.read_text() == state and _works(python):
        return python
    why = "no Python was found"
    for interpreter in interpreters():
        print(f"  installing {peer} for {interpreter}", file=sys.stderr, flush=True)
        shutil.rmtree(home, ignore_errors=True)
        try:
            for command in install_commands(interpreter, home, pinned):
                subprocess.run(
                    command,
                    check=True,
                    capture_output=True,
                    text=True,
                    timeout=INSTALL_SECONDS,
                    stdin=subprocess.DEVNULL,
                )
        except subprocess.CalledProcessError as error:
            why = last_line(error.stderr)
        except (OSError, subprocess.TimeoutExpired) as error:
            why = last_line(str(error))
        else:
            stamp.write_text(state)
            return python
    raise NoEnvironmentError(f"could not be installed: {why}")


def interpreters() -> list[str]:
    """Pythons to try: this one, then others of this machine, the newest first."""
    usable = [sys.executable]
    for version in ("3.13", "3.12", "3.11", "3.10"):
        if path := shutil.which(f"python{version}"):
            usable.append(path)
        places = sorted((Path.home() / ".pyenv" / "versions").glob(f"{version}.*/bin/python"))
        usable.extend(str(path) for path in places)
    return usable


def install_commands(interpreter: str, home: Path, pins: Path) -> list[list[str]]:
    """With uv where it is on the PATH, else venv and pip."""
    python = str(home / "bin" / "python")
    if uv := shutil.which("uv"):
        return [
            [uv, "venv", "--quiet", "--python", interpreter, str(home)],
            # pip compiles what it installs; import times would not be comparable without.
            [
                uv,
                "pip",
                "install",
                "--quiet",
                "--no-deps",
                "--compile-bytecode",
                "--python",
                python,
                "-r",
                str(pins),
            ],
        ]
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    return [[interpreter, "-m", "venv", str(home)], [*pip, "-r", str(pins)]]


def last_line(text: str | None) -> str:
    """The last line that says something, without paths and addresses, at most 120 characters."""
    lines = [line.strip() for line in (text or "").splitlines() if line.strip()]
    words = [word for word in (lines[-1] if lines else "unknown").split() if "/" not in word]
    return " ".join(words)[:120] or "unknown"


def _works(python: Path) -> bool:
    try:
        return subprocess.run([str(python), "-c", ""], timeout=30, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False
