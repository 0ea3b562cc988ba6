"""HyperDrive: hyperparameters tried out by submitted scripts, as `azureml.train.hyperdrive` has it, on `runstream.sweep`.

>>> from runstream.train.hyperdrive import *
>>> config = HyperDriveConfig(
...     run_config=ScriptRunConfig("project", "train.py"),
...     hyperparameter_sampling=RandomParameterSampling({"--lr": loguniform(-6, -1), "--units": choice(32, 64)}),
...     policy=BanditPolicy(slack_factor=0.2, evaluation_interval=2),
...     primary_metric_name="accuracy", primary_metric_goal=PrimaryMetricGoal.MAXIMIZE,
...     max_total_runs=20, max_concurrent_runs=4,
... )
>>> run = experiment.submit(config)
>>> run.wait_for_completion(show_output=True)
>>> run.get_best_run_by_primary_metric()
"""

from __future__ import annotations

from ...core._submission.submitters import register_submitter
from ...core.run import Run
from ._search import search
from .parameter_expressions import (
    choice,
    lognormal,
    loguniform,
    normal,
    qlognormal,
    qloguniform,
    qnormal,
    quniform,
    randint,
    uniform,
)
from .policy import (
    BanditPolicy,
    EarlyTerminationPolicy,
    MedianStoppingPolicy,
    NoTerminationPolicy,
    TruncationSelectionPolicy,
)
from .run import HyperDriveRun
from .runconfig import HyperDriveConfig, HyperDriveRunConfig, PrimaryMetricGoal
from .sampling import (
    BayesianParameterSampling,
    GridParameterSampling,
    HyperParameterSampling,
    RandomParameterSampling,
)

__all__ = [
    "BanditPolicy",
    "BayesianParameterSampling",
    "EarlyTerminationPolicy",
    "GridParameterSampling",
    "HyperDriveConfig",
    "HyperDriveRun",
    "HyperDriveRunConfig",
    "HyperParameterSampling",
    "MedianStoppingPolicy",
    "NoTerminationPolicy",
    "PrimaryMetricGoal",
    "RandomParameterSampling",
    "TruncationSelectionPolicy",
    "choice",
    "lognormal",
    "loguniform",
    "normal",
    "qlognormal",
    "qloguniform",
    "qnormal",
    "quniform",
    "randint",
    "uniform",
]

register_submitter(HyperDriveConfig, search)
Run.add_type_provider(HyperDriveRun.RUN_TYPE, HyperDriveRun._of)
