"""Callbacks and loggers for frameworks: a module for each, which imports that framework and nothing else.

>>> from runstream.integrations.xgboost import RunstreamCallback
>>> xgboost.train(params, data, evals=[(data, "train")], callbacks=[RunstreamCallback()])

All of them record by `Tracking`: into the run they are given, that of a submitted script, or one of their own.
"""
