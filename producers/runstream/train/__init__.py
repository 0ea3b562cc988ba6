"""Packages of scripts that import from `azureml.train`: HyperDrive, and the widgets under their first name."""
