"""Packages of an environment, in the form of a conda specification."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..client.arguments import path_argument, read_text_file, text_argument, texts_argument, write_text_file
from ..exceptions import UserErrorException
from ..spool.values import check_text
from ._requirements_file import absolute_requirements

__all__ = ["CondaDependencies"]

DEFAULT_PYTHON = "3.10.18"
"""Version a specification is given when none is asked for; it is not taken for a wish."""

DEFAULT_FILE = "conda_dependencies.yml"
_CHANNELS = ("anaconda", "conda-forge")


class CondaDependencies:
    """Conda and pip packages. Nothing is installed before a run needs them.

    Args:
        conda_dependencies_file_path: a specification to begin with.
        _underlying_structure: one as dictionary.

    Raises:
        FileNotFoundError: there is no such file.
        UserErrorException: it is no conda specification.

    Source: `azureml.core.conda_dependencies.CondaDependencies`.
    """

    def __init__(
        self,
        conda_dependencies_file_path: str | os.PathLike[str] | None = None,
        _underlying_structure: Mapping[str, Any] | None = None,
    ) -> None:
        if conda_dependencies_file_path is not None:
            self._document = read_specification(conda_dependencies_file_path)
            self._pip()[:] = absolute_requirements(self._pip(), Path(conda_dependencies_file_path).parent)
        elif _underlying_structure is not None:
            self._document = copy.deepcopy(dict(_underlying_structure))
        else:
            self._document = {
                "name": "project_environment",
                "dependencies": [f"python={DEFAULT_PYTHON}", {"pip": []}],
                "channels": list(_CHANNELS),
            }

    @staticmethod
    def create(
        pip_indexurl: str | None = None,
        pip_packages: Sequence[str] | None = None,
        conda_packages: Sequence[str] | None = None,
        python_version: str = DEFAULT_PYTHON,
        pin_sdk_version: bool = True,
    ) -> CondaDependencies:
        """New dependencies.

        Args:
            pip_indexurl: index pip packages come from.
            pip_packages: requirements as pip takes them.
            conda_packages: packages as conda takes them.
            python_version: the version of the interpreter.
            pin_sdk_version: accepted; the SDK of a run is always the one that submits it.
        """
        result = CondaDependencies()
        result.set_python_version(python_version)
        if pip_indexurl:
            result.set_pip_index_url(pip_indexurl)
        for package in pip_packages or ():
            result.add_pip_package(package)
        for package in conda_packages or ():
            result.add_conda_package(package)
        return result

    @staticmethod
    def merge_requirements(requirements: Sequence[str]) -> list[str]:
        """Requirements with those for one package made one: `["a>1", "a<3"]` becomes `["a>1,<3"]`."""
        merged: dict[str, tuple[str, list[str]]] = {}
        for line in requirements:
            place = next((place for place, letter in enumerate(line) if letter in "=<>!~"), len(line))
            named, version = line[:place].strip(), line[place:].strip()
            limits = merged.setdefault(requirement_name(line), (named, []))[1]
            if version and version not in limits:
                limits.append(version)
        return [named + ",".join(limits) for named, limits in merged.values()]

    @property
    def conda_channels(self) -> Iterable[str]:
        """Channels, the first one first."""
        return iter(list(self._document.get("channels") or ()))

    @property
    def conda_packages(self) -> Iterable[str]:
        """Conda packages, the interpreter among them."""
        return iter([package for package in self._dependencies() if isinstance(package, str)])

    @property
    def pip_packages(self) -> Iterable[str]:
        """Requirements pip installs."""
        return iter([line for line in self._pip() if not line.startswith("-")])

    @property
    def pip_options(self) -> Iterable[str]:
        """Lines of options for pip."""
        return iter([line for line in self._pip() if line.startswith("-")])

    @property
    def python_version(self) -> str | None:
        """Version of the interpreter, or None."""
        for package in self.conda_packages:
            name, version = split_package(package)
            if name == "python":
                return version or None
        return None

    def get_python_version(self) -> str | None:
        """Version of the interpreter, or None."""
        return self.python_version

    def set_python_version(self, version: str) -> None:
        """Replace the version of the interpreter."""
        package = f"python={text_argument('python_version', version)}"
        self.remove_conda_package("python")
        self._dependencies().insert(0, package)

    def add_conda_package(self, conda_package: str) -> None:
        """Add a package, in place of one of the same name."""
        self.remove_conda_package(conda_package)
        dependencies = self._dependencies()
        place = next(
            (i for i, entry in enumerate(dependencies) if isinstance(entry, dict)), len(dependencies)
        )
        dependencies.insert(place, conda_package)

    def remove_conda_package(self, conda_package: str) -> None:
        """Remove a package, whatever its version."""
        name = split_package(conda_package)[0]
        self._document["dependencies"] = [
            entry
            for entry in self._dependencies()
            if not isinstance(entry, str) or split_package(entry)[0] != name
        ]

    def add_pip_package(self, pip_package: str) -> None:
        """Add a requirement, in place of one of the same name."""
        self.remove_pip_package(pip_package)
        self._pip().append(pip_package)

    def remove_pip_package(self, pip_package: str) -> None:
        """Remove a requirement, whatever its version."""
        pip, name = self._pip(), requirement_name(pip_package)
        pip[:] = [line for line in pip if line.startswith("-") or requirement_name(line) != name]

    def set_pip_option(self, pip_option: str) -> None:
        """Add a line of options for pip, in place of one for the same option."""
        self.remove_pip_option(pip_option)
        self._pip().append(pip_option)

    def remove_pip_option(self, pip_option: str) -> None:
        """Remove the line of options for pip that begins like this one."""
        words = check_text("pip_option", pip_option).split()
        if not words:
            raise UserErrorException("pip_option is empty; expected an option of pip such as --pre")
        pip = self._pip()
        pip[:] = [line for line in pip if line.split()[:1] != words[:1]]

    def set_pip_index_url(self, index_url: str) -> None:
        """The index pip packages come from."""
        self.set_pip_option(f"--index-url {check_text('index_url', index_url)}")

    def set_pip_requirements(self, pip_requirements: Sequence[str]) -> None:
        """Replace all requirements."""
        requirements = texts_argument("pip_requirements", pip_requirements)
        pip = self._pip()
        pip[:] = [line for line in pip if line.startswith("-")]
        pip.extend(requirements)

    def add_channel(self, channel: str) -> None:
        """Add a channel, unless it is there."""
        channels = self._document.setdefault("channels", [])
        if channel not in channels:
            channels.append(channel)

    def remove_channel(self, channel: str) -> None:
        """Remove a channel."""
        self._document["channels"] = [
            name for name in self._document.get("channels") or () if name != channel
        ]

    def save(self, path: str | os.PathLike[str] | None = None) -> str:
        """Write the specification.

        Args:
            path: a file, or a directory for a file `conda_dependencies.yml`; default the current directory.

        Returns:
            The file's path.
        """
        target = path_argument("path", path) if path is not None else Path.cwd()
        if target.is_dir():
            target = target / DEFAULT_FILE
        write_text_file("path", target, self.serialize_to_string())
        return str(target)

    def save_to_file(self, base_directory: str | os.PathLike[str], conda_file_path: str | None = None) -> str:
        """Write the specification below a directory; returns the path below it."""
        name = conda_file_path or DEFAULT_FILE
        self.save(path_argument("base_directory", base_directory) / path_argument("conda_file_path", name))
        return name

    def serialize_to_string(self) -> str:
        """The specification as YAML."""
        import yaml

        text: str = yaml.safe_dump(self._document, sort_keys=False)
        return text

    def as_dict(self) -> dict[str, Any]:
        """A copy of the specification."""
        return copy.deepcopy(self._document)

    def _dependencies(self) -> list[Any]:
        dependencies: list[Any] = self._document.setdefault("dependencies", [])
        return dependencies

    def _pip(self) -> list[str]:
        for entry in self._dependencies():
            if isinstance(entry, dict) and "pip" in entry:
                entry["pip"] = entry["pip"] or []
                pip: list[str] = entry["pip"]
                return pip
        self._dependencies().append({"pip": []})
        return self._pip()


def read_specification(path: str | os.PathLike[str]) -> dict[str, Any]:
    """A conda specification file.

    Raises:
        FileNotFoundError: there is no such file.
        UserErrorException: it is no conda specification.
    """
    import yaml

    text = read_text_file("conda specification", path)
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserErrorException(f"{path} is not YAML: {error}; mend it") from None
    dependencies = document.get("dependencies", []) if isinstance(document, dict) else None
    if not isinstance(dependencies, list) or not all(
        isinstance(entry, str) or (isinstance(entry, dict) and isinstance(entry.get("pip") or [], list))
        for entry in dependencies
    ):
        raise UserErrorException(
            f"{path} is no conda specification: expected a mapping with a list `dependencies` of packages, "
            "pip's below `pip:`"
        )
    specification: dict[str, Any] = document
    return specification


def split_package(package: str) -> tuple[str, str]:
    """(name, version) of a conda package such as `python=3.11`, `conda-forge::numpy>=1.26` or `pip`."""
    text = check_text("conda package", package).rsplit("::", 1)[-1].strip()
    for place, letter in enumerate(text):
        if letter in "=<>!~ ":
            return text[:place].strip().lower(), text[place:].lstrip("=<>!~ ").split("=")[0].strip()
    return text.lower(), ""


def requirement_name(line: str) -> str:
    """Name of the package a requirement is about, as pip compares names."""
    text = check_text("requirement", line).strip()
    for place, letter in enumerate(text):
        if letter in "=<>!~ ;[@(":
            text = text[:place]
            break
    return text.lower().replace("_", "-").replace(".", "-")
