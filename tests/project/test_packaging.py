"""What is built and what is committed: the wheel is whole, the client stays light, no file names a host of an index."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGES = [Path(each) for each in PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]]


def tracked() -> list[Path]:
    """Files under version control; in an archive without it, all but what was built."""
    if (ROOT / ".git").exists() and shutil.which("git"):
        listed = subprocess.run(
            ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True
        ).stdout.decode()
        return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]
    return [
        path
        for path in ROOT.rglob("*")
        if path.is_file() and not any(part in (".venv", "__pycache__", "node_modules") for part in path.parts)
    ]


@pytest.mark.attack
def test_wheel_holds_every_module_and_migration(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for package in PACKAGES:
        shutil.copytree(ROOT / package, source / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "hatch_build.py", "sbom.py", "constraints.txt"):
        shutil.copy(ROOT / name, source)
    # The lock alone, which the bill of materials names; the pages are not built for this.
    (source / "dashboard").mkdir()
    shutil.copy(ROOT / "dashboard" / "package-lock.json", source / "dashboard")
    built = subprocess.run(
        [
            sys.executable,
            "-m",
            "hatchling",
            "build",
            "--target",
            "wheel",
            "--directory",
            str(tmp_path / "dist"),
        ],
        cwd=source,
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    [wheel] = (tmp_path / "dist").glob("*.whl")
    held = set(zipfile.ZipFile(wheel).namelist())
    expected = {
        path.relative_to(source / package.parent).as_posix()
        for package in PACKAGES
        for path in (source / package).rglob("*")
        if path.is_file()
    }
    assert expected <= held
    assert any(name.endswith(".sql") for name in held)
    assert {name.split("/")[0] for name in held if not name.split("/")[0].endswith(".dist-info")} == {
        package.name for package in PACKAGES
    }

    _check_bill(zipfile.ZipFile(wheel))


def _check_bill(wheel: zipfile.ZipFile) -> None:
    """The wheel's bill of materials: valid, what the pages hold with its digests, what is asked for with its versions."""
    from cyclonedx.schema import SchemaVersion  # the import takes two seconds
    from cyclonedx.validation.json import JsonStrictValidator

    [name] = [name for name in wheel.namelist() if "/sboms/" in name]
    assert re.fullmatch(r"runstream-[^/]+\.dist-info/sboms/runstream\.cdx\.json", name)
    bill = wheel.read(name).decode()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(bill) is None
    components = {component["purl"]: component for component in json.loads(bill)["components"]}
    pins = (ROOT / "constraints.txt").read_text()
    for requirement in PYPROJECT["project"]["dependencies"]:
        asked = re.match(r"[\w-]+", requirement)
        assert asked is not None
        *_, pin = re.findall(rf"^{asked[0]}==([^ ;\n]+)", pins, re.MULTILINE)
        assert components[f"pkg:pypi/{asked[0]}@{pin}"]["scope"] == "required"
    lock = json.loads((ROOT / "dashboard" / "package-lock.json").read_text())["packages"]
    for held in ("svelte", "uplot", "clsx"):
        package = lock[f"node_modules/{held}"]
        [digest] = components[f"pkg:npm/{held}@{package['version']}"]["hashes"]
        assert digest["content"] == base64.b64decode(package["integrity"].removeprefix("sha512-")).hex()
    for development in ("pytest", "ruff", "vite", "vitest"):
        assert not any(re.search(rf"/{development}(@|$)", purl) for purl in components)


@pytest.mark.attack
def test_an_audit_that_was_not_answered_says_so() -> None:
    """Nothing is taken for free of known weaknesses because nobody could be asked."""
    nowhere = dict.fromkeys(("HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy"), "http://127.0.0.1:1")
    alone = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "npm_config_fetch_retries": "0"}
    done = subprocess.run(
        [ROOT / ".ci" / "audit"],
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
        env=alone | nowhere,
    )
    assert done.returncode == 2
    assert "NOT AUDITED: constraints.txt: " in done.stderr
    assert "NOT AUDITED: dashboard/package-lock.json: " in done.stderr
    assert "no known weakness" not in done.stdout


def test_import_of_the_client_loads_nothing_heavy() -> None:
    program = "import sys, runstream, runstream.core; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=_environment()
    )
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    heavy = {
        "numpy",
        "aiokafka",
        "asyncpg",
        "pyarrow",
        "duckdb",
        "zstandard",
        "asyncio",
        "pydantic",
        "httpx",
        "rich",
        "yaml",
    }
    assert not loaded & heavy
    assert not loaded & {"runstream_consumers", "runstream_query", "runstream_service"}


def _environment() -> dict[str, str]:
    import os

    return os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}


@pytest.mark.attack
def test_constraints_pin_everything_we_ask_for() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    for line in lines:
        assert re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+( ; .+)?", line), line
    pinned = {re.split("==", line)[0].lower().replace("_", "-") for line in lines}
    project = PYPROJECT["project"]
    asked = [
        *project["dependencies"],
        *(each for extra in project["optional-dependencies"].values() for each in extra),
    ]
    names = {re.split(r"[\[<>=; ]", each)[0].lower() for each in asked} - {"runstream"}
    assert names <= pinned


def test_no_file_names_an_index_or_a_place_of_the_maker() -> None:
    # Written apart, so that this file does not hold what it looks for.
    forbidden = re.compile(
        "|".join(("pypi" + r"\.org", "pythonhosted" + r"\.org", "registry" + r"\.npmjs", "/ro" + "ot/"))
    )
    places = []
    for path in tracked():
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        places += [f"{path.relative_to(ROOT)}: {match.group()}" for match in forbidden.finditer(text)]
    assert not places


def test_make_help_lists_every_target() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert targets is not None
    shown = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert re.findall(r"^  make ([\w-]+) +\S", shown, re.MULTILINE) == targets.group(1).split()


@pytest.mark.parametrize("script", [".ci/run", ".ci/setup"])
def test_scripts_are_executable_and_parse(script: str) -> None:
    path = ROOT / script
    assert path.stat().st_mode & 0o111
    subprocess.run(["bash", "-n", str(path)], check=True)


def test_an_old_python_is_refused_with_the_remedy(tmp_path: Path) -> None:
    old = tmp_path / "python3"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo Python 3.9.2\nexit 1\n')
    old.chmod(0o755)
    for name in ("pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    # A PATH on which nothing but that Python and the shell's own tools can be found.
    for tool in ("sh", "cat", "cksum", "sed", "rm", "pwd"):
        (tmp_path / tool).symlink_to(shutil.which(tool) or tool)
    done = subprocess.run(
        [str(tmp_path / "sh"), str(ROOT / ".ci/setup"), "all,dev"],
        cwd=tmp_path,
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "no Python of 3.11 to 3.14" in done.stderr
    assert "Python 3.9.2" in done.stderr
