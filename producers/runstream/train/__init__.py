"""What scripts of 2018 imported from `azureml.train`: the widgets."""
