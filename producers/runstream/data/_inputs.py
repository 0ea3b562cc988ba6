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
    variables = {}
    for name, value in references.items():
        config = configuration_of(name, value)
        store = Datastore(workspace, config.datastore_name)
        variables[f"AZUREML_DATAREFERENCE_{name}"] = str(store._inside(config.path_on_datastore))
    return variables


def input_variables(arguments: Any) -> dict[str, str]:
    """The variable that tells a script which datasets are among its arguments."""
    given = (
        [argument for argument in arguments if isinstance(argument, DatasetConsumptionConfig)]
        if arguments
        else []
    )
    inputs = {config.name: [config.mode, config.dataset.definition] for config in given}
    return {INPUTS: json.dumps(inputs)} if inputs else {}


def input_datasets() -> dict[str, Any]:
    """The datasets among this script's arguments, by name: datasets themselves in mode `direct`, else their paths."""
    datasets: dict[str, Any] = {}
    for name, (mode, definition) in json.loads(os.environ.get(INPUTS) or "{}").items():
        kind = FileDataset if definition["kind"] == FileDataset._KIND else TabularDataset
        dataset = kind(definition)
        datasets[name] = (
            dataset if mode == "direct" else os.fspath(DatasetConsumptionConfig(name, dataset, mode))
        )
    return datasets
