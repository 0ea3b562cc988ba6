"""Which modules of the original SDK runstream has, by their original names, and what to do instead of the others."""

from __future__ import annotations

from importlib.util import find_spec

ROOT = "azureml"

_OFFERED = ("core", "data", "exceptions", "train", "widgets")
"""Packages below the root that runstream may have; its other modules are its own, whatever they are called."""

_DATA = "read the files themselves (a path, pandas, fsspec); put what was read into a tag or property"
PIPELINES = "submit the steps one after the other, or as children of one run (Run.submit_child)"
_ESTIMATORS = "ScriptRunConfig with an Environment, which replaced estimators in the original too"
_AUTOML = "a sweep of your own over models and parameters; their runs are compared on one page"

MODULES: dict[str, str] = {
    "azureml.automl": _AUTOML,
    "azureml.contrib": "no part of the core SDK; take it out",
    "azureml.datadrift": "compare the data yourself and log what you find",
    "azureml.dataprep": _DATA,
    "azureml.explain": "the libraries behind it (shap, interpret); log_image and log_table keep their results",
    "azureml.fsspec": "fsspec with the storage's own protocol",
    "azureml.interpret": "the libraries behind it (shap, interpret); log_image and log_table keep their results",
    "azureml.mlflow": "mlflow.set_tracking_uri(workspace.get_mlflow_tracking_uri()) is enough; take the import out",
    "azureml.opendatasets": _DATA,
    "azureml.pipeline": PIPELINES,
    "azureml.studio": PIPELINES,
    "azureml.tensorboard": "the run page draws metrics live; TensorBoard reads its own files in ./outputs",
    "azureml.train.automl": _AUTOML,
    "azureml.train.dnn": _ESTIMATORS,
    "azureml.train.estimator": _ESTIMATORS,
    "azureml.train.sklearn": _ESTIMATORS,
}
"""Modules, with everything below them."""


def offered(module: str) -> bool:
    """Whether runstream has a module of the original, by its original name."""
    if module == ROOT:
        return True
    below = module.removeprefix(f"{ROOT}.")
    if below.partition(".")[0] not in _OFFERED or _private(module):
        return False
    try:
        return find_spec(f"runstream.{below}") is not None
    except ModuleNotFoundError:  # of a parent
        return False


def remedy(module: str) -> str:
    """What to do instead of a module that is not `offered`."""
    if known := [prefix for prefix in MODULES if f"{module}.".startswith(f"{prefix}.")]:
        return MODULES[max(known, key=len)]
    if _private(module):
        return "it is private to azureml-core; use the public names"
    return "runstream has no such module"


def _private(module: str) -> bool:
    """Whether a part of its name says so; what runstream calls so has no counterpart."""
    return "._" in module
