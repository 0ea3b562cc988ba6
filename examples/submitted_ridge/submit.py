"""A submitted run: train.py of this folder, run in the background from a copy, its log printed as it is written.

    python examples/submitted_ridge/submit.py

Nothing has to be started first. Needs scikit-learn in the interpreter that submits.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from runstream.core import Environment, Experiment, ScriptRunConfig, Workspace


def main() -> None:
    """Run the example."""
    environment = Environment("user-managed")
    environment.python.user_managed_dependencies = True  # this very interpreter, nothing is installed
    config = ScriptRunConfig(
        source_directory=str(Path(__file__).parent),
        script="train.py",
        arguments=["--alphas", 20, "--most", 0.5],
        environment=environment,
    )
    run = Experiment(Workspace.from_config(), "submitted-ridge").submit(config, tags={"dataset": "diabetes"})
    run.wait_for_completion(show_output=True)
    metrics = run.get_metrics()
    best = int(np.argmin(metrics["mse"]))
    print(f"best alpha {metrics['alpha'][best]:.2f}, mean squared error {metrics['mse'][best]:.1f}")
    print(len(run.get_file_names()), "files")


if __name__ == "__main__":
    main()
