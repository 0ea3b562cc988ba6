"""What a submitted script is told of its data, in environment variables: the datasets and references it was given."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from ..workspace_type import Workspace
from ._datastore import Datastore
from .data_reference import configuration_of
from .dataset_consumption_config import DatasetConsumptionConfig
from .file_dataset import FileDataset
from .tabular_dataset import TabularDataset

INPUTS = "RUNSTREAM_INPUT_DATASETS"
"""Environment variable of a submitted script: the datasets among its arguments, as JSON."""


def reference_variables(workspace: Workspace, references: Mapping[str, Any]) -> dict[str, str]:
    """The variables that tell a script where the data of its run configuration lies.

    Raises:
        UserErrorException: something else among them, or a path that leads out of its datastore.
    """
    found = {}
    for name, value in references.items():
        config = configuration_of(name, value)
        store = Datastore(workspace, config.datastore_name)
        found[f"AZUREML_DATAREFERENCE_{name}"] = str(store._inside(config.path_on_datastore))
    return found


def input_variables(arguments: Any) -> dict[str, str]:
    """The variable that tells a script which datasets are among its arguments."""
    given = [one for one in arguments if isinstance(one, DatasetConsumptionConfig)] if arguments else []
    inputs = {one.name: [one.mode, one.dataset.definition] for one in given}
    return {INPUTS: json.dumps(inputs)} if inputs else {}


def input_datasets() -> dict[str, Any]:
    """The datasets among this script's arguments, by name: datasets themselves in mode `direct`, else their paths."""
    found: dict[str, Any] = {}
    for name, (mode, definition) in json.loads(os.environ.get(INPUTS) or "{}").items():
        kind = FileDataset if definition["kind"] == FileDataset._KIND else TabularDataset
        dataset = kind(definition)
        found[name] = (
            dataset if mode == "direct" else os.fspath(DatasetConsumptionConfig(name, dataset, mode))
        )
    return found
