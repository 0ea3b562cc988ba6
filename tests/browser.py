"""The browser of the page tests and of bench/dashboard.py.

`python -m tests.browser` makes sure there is one, and says in a line if there is none.

One that is installed is used (or the one RUNSTREAM_TEST_CHROMIUM names). Else, on Linux on x86-64, the npm package
@sparticuz/chromium brings one, with libraries and fonts for bare systems; elsewhere Playwright installs its own. Both are
kept in the user's cache, outside the repository.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any
from xml.sax.saxutils import escape

PACKAGE = "@sparticuz/chromium@153.0.0"
ARCHIVES = ("chromium", "al2023.tar", "fonts.tar", "swiftshader.tar")
SAFELY: dict[str, Any] = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
"""For `extractall`; Python knows it from 3.11.4 on."""
BUILD = Path(__file__).parents[1] / "dashboard" / "build.py"

_DECOMPRESS = """
const {createReadStream, createWriteStream} = require("fs"), {createBrotliDecompress} = require("zlib");
const [from, to] = process.argv.slice(1);
require("stream").pipeline(createReadStream(from), createBrotliDecompress(), createWriteStream(to),
  error => process.exit(error ? 1 : 0));
"""
_WRAPPER = """#!/bin/sh
here=$(cd "$(dirname "$0")" && pwd)
{libraries}
# Without a font, Chromium ends at the first text.
[ -n "$(ls -A /usr/share/fonts /usr/local/share/fonts 2>/dev/null | grep -v :)" ] || export FONTCONFIG_PATH="$here"
exec "$here/chromium" "$@"
"""
_LIBRARIES = 'export LD_LIBRARY_PATH="$here/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"'


def find() -> str | None:
    """The browser's program, if there is one."""
    given = os.environ.get("RUNSTREAM_TEST_CHROMIUM")
    names = ("chromium", "chromium-browser", "google-chrome")
    installed = next((path for name in names if (path := shutil.which(name))), None)
    if given or installed:
        return given or installed
    kept = _kept() / "chrome"
    return str(kept) if kept.exists() else _playwrights()


def fetch() -> str | None:
    """The browser's program, brought from a registry if need be; None where none can be had.

    Raises:
        OSError: it cannot be had at present.
        subprocess.SubprocessError: the same.
    """
    browser = find()
    if browser:
        return browser
    if sys.platform == "linux" and platform.machine() == "x86_64":
        return _from_npm()
    subprocess.run([sys.executable, "-m", "playwright", "install", "chromium"], check=True, timeout=600)
    return _playwrights()


def _kept() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache, "runstream", "chromium-" + PACKAGE.rpartition("@")[2])


def _playwrights() -> str | None:
    if importlib.util.find_spec("playwright") is None:
        return None
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        path = playwright.chromium.executable_path
    return path if Path(path).exists() else None


def _from_npm() -> str:
    place = _kept()
    place.parent.mkdir(parents=True, exist_ok=True)
    npm, environment = _builder()._npm()
    node = shutil.which("node", path=environment["PATH"])
    assert node is not None
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=".chromium-") as directory:
        draft, unpacked = Path(directory), Path(directory, "browser")
        unpacked.mkdir()
        run = {"check": True, "timeout": 600, "env": environment, "cwd": draft, "stdout": subprocess.DEVNULL}
        subprocess.run([*npm, "pack", PACKAGE, "--silent"], **run)
        (archive,) = draft.glob("*.tgz")
        with tarfile.open(archive) as packed:
            packed.extractall(draft, **SAFELY)
        for name in ARCHIVES:
            packed_file, target = draft / "package" / "bin" / f"{name}.br", draft / name
            subprocess.run([node, "-e", _DECOMPRESS, str(packed_file), str(target)], **run)
            if name.endswith(".tar"):
                with tarfile.open(target) as inner:
                    inner.extractall(unpacked, **SAFELY)
            else:
                target.rename(unpacked / name)
        (unpacked / "chromium").chmod(0o755)
        missing = subprocess.run(
            [unpacked / "chromium", "--version"], capture_output=True, timeout=60, check=False
        ).returncode
        fonts = f"<fontconfig><dir>{escape(str(place / 'fonts'))}</dir></fontconfig>"
        (unpacked / "fonts.conf").write_text(f'<?xml version="1.0"?>\n{fonts}\n')
        wrapper = unpacked / "chrome"
        wrapper.write_text(_WRAPPER.replace("{libraries}", _LIBRARIES if missing else ""))
        wrapper.chmod(0o755)
        subprocess.run([wrapper, "--version"], capture_output=True, timeout=60, check=True)
        shutil.rmtree(place, ignore_errors=True)
        unpacked.rename(place)
    return str(place / "chrome")


def _builder() -> ModuleType:
    spec = importlib.util.spec_from_file_location("dashboard_build", BUILD)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main() -> int:
    """0: there is a browser."""
    try:
        browser, why = fetch(), "Playwright has none for this system"
    except Exception as error:  # no network, no Node, no room, a damaged archive: all the same here
        browser, why = None, str(error)
    if browser is None:
        print(f"note: no browser ({why}): the tests of the pages are left out", file=sys.stderr)
    return 0 if browser else 1


if __name__ == "__main__":
    raise SystemExit(main())
