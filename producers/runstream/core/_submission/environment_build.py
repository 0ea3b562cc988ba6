"""Builds what a submitted run's environment needs, once for each content, and finds its interpreter."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TextIO

import runstream_schemas
from runstream_schemas.locks import take
from runstream_schemas.ownership import make_private

from ...compute.process_tree import end_tree
from ...exceptions import RunEnvironmentException
from .._requirements_file import content_of
from ..conda_dependencies import DEFAULT_PYTHON, split_package
from ..environment import DEFAULT_CPU_IMAGE, DEFAULT_GPU_IMAGE, Environment

_log = logging.getLogger("runstream")

CONDA_TOOLS = ("micromamba", "mamba", "conda")
OLDEST_PYTHON = (3, 11)
"""Scripts that ask for an older one are run with the submitting interpreter: the SDK itself needs this one."""

CLIENT_REQUIREMENTS = ("msgpack>=1.1", "numpy>=1.26")
"""What logging and reading from a script need beside runstream itself."""

_BUILD_SECONDS = 3600.0
_LOOK_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Wanted:
    """What has to be installed for an environment.

    Attributes:
        python: version of the interpreter, '' for any.
        conda: conda packages beside interpreter and pip.
        pip: requirements and lines of options.
        channels: conda's.
    """

    python: str
    conda: tuple[str, ...]
    pip: tuple[str, ...]
    channels: tuple[str, ...]

    @property
    def nothing(self) -> bool:
        """Whether the submitting interpreter will do."""
        return not (self.python or self.conda or self.pip)


def wanted(environment: Environment) -> Wanted:
    """What an environment needs installed. The SDK of the original is not: a run uses the runstream that submits it."""
    dependencies = environment.python.conda_dependencies
    if environment.python.user_managed_dependencies or dependencies is None:
        return Wanted("", (), (), ())
    version = dependencies.python_version or ""
    conda = tuple(
        package
        for package in dependencies.conda_packages
        if split_package(package)[0] not in ("python", "pip")
    )
    pip = tuple(
        line
        for line in [*dependencies.pip_options, *dependencies.pip_packages]
        if not line.lower().startswith(("azureml-", "azureml_", "runstream"))
    )
    return Wanted(
        "" if version == DEFAULT_PYTHON else version, conda, pip, tuple(dependencies.conda_channels)
    )


def check_buildable(environment: Environment) -> None:
    """Refuse an environment this machine has no tool for.

    Raises:
        RunEnvironmentException: it needs conda and there is none, and the message names packages and tools; or it is an
            image and nothing else.
    """
    wish = wanted(environment)
    docker = environment.docker
    own_image = docker.base_dockerfile or docker.base_image not in (
        None,
        DEFAULT_CPU_IMAGE,
        DEFAULT_GPU_IMAGE,
    )
    if own_image and environment.python.user_managed_dependencies:
        raise RunEnvironmentException(
            f"environment {environment.name} is the image {docker.base_image or 'of a Dockerfile'}, and runs take place "
            "outside of containers; describe its packages with conda_specification or pip_requirements"
        )
    if own_image or docker.enabled:
        _log.warning(
            "environment %s: its image is not used; the run gets the packages it names", environment.name
        )
    if wish.conda and _conda_tool() is None:
        raise RunEnvironmentException(
            f"environment {environment.name} needs the conda packages {', '.join(wish.conda)}, but none of "
            f"{', '.join(CONDA_TOOLS)} is on PATH; install one of them (micromamba is a single file), name the packages "
            "under pip instead, or set environment.python.user_managed_dependencies = True"
        )


def needs_build(environment: Environment) -> bool:
    """Whether the environment is more than an interpreter that is there already."""
    return not wanted(environment).nothing


class BuildCanceled(Exception):
    """The run an environment was built for is to end."""


def interpreter_of(
    environment: Environment,
    submitter: str,
    root: Path,
    log: Path,
    canceled: Callable[[], bool] = lambda: False,
) -> str:
    """The interpreter an environment's scripts run with; what it needs is built first, unless it was before.

    Args:
        environment: the environment.
        submitter: interpreter of the process that submitted: what `python` means, and what others are made from.
        root: directory of the built environments.
        log: where the build is written to.
        canceled: asked while it is built, or while another run builds it.

    Raises:
        BuildCanceled: `canceled` said so.
        RunEnvironmentException: it cannot be built; the message has the last lines of the log.
    """
    section = environment.python
    wish = wanted(environment)
    if wish.nothing:
        path = section.interpreter_path if section.user_managed_dependencies else "python"
        return submitter if path == "python" else os.path.expanduser(path)
    check_buildable(environment)
    content = json.dumps(
        [
            wish.python,
            wish.conda,
            wish.pip,
            wish.channels,
            submitter,
            CLIENT_REQUIREMENTS,
            content_of(wish.pip),
        ]
    )
    target = root / hashlib.sha256(content.encode()).hexdigest()[:20]
    python = target / "bin" / "python"
    make_private(root)
    with _alone(root / f"{target.name}.lock", canceled):
        if (target / "ready").exists() and python.exists():
            return str(python)
        shutil.rmtree(target, ignore_errors=True)
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a", encoding="utf-8", buffering=1) as stream:
            print(f"Building environment {environment.name} in {target}", file=stream)
            try:
                _build(wish, submitter, target, partial(_run, stream, canceled), stream)
                _add_client(python, target)
            except (OSError, subprocess.SubprocessError) as error:
                stream.flush()
                tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
                raise RunEnvironmentException(
                    f"environment {environment.name} could not be built ({error}); the end of its log:\n{tail}"
                ) from None
            (target / "ready").touch()
            print("Built.", file=stream)
    return str(python)


def _build(wish: Wanted, submitter: str, target: Path, run: Callable[[list[str]], None], log: TextIO) -> None:
    version = _usable(wish.python, log)
    uv, conda = shutil.which("uv"), _conda_tool()
    python = str(target / "bin" / "python")
    install = [python, "-m", "pip", "install", "--no-input"]
    if wish.conda or (version and not uv and conda and not _is_version(submitter, version)):
        assert conda is not None
        packages = [f"python={version}" if version else "python>=3.11", "pip", *wish.conda]
        channels = [word for channel in wish.channels for word in ("-c", channel)]
        run([conda, "create", "-y", "-p", str(target), *channels, *packages])
    elif version and not uv and not _is_version(submitter, version):
        raise OSError(f"Python {version} is asked for, and there is neither uv nor conda to get it with")
    elif uv:
        run([uv, "venv", "--python", version or submitter, str(target)])
        install = [uv, "pip", "install", "--python", python]
    else:
        run([submitter, "-m", "venv", str(target)])
    requirements = target.with_suffix(".txt")
    groups: list[tuple[str, ...]] = [(*wish.pip, *CLIENT_REQUIREMENTS)]
    if any("--hash" in line for line in wish.pip):  # pip then wants hashes of all it installs
        groups = [wish.pip, CLIENT_REQUIREMENTS]
    for lines in groups:
        requirements.write_text("\n".join(lines) + "\n", encoding="utf-8")
        run([*install, "-r", str(requirements)])


def _usable(version: str, log: TextIO) -> str:
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if len(numbers) == 2 and numbers < OLDEST_PYTHON:
        print(
            f"Python {version} is asked for, runstream needs {OLDEST_PYTHON[0]}.{OLDEST_PYTHON[1]} or newer: "
            "built with the interpreter that submitted",
            file=log,
        )
        return ""
    return version


def _is_version(interpreter: str, version: str) -> bool:
    done = subprocess.run(
        [interpreter, "-c", "import platform; print(platform.python_version())"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return f"{done.stdout.strip()}.".startswith(f"{version}.")


def _add_client(python: Path, target: Path) -> None:
    """Let the environment's scripts import this very runstream, and nothing else of where it is installed."""
    client = target / "client"
    client.mkdir()
    assert runstream_schemas.__file__ is not None
    for folder in (Path(__file__).absolute().parents[2], Path(runstream_schemas.__file__).absolute().parent):
        (client / folder.name).symlink_to(folder, target_is_directory=True)
    where = subprocess.run(
        [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    Path(where.stdout.strip(), "runstream_client.pth").write_text(f"{client}\n", encoding="utf-8")


def _run(log: TextIO, canceled: Callable[[], bool], words: list[str]) -> None:
    print("$", " ".join(words), file=log, flush=True)
    variables = {
        key: value
        for key, value in os.environ.items()
        if key not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
    }
    deadline = time.monotonic() + _BUILD_SECONDS
    with subprocess.Popen(
        words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=variables, start_new_session=True
    ) as process:
        while True:
            try:
                status = process.wait(_LOOK_SECONDS)
                break
            except subprocess.TimeoutExpired:
                if canceled() or time.monotonic() > deadline:
                    end_tree(process)
                    if time.monotonic() > deadline:
                        raise subprocess.TimeoutExpired(words, _BUILD_SECONDS) from None
                    raise BuildCanceled from None
            except BaseException:
                end_tree(process)
                raise
    if status:
        raise subprocess.CalledProcessError(status, words)


def _conda_tool() -> str | None:
    return next((program for tool in CONDA_TOOLS if (program := shutil.which(tool))), None)


@contextmanager
def _alone(lock: Path, canceled: Callable[[], bool]) -> Iterator[None]:
    while (descriptor := take(lock)) is None:  # another run builds it
        if canceled():
            raise BuildCanceled
        time.sleep(_LOOK_SECONDS)
    try:
        yield
    finally:
        os.close(descriptor)
