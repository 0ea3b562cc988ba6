"""A sweep on a Dask cluster: a grid of submitted scripts, and what a worker's loss does to them.

python examples/sweep_dask.py [tcp://scheduler:8786]

Without an address it starts a cluster of two worker processes on this machine.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

from runstream import Experiment, ScriptRunConfig, Workspace, sweep
from runstream.core.compute import ComputeTarget, DaskCompute


@contextlib.contextmanager
def scheduler() -> Iterator[str]:
    """Address of a scheduler."""
    if sys.argv[1:]:
        yield sys.argv[1]
        return
    from distributed import LocalCluster

    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        yield cluster.scheduler_address


def main() -> None:
    """Attach the cluster, sweep on it, and say what was found."""
    workspace = Workspace.from_config()
    with scheduler() as address:
        target = ComputeTarget.attach(workspace, "cluster", DaskCompute.attach_configuration(address))
        config = ScriptRunConfig(str(Path(__file__).parent / "sweep_dask"), "train.py")
        swept = sweep.run(
            Experiment(workspace, "ridge-on-dask"),
            config,
            {"alpha": [0.01, 0.1, 1.0, 10.0]},
            metric="mse",
            method="grid",
            concurrency=4,
            compute_target=target,
            show_output=True,
        )
    assert swept.best is not None
    print(f"best of {len(swept.trials)}: {swept.best.parameters}, mse {swept.best.value:.1f}")
    print(swept.run.get_portal_url())


if __name__ == "__main__":  # the cluster's worker processes import this module
    main()
