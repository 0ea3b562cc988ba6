"""Sweeps: parameters tried out by child runs of one run, over a compute target or in processes of this machine.

>>> from runstream import Experiment, Workspace, sweep
>>> def train(run, lr, units):
...     for epoch in range(10):
...         run.log("loss", ...)
>>> space = {"lr": sweep.LogUniform(1e-4, 1e-1), "units": [32, 64, 128]}
>>> experiment = Experiment(Workspace.from_config(), "mlp")
>>> found = sweep.run(experiment, train, space, metric="loss", trials=50, stop=sweep.Median())
>>> found.best.parameters

All state is in the stored runs. The same call with the sweep's `run_id` resumes where a killed one was.
"""

from __future__ import annotations

from .space import Choice, Integer, LogNormal, LogUniform, Normal, Quantized, Uniform
from .start import run
from .stopping import AverageMedian, Bandit, Halving, Intervals, Median, Truncation
from .trial import Sweep, Trial, load

__all__ = [
    "AverageMedian",
    "Bandit",
    "Choice",
    "Halving",
    "Integer",
    "Intervals",
    "LogNormal",
    "LogUniform",
    "Median",
    "Normal",
    "Quantized",
    "Sweep",
    "Trial",
    "Truncation",
    "Uniform",
    "load",
    "run",
]
