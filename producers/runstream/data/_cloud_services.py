"""Classes of `azureml.data` that stand for what only Azure does; see `cloud`."""

from __future__ import annotations

from ..cloud import CloudOnly


class OutputFileDatasetConfig(CloudOnly, instead="what a script writes to ./outputs is kept with its run"):
    """A dataset that a run writes."""
