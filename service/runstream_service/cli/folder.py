"""The commands `runstream folder ...`: attach a folder to a workspace and an experiment."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from .options import Group, add_experiment, add_global
from .output import show
from .settings import settings_of

CONFIG = Path(".azureml", "config.json")
IGNORE_FILE = ".amlignore"
_IGNORED = (".ipynb_checkpoints", "azureml-logs", ".azureml", ".git", "outputs", "azureml-setup", "docs")


def add_folder_commands(parser: argparse.ArgumentParser) -> None:
    """Add the commands below `runstream folder`."""
    group = Group(parser, "commands about folders")
    attaching = group.add(
        "attach",
        "attach a folder to a workspace and an experiment",
        folder_attach,
        "Commands and Workspace.from_config() below it then need no names. Makes the folder if there is none.",
    )
    add_experiment(attaching, "default: the folder's name")
    add_global(attaching)


def folder_attach(options: argparse.Namespace) -> int:
    """`runstream folder attach -w WORKSPACE`."""
    settings = settings_of(options)
    attached = attach(
        Path(options.path),
        settings.workspace,
        options.subscription_id or "local",
        options.resource_group or "local",
        options.experiment,
    )
    show(options, attached)
    return 0


def attach(
    folder: Path, workspace: str, subscription: str, group: str, experiment: str | None = None
) -> dict[str, str]:
    """Attach a folder, which is made if need be: config, run configurations and a list of what is not copied.

    What is there already stays, but for the attachment itself.

    Returns:
        What the command prints.

    Raises:
        UserErrorException: a name is not valid, or the config cannot be read.
    """
    from runstream.client.arguments import experiment_name_argument
    from runstream.core.runconfig import RunConfiguration
    from runstream.exceptions import UserErrorException
    from runstream.spool.values import check_text

    folder = folder.absolute()
    experiment = experiment or folder.name
    experiment_name_argument(experiment, "; choose one with --experiment-name")
    for option, name in (("-w", workspace), ("-g", group), ("--subscription-id", subscription)):
        if not name or "/" in name:
            raise UserErrorException(
                f"{option} {name!r:.80}: expected a name without slashes, of one character at least"
            )
        check_text(option, name)
    (folder / CONFIG.parent).mkdir(parents=True, exist_ok=True)
    scope = (
        f"/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.MachineLearningServices"
        f"/workspaces/{workspace}/projects/{experiment}"
    )
    configs = [folder / CONFIG]
    if (native := folder / ".runstream" / "config.json").is_file():
        configs.append(native)  # it is found before the other one
    for config in configs:
        document = {key: value for key, value in _read(config).items() if key != "workspace_name"}
        document |= {"Id": experiment, "Scope": scope}
        config.write_text(json.dumps(document, indent=4, ensure_ascii=False) + "\n", encoding="utf-8")
    for name in ("docker", "local"):
        if not (folder / CONFIG.parent / name).exists():
            configuration = RunConfiguration()
            configuration.docker.use_docker = name == "docker"
            configuration.save(folder, name)
    if not (folder / IGNORE_FILE).exists():
        (folder / IGNORE_FILE).write_text("\n".join(_IGNORED) + "\n", encoding="utf-8")
    return {
        "Experiment name": experiment,
        "Subscription id": subscription,
        "Resource group": group,
        "Workspace name": workspace,
        "Project path": str(folder),
    }


def attached_experiment(path: Path) -> str | None:
    """The experiment a folder, or one above it, is attached to."""
    from runstream.home.workspace_config import CONFIG_FILES, search

    config = search(path, CONFIG_FILES)
    if config is None:
        return None
    parts = str(_read(config[0]).get("Scope") or "").split("/")
    return parts[10] if len(parts) > 10 and parts[9] == "projects" else None


def _read(config: Path) -> dict[str, Any]:
    from runstream.exceptions import UserErrorException

    try:
        document = json.loads(config.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise UserErrorException(f"{config}: cannot be read as JSON ({error})") from None
    if not isinstance(document, dict):
        raise UserErrorException(f"{config}: expected a JSON object")
    return document
