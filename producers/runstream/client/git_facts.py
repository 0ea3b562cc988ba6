"""What git knows of a directory, as the properties a run gets from it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

SECONDS = 5.0
"""Longest wait for git: of a repository on a slow disk rather no answer than a late one."""


def git_properties(folder: Path) -> dict[str, str]:
    """Properties about the repository a directory lies in; what is not known is left out.

    The variables `AZUREML_GIT_REPOSITORY_URI`, `_BRANCH`, `_COMMIT`, `_DIRTY`, `_BUILD_ID` and `_BUILD_URI` win over what
    git says: on a build machine the directory may be no repository. Passwords and tokens in its address are left out.

    Source: `azureml.core`, properties of `Experiment.start_logging` and `submit`.
    """
    from_git = _ask_git(folder)
    facts = {}
    for name in ("repository_uri", "branch", "commit", "dirty", "build_id", "build_uri"):
        if value := os.environ.get(f"AZUREML_GIT_{name.upper()}") or from_git.get(name):
            facts[name] = without_password(value) if name.endswith("_uri") else value
    properties = {f"azureml.git.{name}": value for name, value in facts.items()}
    for name, ours in (("repoURL", "repository_uri"), ("branch", "branch"), ("commit", "commit")):
        if ours in facts:
            properties[f"mlflow.source.git.{name}"] = facts[ours]
    return properties


def git_of(folder: Path) -> str | None:
    """The program, where there is one and the directory lies in a repository: no process is started to find that out."""
    inside = any((here / ".git").exists() for here in (folder, *folder.parents))
    return shutil.which("git") if inside else None


def environment() -> dict[str, str]:
    """Of a git that neither waits for a lock nor asks for a password."""
    return {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}


def _ask_git(folder: Path) -> dict[str, str]:
    git = git_of(folder)
    if git is None:
        return {}
    try:
        status = _git(git, folder, "status", "--porcelain=v2", "--branch", "--", ".").splitlines()
        address = _git(git, folder, "ls-remote", "--get-url")
    except (OSError, subprocess.SubprocessError):
        return {}
    said = dict(
        line.removeprefix("# branch.").split(" ", 1) for line in status if line.startswith("# branch.")
    )
    facts = {
        "repository_uri": "" if address == "origin" else address,  # what git answers when there is no remote
        "branch": "" if said.get("head") == "(detached)" else said.get("head", ""),
        "commit": "" if said.get("oid") == "(initial)" else said.get("oid", ""),
    }
    if status:
        facts["dirty"] = str(any(not line.startswith("#") for line in status))
    return facts


def _git(git: str, folder: Path, *words: str) -> str:
    """What git prints; nothing when it refuses."""
    done = subprocess.run(
        [git, *words],
        cwd=folder,
        capture_output=True,
        timeout=SECONDS,
        check=False,
        stdin=subprocess.DEVNULL,
        env=environment(),
    )
    return done.stdout.decode(errors="replace").strip() if done.returncode == 0 else ""


def without_password(address: str) -> str:
    """Neither the user's part of an address nor what stands behind its ? or #, where some hosts take tokens."""
    return re.sub(r"(?<=://)[^/@\s]*@", "", address).partition("?")[0].partition("#")[0]
