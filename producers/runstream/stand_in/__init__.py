"""Stands in for `azureml-core` where it is not installed: scripts that import `azureml` run as they are."""
